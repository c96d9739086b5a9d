"""What the planner answers: a plan, with what it cost to find and why it is so.

Owns the shape of a plan. Never judges one (`check`) and never makes one (`solve`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class ShortfallCause(StrEnum):
    """Why a cell is not fully served."""

    NO_VARIANT = "NoVariant"
    """No option can serve the cell within its SLO at all."""
    POOL_FULL = "PoolFull"
    BUDGET = "Budget"
    REPLICA_LIMIT = "ReplicaLimit"
    NO_NODES = "NoNodes"
    """Options exist, but none of their pools has a node that could hold one replica."""


@dataclass(frozen=True, slots=True)
class Shortfall:
    """A cell's unserved rate, and what would cure it in one sentence."""

    cell: str
    missing_per_s: float
    cause: ShortfallCause
    message: str


@dataclass(frozen=True, slots=True)
class Reason:
    """One sentence on why the plan is as it is. `code` is CamelCase and stable."""

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Alternative:
    """A plan that was looked at and not taken; `cost_usd_per_hour` None where it cannot serve."""

    description: str
    cost_usd_per_hour: float | None
    reason: str


class SolveStatus(StrEnum):
    """How far an answer can be trusted to be the best one."""

    OPTIMAL = "Optimal"
    """Proven, within the gap that was asked for."""
    TIME_LIMIT = "TimeLimit"
    """The solver was stopped; `bound` and `gap` say how much better another answer could be."""
    GREEDY = "Greedy"
    """The solver had nothing better than the greedy rule when it was stopped."""


@dataclass(frozen=True, slots=True)
class SolveReport:
    """How the answer was found. `status` is Optimal, TimeLimit or Greedy.

    `seconds` is the solver's own account of its time. It is not compared: two runs that find
    the same answer in different time are the same result.
    """

    status: str
    objective: float
    bound: float
    gap: float
    seconds: float = field(compare=False)


@dataclass(frozen=True, slots=True)
class Plan:
    """Replicas per option (every option of the problem is named, also at 0) and shares.

    A cell's shares, keyed by (cell, option), sum to 1 minus its unserved share; only positive
    ones are listed. A plan with shortfalls is the partial plan of a problem that cannot be
    served whole. A cell without demand has shares too (Envoy needs weights), unless no replica
    can serve it, and never a shortfall. `unmet_floors` books, per sharing group, the replicas
    missing to its floor.
    """

    replicas: Mapping[str, int]
    shares: Mapping[tuple[str, str], float]
    shortfalls: tuple[Shortfall, ...]
    cost_usd_per_hour: float
    report: SolveReport
    reasons: tuple[Reason, ...] = ()
    alternatives: tuple[Alternative, ...] = ()
    unmet_floors: Mapping[str, int] = field(default_factory=dict)
