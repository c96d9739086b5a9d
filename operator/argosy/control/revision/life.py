"""The life of FleetPlans: Certified, Applied, Superseded, and which are deleted.

Owns every condition and the phase of a FleetPlan, and the garbage collection of old revisions. Input:
a snapshot, the new revision (if any) and the mode. Output: `PlanLife`.
"""

from __future__ import annotations

from argosy.api import FleetPlan
from argosy.api.conditions import Condition, ConditionStatus, ConditionType, Reason, condition, set_condition
from argosy.api.fleet import Mode
from argosy.api.fleetplan import FleetPlanStatus, PlanPhase
from argosy.api.schema.timestamp import rfc3339
from argosy.control.decision import PlanLife, StatusUpdate
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
            superseded = condition(
                ConditionType.APPLIED,
                ConditionStatus.FALSE,
                Reason.SUPERSEDED,
                revision=new_plan.spec.revision,
            )
            updates += [
                _update(snapshot, older, (superseded, *_ended(older, superseded)), PlanPhase.SUPERSEDED)
                for older in snapshot.plans
                if is_true(older, ConditionType.APPLIED)
            ]
    return PlanLife(tuple(updates), _expired(snapshot, new_plan, mode))


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
