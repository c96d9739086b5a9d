"""New replicas take free GPUs only: pods that stay, victims and draining pods hold theirs."""

from __future__ import annotations

from argosy.place.model import PlacementModel


class NodeCapacity:
    """sum_o gpus_o starts_on <= free_n for every node n."""

    def add_to(self, placing: PlacementModel) -> None:
        """One row per node."""
        facts = placing.facts
        for node in facts.nodes:
            taken = [
                want.gpus * placing.starts[want.option, node.name]
                for want in facts.wanted
                if (want.option, node.name) in placing.starts
            ]
            if taken:
                placing.program.add(sum(taken) <= facts.free[node.name])
