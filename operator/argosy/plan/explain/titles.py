"""How a sharing group is called in the planner's sentences.

Owns the title: users know their classes, which cells are named after, and not every group. Input:
`Facts` and a group. Output: part of a sentence.
"""

from __future__ import annotations

from argosy.keys import GroupName
from argosy.plan.facts import Facts

MOST_NAMED = 3


def title(facts: Facts, group: GroupName) -> str:
    """Its only cell, or its name with its cells: all of up to three, the first two of more."""
    cells = [c.name for c in facts.cells_by_group.get(group, ())]
    if len(cells) == 1:
        return str(cells[0])
    if not cells:
        return str(group)
    shown = cells if len(cells) <= MOST_NAMED else cells[: MOST_NAMED - 1]
    more = f" and {len(cells) - len(shown)} more" if len(shown) < len(cells) else ""
    return f"sharing group {group} ({', '.join(shown)}{more})"
