"""A node that fails stops as few replicas of an option as possible. Second objective."""

from __future__ import annotations

from argosy.place.model import PlacementModel


class Spread:
    """peak_o >= kept_on + starts_on for every node n; minimise the sum of the peaks."""

    def add_to(self, placing: PlacementModel) -> None:
        """One peak per option that may start a replica, and the objective."""
        facts = placing.facts
        peaks = []
        for want in facts.wanted:
            kept = {node.name: facts.kept.get((want.option, node.name), 0) for node in facts.nodes}
            on_node = {n: placing.starts[want.option, n] for n in kept if (want.option, n) in placing.starts}
            if not on_node:
                continue
            peak = placing.program.new_int_var(max(kept.values()), want.replicas, f"peak[{want.option}]")
            for node, starts in on_node.items():
                placing.program.add(peak >= starts + kept[node])
            peaks.append(peak)
        placing.levels.append(sum(peaks))
