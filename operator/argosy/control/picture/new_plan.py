"""The events of a decision: a new plan, what it cannot serve, what waits or is held instead of one.

Owns which object each concerns. Input: the snapshot, the plan where one is made, what was decided. Output:
events.
"""

from __future__ import annotations

from argosy.api import Fleet, FleetPlan, WorkloadClass
from argosy.api.conditions import Reason
from argosy.control.decision import EventRecord
from argosy.control.picture.parting import takeover_events
from argosy.control.revision.decided import Decided
from argosy.control.status.waiting import hold_events, waiting_events
from argosy.snapshot.fleet import FleetSnapshot


def new_plan_events(
    snapshot: FleetSnapshot, new_plan: FleetPlan | None, decided: Decided
) -> tuple[EventRecord, ...]:
    """A new plan is an event of Fleet; what it cannot serve, of the class that lacks it."""
    events = [*waiting_events(snapshot, decided.waiting), *hold_events(snapshot, decided.hold)]
    if new_plan is None:
        return tuple(events)
    events += takeover_events(snapshot, new_plan)
    if snapshot.fleet is not None:
        message = f"{new_plan.metadata.name}: {new_plan.spec.trigger}"
        events.append(EventRecord(Fleet.KIND, snapshot.fleet.key, "Normal", "NewPlan", message))
    for shortfall in decided.plan.shortfalls:
        row = decided.cells.find(shortfall.cell)
        assert row is not None  # the plan was checked: it names no other cells
        is_ending = row.workload_class.namespace in snapshot.ending
        cause = Reason.NAMESPACE_ENDING.value if is_ending else shortfall.cause.value
        message = shortfall.message
        if any(cell.name == shortfall.cell and cell.kept_share > 0 for cell in new_plan.spec.cells):
            message = f"{message}. The replicas that run are kept and serve it without that promise."
        events.append(EventRecord(WorkloadClass.KIND, row.workload_class, "Warning", cause, message))
    return tuple(events)
