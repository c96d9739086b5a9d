"""What a FleetPlan's status tells of the whole fleet: the settings that hold, and what is draining.

Owns the plan that tells it (the applied one, or else the newest) and the way of the notes from one
revision to the next. A fresh process reads them. Input: a snapshot, the new revision and what becomes
of the plans. Output: `PlanLife` with the notes.
"""

from __future__ import annotations

from dataclasses import replace

from argosy.api import FleetPlan
from argosy.api.conditions import Condition, ConditionType, find_condition, set_condition
from argosy.api.fleet import FleetSpec, Mode
from argosy.api.fleetplan import FleetPlanStatus
from argosy.api.schema.timestamp import rfc3339
from argosy.control.decision import PlanLife, StatusUpdate
from argosy.control.picture.fleet_gone import fleet_found
from argosy.control.picture.parting import Draining, draining_condition
from argosy.snapshot.fleet import FleetSnapshot, bearer

_NOTES = (ConditionType.FLEET_FOUND, ConditionType.DRAINING)
"""Conditions that one plan has at a time."""


def noted(snapshot: FleetSnapshot, life: PlanLife, new_plan: FleetPlan | None, found: Draining) -> PlanLife:
    """`life`, and the notes on the plan that tells them."""
    before, mode = bearer(snapshot.plans), snapshot.fleet_spec.mode
    takes_over = new_plan is not None and (before is None or mode is Mode.AUTO or not snapshot.applied_plan)
    plan = new_plan if takes_over else before
    if plan is None:
        return life
    others = [_without_notes(u) for u in life.statuses if u.key != plan.key]
    # Not the weights of a plan that stays: the traffic loop writes them.
    kept = FleetPlanStatus(conditions=plan.status.conditions)
    own = next((u.status for u in life.statuses if u.key == plan.key), kept)
    assert isinstance(own, FleetPlanStatus)
    status = _with_notes(snapshot, own, before, found)
    if own is kept and _told(status) == _told(plan.status):
        return replace(life, statuses=tuple(others))
    return replace(life, statuses=(StatusUpdate(FleetPlan.PLURAL, plan.key, status), *others))


def _with_notes(
    snapshot: FleetSnapshot, status: FleetPlanStatus, before: FleetPlan | None, found: Draining
) -> FleetPlanStatus:
    """Only the fields that the notes and the plan's life set."""
    old = before.status.conditions if before is not None else ()
    conditions = status.conditions
    for new in _conditions(snapshot, found):
        # The time of the last change goes from revision to revision.
        dated = find_condition(set_condition(old, new, rfc3339(snapshot.now_s)), new.type)
        assert dated is not None
        conditions = set_condition(conditions, dated, dated.last_transition_time or "")
    updates: dict[str, object] = {"conditions": conditions}
    if found.removals or (before is not None and before.status.removals):
        updates["removals"] = found.removals
    if snapshot.fleet is not None or snapshot.last_fleet_spec is not None:
        updates["fleet"] = _whole(snapshot.fleet_spec)
    return status.model_copy(update=updates)


def _told(status: FleetPlanStatus) -> tuple[object, ...]:
    return status.conditions, status.fleet, status.removals


def _conditions(snapshot: FleetSnapshot, found: Draining) -> list[Condition]:
    every = (fleet_found(snapshot), draining_condition(snapshot, found))
    return [each for each in every if each is not None]


def _whole(spec: FleetSpec) -> FleetSpec:
    """With every field set: what is not set would be filled in by the API server, and differ."""
    return FleetSpec.model_validate(spec.model_dump(by_alias=True), strict=False)


def _without_notes(update: StatusUpdate) -> StatusUpdate:
    kept = tuple(c for c in update.status.conditions if c.type not in _NOTES)
    return replace(update, status=update.status.model_copy(update={"conditions": kept}))
