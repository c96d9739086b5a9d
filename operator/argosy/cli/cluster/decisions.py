"""Which annotations an order sets, and what is refused: of a cluster as it is now.

Input: a snapshot and what the user asks for. Output: an `Order`. Raises SpecError where it cannot be given.
"""

from __future__ import annotations

from collections.abc import Collection

from argosy.api import Fleet, FleetPlan
from argosy.api.conditions import ConditionType, find_condition
from argosy.api.conditions import Reason as Why
from argosy.api.fleet import Mode
from argosy.api.orders import APPROVED, PAUSED, ROLLBACK, orders_of
from argosy.cli.cluster.orders import Order
from argosy.cli.cluster.plans import find_plan
from argosy.control.decision import replicas_by_classes
from argosy.control.survey.revisions import newest_recommended
from argosy.errors import SpecError
from argosy.snapshot.fleet import FleetSnapshot

_HELD = (Why.PAUSED, Why.ROLLED_BACK, Why.HOLD_REFUSED)


def pausing(seen: FleetSnapshot, reason: str) -> Order:
    """To keep what runs."""
    _require_planning(seen)
    return _of_fleet({PAUSED: reason or "true"}, (Why.PAUSED, Why.ROLLED_BACK, Why.HOLD_REFUSED))


def resuming(seen: FleetSnapshot) -> Order:
    """To plan again. Raises SpecError where nothing holds planning."""
    fleet = _require_planning(seen)
    if not orders_of(fleet.metadata.annotations).holds:
        raise SpecError(f"nothing is paused: Fleet default has neither {PAUSED} nor {ROLLBACK}")

    def answer(now: FleetSnapshot) -> str:
        found = find_condition(now.fleet.status.conditions, ConditionType.PLAN_CURRENT) if now.fleet else None
        if found is None or found.reason in _HELD:
            return ""
        return f"Planning goes on. {found.message}"

    return Order(Fleet.PLURAL, "default", {PAUSED: None, ROLLBACK: None}, answer)


def going_back(seen: FleetSnapshot, revision: int, reason: str) -> Order:
    """To an earlier revision. Raises SpecError where there is none, or it is the one that is followed."""
    fleet = _require_planning(seen)
    plan, applied = find_plan(seen, revision), seen.applied_plan
    if plan is applied and orders_of(fleet.metadata.annotations).rollback is None:
        raise SpecError(f"revision {revision} is the applied one; argosy pause keeps it as it is", "REVISION")
    why = reason or f"argosy rollback {revision}"

    def answer(now: FleetSnapshot) -> str:
        found = find_condition(now.fleet.status.conditions, ConditionType.PLAN_CURRENT) if now.fleet else None
        if found is None or found.reason not in (Why.ROLLED_BACK, Why.HOLD_REFUSED):
            return ""
        if found.reason == Why.HOLD_REFUSED:
            return found.message if f"revision {revision}" in found.message else ""
        made = max(now.plans, key=lambda each: each.spec.revision)
        number = f"Revision {made.spec.revision} has the replicas of revision {revision}. "
        return number + found.message if made.spec.restores == revision else ""

    return Order(Fleet.PLURAL, "default", {PAUSED: why, ROLLBACK: str(revision)}, answer)


def approving(seen: FleetSnapshot, revision: int | None) -> Order:
    """To act on a recommended plan. Raises SpecError where there is none, or a later one took its place."""
    fleet = _require_planning(seen)
    if fleet.spec.mode is Mode.AUTO:
        raise SpecError("Auto acts on every plan, so that none waits for approval", "Fleet spec.mode")
    latest = newest_recommended(seen)
    plan = find_plan(seen, revision) if revision is not None else latest
    if plan is None or plan is seen.applied_plan:
        applied = seen.applied_plan
        acts = f"Argosy acts on revision {applied.spec.revision}" if applied else "there is none"
        raise SpecError(f"no plan waits for approval: {acts} (argosy plans)")
    if latest is None or plan.key != latest.key:
        now = f"; revision {latest.spec.revision} is the latest" if latest is not None else ""
        raise SpecError(
            f"revision {plan.spec.revision} is no recommendation any more{now}"
            f" (argosy rollback {plan.spec.revision} recommends its replicas again)",
            "REVISION",
        )
    number, text = plan.spec.revision, "; ".join(f"{c}: {r}" for c, r in replicas_by_classes(plan).items())

    def answer(now: FleetSnapshot) -> str:
        applied = now.applied_plan
        if applied is None or applied.spec.revision != number:
            return ""
        return f"Argosy acts on revision {number} (${plan.spec.cost_usd_per_hour:.2f} an hour): {text}"

    return Order(FleetPlan.PLURAL, plan.key, {APPROVED: "true"}, answer)


def _require_planning(seen: FleetSnapshot) -> Fleet:
    """The Fleet, whose annotations hold planning. Raises SpecError."""
    if seen.fleet is None:
        raise SpecError("there is no Fleet default that could carry the annotation; apply one")
    if seen.fleet.spec.mode is Mode.OBSERVE:
        raise SpecError("Observe makes no plan that could be held; set Recommend or Auto", "Fleet spec.mode")
    return seen.fleet


def _of_fleet(annotations: dict[str, str | None], reasons: Collection[Why]) -> Order:
    def answer(now: FleetSnapshot) -> str:
        found = find_condition(now.fleet.status.conditions, ConditionType.PLAN_CURRENT) if now.fleet else None
        return found.message if found is not None and found.reason in reasons else ""

    return Order(Fleet.PLURAL, "default", annotations, answer)
