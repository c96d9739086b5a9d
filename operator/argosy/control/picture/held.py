"""A decision on a picture that cannot be believed: nothing changes, and that is said.

Owns what is still done (pods for which the applied plan has a node get it) and the conditions and the
event that name the reason. Input: a snapshot, the memory and the doubt. Output: a `Decision`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from argosy.api import CustomResource, Fleet
from argosy.api.conditions import Reason
from argosy.api.fleet import Mode
from argosy.control.decision import Decision, EventRecord, PlanLife
from argosy.control.memory import PlanningMemory
from argosy.control.picture.doubt import Doubt
from argosy.control.picture.remarks import ready_update
from argosy.control.picture.removal import REMOVAL, Guarded
from argosy.control.routes import route_inputs
from argosy.control.status.rollout.progress import progress_updates, unseen_progress
from argosy.control.steps import gate_steps
from argosy.route.compile import compile_routes
from argosy.snapshot.fleet import FleetSnapshot

PICTURE = "the picture is in doubt"
"""The look at a picture that cannot be believed."""


def held(snapshot: FleetSnapshot, planning: PlanningMemory, why: Doubt) -> Decision:
    """The last plan is kept, whatever the snapshot seems to say."""
    follow = snapshot.applied_plan
    sentence = Reason.PICTURE_INCOMPLETE.sentence(problem=why.sentence)
    is_new = PICTURE not in planning.first_seen_s
    looks = {PICTURE: snapshot.monotonic_s, **planning.first_seen_s}
    progress = unseen_progress(snapshot, follow, sentence) if follow else ()
    return Decision(
        mode=snapshot.fleet_spec.mode,
        follow=follow,
        routes=compile_routes(route_inputs(snapshot, follow)) if follow else None,
        steps=gate_steps(snapshot),
        life=PlanLife(progress_updates(snapshot, follow, progress) if follow else ()),
        statuses=tuple(
            ready_update(snapshot, item, Reason.PICTURE_INCOMPLETE, sentence, stays=why.is_served)
            for item in _with_ready(snapshot)
        ),
        events=_event(snapshot, sentence) if is_new else (),
        memory=replace(planning, first_seen_s=looks),
        doubt=why.sentence,
    )


def looks(snapshot: FleetSnapshot, removal: Guarded, before: Mapping[str, float]) -> dict[str, float]:
    """The look at a large removal begins with it and ends with it; the picture is not in doubt."""
    others = {name: at_s for name, at_s in before.items() if name not in (REMOVAL, PICTURE)}
    return {**others, REMOVAL: before.get(REMOVAL, snapshot.monotonic_s)} if removal.is_large else others


def _with_ready(snapshot: FleetSnapshot) -> list[CustomResource]:
    """The users' objects that have a condition Ready."""
    fleet = [snapshot.fleet] if snapshot.fleet is not None else []
    return [*fleet, *snapshot.classes.values(), *snapshot.models.values(), *snapshot.pools.values()]


def _event(snapshot: FleetSnapshot, sentence: str) -> tuple[EventRecord, ...]:
    if snapshot.fleet is None or snapshot.fleet_spec.mode is Mode.OBSERVE:
        return ()
    reason = Reason.PICTURE_INCOMPLETE.value
    return (EventRecord(Fleet.KIND, snapshot.fleet.key, "Warning", reason, sentence),)
