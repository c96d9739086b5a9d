"""Files and folders of manifests as Kubernetes objects, and what of them is passed over.

Input: paths; `-` is standard input. Output: objects as plain mappings, and a sentence about everything that a
user wrote and no command reads: files of a folder, kinds, and an object that occurs again. A refusal where
kubectl refuses: an object without a kind, a field that occurs twice, another version of Argosy's API.
"""

from __future__ import annotations

import difflib
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from argosy.api import KINDS, Fleet, GPUPool, RouterPolicy, ServedModel, WorkloadClass
from argosy.api.crd.resource import API_VERSION, GROUP
from argosy.errors import SpecError
from argosy.files.manifests.text import TwiceError, documents

Object = Mapping[str, Any]

STDIN = Path("-")
SUFFIXES = (".json", ".yaml", ".yml")
"""Of the files that are read in a folder. A file that is named is read whatever its suffix."""
CORE_GROUP = ""
READ = {each.KIND: GROUP for each in (Fleet, GPUPool, ServedModel, WorkloadClass, RouterPolicy)} | {
    "Node": CORE_GROUP,
    "ConfigMap": CORE_GROUP,
    "ResourceQuota": CORE_GROUP,
}
"""The API group of each kind that commands without a cluster read."""
_KIND_NAMES = tuple(kind.KIND for kind in KINDS)
_PARTS = frozenset({"apiVersion", "kind", "metadata", "spec"})
_MOST_NAMES = 5
_DEEPEST = 4
"""Lists within lists: an alias of YAML may name the very list that holds it."""


@dataclass(frozen=True, slots=True)
class Manifests:
    """What files hold.

    passed_over: sentences about what is not read, each with its file and the reason
    """

    objects: tuple[Object, ...]
    passed_over: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Source:
    """A file, and whether it was named: one that is only found in a folder may be no manifest."""

    path: Path
    is_named: bool

    @property
    def name(self) -> str:
        return "standard input" if self.path == STDIN else str(self.path)


def read_manifests(paths: Iterable[Path]) -> Manifests:
    """Every object of every file, in order; a list such as kubectl prints counts as its items.

    A folder stands for its files with one of `SUFFIXES`, not for those of its sub-folders.
    Raises SpecError with the path that cannot be read, holds no manifest or holds something else.
    """
    named = list(paths)
    if named.count(STDIN) > 1:
        raise SpecError("- is named twice, and standard input can be read once; name it once", "FILES")
    sentences: list[str] = []
    objects: list[tuple[Object, str]] = []
    for path in named:
        for source in _sources(path, sentences):
            found = list(_objects(source, sentences))
            sentences += _kinds_passed_over(found, source.name)
            objects += [(item, source.name) for item in found]
    sentences += _again(objects)
    return Manifests(tuple(item for item, _ in objects), tuple(sentences))


def read_objects(paths: Iterable[Path]) -> list[Object]:
    """The objects of `read_manifests` alone, for callers that own their files."""
    return list(read_manifests(paths).objects)


def is_of(item: Object, kind: str, group: str) -> bool:
    """The items of a list need no apiVersion, so an object without one is taken for what its kind says."""
    return item.get("kind") == kind and _group(item) in (None, group)


# --- files ------------------------------------------------------------------------------------


def _sources(path: Path, sentences: list[str]) -> list[_Source]:
    """Raises SpecError for a folder without manifests."""
    if path == STDIN or not path.is_dir():
        return [_Source(path, is_named=True)]
    inside = sorted(path.iterdir())
    found = [each for each in inside if each.suffix in SUFFIXES and not each.is_dir()]
    if not found:
        raise SpecError(f"the folder holds no file that ends in {', '.join(SUFFIXES)}; name one", str(path))
    folders = [f"{each.name}/" for each in inside if each.is_dir()]
    others = [each.name for each in inside if each not in found and not each.is_dir()]
    if folders:
        sentences.append(
            f"{path}: passed over: {_some(folders)}: a folder in a folder; name it to have it read"
        )
    if others:
        why = f"does not end in {', '.join(SUFFIXES)}; name it to have it read"
        sentences.append(f"{path}: passed over: {_some(others)}: {why}")
    return [_Source(each, is_named=False) for each in found]


def _some(names: list[str]) -> str:
    more = len(names) - _MOST_NAMES
    return ", ".join(names[:_MOST_NAMES]) + (f" and {more} more" if more > 0 else "")


def _content(source: _Source) -> bytes:
    try:
        return sys.stdin.buffer.read() if source.path == STDIN else source.path.read_bytes()
    except OSError as error:
        raise SpecError(f"cannot be read: {error.strerror}", source.name) from error


# --- objects ----------------------------------------------------------------------------------


def _objects(source: _Source, sentences: list[str]) -> Iterator[Object]:
    """Raises SpecError."""
    try:
        read = documents(_content(source))
    except TwiceError as error:
        raise SpecError(f"{error}; keep one of them", source.name) from error
    except (UnicodeDecodeError, yaml.YAMLError, RecursionError) as error:
        where = " ".join(str(error).split())  # of several lines, with the position
        raise SpecError(f"cannot be read as YAML or JSON: {where}", source.name) from error
    if not read:
        sentences.append(f"{source.name}: passed over: it holds no object")
    for document in read:
        if not source.is_named and isinstance(document, Mapping) and _PARTS.isdisjoint(document):
            sentences.append(f"{source.name}: passed over: it has neither apiVersion nor kind: no manifest")
            continue
        for item in _unfolded(document):
            _require_object(item, source.name)
            yield item


def _require_object(item: Any, file: str) -> None:
    if not isinstance(item, Mapping) or not isinstance(item.get("metadata", {}), Mapping):
        needed = "an object has kind, metadata and spec"
        raise SpecError(f"holds something that is not a Kubernetes object: {needed}", file)
    kind = item.get("kind")
    if not isinstance(kind, str) or not kind:
        name = (item.get("metadata") or {}).get("name") or "(no name)"
        raise SpecError(f"kind is missing in the object {name}; write one, as in kind: ServedModel", file)
    _require_known_kind(item, file)


def _require_known_kind(item: Object, file: str) -> None:
    """Raises SpecError for an object of Argosy's API group whose kind or version Argosy does not have."""
    kind, version = item.get("kind"), item.get("apiVersion")
    if _group(item) != GROUP:
        return
    if kind not in _KIND_NAMES:
        near = difflib.get_close_matches(str(kind), _KIND_NAMES, n=1)
        remedy = f"did you mean {near[0]}?" if near else f"use one of {', '.join(_KIND_NAMES)}"
        raise SpecError(f"kind: {GROUP} has no kind {kind}; {remedy}", file)
    if version != API_VERSION:
        raise SpecError(f"apiVersion: {kind} has no version {version}; use {API_VERSION}", file)


def _group(item: Object) -> str | None:
    """The API group, empty for the core group; None where the object names no apiVersion."""
    written = item.get("apiVersion")
    return None if written is None else str(written).rpartition("/")[0]


def _unfolded(document: Any, depth: int = 0) -> list[Any]:
    """The items of a list and of lists within it, or the document itself.

    The items of a typed list (`kubectl get --raw`) carry neither kind nor apiVersion: the list's are theirs.
    """
    kind = document.get("kind") if isinstance(document, Mapping) else None
    if not isinstance(kind, str) or not kind.endswith("List") or depth == _DEEPEST:
        return [document]
    items = document.get("items")
    own = kind.removesuffix("List")
    if items is None:
        return []
    if not isinstance(items, list):
        return [document]
    if not own:
        return [inner for item in items for inner in _unfolded(item, depth + 1)]
    implied = {"kind": own} | {name: value for name, value in document.items() if name == "apiVersion"}
    return [{**implied, **each} if isinstance(each, Mapping) else each for each in items]


# --- what is passed over ----------------------------------------------------------------------


def _kinds_passed_over(objects: list[Object], file: str) -> list[str]:
    """A sentence about the kinds that no command without a cluster reads."""
    counts = Counter(
        f"{item['kind']} ({item.get('apiVersion') or 'no apiVersion'})"
        for item in objects
        if not any(is_of(item, kind, group) for kind, group in READ.items())
    )
    if not counts:
        return []
    kinds = _some([f"{count} {kind}" for kind, count in counts.items()])
    read = ", ".join(kind for kind, group in READ.items() if group == GROUP)
    core = "Node, ConfigMap and ResourceQuota of v1"
    return [f"{file}: passed over: {kinds}: read are {read} of {API_VERSION}, {core}"]


def _again(objects: list[tuple[Object, str]]) -> list[str]:
    """A sentence about each object that occurs again: as with kubectl apply, the last one counts."""
    files: dict[tuple[str, str, str], list[str]] = {}
    for item, file in objects:
        metadata = item.get("metadata") or {}
        name, namespace = metadata.get("name"), metadata.get("namespace")
        if name is not None and any(is_of(item, kind, group) for kind, group in READ.items()):
            key = (str(item["kind"]), str(namespace or "default"), str(name))
            files.setdefault(key, []).append(file)
    return [
        f"{found[-2]}: passed over: {kind} {name}: it occurs again in {found[-1]}, and the last one is used"
        for (kind, _, name), found in files.items()
        if len(found) > 1
    ]
