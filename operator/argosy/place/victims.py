"""Which pods to let go where there are too many.

Owns the victims and their order. No solver is needed: pods do not move, so each choice concerns only
its own option. The order, within an option:

    1  pods on a node that is gone: they serve no request
    2  pods that are not ready: they serve no request yet
    3  from the node that has most of the option's replicas left, so that the rest stays spread
    4  the youngest: its prefix cache holds the least
    5  by name
"""

from __future__ import annotations

from collections import Counter

from argosy.place.problem import PlacedReplica, PlacementProblem


def victims(problem: PlacementProblem) -> tuple[PlacedReplica, ...]:
    """Pods to let go: by option, and within it in the order in which they should go."""
    wanted = {w.option: w.replicas for w in problem.wanted}
    nodes = {n.name for n in problem.nodes}
    found: list[PlacedReplica] = []
    for option in sorted({p.option for p in problem.placed}):
        pods = [p for p in problem.placed if p.option == option]
        found.extend(sorted((p for p in pods if p.node not in nodes), key=lambda p: p.pod))
        found.extend(_surplus([p for p in pods if p.node in nodes], wanted.get(option, 0)))
    return tuple(found)


def _surplus(alive: list[PlacedReplica], wanted: int) -> list[PlacedReplica]:
    """One after the other: each choice changes which node has the most replicas."""
    left, gone = list(alive), []
    while len(left) > wanted:
        crowd = Counter(p.node for p in left)
        first = min(left, key=lambda p: (p.ready, -crowd[p.node], p.age_s, p.pod))
        left.remove(first)
        gone.append(first)
    return gone
