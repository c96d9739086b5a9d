"""Fields of Kubernetes' own kinds that users mistype, refused as the API server refuses them.

Owns the fields that metadata, a Node, a ConfigMap and a ResourceQuota have, as of Kubernetes 1.36. Input: a
plain mapping. Output: nothing, or a SpecError that names each unknown field. Argosy's own kinds are
`api.crd.unknown`'s.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from argosy.api.crd.unknown import did_you_mean
from argosy.errors import SpecError

_METADATA = frozenset(
    [
        "annotations",
        "creationTimestamp",
        "deletionGracePeriodSeconds",
        "deletionTimestamp",
        "finalizers",
        "generateName",
        "generation",
        "labels",
        "managedFields",
        "name",
        "namespace",
        "ownerReferences",
        "resourceVersion",
        "selfLink",
        "uid",
    ]
)
_OBJECT = frozenset({"apiVersion", "kind", "metadata"})
_FIELDS: Mapping[str, Mapping[str, frozenset[str]]] = {
    "Node": {
        "": _OBJECT | {"spec", "status"},
        "spec": frozenset(
            ["configSource", "externalID", "podCIDR", "podCIDRs", "providerID", "taints", "unschedulable"]
        ),
    },
    "ConfigMap": {"": _OBJECT | {"data", "binaryData", "immutable"}},
    "ResourceQuota": {
        "": _OBJECT | {"spec", "status"},
        "spec": frozenset(["hard", "scopes", "scopeSelector"]),
    },
}
_READ_OF_A_STATUS = ("allocatable", "conditions")
"""Of a Node's status, which a server sets and other versions extend, only what is nearly one of these."""


def require_known_fields(item: Mapping[str, Any], kind: str) -> None:
    """Raises SpecError with each field of an object of this kind that Kubernetes does not have."""
    found = _unknown(item, "metadata", _METADATA)
    for path, known in _FIELDS.get(kind, {}).items():
        found += _unknown(item, path, known)
    if kind == "Node":
        found += _nearly_read(item)
    if found:
        metadata = item.get("metadata") or {}
        raise SpecError("; ".join(found), f"{kind} {metadata.get('name') or '(no name)'}")


def _unknown(item: Mapping[str, Any], path: str, known: frozenset[str]) -> list[str]:
    inner = item.get(path) if path else item
    names = [str(name) for name in inner] if isinstance(inner, Mapping) else []
    return [
        f"{path}.{name}".lstrip(".") + f" is not a field of this kind{did_you_mean(name, known)}"
        for name in names
        if name not in known
    ]


def _nearly_read(item: Mapping[str, Any]) -> list[str]:
    status = item.get("status")
    if not isinstance(status, Mapping):
        return []
    return [
        f"status.{name} is not a field of this kind{meant}"
        for name in map(str, status)
        if name not in _READ_OF_A_STATUS
        and (meant := did_you_mean(name, [each for each in _READ_OF_A_STATUS if each not in status]))
    ]
