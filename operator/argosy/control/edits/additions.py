"""What another client has added to the pod template of a Deployment that Argosy made.

Owns the search and its removal. Kubernetes would exchange the pods for it, and its new pod would wait for
ever: the plan has no place for it. Server-side apply removes no field of another client, so these are removed
by a strategic merge patch. What a webhook has added to Argosy's own request belongs to Argosy and stays.
Input: a Deployment and its manifest's template. Output: `Addition`s, and the patch.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from argosy.api.schema.ownership import AUTOSCALED_BY, FieldManager, Path
from argosy.snapshot.cluster import DeploymentState

TEMPLATE: Path = ("spec", "template")
_MAPS = ("annotations", "labels", "nodeSelector", "limits", "requests")
"""Several clients may set entries of one: it is never removed as a whole."""


@dataclass(frozen=True, slots=True)
class Addition:
    """A field, or an item of a list, that only another client set. path: from the Deployment on."""

    path: Path
    value: Any
    manager: FieldManager


def additions(deployment: DeploymentState, wanted: Mapping[str, Any]) -> tuple[Addition, ...]:
    """What other clients have added. wanted: the template as Argosy makes it."""
    own = tuple(manager for manager in deployment.managers if manager.is_operator)
    found: dict[str, Addition] = {}
    for manager in deployment.managers:
        if manager.is_operator or manager.name == AUTOSCALED_BY:
            continue
        fields = manager.fields.get("f:spec", {}).get("f:template", {})
        for path, value in _beyond(own, fields, (wanted, deployment.template), TEMPLATE):
            found[json.dumps(path)] = Addition(path, value, manager)
    return tuple(found.values())


def removal(found: Iterable[Addition]) -> dict[str, Any]:
    """A strategic merge patch of the Deployment that removes these; empty where there are none."""
    patch: dict[str, Any] = {}
    for addition in found:
        _add(patch, addition.path)
    return patch


def _beyond(
    own: tuple[FieldManager, ...], fields: Mapping[str, Any], values: tuple[Any, Any], path: Path
) -> Iterator[tuple[Path, Any]]:
    """The owned fields that exist and that are neither wanted nor Argosy's; of others, those in them.

    values: the wanted one and the live one at the path
    """
    for name, below in fields.items():
        part = _part(name)
        asked, present = (_member(value, part) for value in values)
        if part is None or present is None:
            continue
        here = (*path, part)
        is_own = any(manager.owns(here) for manager in own)
        if asked is None and not is_own and part not in _MAPS:
            yield here, present
        elif asked is not None or is_own or below:
            yield from _beyond(own, below, (asked, present), here)


def _part(name: str) -> str | Mapping[str, Any] | None:
    """The part of a path that a name in FieldsV1 stands for; None for a value of a set and for the whole."""
    if name.startswith("f:"):
        return name[2:]
    if name.startswith("k:"):
        key = json.loads(name[2:])
        return key if isinstance(key, Mapping) else None
    return None


def _member(node: Any, part: str | Mapping[str, Any] | None) -> Any:
    if part is None:
        return None
    if isinstance(part, str):
        return node.get(part) if isinstance(node, Mapping) else None
    items = node if isinstance(node, list) else []
    # A default, such as a port's protocol, is in the key though not in what Argosy sets.
    return next((i for i in items if all(i.get(name, v) == v for name, v in part.items())), None)


def _add(patch: dict[str, Any], path: Path) -> None:
    """The removal of one field, beside those that the patch holds."""
    node: Any = patch
    for depth, part in enumerate(path):
        is_last = depth == len(path) - 1
        if isinstance(part, str):
            if is_last:
                node[part] = None
                return
            follows_list = not isinstance(path[depth + 1], str)
            node = node.setdefault(part, [] if follows_list else {})
            continue
        item = next((each for each in node if all(each.get(n) == v for n, v in part.items())), None)
        if item is None:
            item = dict(part)
            node.append(item)
        if is_last:
            item["$patch"] = "delete"
        node = item
