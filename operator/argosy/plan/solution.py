"""The planner's answer: replicas and shares, the reasons for them, and how they were found.

Owns the shape of a plan; `solve` makes one and `check` judges it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from argosy.keys import CellName, DeploymentKey, GroupName


class ShortfallCause(StrEnum):
    """Why a cell is not fully served."""

    NO_VARIANT = "NoVariant"
    """No option can serve the cell within its SLO at all."""
    POOL_FULL = "PoolFull"
    BUDGET = "Budget"
    REPLICA_LIMIT = "ReplicaLimit"
    NO_NODES = "NoNodes"
    """Options exist, but none of their pools has a node that could hold one replica."""
    FIXED = "Fixed"
    """What sets the number of replicas in the planner's place sets too few."""
    ADOPTED = "Adopted"
    """Only Deployments could serve it that users run: Argosy adds no replica to them."""
    QUOTA = "Quota"
    """A quota of the namespace leaves too little."""
    REFUSED = "Refused"
    """The cluster refuses more replicas, and it is tried again later."""
    HELD = "Held"
    """A user holds the replicas as they are; no solver gives this cause."""


@dataclass(frozen=True, slots=True)
class Shortfall:
    """A cell's unserved rate in requests/s, its cause, and one sentence that names the remedy."""

    cell: CellName
    missing_per_s: float
    cause: ShortfallCause
    message: str


class PlanReasonCode(StrEnum):
    """The kinds of reasons. The values are stable: a FleetPlan carries them."""

    CAPACITY = "Capacity"
    """The group's demand and the capacity of one replica make this many replicas."""
    FIXED = "Fixed"
    """The number of replicas is set in the planner's place."""
    CHOSEN = "Chosen"
    """The cheapest alternative, and what it would cost."""
    FLOOR = "Floor"
    """The group's floor, and not its demand, keeps this many replicas."""
    FLOOR_UNMET = "FloorUnmet"
    GREEDY = "Greedy"
    """The solver was stopped before it had anything better than the greedy rule's plan."""
    NODES_TO_COME = "NodesToCome"
    """Nodes that the plan uses do not exist yet."""
    NO_DEMAND = "NoDemand"
    QUOTA = "Quota"
    """A quota leaves no more replicas."""
    TIME_LIMIT = "TimeLimit"
    """The solver was stopped before it had proven its plan to be the cheapest."""


@dataclass(frozen=True, slots=True)
class PlanReason:
    """One sentence on why the plan is as it is."""

    code: PlanReasonCode
    message: str


@dataclass(frozen=True, slots=True)
class Alternative:
    """A plan that was compared and rejected; `cost_usd_per_hour` is None where it cannot serve."""

    description: str
    cost_usd_per_hour: float | None
    reason: str


class SolveStatus(StrEnum):
    """How far an answer can be trusted to be the best one."""

    OPTIMAL = "Optimal"
    """Proven, within the gap that was asked for."""
    TIME_LIMIT = "TimeLimit"
    """The solver was stopped; bound and gap limit how much better another answer could be."""
    GREEDY = "Greedy"
    """The solver had nothing better than the greedy rule when it was stopped."""


@dataclass(frozen=True, slots=True)
class SolveReport:
    """How the plan was found.

    objective_usd_per_hour: price of the replicas, and the cost of loading the new ones spread
        over the transition horizon
    bound_usd_per_hour: no plan has a smaller objective
    gap: relative distance (0-1) from the bound to the objective
    seconds: solving time as the solver measured it. It is not compared: two runs that find the
        same plan in different time are the same result
    """

    status: SolveStatus
    objective_usd_per_hour: float
    bound_usd_per_hour: float
    gap: float
    seconds: float = field(compare=False)


@dataclass(frozen=True, slots=True)
class Plan:
    """Replicas per option, shares per cell and option, and what is not served.

    replicas: every option of the problem is listed, also at 0
    shares: 0-1, positive ones only; a cell's shares sum to 1 minus its unserved share. A cell
        without demand has shares too (Envoy needs weights), unless no replica can serve it
    shortfalls: one per cell that is not served whole, in order of names; a cell without demand
        has none
    unmet_floors: per sharing group below its floor, the number of missing replicas
    to_come: per pool, the number of nodes that do not exist yet and that its replicas need, if any
    """

    replicas: Mapping[DeploymentKey, int]
    shares: Mapping[tuple[CellName, DeploymentKey], float]
    shortfalls: tuple[Shortfall, ...]
    cost_usd_per_hour: float
    report: SolveReport
    reasons: tuple[PlanReason, ...] = ()
    alternatives: tuple[Alternative, ...] = ()
    unmet_floors: Mapping[GroupName, int] = field(default_factory=dict)
    to_come: Mapping[str, int] = field(default_factory=dict)
