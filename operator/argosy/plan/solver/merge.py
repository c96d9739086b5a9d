"""Cells that are alike as one: a smaller program with the same counts.

Owns the merging. Input: a `PlanProblem`. Output: one in which the cells of a group that have the same
priority and the same capacity on every option are one cell with the sum of their rates. Only counts
are searched for in it, and counts alone decide the rest of a plan: its shares and shortfalls are made
from the problem as it was.

Fifty classes that share replicas are one cell to the solver; a group of unlike cells is what makes a
program hard (section 5 of docs/design/0002).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace

from argosy.keys import GroupName
from argosy.plan.problem import Cell, PlanProblem

Likeness = tuple[GroupName, int, tuple[float, ...]]
"""What alike cells have in common: group, priority, and the capacity on each option of the group."""


def merged(problem: PlanProblem) -> PlanProblem:
    """The problem with alike cells as one, under the name that comes first."""
    found: dict[Likeness, list[Cell]] = {}
    options = sorted(problem.options, key=lambda o: o.name)
    by_group = {g: [o.name for o in options if o.group == g] for g in {c.group for c in problem.cells}}
    for cell in sorted(problem.cells, key=lambda c: c.name):
        capacities = tuple(problem.capacity_per_s.get((cell.name, o), 0.0) for o in by_group[cell.group])
        found.setdefault((cell.group, cell.priority, capacities), []).append(cell)
    if len(found) == len(problem.cells):
        return problem
    cells = tuple(_sum(alike) for alike in found.values())
    names = {c.name for c in cells}
    capacity = {pair: per_s for pair, per_s in problem.capacity_per_s.items() if pair[0] in names}
    return replace(problem, cells=cells, capacity_per_s=capacity)


def _sum(alike: Iterable[Cell]) -> Cell:
    cells = tuple(alike)
    return replace(
        cells[0],
        rate_per_s=math.fsum(c.rate_per_s for c in cells),
        is_served=any(c.is_served for c in cells),
    )
