"""Placement without a solver: the largest replicas first, each on the node with fewest of its option.

Owns the placement that the solver starts from and falls back to. Among equals it takes the fullest
node where whole nodes should stay free, else the one with the fewest replicas. Input: one pool.
Output: `Starts`.
"""

from __future__ import annotations

from collections import Counter

from argosy.place.facts import PoolFacts, Starts


def first_fit(facts: PoolFacts) -> Starts:
    """New replicas per (option, node), until none fits or none is needed."""
    free = dict(facts.free)
    count = Counter(facts.kept)
    taken = Counter({node.name: facts.held_on(node.name) for node in facts.nodes})
    starts: Starts = {}
    for want in sorted(facts.wanted, key=lambda w: (-w.gpus, w.option)):
        most = {node.name: facts.most(want, node) for node in facts.nodes}
        for _ in range(facts.needed[want.option]):
            able = [
                node
                for node, gpus in free.items()
                if gpus >= want.gpus and starts.get((want.option, node), 0) < most[node]
            ]
            if not able:
                break
            node = min(able, key=lambda n: (count[want.option, n], _full(facts, n, free[n], taken[n]), n))
            free[node] -= want.gpus
            count[want.option, node] += 1
            taken[node] += 1
            starts[want.option, node] = starts.get((want.option, node), 0) + 1
    return starts


def _full(facts: PoolFacts, node: str, free: int, replicas: int) -> tuple[bool, int]:
    is_last = any(n.is_last for n in facts.nodes if n.name == node)
    return is_last, (free if facts.most_gpus > 1 else replicas)
