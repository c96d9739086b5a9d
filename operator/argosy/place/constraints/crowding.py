"""A node that fails stops as few replicas as possible, whichever options they are of. Fourth objective."""

from __future__ import annotations

from argosy.place.model import PlacementModel


class Crowding:
    """held_n + starts_n = sum_k full_nk; minimise sum_nk k full_nk: one more replica costs the more, the
    more there are, so that replicas go to the nodes with the fewest."""

    def add_to(self, placing: PlacementModel) -> None:
        """A boolean for each replica that a node may hold more, and the objective."""
        facts, program = placing.facts, placing.program
        weighted = []
        for node in facts.nodes:
            starts = [x for (_, name), x in placing.starts.items() if name == node.name]
            if not starts:
                continue
            held = facts.held_on(node.name)
            least_gpus = min(w.gpus for w in facts.wanted if (w.option, node.name) in placing.starts)
            most = facts.free[node.name] // least_gpus
            full = [program.new_bool_var(f"full[{node.name},{k}]") for k in range(most)]
            program.add(sum(starts) == sum(full))
            weighted += [(held + k) * each for k, each in enumerate(full)]
        placing.levels.append(sum(weighted))
