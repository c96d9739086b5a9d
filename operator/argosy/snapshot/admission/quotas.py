"""ResourceQuotas and LimitRanges as decisions need them.

Owns both nouns and their reading. Input: objects as the API server has them. Output: states; what the status
of a ResourceQuota does not tell yet is None, and never zero.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from argosy.keys import NamespacedName

Object = Mapping[str, Any]

QUOTAS = "resourcequotas"
LIMIT_RANGES = "limitranges"
"""The plurals of their kinds."""


@dataclass(frozen=True, slots=True)
class ScopeRule:
    """One condition on the pods that a quota counts, as `scopeSelector` has it; `scopes` are Exists."""

    scope: str
    operator: str = "Exists"
    values: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class QuotaState:
    """A ResourceQuota: by resource what it allows, and what is used of it, as the API server writes them.

    used: None where its status does not tell, as just after it was made or changed
    scopes: all of them hold for a pod that it counts; none: it counts every pod
    """

    key: NamespacedName
    hard: Mapping[str, str]
    used: Mapping[str, str] | None
    scopes: tuple[ScopeRule, ...] = ()


@dataclass(frozen=True, slots=True)
class LimitRangeState:
    """A LimitRange: its bounds as the API server words them when a pod breaks one."""

    key: NamespacedName
    bounds: tuple[str, ...] = field(default=())


def quota_state(item: Object) -> QuotaState:
    """A ResourceQuota. Its status counts only once it is of the same limits as its spec."""
    spec, status = item.get("spec") or {}, item.get("status") or {}
    hard = _texts(spec.get("hard"))
    is_current = "used" in status and _texts(status.get("hard")) == hard
    rules = [ScopeRule(str(scope)) for scope in spec.get("scopes") or ()]
    for each in (spec.get("scopeSelector") or {}).get("matchExpressions") or ():
        values = tuple(map(str, each.get("values") or ()))
        rules.append(ScopeRule(str(each.get("scopeName")), str(each.get("operator")), values))
    return QuotaState(_key(item), hard, _texts(status["used"]) if is_current else None, tuple(rules))


def limit_range_state(item: Object) -> LimitRangeState:
    """A LimitRange."""
    bounds: list[str] = []
    for each in (item.get("spec") or {}).get("limits") or ():
        kind = each.get("type")
        for field_name, word in (("max", "maximum"), ("min", "minimum")):
            bounds += [
                f"{word} {name} usage per {kind} is {value}"
                for name, value in _texts(each.get(field_name)).items()
            ]
        bounds += [
            f"{name} max limit to request ratio per {kind} is {value}"
            for name, value in _texts(each.get("maxLimitRequestRatio")).items()
        ]
    return LimitRangeState(_key(item), tuple(bounds))


def _key(item: Object) -> NamespacedName:
    metadata = item["metadata"]
    return NamespacedName.of(metadata.get("namespace") or "", metadata.get("name") or "")


def _texts(found: object) -> dict[str, str]:
    return {str(k): str(v) for k, v in sorted(found.items())} if isinstance(found, Mapping) else {}
