"""Where room is scarce, an option that has no replica goes before one that has some. Second objective.

Without it an exchange of many replicas can take every room that comes, and the last replica of another
class, which serves until its successor does, is never exchanged.
"""

from __future__ import annotations

from argosy.place.model import PlacementModel


class FirstReplica:
    """sum_n starts_on + none_o >= 1 for each wanted option without a replica; minimise the sum of none_o."""

    def add_to(self, placing: PlacementModel) -> None:
        """One row per option that has no replica, and the objective where options compete."""
        facts = placing.facts
        have_some = {option for (option, _), number in facts.kept.items() if number}
        without = []
        for want in facts.wanted:
            started = [x for (option, _), x in placing.starts.items() if option == want.option]
            if started and want.option not in have_some:
                none = placing.program.new_bool_var(f"none[{want.option}]")
                placing.program.add(sum(started) + none >= 1)
                without.append(none)
        if without and len(facts.wanted) > 1:
            placing.levels.append(sum(without))
