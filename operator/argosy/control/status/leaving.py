"""Nodes that are leaving, for users: which, why, and what still runs there for want of room elsewhere.

Owns the list of a GPUPool's status, and the remark on a class or a pool whose replicas stay on such
nodes because no other node has room for their successors. Input: `Reported`. Output: list and remark.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from argosy.api.conditions import ConditionStatus, ConditionType, Reason
from argosy.api.fleet import Mode
from argosy.api.gpupool import MAX_LEAVING, MAX_REASON, LeavingNode
from argosy.control.state.nodes import MOST_NAMED, PoolNodes, leaving_pods
from argosy.control.state.waiting import replicas_without_room
from argosy.control.status.reported import Reported
from argosy.control.status.verdict import Verdict, mode_not_auto, true
from argosy.plan.explain.words import counted
from argosy.snapshot.cluster import PodState


def leaving_nodes(reported: Reported, nodes: PoolNodes) -> tuple[LeavingNode, ...]:
    """The nodes of a pool that are leaving, by name."""
    replicas = Counter(p.destination for p in reported.snapshot.engine_pods if reported.serves(p))
    return tuple(
        LeavingNode(name=n.name, reason=n.departure[:MAX_REASON], replicas=replicas[n.name])
        for n in nodes.leaving[:MAX_LEAVING]
    )


def remark(reported: Reported, pods: Iterable[PodState]) -> Verdict | None:
    """That some of these pods serve on leaving nodes for want of room; None where none does.

    Or for the mode of the Fleet, in which nothing starts their successors. It is of Ready=True: their
    requests are served until the nodes are gone.
    """
    without_successor = _without_successor(reported)
    staying = [p for p in pods if p.key in without_successor and reported.serves(p)]
    occupied = {p.destination for p in staying}
    for pool, nodes in reported.sizing.nodes.items():
        found = [n for n in nodes.leaving if n.name in occupied]
        if not found:
            continue
        departures = {n.name: n.departure for n in found}
        on_them = [p for p in staying if p.destination in departures]
        if reported.mode is not Mode.AUTO:
            return _unacted(reported.mode, pool, departures, on_them)
        return _no_room(pool, departures, on_them)
    return None


def _without_successor(reported: Reported) -> frozenset[str]:
    """Keys of the pods for whose successors placement, or the scheduler where it places, finds no room."""
    snapshot, placement = reported.snapshot, reported.placement
    leaving = leaving_pods(snapshot, reported.sizing.nodes)
    if not leaving or reported.mode is not Mode.AUTO:
        return leaving
    waiting = replicas_without_room(snapshot, placement)
    pods = (snapshot.pods[key] for key in leaving)
    return frozenset(placement.staying) | frozenset(p.key for p in pods if p.deployment in waiting)


def _no_room(pool: str, departures: dict[str, str], on_them: list[PodState]) -> Verdict:
    return true(
        ConditionType.READY,
        Reason.NODES_LEAVING,
        nodes=_nodes(pool, departures),
        replicas=_replicas(on_them),
        pool=pool,
    )


def _unacted(mode: Mode, pool: str, departures: dict[str, str], on_them: list[PodState]) -> Verdict:
    why = mode_not_auto(ConditionType.READY, mode).message
    message = (
        f"It is served, and {_nodes(pool, departures)}; nothing starts the successors of"
        f" {_replicas(on_them)}. {why}"
    )
    return Verdict(ConditionType.READY, ConditionStatus.TRUE, Reason.MODE_NOT_AUTO, message)


def _nodes(pool: str, departures: dict[str, str]) -> str:
    named = [
        f"node {name} of GPUPool {pool} is leaving: {why.rstrip('.')}" for name, why in departures.items()
    ]
    more = f"; and {len(named) - MOST_NAMED} more" if len(named) > MOST_NAMED else ""
    return "; ".join(named[:MOST_NAMED]) + more


def _replicas(on_them: list[PodState]) -> str:
    which = ", ".join(sorted({p.deployment for p in on_them})[:MOST_NAMED])
    return f"{counted(len(on_them), 'replica')} of {which}"
