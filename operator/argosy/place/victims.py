"""Which pods to let go: where there are too many, and from nodes that are leaving.

Owns the victims and their order. No solver is needed: pods do not move, so each choice concerns only
its own option. The order, within an option:

    1  pods on a node that is gone: they serve no request
    2  pods on a leaving node, as far as their successors have room on others
    3  pods that are not ready: they serve no request yet
    4  pods on nodes that take new replicas: nothing could use the GPUs of the others
    5  from the node that has most of the option's replicas left, so that the rest stays spread
    6  the youngest: its prefix cache holds the least
    7  by name
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from argosy.keys import DeploymentKey
from argosy.place.problem import PlacedReplica, PlacementProblem


def settled_victims(problem: PlacementProblem) -> tuple[PlacedReplica, ...]:
    """Pods to let go that are not on leaving nodes: lost ones, and those beyond the wanted replicas."""
    wanted = {w.option: w.replicas for w in problem.wanted}
    live = {n.name for n in problem.nodes}
    leaving = {n.name for n in problem.nodes if n.is_leaving}
    closed = frozenset(n.name for n in problem.nodes if n.is_closed)
    found: list[PlacedReplica] = []
    for option in sorted({p.option for p in problem.placed}):
        pods = [p for p in problem.placed if p.option == option and p.node not in leaving]
        found.extend(sorted((p for p in pods if p.node not in live), key=lambda p: p.pod))
        found.extend(_surplus([p for p in pods if p.node in live], wanted.get(option, 0), closed))
    return tuple(found)


def staying(problem: PlacementProblem, missing: Mapping[DeploymentKey, int]) -> tuple[PlacedReplica, ...]:
    """Pods on leaving nodes that stand in for replicas without a node: ready ones first, then the oldest.

    missing: replicas of each option for which no other node has room
    """
    found: list[PlacedReplica] = []
    for option in sorted({p.option for p in problem.placed}):
        pods = sorted(leaving_pods(problem, option), key=lambda p: (not p.ready, -p.age_s, p.pod))
        found.extend(pods[: missing.get(option, 0)])
    return tuple(found)


def leaving_pods(problem: PlacementProblem, option: DeploymentKey) -> list[PlacedReplica]:
    """An option's pods on leaving nodes, by name."""
    leaving = {n.name for n in problem.nodes if n.is_leaving}
    pods = [p for p in problem.placed if p.option == option and p.node in leaving]
    return sorted(pods, key=lambda p: p.pod)


def in_order(
    problem: PlacementProblem, settled: Iterable[PlacedReplica], kept: Iterable[PlacedReplica]
) -> tuple[PlacedReplica, ...]:
    """All victims in their order. `settled`: those not on leaving nodes; `kept`: pods that stay on these."""
    live, spared = {n.name for n in problem.nodes}, {p.pod for p in kept}
    found: list[PlacedReplica] = []
    for option in sorted({p.option for p in problem.placed}):
        mine = [p for p in settled if p.option == option]
        found.extend(p for p in mine if p.node not in live)
        found.extend(p for p in leaving_pods(problem, option) if p.pod not in spared)
        found.extend(p for p in mine if p.node in live)
    return tuple(found)


def _surplus(alive: list[PlacedReplica], wanted: int, closed: frozenset[str]) -> list[PlacedReplica]:
    """One after the other: each choice changes which node has the most replicas."""
    left, gone = list(alive), []
    while len(left) > wanted:
        crowd = Counter(p.node for p in left)
        first = min(left, key=lambda p: (p.ready, p.node in closed, -crowd[p.node], p.age_s, p.pod))
        left.remove(first)
        gone.append(first)
    return gone
