"""Which groups take the last replica of one that is served now.

Owns the sentence that names the winners to the loser: it is part of the loser's shortfall, and so of
its condition and of its event. Input: `Facts`, counts and a cell. Output: part of a sentence.
"""

from __future__ import annotations

from argosy.keys import GroupName
from argosy.plan.explain.titles import title
from argosy.plan.facts import Counts, Facts
from argosy.plan.problem import Cell

MOST_NAMED = 3


def taken_by(facts: Facts, counts: Counts, cell: Cell) -> str:
    """Why the group of this cell has no replica left, up to a semicolon; empty where it has one."""
    if cell.group not in facts.abandoned(counts):
        return ""
    winners = _winners(facts, counts, cell.group)
    if not winners:
        return ""
    named = [f"{title(facts, g)} (priority {facts.priority_by_group[g]})" for g in winners[:MOST_NAMED]]
    if len(winners) > MOST_NAMED:
        named.append(f"{len(winners) - MOST_NAMED} more")
    own = facts.priority_by_group[cell.group]
    return f"the last replica that serves it is taken for {', '.join(named)}, as its own priority is {own}; "


def _winners(facts: Facts, counts: Counts, loser: GroupName) -> list[GroupName]:
    """Groups of a higher priority in the loser's pools: those that get new replicas, else all of them."""
    pools = {o.pool for o in facts.options_by_group[loser]}
    own = facts.priority_by_group[loser]
    gains: dict[GroupName, int] = {}
    for option in facts.options:
        count = counts.get(option.name, 0)
        if count and option.pool in pools and facts.priority_by_group[option.group] > own:
            gain = count - option.current_replicas
            gains[option.group] = max(gain, gains.get(option.group, gain))
    found = [g for g, gain in gains.items() if gain > 0] or gains
    return sorted(found, key=lambda g: (-facts.priority_by_group[g], g))
