"""Among equals, the nodes that come first by name; those that the autoscaler may remove come last.

Last objective: it breaks ties.
"""

from __future__ import annotations

from argosy.place.model import PlacementModel


class Order:
    """minimise the sum of the ranks of the nodes that are used."""

    def add_to(self, placing: PlacementModel) -> None:
        """The objective."""
        by_name = sorted(placing.facts.nodes, key=lambda node: (node.is_last, node.name))
        rank = {node.name: i for i, node in enumerate(by_name)}
        placing.levels.append(sum(rank[node] * x for (_, node), x in placing.starts.items()))
