"""The limit on destruction: a large removal that nothing explains waits for a second look.

Owns the share that may go at once and what counts as an explanation: an object that a user has
deleted or edited, a node that is announced to go (a cordon), a lower demand, a changed price. Counted on the
whole fleet. Input: decided steps, the snapshot and the control memory. Output: the steps that may be taken
now, and a sentence where some wait.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from argosy.api import Fleet
from argosy.api.conditions import Reason
from argosy.control.decision import EventRecord, PlannedStep
from argosy.control.memory import PlanInputs
from argosy.control.picture.named import makers_by_deployment
from argosy.control.revision.edits import spec_digests
from argosy.control.revision.revision import DEMAND_NOISE
from argosy.control.state.departure import departure
from argosy.keys import ClassKey, DeploymentKey
from argosy.rollout import (
    DeleteDeployment,
    DeletePod,
    DeleteReplicaSet,
    EndProtection,
    MarkVictim,
    ProtectReplicas,
    ScaleDeployment,
    Step,
)
from argosy.snapshot.fleet import FleetSnapshot
from argosy.snapshot.seen import SECOND_LOOK_S

K = TypeVar("K")

LARGEST_SHARE = 0.5
"""Of the fleet's ready replicas; more at once is what a wrong picture asks for."""

EXEMPT = 2
"""So few ready replicas may always go: the last of a small class, one exchange."""

ORDERED = "Order"
"""The cause of a plan that a user went back to."""

REMOVAL = "a large removal"
"""The look at a removal that waits."""


@dataclass(frozen=True, slots=True)
class Guarded:
    """The steps that may be taken now, and why others wait: empty where none does.

    is_large: the removal is over the limit: its look goes on
    """

    steps: tuple[PlannedStep, ...]
    waiting: str = ""
    is_large: bool = False


@dataclass(frozen=True, slots=True)
class Explanation:
    """What explains removals. `cause`: of the followed plan, as `cause_of` finds it; or empty."""

    cause: str = ""
    first_seen_s: Mapping[str, float] = field(default_factory=dict)


def guarded(steps: tuple[PlannedStep, ...], snapshot: FleetSnapshot, explanation: Explanation) -> Guarded:
    """Let a large removal wait until it has been asked for, for one planning period."""
    ready = Counter(p.deployment for p in snapshot.engine_pods if p.ready and not p.deleting)
    removed = _removed(steps, ready)
    if explanation.cause:
        return Guarded(steps)
    explained = _deleted_by_users(snapshot)
    number = sum(count for key, count in removed.items() if key not in explained)
    total = ready.total()
    if number <= EXEMPT or number <= LARGEST_SHARE * total:
        return Guarded(steps)
    since_s = explanation.first_seen_s.get(REMOVAL, snapshot.monotonic_s)
    if snapshot.monotonic_s - since_s >= _wait_s(snapshot):
        return Guarded(steps, is_large=True)
    return Guarded(
        tuple(each for each in steps if not _is_part(each.step, removed, snapshot)),
        f"{number} of {total} ready replicas would go at once and no deleted or edited object, cordoned node,"
        f" lower demand or changed price explains it: more than {LARGEST_SHARE:.0%} wait for a second look,"
        f" at most {_wait_s(snapshot):.0f} s",
        is_large=True,
    )


def removal_event(
    snapshot: FleetSnapshot, removal: Guarded, looks: Mapping[str, float]
) -> tuple[EventRecord, ...]:
    """A removal that begins to wait is an event of Fleet."""
    if not removal.waiting or REMOVAL in looks or snapshot.fleet is None:
        return ()
    reason = Reason.REMOVAL_WAITS
    sentence = reason.sentence(problem=removal.waiting)
    return (EventRecord(Fleet.KIND, snapshot.fleet.key, "Warning", reason.value, sentence),)


def is_destructive(step: Step, snapshot: FleetSnapshot) -> bool:
    """Whether a step takes a replica or a Deployment away, from requests too, or leaves more to evictions."""
    match step:
        case ScaleDeployment(key, replicas):
            now = snapshot.deployments.get(key)
            return now is not None and replicas < now.replicas
        case ProtectReplicas(key, replicas):
            return replicas < snapshot.protected.get(key, 0)
        case DeleteDeployment() | DeletePod() | DeleteReplicaSet() | EndProtection():
            return True
        case MarkVictim(_, cost):
            return cost < 0
        case _:
            return False


def inputs_of(snapshot: FleetSnapshot, rate_per_s: Mapping[ClassKey, float]) -> PlanInputs:
    """What a plan is made for, as far as it explains a smaller fleet."""
    prices = {name: pool.spec.price_usd_per_hour for name, pool in snapshot.pools.items()}
    leaving = {name: bool(departure(node)) for name, node in snapshot.nodes.items()}
    specs = spec_digests(snapshot)
    return PlanInputs(prices=prices, rate_per_s=dict(rate_per_s), specs=specs, leaving=leaving)


def cause_of(before: PlanInputs | None, now: PlanInputs) -> str:
    """What has changed between two plans that explains a smaller fleet: Demand, Price, Edit, Nodes; or empty.

    An object or a node that one of them lacks explains nothing: it may only not be seen.
    """
    if before is None:
        return ""
    shared = before.rate_per_s.keys() & now.rate_per_s.keys()
    if any(now.rate_per_s[k] < (1 - DEMAND_NOISE) * before.rate_per_s[k] for k in shared):
        return "Demand"
    if _differ(before.prices, now.prices):
        return "Price"
    if _differ(before.specs, now.specs):
        return "Edit"
    return "Nodes" if _differ(before.leaving, now.leaving) else ""


def _differ(before: Mapping[K, object], now: Mapping[K, object]) -> bool:
    """Whether a value differs of what both have."""
    return any(now[key] != before[key] for key in before.keys() & now.keys())


def _wait_s(snapshot: FleetSnapshot) -> float:
    return min(SECOND_LOOK_S, float(snapshot.fleet_spec.intervals.medium_seconds))


def _removed(steps: tuple[PlannedStep, ...], ready: Counter[DeploymentKey]) -> dict[DeploymentKey, int]:
    """Ready replicas that each Deployment loses."""
    found: dict[DeploymentKey, int] = {}
    for each in steps:
        if isinstance(each.step, ScaleDeployment):
            number = ready[each.step.key] - each.step.replicas
            if number > 0:
                found[each.step.key] = number
        elif isinstance(each.step, DeleteDeployment) and ready[each.step.key]:
            found[each.step.key] = ready[each.step.key]
    return found


def _is_part(step: Step, removed: Mapping[DeploymentKey, int], snapshot: FleetSnapshot) -> bool:
    """Whether a step belongs to the removal: a lower budget would leave the same replicas to evictions."""
    if isinstance(step, MarkVictim):
        return step.cost < 0 and snapshot.pods[step.pod].deployment in removed
    if isinstance(step, ProtectReplicas) and not is_destructive(step, snapshot):
        return False
    return isinstance(step, ScaleDeployment | DeleteDeployment | ProtectReplicas) and step.key in removed


def _deleted_by_users(snapshot: FleetSnapshot) -> frozenset[DeploymentKey]:
    """Deployments of which a maker was deleted by a user."""
    if not snapshot.seen.deleted:
        return frozenset()
    makers = makers_by_deployment(snapshot)
    return frozenset(key for key, each in makers.items() if each.missing & snapshot.seen.deleted)
