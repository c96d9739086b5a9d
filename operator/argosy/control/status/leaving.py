"""Nodes that are leaving, for users: which, why, and what still runs there for want of room elsewhere.

Owns the list of a GPUPool's status, and the remark on a class or a pool whose replicas stay on such
nodes because no other node has room for their successors. Input: `Reported`. Output: list and remark.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from argosy.api.conditions import ConditionType, Reason
from argosy.api.gpupool import MAX_LEAVING, LeavingNode
from argosy.control.state.nodes import MOST_NAMED, PoolNodes, leaving_pods
from argosy.control.state.waiting import replicas_without_room
from argosy.control.status.reported import Reported
from argosy.control.status.verdict import Verdict, true
from argosy.plan.explain.words import counted
from argosy.snapshot.cluster import PodState


def leaving_nodes(reported: Reported, nodes: PoolNodes) -> tuple[LeavingNode, ...]:
    """The nodes of a pool that are leaving, by name."""
    replicas = Counter(p.destination for p in reported.snapshot.engine_pods if reported.serves(p))
    return tuple(
        LeavingNode(name=n.name, reason=n.departure, replicas=replicas[n.name])
        for n in nodes.leaving[:MAX_LEAVING]
    )


def remark(reported: Reported, pods: Iterable[PodState]) -> Verdict | None:
    """That some of these pods serve on leaving nodes for want of room; None where none does.

    It is of Ready=True: their requests are served until the nodes are gone.
    """
    without_successor = _without_successor(reported)
    staying = [p for p in pods if p.key in without_successor and reported.serves(p)]
    occupied = {p.destination for p in staying}
    for pool, nodes in reported.sizing.nodes.items():
        found = [n for n in nodes.leaving if n.name in occupied]
        if found:
            return _no_room(pool, {n.name: n.departure for n in found}, staying)
    return None


def _without_successor(reported: Reported) -> frozenset[str]:
    """Keys of the pods for whose successors placement, or the scheduler where it places, finds no room."""
    snapshot, placement = reported.snapshot, reported.placement
    leaving = leaving_pods(snapshot, reported.sizing.nodes)
    if not leaving:
        return frozenset()
    waiting = replicas_without_room(snapshot, placement)
    pods = (snapshot.pods[key] for key in leaving)
    return frozenset(placement.staying) | frozenset(p.key for p in pods if p.deployment in waiting)


def _no_room(pool: str, departures: dict[str, str], staying: list[PodState]) -> Verdict:
    named = [f"node {name} of GPUPool {pool} is leaving: {why}" for name, why in departures.items()]
    more = f"; and {len(named) - MOST_NAMED} more" if len(named) > MOST_NAMED else ""
    on_them = [p for p in staying if p.destination in departures]
    which = ", ".join(sorted({p.deployment for p in on_them})[:MOST_NAMED])
    return true(
        ConditionType.READY,
        Reason.NODES_LEAVING,
        nodes="; ".join(named[:MOST_NAMED]) + more,
        replicas=f"{counted(len(on_them), 'replica')} of {which}",
        pool=pool,
    )
