"""There is no Fleet object any more: the settings that it had last hold, and that is said.

Owns since when, the condition of the FleetPlan that tells it, the remark on every class and the event.
Where there never was a Fleet every default holds and nothing is said. Input: a snapshot. Output: a
condition, a sentence, statuses and an event.
"""

from __future__ import annotations

from collections.abc import Iterable

from argosy.api import FleetPlan, WorkloadClass
from argosy.api.conditions import (
    MESSAGE_LIMIT,
    Condition,
    ConditionStatus,
    ConditionType,
    Reason,
    condition,
    find_condition,
)
from argosy.api.schema.timestamp import rfc3339
from argosy.control.decision import EventRecord, StatusUpdate
from argosy.snapshot.fleet import FleetSnapshot, bearer


def fleet_found(snapshot: FleetSnapshot) -> Condition | None:
    """Whether there is a Fleet object; None where there never was one."""
    if snapshot.fleet is not None:
        return condition(ConditionType.FLEET_FOUND, ConditionStatus.TRUE, Reason.FLEET_FOUND)
    if snapshot.last_fleet_spec is None:
        return None
    before = _told(snapshot)
    since = (before.last_transition_time if before else None) or rfc3339(snapshot.now_s)
    mode = snapshot.fleet_spec.mode
    kind, status = ConditionType.FLEET_FOUND, ConditionStatus.FALSE
    return condition(kind, status, Reason.FLEET_GONE, since=since, mode=mode)


def gone_sentence(snapshot: FleetSnapshot) -> str:
    """That the settings of a Fleet hold which is gone; empty where none is."""
    found = fleet_found(snapshot)
    return found.message if found is not None and found.status is ConditionStatus.FALSE else ""


def with_remark(updates: Iterable[StatusUpdate], sentence: str) -> tuple[StatusUpdate, ...]:
    """The sentence is added to Ready of every class, which stays as it is otherwise."""
    if not sentence:
        return tuple(updates)
    return tuple(_remarked(each, sentence) if each.kind == WorkloadClass.PLURAL else each for each in updates)


def gone_event(snapshot: FleetSnapshot, sentence: str) -> tuple[EventRecord, ...]:
    """An event of the followed FleetPlan, once: there is no Fleet that could have one."""
    plan = bearer(snapshot.plans)
    if not sentence or plan is None or _told(snapshot) is not None:
        return ()
    return (EventRecord(FleetPlan.KIND, plan.key, "Warning", Reason.FLEET_GONE.value, sentence),)


def _told(snapshot: FleetSnapshot) -> Condition | None:
    """The condition that tells it already."""
    plan = bearer(snapshot.plans)
    if plan is None:
        return None
    found = find_condition(plan.status.conditions, ConditionType.FLEET_FOUND)
    return found if found is not None and found.status is ConditionStatus.FALSE else None


def _remarked(update: StatusUpdate, sentence: str) -> StatusUpdate:
    conditions = tuple(
        c.model_copy(update={"message": f"{c.message} {sentence}".strip()[:MESSAGE_LIMIT]})
        if c.type == ConditionType.READY
        else c
        for c in update.status.conditions
    )
    status = update.status.model_copy(update={"conditions": conditions})
    return StatusUpdate(update.kind, update.key, status)
