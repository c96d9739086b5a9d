"""One broken rule of a plan, and the names of all rules.

Owns the shape of a violation; `check` and `malformed` make them.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from argosy.keys import CellName

RELATIVE_TOLERANCE = 1e-6
"""For rounding; the solver works to 1e-9."""


class ViolationCode(StrEnum):
    """The rules, by name."""

    UNKNOWN_NAME = "UnknownName"
    BAD_COUNT = "BadCount"
    USELESS_REPLICA = "UselessReplica"
    SHARE_RANGE = "ShareRange"
    SHARE_WITHOUT_CAPACITY = "ShareWithoutCapacity"
    SHARE_OUTSIDE_GROUP = "ShareOutsideGroup"
    SHARE_WITHOUT_REPLICA = "ShareWithoutReplica"
    NOT_SERVED = "NotServed"
    SHORTFALL_WRONG = "ShortfallWrong"
    SHORTFALL_NEEDLESS = "ShortfallNeedless"
    OVERLOAD = "Overload"
    BELOW_LEAST = "BelowLeast"
    ABOVE_MOST = "AboveMost"
    BELOW_FLOOR = "BelowFloor"
    FLOOR_NEEDLESSLY_UNMET = "FloorNeedlesslyUnmet"
    ABOVE_CEILING = "AboveCeiling"
    ABOVE_QUOTA = "AboveQuota"
    OVER_BUDGET = "OverBudget"
    COST_WRONG = "CostWrong"
    DOES_NOT_FIT = "DoesNotFit"
    TOO_MANY_NODES = "TooManyNodes"
    REPORT_WRONG = "ReportWrong"


@dataclass(frozen=True, slots=True)
class Violation:
    """One broken rule: its code, the name of what breaks it (a cell, option, pool, ...), a sentence."""

    code: ViolationCode
    subject: str
    message: str

    def __str__(self) -> str:
        return self.message


def wrong_shortfall(cell: CellName, sentence: str) -> Violation:
    """The violation of a shortfall; `sentence` goes on from its name."""
    return Violation(ViolationCode.SHORTFALL_WRONG, cell, f"the shortfall of route cell {cell} {sentence}")
