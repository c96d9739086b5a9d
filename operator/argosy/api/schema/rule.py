"""A rule over several fields: one check in Python, one in CEL, one sentence for both.

Owns the pair. Each model lists its rules in `RULES`; its validator and the CRD generator both read
them there, and `argosy.api.crd.table` lists all of them.
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
    message: the sentence that both show; names the field and the remedy
    holds:   the same check of the parsed model in Python; None where only the API server can make
             it, because it alone has the old object
    field:   JSON name of the field at fault below the model, where there is only one
    found:   what Python says instead of the message, with the value found in it; None: the message
    """

    name: str
    cel: str
    message: str
    holds: Callable[[Any], bool] | None
    field: str = ""
    found: Callable[[Any], str] | None = None

    def as_validation(self) -> dict[str, str]:
        """The entry of `x-kubernetes-validations`."""
        validation = {"rule": self.cel, "message": self.message}
        if self.field:
            validation["fieldPath"] = f".{self.field}"
        return validation
