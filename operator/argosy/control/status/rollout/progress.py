"""How far a FleetPlan is carried out, as its conditions say it.

Owns Progressing (what goes on, or what it waits for) and RolledOut (the end, which stays true whatever
happens to replicas later: Ready of the classes tells that). Input: `Reported`. Output: conditions of the
followed plan, its `StatusUpdate`, and events where a roll-out begins, stops, goes on and ends.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from argosy.api import FleetPlan
from argosy.api.conditions import Condition, ConditionStatus, ConditionType, Reason, find_condition
from argosy.api.fleet import Mode
from argosy.api.fleetplan import FleetPlanStatus, PlannedDeployment
from argosy.api.schema.timestamp import rfc3339, seconds_of
from argosy.control.decision import EventRecord, StatusUpdate
from argosy.control.status.classes import unplaced
from argosy.control.status.reported import Reported
from argosy.control.status.rollout.exchange import Exchange, exchange_of
from argosy.control.status.rollout.held import former_held, room_held
from argosy.control.status.rollout.last_replica import waits_verdict
from argosy.control.status.verdict import (
    Verdict,
    because,
    dated,
    doubted_verdict,
    mode_not_auto,
    portless_verdict,
    programmed,
    refused_verdict,
    replicas_verdict,
    true,
)
from argosy.keys import ClassKey, DeploymentKey, GroupName
from argosy.snapshot.cluster import PodState
from argosy.snapshot.fleet import FleetSnapshot

MOST_GROUPS = 3
"""Sharing groups that a sentence names; of more it gives the number."""

_NOT_YET = frozenset((Reason.NO_PLAN, Reason.PLAN_GONE))
"""A plan that is only being written is applied with it."""


def progress_verdicts(reported: Reported, plan: FleetPlan, waiting: str = "") -> tuple[Verdict, ...]:
    """Progressing and RolledOut of the followed plan; none once it is rolled out.

    waiting: why removals wait, in a sentence; empty where none does
    """
    if _is_true(plan, ConditionType.ROLLED_OUT):
        return ()
    return _with_end(_progress(reported, plan, waiting))


def unseen_progress(snapshot: FleetSnapshot, plan: FleetPlan, sentence: str) -> tuple[Verdict, ...]:
    """The same on a picture that cannot be believed: how far the roll-out is, is not known."""
    if _is_true(plan, ConditionType.ROLLED_OUT) or not snapshot.acts:
        return ()
    kind, status = ConditionType.PROGRESSING, ConditionStatus.UNKNOWN
    return _with_end(Verdict(kind, status, Reason.PICTURE_INCOMPLETE, sentence))


def _with_end(found: Verdict) -> tuple[Verdict, Verdict]:
    """Progressing, and RolledOut for the same reason."""
    status = ConditionStatus.FALSE
    if found.reason is Reason.ROLLED_OUT:
        status = ConditionStatus.TRUE
    elif found.status is ConditionStatus.UNKNOWN:
        status = found.status
    return (found, Verdict(ConditionType.ROLLED_OUT, status, found.reason, found.message))


def progress_updates(
    snapshot: FleetSnapshot, plan: FleetPlan, verdicts: tuple[Verdict, ...]
) -> tuple[StatusUpdate, ...]:
    """The status of a plan that is followed already."""
    if not verdicts:
        return ()
    conditions = dated(plan.status.conditions, plan.metadata, verdicts, snapshot.now_s)
    return (StatusUpdate(FleetPlan.PLURAL, plan.key, FleetPlanStatus(conditions=conditions)),)


def progress_events(plan: FleetPlan, verdicts: Iterable[Verdict]) -> tuple[EventRecord, ...]:
    """An event where the roll-out begins, stops, goes on or ends."""
    new = next((v for v in verdicts if v.type is ConditionType.PROGRESSING), None)
    old = find_condition(plan.status.conditions, ConditionType.PROGRESSING)
    if new is None:
        return ()
    is_same = old is not None and old.status is new.status
    is_news = new.reason is Reason.ROLLED_OUT or _is_other_trouble(old, new)
    if not is_news and (is_same or _is_unknown(old, new)):
        return ()
    kind = "Normal" if new.status is ConditionStatus.TRUE else "Warning"
    return (EventRecord(FleetPlan.KIND, plan.key, kind, new.reason.value, new.message),)


def _is_unknown(old: Condition | None, new: Verdict) -> bool:
    """Of what cannot be known an event of Fleet tells, and it is no news of the roll-out once it can."""
    unknown = ConditionStatus.UNKNOWN
    return new.status is unknown or (old is not None and old.status is unknown)


def _is_other_trouble(old: Condition | None, new: Verdict) -> bool:
    return new.status is ConditionStatus.FALSE and old is not None and old.reason != new.reason.value


def _progress(reported: Reported, plan: FleetPlan, waiting: str) -> Verdict:
    """What goes on, or what the roll-out waits for."""
    kind = ConditionType.PROGRESSING
    if reported.mode is not Mode.AUTO:
        return mode_not_auto(kind, reported.mode)
    if reported.doubted:
        return doubted_verdict(reported, kind)
    groups = _groups(reported, plan)
    routed = programmed(reported)
    if routed.status is ConditionStatus.FALSE and routed.reason not in _NOT_YET:
        return because(kind, routed.reason, routed.message)
    missing = [group for group in groups if group.count.ready < group.count.wanted]
    for group in missing:
        if (trouble := _trouble(reported, group)) is not None:
            return because(kind, trouble.reason, trouble.message)
    if missing:
        is_exchange = any(group.count.others for group in missing)
        if not is_exchange:
            return true(kind, Reason.STARTING, progress=_named(missing))
        ready = sum(group.count.ready for group in missing)
        wanted = sum(group.count.wanted for group in missing)
        message = f"Exchanged {ready} of {wanted} replicas: {_named(missing)}."
        return Verdict(kind, ConditionStatus.TRUE, Reason.EXCHANGING, message)
    wanted = sum(d.replicas for d in plan.spec.deployments)
    left = _left(reported, plan)
    if (held := former_held(reported, left, wanted)) is not None:
        return held
    if num_left := sum(left.values()):
        return _leaving(reported, wanted, num_left, waiting)
    if routed.status is ConditionStatus.UNKNOWN and routed.reason not in _NOT_YET:
        return Verdict(kind, ConditionStatus.TRUE, routed.reason, routed.message)
    if not _is_true(plan, ConditionType.APPLIED):
        # The routes of this plan are made with it: Envoys have yet to acknowledge them.
        return true(kind, Reason.STARTING, progress="the plan is being applied")
    return true(kind, Reason.ROLLED_OUT, desired=wanted, **_duration(reported, plan))


def _leaving(reported: Reported, wanted: int, num_left: int, waiting: str) -> Verdict:
    """What becomes of replicas that the plan does not want: those that are held back serve on."""
    kind = ConditionType.PROGRESSING
    num_going = sum(p.deleting and p.is_active for p in reported.snapshot.engine_pods)
    num_held = max(0, num_left - num_going)
    if not waiting or not num_held:
        return true(kind, Reason.DRAINING, desired=wanted, left=num_left)
    going = f", {num_going} more finish theirs and go" if num_going else ""
    message = (
        f"All {wanted} planned replicas get requests; {num_held} of the former plan still"
        f" {'serves' if num_held == 1 else 'serve'}{going}: {waiting}."
    )
    return Verdict(kind, ConditionStatus.TRUE, Reason.REMOVAL_WAITS, message)


@dataclass(frozen=True, slots=True)
class _Group:
    """A sharing group of the plan: its classes, Deployments, pods, and how far it is."""

    classes: tuple[ClassKey, ...]
    planned: tuple[PlannedDeployment, ...]
    pods: tuple[PodState, ...]
    count: Exchange

    def __str__(self) -> str:
        pools = " and ".join(sorted({d.pool for d in self.planned}))
        more = f" and {len(self.classes) - 1} more" if len(self.classes) > 1 else ""
        former = f", {self.count.others} of the former plan still serve" if self.count.others else ""
        of_all = f"{self.count.ready} of {self.count.wanted} replicas of {self.classes[0]}{more} on {pools}"
        return f"{of_all} get requests{former}"


def _groups(reported: Reported, plan: FleetPlan) -> list[_Group]:
    classes: dict[GroupName, dict[ClassKey, None]] = {}
    for cell in plan.spec.cells:
        classes.setdefault(cell.sharing_group, {})[cell.workload_class] = None
    found: list[_Group] = []
    for name, members in classes.items():
        planned = tuple(d for d in plan.spec.deployments if d.sharing_group == name and d.replicas)
        known = [key for key in members if key in reported.snapshot.classes]
        pods = {p.key: p for key in known for p in reported.pods_of_class(key)}
        if planned:
            its_pods = tuple(pods.values())
            found.append(_Group(tuple(members), planned, its_pods, exchange_of(reported, planned, its_pods)))
    return found


def _named(groups: list[_Group]) -> str:
    num_more = len(groups) - MOST_GROUPS
    more = f"; and {num_more} group{'s' if num_more > 1 else ''} more" if num_more > 0 else ""
    return "; ".join(map(str, groups[:MOST_GROUPS])) + more


def _trouble(reported: Reported, group: _Group) -> Verdict | None:
    """What the planned replicas wait for, where time alone does not help."""
    names = {d.name for d in group.planned}
    pods = [p for p in group.pods if p.deployment in names]
    served = replicas_verdict(reported, pods, group.count.wanted)
    served = portless_verdict(pods, group.count.ready, group.count.wanted) or served
    served = refused_verdict(reported, names, served)
    if served.status is ConditionStatus.FALSE and served.reason is not Reason.LOADING:
        return served
    if (held := room_held(reported, group.planned, group.pods)) is not None:
        return because(ConditionType.PROGRESSING, held.reason, held.message)
    if group.count.is_moving:
        return None
    known = (key for key in group.classes if key in reported.snapshot.classes)
    lacking = {key: unplaced(reported, key) for key in known}
    for key, said in lacking.items():
        if (waits := waits_verdict(reported, key, said)) is not None:
            return None if waits.reason is Reason.EXCHANGE_QUEUED else waits
    found = next((said for said in lacking.values() if said is not None), None)
    if found is None or group.count.ready + group.count.others > 1:
        return None
    return because(ConditionType.PROGRESSING, Reason.UNPLACEABLE, found.message)


def _left(reported: Reported, plan: FleetPlan) -> Counter[DeploymentKey]:
    """Replicas that the plan does not want and that are still there, by Deployment; those that are kept
    do not count.
    """
    planned = Counter({d.name: d.replicas for d in plan.spec.deployments})
    pods = reported.snapshot.engine_pods
    return Counter(p.deployment for p in pods if p.is_active and not reported.is_kept(p.deployment)) - planned


def _duration(reported: Reported, plan: FleetPlan) -> dict[str, object]:
    """When the roll-out ended, and how long it took since the plan was applied."""
    now_s = reported.snapshot.now_s
    applied = find_condition(plan.status.conditions, ConditionType.APPLIED)
    began_s = seconds_of(applied.last_transition_time) if applied is not None else None
    return {
        "at": rfc3339(now_s),
        "seconds": round(max(0.0, now_s - (began_s if began_s is not None else now_s))),
    }


def _is_true(plan: FleetPlan, kind: ConditionType) -> bool:
    found = find_condition(plan.status.conditions, kind)
    return found is not None and found.status is ConditionStatus.TRUE
