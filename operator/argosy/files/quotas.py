"""A ResourceQuota from a file, checked before it is read.

Owns the shape that it needs: the API server checks those of a cluster. Nothing runs where objects come from
files, so all of it is free, whatever its status tells. Input: a plain mapping. Output: a QuotaState.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from argosy.errors import SpecError
from argosy.files.names import name_of, namespace_of
from argosy.snapshot.admission.quantity import thousandths
from argosy.snapshot.admission.quotas import QuotaState, quota_state

KIND = "ResourceQuota"


def quota_of(item: Mapping[str, Any]) -> QuotaState:
    """The state of a ResourceQuota. Raises SpecError with the field that has another shape."""
    namespace, name = namespace_of(item, KIND), name_of(item, KIND)
    title, spec = f"{KIND} {namespace}/{name}", item.get("spec") or {}
    hard = spec.get("hard") or {} if isinstance(spec, Mapping) else None
    if not isinstance(hard, Mapping):
        raise SpecError(f"spec.hard must be a map of resources to quantities; got {hard!r:.60}", title)
    for resource, value in hard.items():
        if thousandths(value) is None:
            raise SpecError(f"spec.hard.{resource} must be a quantity, as in 8; got {value!r:.60}", title)
    scopes, selector = spec.get("scopes") or [], spec.get("scopeSelector") or {}
    rules = selector.get("matchExpressions") or [] if isinstance(selector, Mapping) else None
    if not isinstance(scopes, list) or not isinstance(rules, list):
        raise SpecError("spec.scopes and spec.scopeSelector.matchExpressions must be lists", title)
    if not all(isinstance(rule, Mapping) and isinstance(rule.get("values") or [], list) for rule in rules):
        raise SpecError("spec.scopeSelector.matchExpressions must be a list of objects", title)
    metadata = {**(item.get("metadata") or {}), "namespace": namespace}
    return replace(quota_state({**item, "metadata": metadata}), used=None)
