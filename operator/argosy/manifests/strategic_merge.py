"""A strategic merge patch on a pod template, as the API server and kubectl apply it.

Owns the merging and its keys by list. Input: an object and a patch, neither of which is changed. Output: the
merged object. Source: the `patchStrategy` and `patchMergeKey` tags of k8s.io/api/core/v1 and the package
apimachinery/pkg/util/strategicpatch. What is in no table here is replaced as a whole, as there.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

MERGE_KEYS: Mapping[str, str] = {
    "containers": "name",
    "initContainers": "name",
    "volumes": "name",
    "env": "name",
    "volumeMounts": "mountPath",
    "volumeDevices": "devicePath",
    "ports": "containerPort",
    "imagePullSecrets": "name",
    "topologySpreadConstraints": "topologyKey",
    "hostAliases": "ip",
    "schedulingGates": "name",
    "resourceClaims": "name",
}
"""By the name of the list: in a pod template no name stands for two kinds of lists."""

DIRECTIVE = "$patch"
_RETAIN = "$retainKeys"
_ORDER = "$setElementOrder/"
_DELETE_OF = "$deleteFromPrimitiveList/"
Object = dict[str, Any]


def merged(original: Mapping[str, Any], patch: Mapping[str, Any]) -> Object:
    """The original with the patch applied."""
    if patch.get(DIRECTIVE) == "replace":
        return {k: _plain(v) for k, v in patch.items() if v is not None and not k.startswith("$")}
    if patch.get(DIRECTIVE) == "delete":
        return {}
    kept = patch.get(_RETAIN)
    found = {
        name: value for name, value in copy.deepcopy(dict(original)).items() if kept is None or name in kept
    }
    for name, value in patch.items():
        if name.startswith(_DELETE_OF):
            _without(found, name.removeprefix(_DELETE_OF), value)
        elif name.startswith("$"):
            continue
        elif value is None:
            found.pop(name, None)
        else:
            found[name] = _value(name, found.get(name), value, patch.get(f"{_ORDER}{name}"))
    return found


def _without(found: Object, name: str, gone: Sequence[Any]) -> None:
    if isinstance(found.get(name), list):
        found[name] = [each for each in found[name] if each not in gone]


def _value(name: str, original: Any, patch: Any, order: Any) -> Any:
    if isinstance(patch, Mapping):
        return merged(original if isinstance(original, Mapping) else {}, patch)
    if isinstance(patch, list | tuple) and name in MERGE_KEYS:
        return _list(original if isinstance(original, list) else [], patch, MERGE_KEYS[name], order)
    return _plain(patch)


def _list(original: Sequence[Any], patch: Sequence[Any], key: str, order: Any) -> list[Any]:
    """Items of the same key are merged. order: items of `$setElementOrder`, or None"""
    items = [each for each in patch if isinstance(each, Mapping)]
    if any(each.get(DIRECTIVE) == "replace" and key not in each for each in items):
        return [_plain(each) for each in items if each.get(DIRECTIVE) != "replace"]
    gone = [each.get(key) for each in items if each.get(DIRECTIVE) == "delete"]
    found = [each for each in original if each.get(key) not in gone]
    items = [each for each in items if each.get(DIRECTIVE) != "delete"]
    for item in items:
        place = next((i for i, each in enumerate(found) if each.get(key) == item.get(key)), None)
        if place is None:
            found.append(merged({}, item))
        else:
            found[place] = merged(found[place], item)
    listed = order if isinstance(order, list | tuple) else items
    first = [each.get(key) for each in listed if isinstance(each, Mapping)]
    return _in_order(found, [each.get(key) for each in original], first, key)


def _in_order(found: Sequence[Any], before: Sequence[Any], first: Sequence[Any], key: str) -> list[Any]:
    """Items that the patch names in its order, among the others as they were: `mergeSortedSlice`."""
    named = sorted((f for f in found if f.get(key) in first), key=lambda f: first.index(f.get(key)))
    others = [f for f in found if f.get(key) not in first]
    ordered: list[Any] = []
    while named and others:
        mine, other = named[0].get(key), others[0].get(key)
        is_known = mine in before and other in before
        ordered.append((others if is_known and before.index(other) < before.index(mine) else named).pop(0))
    return [*ordered, *named, *others]


def _plain(value: Any) -> Any:
    """A value of the patch as it is, without its directives."""
    if isinstance(value, Mapping):
        return {k: _plain(v) for k, v in value.items() if v is not None and not k.startswith("$")}
    return [_plain(each) for each in value] if isinstance(value, list | tuple) else value
