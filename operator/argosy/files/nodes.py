"""A Node from a file, checked before it is read.

Owns the shapes that a Node of a file needs: the API server checks those of a cluster, on which
`snapshot.kubernetes` relies. Input: a plain mapping. Output: a NodeState.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from argosy.errors import SpecError
from argosy.files.names import name_of
from argosy.snapshot.cluster import NodeState
from argosy.snapshot.kubernetes import node_state

_OBJECTS = ("metadata", "metadata.labels", "spec", "status", "status.allocatable", "status.capacity")
_LISTS_OF_OBJECTS = ("spec.taints", "status.conditions")


def node_of(item: Mapping[str, Any]) -> NodeState:
    """The state of a Node. Raises SpecError with the field that has another shape than a Node's.

    A name is needed, which the API server would make of a `generateName`: a plan names its nodes.
    """
    for path in _OBJECTS:
        _require(isinstance(_at(item, path), Mapping), item, path, "an object")
    for path in _LISTS_OF_OBJECTS:
        rows = _at(item, path) or []
        is_fit = isinstance(rows, list) and all(isinstance(row, Mapping) for row in rows)
        _require(is_fit, item, path, "a list of objects")
    labels, allocatable = (_at(item, path) for path in ("metadata.labels", "status.allocatable"))
    are_strings = _all_strings(labels) and _all_strings(labels.values())
    _require(are_strings, item, "metadata.labels", "a map of strings to strings")
    _require(_all_strings(allocatable), item, "status.allocatable", "an object with strings as keys")
    name_of(item, "Node")
    return node_state(item)


def _all_strings(values: Iterable[Any]) -> bool:
    return all(isinstance(value, str) for value in values)


def _at(item: Mapping[str, Any], path: str) -> Any:
    """The value of a field; an empty mapping where it, or an object around it, is missing or null."""
    value: Any = item
    for step in path.split("."):
        value = value.get(step) or {}
    return value


def _require(is_fit: bool, item: Mapping[str, Any], path: str, needed: str) -> None:
    """Raises SpecError."""
    if not is_fit:
        raise SpecError(
            f"{path} must be {needed}; got {_at(item, path)!r:.60}", f"Node {_name(item)}".strip()
        )


def _name(item: Mapping[str, Any]) -> str:
    metadata = item.get("metadata")
    return str(metadata.get("name") or "") if isinstance(metadata, Mapping) else ""
