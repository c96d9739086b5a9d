"""The placement problem in one fixed order: free GPUs per node, replicas that stay, replicas to start.

Owns what follows from a `PlacementProblem` by counting. Everything is sorted by name, so that a
problem given in another order is the same problem. Pools share nothing, so each is a problem of its
own: `PoolFacts`. `check` does not use it, so that a mistake here is found.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from argosy.keys import DeploymentKey
from argosy.place.problem import NodeRoom, PlacedReplica, PlacementProblem, WantedReplicas

Starts = dict[tuple[DeploymentKey, str], int]
"""New replicas per (option, node), positive ones only."""


@dataclass(frozen=True, slots=True)
class PoolFacts:
    """One pool.

    free: GPUs per node that a new replica may take; victims and draining pods still hold theirs
    kept: replicas per (option, node) that stay, those on leaving nodes apart
    needed: replicas per option that have to be started
    there: replicas per (option, node) that hold their place now, victims included
    most_gpus: GPUs of the largest replica that may be wanted in the pool
    """

    nodes: tuple[NodeRoom, ...]
    wanted: tuple[WantedReplicas, ...]
    free: Mapping[str, int]
    kept: Mapping[tuple[DeploymentKey, str], int]
    needed: Mapping[DeploymentKey, int]
    most_gpus: int = 1
    there: Mapping[tuple[DeploymentKey, str], int] = field(default_factory=dict)

    def held_on(self, node: str) -> int:
        """Replicas that stay on the node."""
        return sum(n for (_, name), n in self.kept.items() if name == node)

    def most(self, want: WantedReplicas, node: NodeRoom) -> int:
        """New replicas of an option that the node could take if no other option started there."""
        most = min(self.needed[want.option], self.free[node.name] // want.gpus)
        if node.name not in want.most_on:
            return most
        return min(most, max(0, want.most_on[node.name] - self.there.get((want.option, node.name), 0)))


def kept_pods(
    problem: PlacementProblem, gone: tuple[PlacedReplica, ...]
) -> Counter[tuple[DeploymentKey, str]]:
    """Replicas per (option, node) that stay, whatever becomes of those on leaving nodes."""
    victims = {p.pod for p in gone}
    leaving = {n.name for n in problem.nodes if n.is_leaving}
    placed = (p for p in problem.placed if p.pod not in victims and p.node not in leaving)
    return Counter((p.option, p.node) for p in placed)


def pools(problem: PlacementProblem, kept: Mapping[tuple[DeploymentKey, str], int]) -> tuple[PoolFacts, ...]:
    """The pools in which something has to be started, in order of their names."""
    free = {n.name: n.gpus for n in problem.nodes}
    holding = [(p.node, p.gpus) for p in problem.placed] + [(node, g) for _, node, g in problem.draining]
    for node, gpus in holding:
        if node in free:
            free[node] -= gpus
    found, there = [], Counter((p.option, p.node) for p in problem.placed)
    for pool in sorted({w.pool for w in problem.wanted}):
        wanted = tuple(sorted((w for w in problem.wanted if w.pool == pool), key=lambda w: w.option))
        nodes = tuple(sorted((n for n in problem.nodes if n.pool == pool), key=lambda n: n.name))
        needed = {
            w.option: w.replicas - sum(n for (o, _), n in kept.items() if o == w.option) for w in wanted
        }
        # A node of which GPUs became unhealthy may hold more than it has: nothing is free there.
        room = {n.name: 0 if n.is_closed or n.is_leaving else max(0, free[n.name]) for n in nodes}
        if any(needed.values()):
            most_gpus = problem.most_gpus.get(pool, max(w.gpus for w in wanted))
            found.append(PoolFacts(nodes, wanted, room, kept, needed, most_gpus, there))
    return tuple(found)
