"""The status of Fleet/default.

Owns its conditions, the Envoys that it lists and what the fleet costs; and its status after a plan
that failed its check, when nothing else is known. Input: `Reported`, or a snapshot and the
violations. Output: a `FleetStatus`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from argosy.api import Fleet
from argosy.api.conditions import MESSAGE_LIMIT, Condition, ConditionStatus, ConditionType, Reason
from argosy.api.fleet import EnvoyStatus, FleetStatus
from argosy.api.kinds import kind_of
from argosy.control.decision import Decision, StatusUpdate
from argosy.control.status.classes import class_ready, telemetry_lost
from argosy.control.status.pools import pool_cost_usd_per_hour
from argosy.control.status.reported import Reported
from argosy.control.status.rollout.adopted import fleet_verdict
from argosy.control.status.rollout.unacted import plan_unacted
from argosy.control.status.verdict import MAX_TEXT, Verdict, because, dated, false, programmed, true
from argosy.control.status.waiting import approval_verdict, hold_verdict, plan_current
from argosy.snapshot.fleet import FleetSnapshot, RoutingView

MAX_ENVOYS = 50
MAX_NODE_ID = 253
MOST_CLASSES_NAMED = 5


def fleet_status(reported: Reported, item: Fleet) -> FleetStatus:
    """The status of Fleet/default."""
    snapshot = reported.snapshot
    applied = snapshot.applied_plan
    verdicts = [
        true(ConditionType.ACCEPTED, Reason.ACCEPTED),
        programmed(reported),
        _plan_current(reported),
        _ready(reported),
    ]
    verdicts += [found] if (found := fleet_verdict(snapshot)) is not None else []
    return FleetStatus(
        observed_generation=item.metadata.generation,
        conditions=dated(item.status.conditions, item.metadata, verdicts, snapshot.now_s),
        current_plan=applied.metadata.name if applied else None,
        cost_usd_per_hour=round(sum(pool_cost_usd_per_hour(reported, name) for name in snapshot.pools), 4),
        envoys=_envoys(snapshot.routing),
        envoys_connected=len(snapshot.routing.envoys),
    )


def _plan_current(reported: Reported) -> Verdict:
    """Whether the plan is the wanted one, or what keeps it from being replaced."""
    return (
        hold_verdict(reported.hold)
        or plan_unacted(reported)
        or approval_verdict(reported.snapshot)
        or plan_current(reported.snapshot, reported.waiting)
    )


def alarm_statuses(snapshot: FleetSnapshot, violations: str) -> tuple[StatusUpdate, ...]:
    """Fleet after a plan that failed its check: not Ready, and why; other fields stay as they are."""
    item = snapshot.fleet
    if item is None:
        return ()
    failed = false(ConditionType.READY, Reason.CHECK_FAILED, violations=violations)
    conditions = dated(item.status.conditions, item.metadata, (failed,), snapshot.now_s)
    status = FleetStatus(observed_generation=item.metadata.generation, conditions=conditions)
    return (StatusUpdate(Fleet.PLURAL, item.key, status),)


def refused_decision(snapshot: FleetSnapshot, problem: str) -> Decision:
    """What to report while the API server refuses what Argosy needs: Fleet is not Ready, and why."""
    item = snapshot.fleet
    if item is None:
        return Decision(snapshot.fleet_spec.mode)
    refused = false(ConditionType.READY, Reason.WRITES_REFUSED, problem=problem)
    conditions = dated(item.status.conditions, item.metadata, (refused,), snapshot.now_s)
    status = FleetStatus(observed_generation=item.metadata.generation, conditions=conditions)
    return Decision(snapshot.fleet_spec.mode, statuses=(StatusUpdate(Fleet.PLURAL, item.key, status),))


def with_refused(update: StatusUpdate, refused: Mapping[str, str]) -> StatusUpdate:
    """The status of Fleet, which names the kinds whose statuses are refused. refused: reasons, by plural"""
    if not refused or not isinstance(update.status, FleetStatus):
        return update
    kinds = " and ".join(kind_of(plural).name for plural in sorted(refused))
    reason = Reason.STATUS_REFUSED
    said = reason.sentence(kinds=kinds, problem="; ".join(refused.values()))
    conditions = tuple(_remarked(each, reason, said) for each in update.status.conditions)
    return replace(update, status=update.status.model_copy(update={"conditions": conditions}))


def _remarked(each: Condition, reason: Reason, said: str) -> Condition:
    """A Fleet that is not Ready keeps its reason: that one weighs more."""
    if each.type != ConditionType.READY:
        return each
    if each.status is ConditionStatus.TRUE:
        return each.model_copy(update={"reason": reason, "message": said[:MESSAGE_LIMIT]})
    return each.model_copy(update={"message": f"{each.message} {said}"[:MESSAGE_LIMIT]})


def _envoys(routing: RoutingView) -> tuple[EnvoyStatus, ...]:
    by_node_id = {e.node_id: e for e in reversed(routing.envoys)}  # a list keyed by it takes each once
    return tuple(
        EnvoyStatus(
            node_id=e.node_id[:MAX_NODE_ID],
            acknowledged_version=e.acknowledged_version,
            refused_version=e.refused_version,
            message=e.message[:MAX_TEXT],
        )
        # Envoys without a node id cannot be distinguished from each other.
        for _, e in sorted(by_node_id.items())[:MAX_ENVOYS]
        if e.node_id
    )


def _ready(reported: Reported) -> Verdict:
    """As ready as its classes; the reason is that of the first one that is not."""
    verdicts = {key: class_ready(reported, key) for key in sorted(reported.snapshot.classes)}
    not_ready = {key: v for key, v in verdicts.items() if v.status is not ConditionStatus.TRUE}
    if not not_ready:
        return telemetry_lost(reported) or true(ConditionType.READY, Reason.READY)
    named = ", ".join(list(not_ready)[:MOST_CLASSES_NAMED])
    message = f"not every WorkloadClass is Ready: {named}; the status of each says why."
    return because(ConditionType.READY, next(iter(not_ready.values())).reason, message)
