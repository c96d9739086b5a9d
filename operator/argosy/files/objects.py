"""Kubernetes objects of files as the FleetSnapshot that they make.

Input: objects as `manifests.reading` reads them: Argosy's resources, Nodes, ResourceQuotas, and ConfigMaps
with profiles; other kinds, and kinds of the same name in another API group, are ignored. Output: a snapshot
in which nothing runs yet. Every command that works without a cluster reads here.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

from argosy.api import (
    CustomResource,
    Fleet,
    GPUPool,
    InvalidObject,
    RouterPolicy,
    ServedModel,
    WorkloadClass,
)
from argosy.api.crd.resource import GROUP, Scope
from argosy.api.crd.unknown import unknown_fields
from argosy.errors import SpecError
from argosy.files.manifests.reading import CORE_GROUP, Object, is_of
from argosy.files.manifests.strict import require_known_fields
from argosy.files.names import name_of, namespace_of
from argosy.files.nodes import node_of
from argosy.files.quotas import quota_of
from argosy.keys import NamespacedName
from argosy.snapshot.admission.quotas import QuotaState
from argosy.snapshot.cluster import NodeState
from argosy.snapshot.fleet import FleetSnapshot, ProfileFileKey
from argosy.snapshot.kubernetes import config_map_files

K = TypeVar("K", bound=CustomResource)


def snapshot_of(objects: Iterable[Object], now_s: float, nodes: Iterable[NodeState] = ()) -> FleetSnapshot:
    """The world at `now_s` (seconds since the epoch) in which these objects exist and nothing runs.

    nodes: in addition to the Nodes among the objects
    Of two objects with one kind, namespace and name the last one is used. Raises SpecError with the kind
    and name of an object that is not valid, and its field.
    """
    found = list(objects)
    declared = [_node(item) for item in found if is_of(item, "Node", CORE_GROUP)]
    quotas = [_quota(item) for item in found if is_of(item, "ResourceQuota", CORE_GROUP)]
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


def _node(item: Object) -> NodeState:
    node = node_of(item)
    require_known_fields(item, "Node")
    return node


def _quota(item: Object) -> QuotaState:
    quota = quota_of(item)
    require_known_fields(item, "ResourceQuota")
    return quota


def _profile_files(objects: Iterable[Object]) -> dict[ProfileFileKey, bytes]:
    """The content of every ConfigMap with a name: the profiles that ServedModels name are among them.

    Raises SpecError for a name or namespace that cannot be one.
    """
    found: dict[ProfileFileKey, bytes] = {}
    for item in objects:
        # A ServedModel cannot refer to a ConfigMap whose name the API server would generate.
        if is_of(item, "ConfigMap", CORE_GROUP) and (item.get("metadata") or {}).get("name") is not None:
            name, namespace = name_of(item, "ConfigMap"), namespace_of(item, "ConfigMap")
            require_known_fields(item, "ConfigMap")
            for key, content in config_map_files(item).items():
                found[ProfileFileKey(namespace, name, key)] = content
    return found


def _of(kind: type[K], objects: Iterable[Object]) -> dict[str, K]:
    """The objects of one kind by key. Raises SpecError for one that is not valid."""
    found: dict[str, K] = {}
    for item in objects:
        if is_of(item, kind.KIND, GROUP):
            value = _value(_with_namespace(item, kind), kind)
            found[value.key] = value
    return found


def _value(item: Object, kind: type[K]) -> K:
    """As the API server takes it from kubectl. Raises SpecError with the field at fault."""
    name = name_of(item, kind.KIND)
    unknown = unknown_fields(kind, item)
    if unknown:
        key = NamespacedName.of(_metadata_namespace(item, kind), name)
        raise SpecError("; ".join(problem.sentence for problem in unknown), f"{kind.KIND} {key}")
    require_known_fields(item, kind.KIND)
    value = kind.from_object(item)
    if isinstance(value, InvalidObject):
        raise SpecError(value.message, f"{value.kind} {value.key}")
    return value


def _metadata_namespace(item: Object, kind: type[CustomResource]) -> str:
    return "" if kind.SCOPE is Scope.CLUSTER else namespace_of(item, kind.KIND)


def _with_namespace(item: Object, kind: type[CustomResource]) -> Object:
    """As kubectl does: an object that names no namespace belongs to `default`. Raises SpecError."""
    if kind.SCOPE is Scope.CLUSTER:
        return item
    return {**item, "metadata": {**item.get("metadata", {}), "namespace": namespace_of(item, kind.KIND)}}
