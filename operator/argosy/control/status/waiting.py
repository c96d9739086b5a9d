"""What users read of a change of the plan that waits: a condition of Fleet, and one event.

Owns its sentence. Input: the change, and the snapshot. Output: a `Verdict`, events. The sentence holds no
time but the one at which the wait ends: a status must not change with every decision.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from argosy.api import Fleet
from argosy.api.conditions import ConditionStatus, ConditionType, Reason, find_condition
from argosy.api.fleet import Mode
from argosy.api.schema.timestamp import rfc3339, seconds_of
from argosy.control.decision import EventRecord
from argosy.control.revision.decided import Waiting
from argosy.control.revision.window import last_revision, made_at_s
from argosy.control.status.verdict import Verdict, false, true
from argosy.snapshot.fleet import FleetSnapshot

MOST_COUNTS = 5
"""Variants that the sentence names; of more it gives the number."""


def plan_current(snapshot: FleetSnapshot, waiting: Waiting | None) -> Verdict:
    """Whether the plan is the one that prices, rates and SLOs ask for now.

    In a mode in which Argosy does not act no change is about to be made, so none waits.
    """
    if waiting is None or snapshot.fleet_spec.mode is not Mode.AUTO:
        return true(ConditionType.PLAN_CURRENT, Reason.PLAN_CURRENT)
    return false(
        ConditionType.PLAN_CURRENT,
        Reason.CHANGE_WAITS,
        revision=waiting.revision,
        until=rfc3339(math.ceil(waiting.until_s)),
        wanted=_counts(waiting.variants),
        cost=f"${waiting.wanted.cost_usd_per_hour:.2f}",
        kept_cost=f"${waiting.kept.cost_usd_per_hour:.2f}",
        why=_why_kept(waiting),
        window_s=snapshot.fleet_spec.stabilization_seconds,
    )


def _why_kept(waiting: Waiting) -> str:
    if waiting.kept.shortfalls or waiting.kept.unmet_floors:
        return "what they lack finds no room beside them, or nothing can serve it"
    return "they keep every SLO"


def waiting_events(snapshot: FleetSnapshot, waiting: Waiting | None) -> tuple[EventRecord, ...]:
    """An event when a change begins to wait, one for each revision that it waits for.

    A price that comes and goes begins to wait again and again: the condition's last transition shows it.
    """
    if waiting is None or snapshot.fleet is None or snapshot.fleet_spec.mode is not Mode.AUTO:
        return ()
    last, before = (
        last_revision(snapshot),
        find_condition(snapshot.fleet.status.conditions, ConditionType.PLAN_CURRENT),
    )
    made_s = made_at_s(last) if last is not None else None
    if before is not None and (
        before.status is ConditionStatus.FALSE
        or (seconds_of(before.last_transition_time) or 0.0) > (made_s or 0.0)
    ):
        return ()
    message = plan_current(snapshot, waiting).message
    return (EventRecord(Fleet.KIND, snapshot.fleet.key, "Normal", Reason.CHANGE_WAITS.value, message),)


def _counts(replicas: Mapping[str, int]) -> str:
    counts = [f"{count} x {variant}" for variant, count in replicas.items()]
    num_more = len(counts) - MOST_COUNTS
    return (", ".join(counts[:MOST_COUNTS]) or "nothing") + (f" and {num_more} more" if num_more > 0 else "")
