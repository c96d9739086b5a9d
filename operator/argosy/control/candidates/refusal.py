"""Why something that a user named cannot be used.

Owns the noun `Refusal`: a condition's reason and its sentence, which names the field and the remedy.
`resolve` and `profiles` return it.
"""

from __future__ import annotations

from dataclasses import dataclass

from argosy.api.conditions import Reason
from argosy.refusals import Refused


@dataclass(frozen=True, slots=True)
class Refusal(Refused[Reason]):
    """A variant, a reference or a file that decisions leave out."""

    @classmethod
    def of(cls, reason: Reason, **parts: object) -> Refusal:
        """With the reason's own sentence; raises InvariantError unless `parts` are exactly its parts."""
        return cls(reason, reason.sentence(**parts))
