"""What users order by annotations: to pause planning, to go back to a revision, to act on a recommended plan.

Owns the annotations' names and how their values are read. Input: metadata. Output: `Orders`, or a yes or no.
They are annotations and no fields of a spec, because they are given at a moment: what is kept in git stays
as it is. Argosy reads them and never writes or removes one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

PAUSED = "argosy.dev/paused"
"""Of Fleet/default: planning is paused; its value is the reason, in the user's words."""
ROLLBACK = "argosy.dev/rollback"
"""Of Fleet/default: the revision whose replicas and shares are planned again, and held."""
APPROVED = "argosy.dev/approved"
"""Of a FleetPlan: in mode Recommend, Argosy acts on it."""

REASON_LIMIT = 256
"""Characters of a reason that a status repeats."""

_NO = ("false", "no")
_REVISION = re.compile(r"[1-9][0-9]{0,8}")


@dataclass(frozen=True, slots=True)
class Orders:
    """What holds planning. reason: in the user's words; rollback: None unless a revision is named.

    problem: what is wrong with the annotation that names a revision, in a sentence without its full stop
    """

    is_paused: bool = False
    reason: str = ""
    rollback: int | None = None
    problem: str = ""

    @property
    def holds(self) -> bool:
        """Whether no new plan is made but for the one that is ordered."""
        return bool(self.named)

    @property
    def named(self) -> str:
        """The annotations that hold, for sentences."""
        is_back = self.rollback is not None or bool(self.problem)
        found = [name for name, is_set in ((PAUSED, self.is_paused), (ROLLBACK, is_back)) if is_set]
        return f"annotation{'s' if len(found) > 1 else ''} {' and '.join(found)}" if found else ""


def orders_of(annotations: Mapping[str, str]) -> Orders:
    """What the annotations of Fleet/default order. One that names no revision holds all the same."""
    reason, revision = _value(annotations, PAUSED), _value(annotations, ROLLBACK)
    text = "" if reason is None or reason.lower() in ("true", "yes") else reason[:REASON_LIMIT]
    number = int(revision) if revision is not None and _REVISION.fullmatch(revision) else None
    problem = ""
    if revision is not None and number is None:
        problem = (
            f"the annotation {ROLLBACK} has the value {revision[:32]!r} and needs the number of a revision,"
            " such as 12 (argosy plans)"
        )
    return Orders(reason is not None, text, number, problem)


def is_approved(annotations: Mapping[str, str]) -> bool:
    """Whether a FleetPlan's annotations say that Argosy may act on it."""
    return _value(annotations, APPROVED) is not None


def _value(annotations: Mapping[str, str], name: str) -> str | None:
    """A value on one line; None where it is not set, or says no."""
    value = annotations.get(name)
    return None if value is None or value.strip().lower() in _NO else " ".join(value.split())
