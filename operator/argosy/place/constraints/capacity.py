"""New replicas take free GPUs only: pods that stay, victims and draining pods hold theirs."""

from __future__ import annotations

from argosy.place.model import PlacementModel


class NodeCapacity:
    """sum_o gpus_o starts_on <= free_n for every node n."""

    def add_to(self, placing: PlacementModel) -> None:
        """One row per node."""
        facts = placing.facts
        for node in facts.nodes:
            taken = placing.gpus_taken_on(node.name)
            if taken:
                placing.program.add(sum(taken) <= facts.free[node.name])
