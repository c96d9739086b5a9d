"""What is remembered of options whose replicas the cluster has refused.

Owns the noun `Quarantine`; `quarantine` decides about it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from argosy.keys import NamespacedName
from argosy.snapshot.admission.words import ClusterRefusal

TRIED_WITHIN_S = 120.0
"""Once the object that refused has changed, an old refusal is not believed for so long: Kubernetes makes
refused pods again with growing pauses, and the condition stays until then."""


@dataclass(frozen=True, slots=True)
class Quarantine:
    """An option that was refused.

    refusal:   by what, and why
    until_s:   it is left alone until then (seconds since the epoch)
    num:       how often in a row
    content:   of the object that refused, in short; empty where it is not known
    believed_s: refusals from before this instant are not believed until `TRIED_WITHIN_S` later; None: all are
    """

    refusal: ClusterRefusal
    until_s: float
    num: int
    content: str = ""
    believed_s: float | None = None

    def is_active(self, now_s: float) -> bool:
        """Whether the option is left alone now."""
        return now_s < self.until_s


Quarantines = Mapping[NamespacedName, Quarantine]
