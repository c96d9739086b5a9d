"""What users read of a change of the plan that waits, or that a user holds: a condition of Fleet, and events.

Owns their sentences. Input: the change or the hold, the snapshot. Output: a `Verdict`, events. They hold no
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
from argosy.control.revision.decided import Hold, Waiting
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


def approval_verdict(snapshot: FleetSnapshot) -> Verdict | None:
    """PlanCurrent while Argosy acts on an approved plan and recommends another; None otherwise."""
    applied = snapshot.applied_plan
    latest = max(snapshot.plans, key=lambda plan: plan.spec.revision, default=None)
    if snapshot.fleet_spec.mode is not Mode.RECOMMEND or not snapshot.acts:
        return None
    if applied is None or latest is None or latest.key == applied.key:
        return None
    return false(
        ConditionType.PLAN_CURRENT,
        Reason.APPROVAL_WAITS,
        revision=latest.spec.revision,
        cost=f"${latest.spec.cost_usd_per_hour:.2f}",
        followed=applied.spec.revision,
        kept_cost=f"${applied.spec.cost_usd_per_hour:.2f}",
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


def hold_verdict(paused: Hold | None) -> Verdict | None:
    """PlanCurrent while a user holds planning; None where no user does."""
    if paused is None:
        return None
    orders, kind = paused.orders, ConditionType.PLAN_CURRENT
    parts = {
        "annotation": orders.named,
        "why": f" ({orders.reason.rstrip('.')})" if orders.reason else "",
        "wanted": _wanted(paused),
    }
    if paused.problem:
        what = (
            f"revision {paused.revision} is held instead" if paused.plan else "nothing is planned meanwhile"
        )
        return false(kind, Reason.HOLD_REFUSED, **parts, problem=f"{paused.problem}; {what}")
    cost = f"${paused.plan.cost_usd_per_hour:.2f}" if paused.plan is not None else "-"
    reason = Reason.ROLLED_BACK if orders.rollback is not None else Reason.PAUSED
    verdict = true if paused.is_same else false
    revision = paused.revision if orders.rollback is None else orders.rollback
    return verdict(kind, reason, **parts, revision=revision, cost=cost)


def _wanted(paused: Hold) -> str:
    if paused.is_same:
        return "A new plan would have the same replicas."
    return (
        f"A new plan would have {_counts(paused.variants)} (${paused.wanted.cost_usd_per_hour:.2f} an hour)."
    )


_HELD = (Reason.PAUSED, Reason.ROLLED_BACK, Reason.HOLD_REFUSED)


def hold_events(snapshot: FleetSnapshot, paused: Hold | None) -> tuple[EventRecord, ...]:
    """An event when planning is paused, sent back or cannot be held, and one when it goes on."""
    fleet = snapshot.fleet
    if fleet is None:
        return ()
    before = find_condition(fleet.status.conditions, ConditionType.PLAN_CURRENT)
    was = before.reason if before is not None and before.reason in _HELD else ""
    now = hold_verdict(paused)
    if now is None:
        message = "Planning goes on: no annotation of Fleet/default holds it any more."
        return (EventRecord(Fleet.KIND, fleet.key, "Normal", "Resumed", message),) if was else ()
    if now.reason.value == was:
        return ()
    kind = "Warning" if now.reason is Reason.HOLD_REFUSED else "Normal"
    return (EventRecord(Fleet.KIND, fleet.key, kind, now.reason.value, now.message),)


def _counts(replicas: Mapping[str, int]) -> str:
    counts = [f"{count} x {variant}" for variant, count in replicas.items()]
    num_more = len(counts) - MOST_COUNTS
    return (", ".join(counts[:MOST_COUNTS]) or "nothing") + (f" and {num_more} more" if num_more > 0 else "")
