"""An exchange of the last replica, for users: the service that it interrupts, or that it waits and why.

Owns which classes are interrupted and since when, and both sentences. Input: `Reported`; the class's status
says since when it was interrupted at the last decision, so that a restarted operator knows it. Output:
times, and `Verdict`s.
"""

from __future__ import annotations

from collections.abc import Set

from argosy.api.conditions import ConditionType, Reason
from argosy.api.schema.timestamp import rfc3339
from argosy.control.state.waiting import replicas_without_room
from argosy.control.status.reported import Reported
from argosy.control.status.rollout.exchange import classes_before
from argosy.control.status.verdict import LOADING_LIMIT_S, Verdict, false
from argosy.keys import ClassKey, ModelKey
from argosy.place.solution import Unplaced
from argosy.snapshot.cluster import PodState

MOST_CLASSES = 3
"""Classes that a sentence names; of more it gives the number."""

LOAD_TIMES = 3.0
"""A successor that takes so many times its expected load time, and longer than any other may load, is
reported as late."""


def interrupted_since_s(reported: Reported, key: ClassKey) -> float | None:
    """Since when a class has had no replica because of an exchange (seconds since the epoch), or None."""
    before_s = reported.snapshot.classes[key].status.interrupted_since_s
    if not _is_interrupted(reported, key, before_s is not None):
        return None
    return reported.snapshot.now_s if before_s is None else before_s


def interrupted_verdict(reported: Reported, key: ClassKey) -> Verdict | None:
    """Ready of a class that is interrupted; None where it is not."""
    since_s = interrupted_since_s(reported, key)
    if since_s is None:
        return None
    planned = [d for d in reported.planned_for(key) if d.replicas]
    names = {d.name for d in planned}
    pods = [p for p in reported.pods_of_class(key) if p.deployment in names]
    limit_s = _limit_s(reported, key)
    is_late = reported.snapshot.now_s - since_s >= limit_s
    model = planned[0].model_key
    return false(
        ConditionType.READY,
        Reason.INTERRUPTED,
        since=rfc3339(since_s),
        late=f", for more than {limit_s:.0f} s" if is_late else "",
        model=model,
        allows="allows" if reported.may_interrupt(model) else "allowed (it is Wait now)",
        loading=sum(bool(p.destination) for p in pods),
        desired=sum(d.replicas for d in planned),
        remedy=_remedy(model, pods) if is_late else "",
    )


def _limit_s(reported: Reported, key: ClassKey) -> float:
    """How long an interruption may last before it is reported as late (seconds)."""
    names = {d.name for d in reported.planned_for(key) if d.replicas}
    candidates = reported.sizing.resolution.classes[key].candidates
    loads_s = (c.load_s for c in candidates if c.workload.key in names)
    return max(LOADING_LIMIT_S, LOAD_TIMES * max(loads_s, default=0.0))


def _remedy(model: ModelKey, pods: list[PodState]) -> str:
    namespace = model.namespace
    pod = min((p.name for p in pods), default="")
    look = f"kubectl describe pod {pod} -n {namespace} and at its logs" if pod else ""
    look = look or f"kubectl get events -n {namespace}"
    return (
        f"; look at {look}, or set the last edit of ServedModel {model} back: then a replica as before starts"
    )


def waits_verdict(reported: Reported, key: ClassKey, unplaced: Unplaced | None) -> Verdict | None:
    """Ready of a class whose last replica is of the former plan and stays for want of room; else None.

    Where another class's exchange goes first, that is what it waits for, and no user.

    unplaced: what placement says of the missing ones, where Argosy places them
    """
    names = {d.name for d in reported.planned_for(key) if d.replicas}
    without_room = names & replicas_without_room(reported.snapshot, reported.placement).keys()
    if not without_room:
        return None
    serving = [p for p in reported.pods_of_class(key) if reported.serves(p)]
    if len(serving) != 1 or serving[0].deployment in names:
        return None
    planned = [d for d in reported.planned_for(key) if d.name in without_room]
    if before := classes_before(reported, planned):
        return _queued(before, {d.pool for d in planned})
    model = reported.owners[serving[0].deployment].model
    if model is None or reported.may_interrupt(model):
        return None
    no_node = f"the planned replica of Deployment {min(without_room)} finds no node with free GPUs"
    said = unplaced.message.rstrip(".") if unplaced is not None else no_node
    return false(ConditionType.READY, Reason.EXCHANGE_WAITS, unplaced=said, model=model)


def _queued(before: tuple[ClassKey, ...], pools: Set[str]) -> Verdict:
    more = f" and {len(before) - MOST_CLASSES} more" if len(before) > MOST_CLASSES else ""
    named = ", ".join(before[:MOST_CLASSES]) + more
    return false(ConditionType.READY, Reason.EXCHANGE_QUEUED, pool=" and ".join(sorted(pools)), classes=named)


def _is_interrupted(reported: Reported, key: ClassKey, was: bool) -> bool:
    """Planned replicas are missing, nothing serves, and a former replica has gone or goes for them."""
    planned = [d for d in reported.planned_for(key) if d.replicas]
    if not planned or not (was or any(reported.may_interrupt(d.model_key) for d in planned)):
        return False
    names, pods = {d.name for d in planned}, reported.pods_of_class(key)
    if any(map(reported.serves, pods)):
        return False
    return was or any(p.deployment not in names and (p.is_marked or p.deleting) for p in pods)
