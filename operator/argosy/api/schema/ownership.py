"""Which client last set which field of an object, as the API server records it (metadata.managedFields).

Owns the reading of managedFields. Input: an object's metadata. Output: `FieldManager`s, and the owners of
a path. A path is a tuple of field names; an item of a list that the API server merges by key is named by
a mapping of that key, such as `{"name": "engine"}`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from argosy.api.schema.timestamp import seconds_of

Path = tuple[str | Mapping[str, Any], ...]

OPERATOR = "argosy"
"""The field manager that Argosy writes as."""
STATUS = "status"
"""The subresource."""
AUTOSCALED_BY = "kube-controller-manager"
"""Of all that it runs, only the HorizontalPodAutoscaler writes through `/scale` of a Deployment."""


@dataclass(frozen=True, slots=True)
class FieldManager:
    """One client's fields of an object.

    subresource: through which it wrote; empty for the object itself
    at_s:        when it last changed one of them (seconds since the epoch); 0 where that is not recorded
    fields:      the paths that it owns (FieldsV1)
    """

    name: str
    subresource: str = ""
    at_s: float = 0.0
    fields: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @property
    def is_operator(self) -> bool:
        """Whether this is Argosy itself."""
        return self.name == OPERATOR

    @property
    def title(self) -> str:
        """How a sentence names it."""
        if self.name == AUTOSCALED_BY and self.subresource == "scale":
            return f"HorizontalPodAutoscaler (field manager {self.name})"
        return self.name

    def owns(self, path: Path) -> bool:
        """Whether it owns the field, or an atomic one that contains it."""
        node: Mapping[str, Any] = self.fields
        for depth, part in enumerate(path):
            if depth and not [name for name in node if name != "."]:
                return True  # a leaf: lists without keys are owned as a whole
            found = _member(node, part)
            if found is None:
                return False
            node = found
        return True


def field_managers(metadata: Mapping[str, Any]) -> tuple[FieldManager, ...]:
    """The managers of an object's fields, those of its status left out, the latest last."""
    return tuple(each for each in _managers(metadata) if each.subresource != STATUS)


def status_managers(metadata: Mapping[str, Any]) -> tuple[FieldManager, ...]:
    """The managers of the fields of an object's status, the latest last."""
    return tuple(each for each in _managers(metadata) if each.subresource == STATUS)


def _managers(metadata: Mapping[str, Any]) -> list[FieldManager]:
    found = [
        FieldManager(
            name=str(entry.get("manager") or "an unnamed client"),
            subresource=str(entry.get("subresource") or ""),
            at_s=seconds_of(entry.get("time")) or 0.0,
            fields=entry.get("fieldsV1") or {},
        )
        for entry in metadata.get("managedFields") or ()
    ]
    return sorted(found, key=lambda manager: manager.at_s)


def other_owner(managers: tuple[FieldManager, ...], path: Path) -> FieldManager | None:
    """The client other than Argosy that set the field last; None where Argosy owns it, or no client does."""
    owners = [manager for manager in managers if manager.owns(path)]
    if any(owner.is_operator for owner in owners):
        return None
    return owners[-1] if owners else None


def remover(managers: tuple[FieldManager, ...], path: Path) -> FieldManager | None:
    """The client that probably removed a field of Argosy's: the last other writer; None where Argosy owns it.

    The API server records the owner of a field, not the client that removed it.
    """
    if any(manager.is_operator and manager.owns(path) for manager in managers):
        return None
    others = [manager for manager in managers if not manager.is_operator and manager.name != AUTOSCALED_BY]
    return others[-1] if others else None


def _member(node: Mapping[str, Any], part: str | Mapping[str, Any]) -> Mapping[str, Any] | None:
    if isinstance(part, str):
        found = node.get(f"f:{part}")
        return found if isinstance(found, Mapping) else None
    for name, below in node.items():
        if name.startswith("k:") and _is_key_of(json.loads(name[2:]), part):
            return below if isinstance(below, Mapping) else None
    return None


def _is_key_of(key: Mapping[str, Any], part: Mapping[str, Any]) -> bool:
    return any(key.get(name) == value for name, value in part.items())
