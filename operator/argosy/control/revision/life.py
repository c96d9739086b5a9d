"""The life of FleetPlans: Certified, Applied (also by approval), Superseded, and which are deleted.

Owns every condition and the phase of a FleetPlan, and the garbage collection of old revisions. Input:
a snapshot, the new revision (if any) and the mode. Output: `PlanLife`.
"""

from __future__ import annotations

from dataclasses import replace

from argosy.api import Fleet, FleetPlan
from argosy.api.conditions import Condition, ConditionStatus, ConditionType, Reason, condition, set_condition
from argosy.api.fleet import Mode
from argosy.api.fleetplan import FleetPlanStatus, PlanPhase
from argosy.api.orders import is_approved
from argosy.api.schema.timestamp import rfc3339
from argosy.control.decision import EventRecord, PlanLife, StatusUpdate
from argosy.snapshot.fleet import FleetSnapshot, is_true


def plan_life(
    snapshot: FleetSnapshot, new_plan: FleetPlan | None, mode: Mode, progress: tuple[Condition, ...] = ()
) -> PlanLife:
    """The statuses of the new revision and of the one that it replaces, and what is too old to keep.

    progress: how far the new revision is, where it is acted on
    """
    updates: list[StatusUpdate] = []
    if new_plan is not None:
        updates.append(_update(snapshot, new_plan, (_certified(), _applied(mode), *progress), _phase(mode)))
        if mode is Mode.AUTO:
            updates += _superseded(snapshot, new_plan)
    return PlanLife(tuple(updates), _expired(snapshot, new_plan, mode))


def newly_approved(snapshot: FleetSnapshot) -> FleetPlan | None:
    """The plan that Argosy begins to act on: the latest after the applied one that a user has approved.

    None in another mode than Recommend: in Auto every plan is acted on, in Observe none.
    """
    if snapshot.fleet_spec.mode is not Mode.RECOMMEND:
        return None
    applied = snapshot.applied_plan
    least = applied.spec.revision if applied is not None else 0
    later = (plan for plan in snapshot.plans if plan.spec.revision > least)
    approved = (plan for plan in later if is_approved(plan.metadata.annotations))
    return max(approved, key=lambda plan: plan.spec.revision, default=None)


def as_applied(snapshot: FleetSnapshot, plan: FleetPlan) -> FleetSnapshot:
    """The snapshot in which this plan is the applied one; it is written by `approval_statuses`."""
    conditions = set_condition(plan.status.conditions, _applied(Mode.AUTO), rfc3339(snapshot.now_s))
    status = plan.status.model_copy(update={"conditions": conditions})
    taken = plan.model_copy(update={"status": status})
    return replace(snapshot, plans=tuple(taken if each is plan else each for each in snapshot.plans))


def approval_statuses(
    snapshot: FleetSnapshot, plan: FleetPlan, progress: tuple[Condition, ...]
) -> tuple[StatusUpdate, ...]:
    """The statuses of a plan that was approved, and of those that it replaces."""
    own = _update(snapshot, plan, (_applied(Mode.AUTO), *progress), PlanPhase.APPLIED)
    return (own, *_superseded(snapshot, plan))


def is_by_order(plan: FleetPlan) -> bool:
    """Whether a user approved the plan or went back to it: that explains what it removes."""
    return plan.spec.restores is not None or is_approved(plan.metadata.annotations)


def approval_event(snapshot: FleetSnapshot, plan: FleetPlan | None) -> tuple[EventRecord, ...]:
    """An event of Fleet when Argosy begins to act on a plan that a user has approved."""
    if snapshot.fleet is None or plan is None:
        return ()
    message = f"{plan.key} was approved: Argosy acts on it (${plan.spec.cost_usd_per_hour:.2f} an hour)."
    return (EventRecord(Fleet.KIND, snapshot.fleet.key, "Normal", "Approved", message),)


def _superseded(snapshot: FleetSnapshot, by: FleetPlan) -> list[StatusUpdate]:
    """The statuses of the applied plans that this one replaces."""
    parts = {"revision": by.spec.revision}
    now = condition(ConditionType.APPLIED, ConditionStatus.FALSE, Reason.SUPERSEDED, **parts)
    return [
        _update(snapshot, older, (now, *_ended(older, now)), PlanPhase.SUPERSEDED)
        for older in snapshot.plans
        if is_true(older, ConditionType.APPLIED) and older.key != by.key
    ]


def _ended(plan: FleetPlan, superseded: Condition) -> list[Condition]:
    """Of a plan whose roll-out had not ended: that it will not; one that had ended keeps its word."""
    if is_true(plan, ConditionType.ROLLED_OUT):
        return []
    kinds = (ConditionType.PROGRESSING, ConditionType.ROLLED_OUT)
    return [superseded.model_copy(update={"type": kind.value}) for kind in kinds]


def _certified() -> Condition:
    return condition(ConditionType.CERTIFIED, ConditionStatus.UNKNOWN, Reason.NO_SIMULATOR)


def _applied(mode: Mode) -> Condition:
    if mode is Mode.AUTO:
        return condition(ConditionType.APPLIED, ConditionStatus.TRUE, Reason.APPLIED)
    return condition(ConditionType.APPLIED, ConditionStatus.FALSE, Reason.RECOMMENDED)


def _phase(mode: Mode) -> PlanPhase:
    return PlanPhase.APPLIED if mode is Mode.AUTO else PlanPhase.RECOMMENDED


def _update(
    snapshot: FleetSnapshot, plan: FleetPlan, conditions: tuple[Condition, ...], phase: PlanPhase
) -> StatusUpdate:
    merged = plan.status.conditions
    for new in conditions:
        merged = set_condition(merged, new, rfc3339(snapshot.now_s))
    return StatusUpdate(FleetPlan.PLURAL, plan.key, FleetPlanStatus(phase=phase, conditions=merged))


def _expired(snapshot: FleetSnapshot, new_plan: FleetPlan | None, mode: Mode) -> tuple[str, ...]:
    """Revisions beyond the limit; the applied one and the one before it, its roll-back target, stay."""
    plans = sorted(snapshot.plans, key=lambda p: p.spec.revision)
    was_applied = [p.key for p in plans if is_true(p, ConditionType.APPLIED) or _was_superseded(p)]
    keys = [p.key for p in plans]
    if new_plan is not None:
        keys.append(new_plan.key)
        was_applied += [new_plan.key] if mode is Mode.AUTO else []
    limit = snapshot.fleet_spec.revision_history_limit
    kept = {*keys[-limit:], *was_applied[-2:]}
    return tuple(key for key in keys if key not in kept)


def _was_superseded(plan: FleetPlan) -> bool:
    return any(
        c.type == ConditionType.APPLIED and c.reason == Reason.SUPERSEDED for c in plan.status.conditions
    )
