"""Kubernetes objects from YAML and JSON files, and the FleetSnapshot that they make.

Input: files or folders of manifests, as `kubectl get -o yaml` prints them or as a user writes them: Argosy's
resources, Nodes, ResourceQuotas, and ConfigMaps with profiles; other kinds, and kinds of the same name in
another API group, are ignored. Output: objects as plain mappings, or a snapshot in which nothing runs yet.
Every command that works without a cluster reads here.
"""

from __future__ import annotations

import difflib
import itertools
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml

from argosy.api import (
    KINDS,
    CustomResource,
    Fleet,
    GPUPool,
    InvalidObject,
    RouterPolicy,
    ServedModel,
    WorkloadClass,
)
from argosy.api.crd.resource import GROUP, Scope, unknown_fields
from argosy.errors import SpecError
from argosy.files.manifest_yaml import documents
from argosy.files.names import name_of, namespace_of
from argosy.files.nodes import node_of
from argosy.files.quotas import quota_of
from argosy.snapshot.cluster import NodeState
from argosy.snapshot.fleet import FleetSnapshot, ProfileFileKey
from argosy.snapshot.kubernetes import config_map_files

K = TypeVar("K", bound=CustomResource)
Object = Mapping[str, Any]

SUFFIXES = (".json", ".yaml", ".yml")
"""Of the files that are read in a folder. A file that is named is read whatever its suffix."""
_CORE_GROUP = ""
_KIND_NAMES = tuple(kind.KIND for kind in KINDS)


def read_objects(paths: Iterable[Path]) -> list[Object]:
    """Every object of every file, in order; a list such as kubectl prints counts as its items.

    A folder stands for its files with one of `SUFFIXES`, not for those of its sub-folders.
    Raises SpecError with the path that cannot be read, holds no manifest or holds something else.
    """
    return [item for path in paths for file in _files(path) for item in _objects(file)]


def snapshot_of(objects: Iterable[Object], now_s: float, nodes: Iterable[NodeState] = ()) -> FleetSnapshot:
    """The world at `now_s` (seconds since the epoch) in which these objects exist and nothing runs.

    nodes: in addition to the Nodes among the objects
    Of two objects with one kind, namespace and name the last one is used. Raises SpecError with the kind
    and name of an object that is not valid, and its field.
    """
    found = list(objects)
    declared = [node_of(item) for item in found if _is(item, "Node", _CORE_GROUP)]
    quotas = [quota_of(item) for item in found if _is(item, "ResourceQuota", _CORE_GROUP)]
    return FleetSnapshot(
        now_s=now_s,
        fleet=_of(Fleet, found).get("default"),
        pools=_of(GPUPool, found),
        models={each.key: each for each in _of(ServedModel, found).values()},
        classes={each.key: each for each in _of(WorkloadClass, found).values()},
        policies=_of(RouterPolicy, found),
        plans=(),
        nodes={node.name: node for node in (*declared, *nodes)},
        pods={},
        quotas={quota.key: quota for quota in quotas},
        profile_files=_profile_files(found),
    )


def _files(path: Path) -> list[Path]:
    """Raises SpecError for a folder without manifests."""
    if not path.is_dir():
        return [path]
    found = sorted(file for file in path.iterdir() if file.suffix in SUFFIXES)
    if not found:
        raise SpecError(f"the folder holds no file that ends in {', '.join(SUFFIXES)}; name one", str(path))
    return found


def _objects(file: Path) -> list[Object]:
    """Raises SpecError."""
    try:
        read = documents(file.read_text("utf-8"))
    except OSError as error:
        raise SpecError(f"cannot be read: {error.strerror}", str(file)) from error
    except (UnicodeDecodeError, yaml.YAMLError, RecursionError) as error:
        where = " ".join(str(error).split())  # of several lines, with the position
        raise SpecError(f"cannot be read as YAML or JSON: {where}", str(file)) from error
    found = list(itertools.chain.from_iterable(map(_unfolded, read)))
    for item in found:
        if not isinstance(item, Mapping) or not isinstance(item.get("metadata", {}), Mapping):
            needed = "an object has kind, metadata and spec"
            raise SpecError(f"holds something that is not a Kubernetes object: {needed}", str(file))
        _require_known_kind(item, file)
    return found


def _require_known_kind(item: Object, file: Path) -> None:
    """Raises SpecError for an object of Argosy's API group whose kind Argosy does not have."""
    kind = item.get("kind")
    if _group(item) == GROUP and kind not in _KIND_NAMES:
        near = difflib.get_close_matches(str(kind), _KIND_NAMES, n=1)
        remedy = f"did you mean {near[0]}?" if near else f"use one of {', '.join(_KIND_NAMES)}"
        raise SpecError(f"kind: {GROUP} has no kind {kind}; {remedy}", str(file))


def _group(item: Object) -> str | None:
    """The API group, empty for the core group; None where the object names no apiVersion."""
    written = item.get("apiVersion")
    return None if written is None else str(written).rpartition("/")[0]


def _is(item: Object, kind: str, group: str) -> bool:
    """The items of a list need no apiVersion, so an object without one is taken for what its kind says."""
    return item.get("kind") == kind and _group(item) in (None, group)


def _unfolded(document: Any) -> list[Any]:
    """The items of a list, or the document itself."""
    if isinstance(document, Mapping) and str(document.get("kind")).endswith("List"):
        items = document.get("items")
        if isinstance(items, list):
            return items
    return [document]


def _profile_files(objects: Iterable[Object]) -> dict[ProfileFileKey, bytes]:
    """The content of every ConfigMap with a name: the profiles that ServedModels name are among them.

    Raises SpecError for a name or namespace that cannot be one.
    """
    found: dict[ProfileFileKey, bytes] = {}
    for item in objects:
        # A ServedModel cannot refer to a ConfigMap whose name the API server would generate.
        if _is(item, "ConfigMap", _CORE_GROUP) and (item.get("metadata") or {}).get("name") is not None:
            name, namespace = name_of(item, "ConfigMap"), namespace_of(item, "ConfigMap")
            for key, content in config_map_files(item).items():
                found[ProfileFileKey(namespace, name, key)] = content
    return found


def _of(kind: type[K], objects: Iterable[Object]) -> dict[str, K]:
    """The objects of one kind by key. Raises SpecError for one that is not valid."""
    found: dict[str, K] = {}
    for item in objects:
        if _is(item, kind.KIND, GROUP):
            value = _value(_with_namespace(item, kind), kind)
            found[value.key] = value
    return found


def _value(item: Object, kind: type[K]) -> K:
    """As the API server takes it from kubectl. Raises SpecError with the field at fault."""
    name_of(item, kind.KIND)
    value = kind.from_object(item)
    if isinstance(value, InvalidObject):
        raise SpecError(value.message, f"{value.kind} {value.key}")
    for problem in unknown_fields(kind, item):
        raise SpecError(problem.sentence, f"{kind.KIND} {value.key}")
    return value


def _with_namespace(item: Object, kind: type[CustomResource]) -> Object:
    """As kubectl does: an object that names no namespace belongs to `default`. Raises SpecError."""
    if kind.SCOPE is Scope.CLUSTER:
        return item
    return {**item, "metadata": {**item.get("metadata", {}), "namespace": namespace_of(item, kind.KIND)}}
