"""A rule over several fields: once for Python, once for the API server, one sentence for both.

Owns the pair. Never knows a kind: each model lists its own rules in `RULES`, its validator and
the CRD generator both read them from there, and `argosy.api.table` shows all of them together.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule of one model.

    name:    kebab-case and unique; `examples/bad/<name>.yaml` breaks it
    cel:     what the API server evaluates, `self` being the model; functions of Kubernetes 1.29 only
    message: the sentence both sides show; names the field and what to do
    holds:   the same in Python, given the parsed model; None where only the API server can
             tell, since it alone sees the object as it was before
    field:   JSON name of the field at fault below the model, where there is just one
    """

    name: str
    cel: str
    message: str
    holds: Callable[[Any], bool] | None
    field: str = ""

    def as_validation(self) -> dict[str, str]:
        """The entry of `x-kubernetes-validations`."""
        validation = {"rule": self.cel, "message": self.message}
        if self.field:
            validation["fieldPath"] = f".{self.field}"
        return validation
