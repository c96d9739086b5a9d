"""Each class with what comes, what it gets and what it costs, and the fleet in one row.

Input: a snapshot of a cluster, with the statuses that the operator wrote. Output: rows.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from argosy.api import WorkloadClass
from argosy.api.conditions import Condition, ConditionStatus, ConditionType, find_condition
from argosy.api.fleetplan import PlannedCell
from argosy.keys import ClassKey
from argosy.snapshot.fleet import FleetSnapshot


@dataclass(frozen=True, slots=True)
class ClassRow:
    """One class; None: not known.

    observed_per_s, planned_per_s: requests/s that arrived in the last minutes, and that are planned for
    attainment: share (0-1) of the requests that kept the SLO
    waiting:    requests in the queues of its engines
    ready, desired: replicas of its sharing group that serve, and that are planned
    usd_per_hour: its part of the price of the GPUs that its sharing group holds
    state, message: `Ready`, or the reason why not, and its sentence
    """

    key: ClassKey
    priority: int
    observed_per_s: float | None
    planned_per_s: float | None
    attainment: float | None
    ttft_p95_ms: float | None
    itl_p95_ms: float | None
    waiting: int | None
    ready: int | None
    desired: int
    usd_per_hour: float | None
    state: str
    message: str


@dataclass(frozen=True, slots=True)
class FleetRow:
    """The fleet. notes: what of it is not as it should be, in sentences."""

    mode: str
    plan: str
    usd_per_hour: float | None
    budget_usd_per_hour: float | None
    envoys: int | None
    notes: tuple[str, ...]


def fleet_row(snapshot: FleetSnapshot) -> FleetRow:
    """The fleet's settings and state."""
    spec, plan, fleet = snapshot.fleet_spec, snapshot.applied_plan, snapshot.fleet
    status = fleet.status if fleet is not None else None
    return FleetRow(
        mode=spec.mode.value,
        plan=plan.key if plan is not None else "",
        usd_per_hour=status.cost_usd_per_hour if status is not None else None,
        budget_usd_per_hour=spec.budget_usd_per_hour,
        envoys=status.envoys_connected if status is not None else None,
        notes=tuple(_notes(snapshot, status.conditions if status is not None else ())),
    )


def _notes(snapshot: FleetSnapshot, conditions: Iterable[Condition]) -> list[str]:
    """What is not True, each sentence once; of Ready what the classes do not tell themselves."""
    left_out = ConditionType.READY if any_not_ready(snapshot) else ""
    told = (c for c in conditions if c.type != left_out and c.status is not ConditionStatus.TRUE)
    return list(dict.fromkeys(c.message for c in told if c.message))


def any_not_ready(snapshot: FleetSnapshot) -> bool:
    """Whether a class is not Ready: the Fleet is then not, either."""
    found = (
        find_condition(item.status.conditions, ConditionType.READY) for item in snapshot.classes.values()
    )
    return any(each is not None and each.status is not ConditionStatus.TRUE for each in found)


def class_rows(snapshot: FleetSnapshot) -> tuple[ClassRow, ...]:
    """Every class, the highest priority first."""
    items = sorted(snapshot.classes.values(), key=lambda item: (-item.spec.priority, item.key))
    return tuple(_row(snapshot, item) for item in items)


def _row(snapshot: FleetSnapshot, item: WorkloadClass) -> ClassRow:
    status, seen = item.status, item.status.observed
    ready = find_condition(status.conditions, ConditionType.READY)
    is_ready = ready is not None and ready.status is ConditionStatus.TRUE
    return ClassRow(
        key=item.key,
        priority=item.spec.priority,
        observed_per_s=seen.requests_per_second if seen else None,
        planned_per_s=status.requests_per_second,
        attainment=seen.attainment if seen else None,
        ttft_p95_ms=seen.ttft.p95_milliseconds if seen and seen.ttft else None,
        itl_p95_ms=seen.itl.p95_milliseconds if seen and seen.itl else None,
        waiting=seen.waiting_requests if seen else None,
        ready=status.replicas_ready,
        desired=_desired(snapshot, item.key),
        usd_per_hour=status.cost_usd_per_hour,
        state="Ready" if is_ready else ready.reason if ready is not None else "Unknown",
        message="" if is_ready or ready is None else ready.message,
    )


def _cells(snapshot: FleetSnapshot) -> tuple[PlannedCell, ...]:
    plan = snapshot.applied_plan
    return plan.spec.cells if plan is not None else ()


def _desired(snapshot: FleetSnapshot, key: ClassKey) -> int:
    plan = snapshot.applied_plan
    groups = {cell.sharing_group for cell in _cells(snapshot) if cell.workload_class == key}
    entries = plan.spec.deployments if plan is not None else ()
    return sum(e.replicas + e.kept_replicas for e in entries if e.sharing_group in groups)
