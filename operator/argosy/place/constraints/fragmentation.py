"""Free GPUs stay together on whole nodes, where a larger group can use them. Third objective.

It packs replicas of different options on one node, so it is left out of pools in which no replica may
come that takes several GPUs: there a free GPU is as good on any node (`crowding` then spreads them).
"""

from __future__ import annotations

from argosy.place.model import PlacementModel


class Fragmentation:
    """A node is stranded where some of its GPUs are in use and some are free; minimise stranded nodes."""

    def add_to(self, placing: PlacementModel) -> None:
        """Up to two booleans per node that may get a replica, and the objective."""
        facts = placing.facts
        if facts.most_gpus == 1:
            return
        stranded = []
        for node in facts.nodes:
            taken = placing.gpus_taken_on(node.name)
            if not taken:
                continue  # no decision changes this node
            free = facts.free[node.name]
            is_stranded = placing.program.new_bool_var(f"stranded[{node.name}]")
            if free < node.gpus:
                placing.program.add(free - sum(taken) <= free * is_stranded)
            else:
                is_used = placing.program.new_bool_var(f"used[{node.name}]")
                placing.program.add(sum(taken) <= free * is_used)
                placing.program.add(free - sum(taken) <= free * (is_stranded + 1 - is_used))
            stranded.append(is_stranded)
        placing.levels.append(sum(stranded))
