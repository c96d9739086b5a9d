"""Each class with what comes, what it gets and what it costs, and the fleet in one row.

Input: a snapshot of a cluster, with the statuses that the operator wrote. Output: rows.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from argosy.api import WorkloadClass
from argosy.api.conditions import Condition, ConditionStatus, ConditionType, find_condition
from argosy.api.fleetplan import PlannedCell
from argosy.keys import ClassKey, GroupName
from argosy.snapshot.cluster import LABEL_POOL, label_value
from argosy.snapshot.fleet import FleetSnapshot


@dataclass(frozen=True, slots=True)
class ClassRow:
    """One class; None: not known.

    observed_per_s, planned_per_s: requests/s that arrived in the last minutes, and that are planned for
    attainment: share (0-1) of the requests that kept the SLO
    waiting:    requests in the queues of its engines
    ready, desired: replicas of its sharing group that serve, and that are planned
    usd_per_hour: of the GPUs of its sharing group, in proportion to the planned rates of its classes
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
    usd_per_hour: float
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
    costs = _usd_by_class(snapshot)
    items = sorted(snapshot.classes.values(), key=lambda item: (-item.spec.priority, item.key))
    return tuple(_row(snapshot, item, costs.get(item.key, 0.0)) for item in items)


def _row(snapshot: FleetSnapshot, item: WorkloadClass, usd_per_hour: float) -> ClassRow:
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
        usd_per_hour=usd_per_hour,
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


def _usd_by_class(snapshot: FleetSnapshot) -> dict[ClassKey, float]:
    """What each class's part of the running GPUs costs, in US dollars per hour."""
    rates: dict[GroupName, dict[ClassKey, float]] = {}
    for cell in _cells(snapshot):
        by_class = rates.setdefault(cell.sharing_group, {})
        rate_per_s = by_class.get(cell.workload_class, 0.0) + cell.requests_per_second
        by_class[cell.workload_class] = rate_per_s
    found: dict[ClassKey, float] = {}
    for group, usd in _usd_by_group(snapshot).items():
        by_class = rates.get(group, {})
        total = sum(by_class.values())
        for key, rate_per_s in by_class.items():
            part = rate_per_s / total if total else 1 / len(by_class)
            found[key] = found.get(key, 0.0) + usd * part
    return found


def _usd_by_group(snapshot: FleetSnapshot) -> dict[GroupName, float]:
    """What the GPUs that each sharing group's pods hold cost, in US dollars per hour."""
    plan = snapshot.applied_plan
    group_of = {e.name: e.sharing_group for e in plan.spec.deployments} if plan is not None else {}
    pools = {label_value(name): pool.spec for name, pool in snapshot.pools.items()}
    found: dict[GroupName, float] = {}
    for pod in snapshot.engine_pods:
        pool, group = pools.get(pod.labels.get(LABEL_POOL, "")), group_of.get(pod.deployment)
        if pool is not None and group is not None and pod.holds_devices:
            usd = pool.price_usd_per_hour * pod.devices.get(pool.resource_name, 0)
            found[group] = found.get(group, 0.0) + usd
    return found
