"""How far planned replicas have taken over from former ones: one count for every status.

Owns the count, its sentence, and which classes' exchanges make room for others in a pool. Input: `Reported`,
planned Deployments, and the engine pods that serve the same classes. Output: an `Exchange`, and classes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Set
from dataclasses import dataclass

from argosy.api.conditions import ConditionType, Reason
from argosy.api.fleetplan import PlannedDeployment
from argosy.control.status.reported import Reported
from argosy.control.status.verdict import Verdict, because, false, gated_text
from argosy.keys import ClassKey
from argosy.plan.explain.words import counted
from argosy.snapshot.cluster import PodState


@dataclass(frozen=True, slots=True)
class Exchange:
    """Replicas that get requests.

    ready:     planned ones; wanted: how many are planned
    others:    further ones: of the former plan, or beyond the planned count
    is_moving: one is drained or loads, or any class's has got room, so more will change
    is_draining: one is drained or about to be, so that room is to come
    goes_first: where nothing of it moves: the classes whose exchange makes room in its pools
    gated: which planned ones another client's scheduling gate holds, in a sentence; empty: none
    """

    ready: int
    wanted: int
    others: int
    is_moving: bool
    is_draining: bool
    goes_first: tuple[ClassKey, ...] = ()
    gated: str = ""

    @property
    def is_exchanging(self) -> bool:
        """True while former replicas serve in place of all planned ones, or of all but those that room is
        being made for.
        """
        if self.ready >= self.wanted or not self.others:
            return False
        return self.ready + self.others >= self.wanted or self.is_moving or bool(self.goes_first)


def exchange_of(
    reported: Reported, planned: Iterable[PlannedDeployment], pods: Iterable[PodState]
) -> Exchange:
    """The count of these planned Deployments and of the pods beside them."""
    planned, pods = tuple(planned), tuple(pods)
    ready = sum(min(d.replicas, reported.num_serving[d.name]) for d in planned)
    # Also where the room goes to another class: then the next replica gives way in the same decision.
    has_room = any(reported.placement.new_nodes.values())
    is_draining = any((p.deleting or p.is_marked) and p.is_active for p in pods)
    is_loading = any(map(reported.is_starting, pods))
    wanted = sum(d.replicas for d in planned)
    is_moving = has_room or is_draining or is_loading
    return Exchange(
        ready=ready,
        wanted=wanted,
        others=sum(map(reported.serves, pods)) - ready,
        is_moving=is_moving,
        is_draining=is_draining,
        goes_first=() if is_moving or ready >= wanted else classes_before(reported, planned),
        gated=gated_text(pods),
    )


def exchanging_verdict(now: Exchange) -> Verdict | None:
    """Ready of what is in an exchange, with its counts; None where it is not."""
    if not now.is_exchanging:
        return None
    verb = "serves" if now.others == 1 else "serve"
    others = f"{counted(now.others, 'replica')} of the former plan {verb}"
    parts = {"ready": now.ready, "desired": now.wanted, "others": others}
    found = false(ConditionType.READY, Reason.EXCHANGING, **parts)
    if not now.gated:
        return found
    return because(
        ConditionType.READY, Reason.PODS_GATED, f"{found.message} Of the planned ones {now.gated}."
    )


def classes_before(reported: Reported, planned: Iterable[PlannedDeployment]) -> tuple[ClassKey, ...]:
    """The classes that share none of these Deployments and whose exchange makes room in their pools."""
    planned = tuple(planned)
    names, pools = {d.name for d in planned}, {d.pool for d in planned if d.replicas}
    return tuple(
        key
        for key in sorted(reported.snapshot.classes)
        if names.isdisjoint(d.name for d in reported.planned_for(key)) and _makes_room(reported, key, pools)
    )


def _makes_room(reported: Reported, key: ClassKey, pools: Set[str]) -> bool:
    """True if former replicas of the class give way in one of the pools: the last one that serves may not."""
    counts = {d.name: d.replicas for d in reported.planned_for(key)}
    pods = [p for p in reported.pods_of_class(key) if p.is_active]
    alive = Counter(p.deployment for p in pods if p.holds_devices)
    own = [p for p in pods if p.holds_devices and reported.owners[p.deployment].pool in pools]
    former = [
        p
        for p in own
        if alive[p.deployment] > counts.get(p.deployment, 0) and not reported.is_kept(p.deployment)
    ]
    if not former:
        return False
    is_on_its_way = any(p.deleting or p.is_marked for p in former)
    is_loading = any(counts.get(p.deployment) and reported.is_starting(p) for p in own)
    models = {reported.owners[p.deployment].model for p in former}
    may_interrupt = any(model is not None and reported.may_interrupt(model) for model in models)
    num_serving = sum(map(reported.serves, pods))
    return is_on_its_way or is_loading or num_serving > 1 or may_interrupt
