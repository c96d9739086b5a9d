"""As many replicas as are wanted, as far as there is room. First objective: the fewest without a node."""

from __future__ import annotations

from argosy.place.model import PlacementModel


class Demand:
    """sum_n starts_on <= needed_o; minimise the sum of the slacks."""

    def add_to(self, placing: PlacementModel) -> None:
        """One row per option, and the objective."""
        facts = placing.facts
        missing = []
        for want in facts.wanted:
            started = [x for (option, _), x in placing.starts.items() if option == want.option]
            placing.program.add(sum(started) <= facts.needed[want.option])
            missing.append(facts.needed[want.option] - sum(started))
        placing.levels.append(sum(missing))
