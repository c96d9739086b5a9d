"""Counts without a solver: first the floors, then each cell by the option that serves it cheapest.

In each priority the groups that are served now come first, with one replica each.

Owns the fallback where the solver is stopped before it has a solution, and fills up a solution that
it could not finish. Replicas are only added. Input: counts to start from. Output: counts to which no
useful replica can be added.
"""

from __future__ import annotations

import itertools

from argosy.keys import DeploymentKey, GroupName
from argosy.plan.facts import Counts, Facts
from argosy.plan.obstacles import obstacles
from argosy.plan.problem import Cell, Option
from argosy.plan.solver.shares import group_missing_per_s, missing_per_s, shares


def fill(facts: Facts, start: Counts) -> dict[DeploymentKey, int]:
    """`start`, what stays, and the replicas that floors and unserved cells still need and that find room."""
    counts = {o.name: max(start.get(o.name, 0), o.least_replicas) for o in facts.options}
    by_priority = sorted(facts.groups, key=lambda g: (-facts.priority_by_group[g], g))
    incumbents = [g for g in by_priority if g in facts.incumbents]
    for priority, groups in itertools.groupby(by_priority, key=facts.priority_by_group.__getitem__):
        _keep(facts, [g for g in incumbents if facts.floor(g)], priority, counts)
        for group in groups:
            _fill_up_to(facts, group, facts.floor(group), counts)
    unserved = missing_per_s(facts, shares(facts, counts))
    by_priority_of_cell = sorted(facts.demanding_cells, key=lambda c: (-c.priority, c.name))
    for priority, cells in itertools.groupby(by_priority_of_cell, key=lambda c: c.priority):
        _keep(facts, incumbents, priority, counts)
        for cell in cells:
            if cell.name in unserved:
                _fill_cell(facts, cell, counts)
    return counts


def _keep(facts: Facts, incumbents: list[GroupName], priority: int, counts: dict[DeploymentKey, int]) -> None:
    """One replica for each group of this priority that is served now."""
    for group in incumbents:
        if facts.priority_by_group[group] == priority:
            _fill_up_to(facts, group, 1, counts)


def _fill_up_to(facts: Facts, group: GroupName, replicas: int, counts: dict[DeploymentKey, int]) -> None:
    by_price = sorted(facts.options_by_group[group], key=lambda o: (o.price_usd_per_hour, o.name))
    for option in by_price:
        while facts.group_count(counts, group) < replicas and not obstacles(facts, counts, option):
            counts[option.name] += 1


def _fill_cell(facts: Facts, cell: Cell, counts: dict[DeploymentKey, int]) -> None:
    options = [o for o in facts.options_by_group[cell.group] if (cell.name, o.name) in facts.capacity_per_s]
    while missing := group_missing_per_s(facts, cell.group, counts).get(cell.name, 0.0):
        ranked = sorted(options, key=lambda o: (_usd_per_request_per_s(facts, cell, o, missing), o.name))
        found = next((o for o in ranked if not obstacles(facts, counts, o)), None)
        if found is None:
            return
        counts[found.name] += _whole_replicas(facts, cell, found, missing, counts)


def _usd_per_request_per_s(facts: Facts, cell: Cell, option: Option, missing: float) -> float:
    """Price per request/s that a replica would add: no more than what is missing counts."""
    carried = facts.problem.headroom * facts.capacity_per_s[cell.name, option.name]
    return option.price_usd_per_hour / min(carried, missing)


def _whole_replicas(facts: Facts, cell: Cell, option: Option, missing: float, counts: Counts) -> int:
    """As many as the missing rate fills whole and as fit, at least one: large rates take few rounds."""
    carried = facts.problem.headroom * facts.capacity_per_s[cell.name, option.name]
    left = max(1, facts.most_replicas[option.name] - counts[option.name])
    more = max(1, min(left, int(missing / carried)))
    while more > 1 and obstacles(facts, counts, option, more):
        more //= 2
    return more
