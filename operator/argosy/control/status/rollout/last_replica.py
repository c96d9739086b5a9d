"""An exchange of the last replica, for users: the service that it interrupts, or that it waits and why.

Owns which classes are interrupted and since when, and both sentences. Input: `Reported`, and since when
classes were interrupted at the last decision. Output: times by class, and `Verdict`s.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Set

from argosy.api.conditions import ConditionType, Reason
from argosy.api.schema.timestamp import rfc3339
from argosy.control.state.waiting import replicas_without_room
from argosy.control.status.reported import Reported
from argosy.control.status.rollout.exchange import classes_before
from argosy.control.status.verdict import LOADING_LIMIT_S, Verdict, false
from argosy.keys import ClassKey
from argosy.place.solution import Unplaced

MOST_CLASSES = 3
"""Classes that a sentence names; of more it gives the number."""

LATE = f", for more than {LOADING_LIMIT_S:.0f} s (check the events and logs of its pods)"


def interrupted_s(reported: Reported, before_s: Mapping[ClassKey, float]) -> dict[ClassKey, float]:
    """Since when each class that an exchange interrupts has had no replica (seconds since the epoch)."""
    now_s = reported.snapshot.now_s
    return {
        key: before_s.get(key, now_s)
        for key in reported.snapshot.classes
        if _is_interrupted(reported, key, key in before_s)
    }


def interrupted_verdict(reported: Reported, key: ClassKey) -> Verdict | None:
    """Ready of a class that is interrupted; None where it is not."""
    since_s = interrupted_s(reported, reported.interrupted_s).get(key)
    if since_s is None:
        return None
    planned = [d for d in reported.planned_for(key) if d.replicas]
    names = {d.name for d in planned}
    placed = [p for p in reported.pods_of_class(key) if p.deployment in names and p.destination]
    is_late = reported.snapshot.now_s - since_s >= LOADING_LIMIT_S
    return false(
        ConditionType.READY,
        Reason.INTERRUPTED,
        since=rfc3339(math.floor(since_s)),
        model=planned[0].model_key,
        loading=len(placed),
        desired=sum(d.replicas for d in planned),
        late=LATE if is_late else "",
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
    if not any(reported.may_interrupt(d.model_key) for d in planned):
        return False
    names, pods = {d.name for d in planned}, reported.pods_of_class(key)
    if any(map(reported.serves, pods)):
        return False
    return was or any(p.deployment not in names and (p.is_marked or p.deleting) for p in pods)
