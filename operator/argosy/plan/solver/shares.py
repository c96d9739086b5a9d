"""Each cell's shares per option, for given replica counts.

Owns the shares of a plan: the replicas serve as much as they can carry, the cells of the highest
priority first, and within a group all replicas are equally utilised where that is possible. A
vertex of the sizing program would fill one option and leave the next one idle. Input: `Facts` and
counts. Output: shares (0-1) per (cell, option), and the rates that stay unserved.

A group whose cells have equal capacities has a closed form: shares in proportion to replicas x
capacity, the same for each cell, and where they cannot all be served the same part of each. With
unlike cells a linear program minimises the largest utilisation; the options whose dual value is not 0
cannot be relieved and are fixed, and the rest is balanced again: a max-min fair load.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from ortools.math_opt.python import mathopt

from argosy.keys import CellName, DeploymentKey, GroupName
from argosy.plan.facts import Counts, Facts
from argosy.plan.problem import Cell, Option

Shares = dict[tuple[CellName, DeploymentKey], float]
"""Part (0-1) of a cell's rate that an option carries, positive ones only."""

WHOLE = 1e-7
"""A share within this of 0 or 1 counts as 0 or 1: the linear programs are solved to 1e-8."""

SMALL_PART = 1e-3
"""A cell with a smaller part of its level's rate could lose a visible part of its own within the linear
programs' tolerance on the whole level, so what it gets is held by a constraint of its own."""

NEGLIGIBLE = 1e-8
"""Shares below this are rounding noise of the linear programs."""


@dataclass(frozen=True, slots=True)
class _Group:
    """Cells with demand and the options, with replicas, that may serve them."""

    facts: Facts
    cells: tuple[Cell, ...]
    replicas: dict[DeploymentKey, int]
    options: tuple[Option, ...]

    def pairs(self, option: Option) -> list[tuple[Cell, float]]:
        """Cells that this option can serve, with the utilisation that the whole cell would cause."""
        return [
            (c, self.facts.load_per_rate(c, option) / self.replicas[option.name])
            for c in self.cells
            if (c.name, option.name) in self.facts.capacity_per_s
        ]


def shares(facts: Facts, counts: Counts) -> Shares:
    """The shares of all cells for these counts."""
    found: Shares = {}
    for name in facts.groups:
        group_shares = _group_shares(facts, name, counts)
        found.update(sorted(group_shares.items()))
    return found


def missing_per_s(facts: Facts, found: Shares) -> dict[CellName, float]:
    """Unserved requests/s of each cell that is not served whole."""
    return _missing_per_s(facts.cells, found)


def group_missing_per_s(facts: Facts, group: GroupName, counts: Counts) -> dict[CellName, float]:
    """Unserved requests/s of the group's cells that these counts do not serve whole."""
    return _missing_per_s(facts.cells_by_group[group], _group_shares(facts, group, counts))


def _missing_per_s(cells: tuple[Cell, ...], found: Shares) -> dict[CellName, float]:
    served = dict.fromkeys((c.name for c in cells), 0.0)
    for (cell, _), share in found.items():
        served[cell] += share
    return {
        c.name: c.rate_per_s * (1 - served[c.name])
        for c in cells
        if c.rate_per_s > 0 and served[c.name] < 1 - WHOLE
    }


def carries(facts: Facts, group: GroupName, counts: Counts) -> bool:
    """True if these replicas serve every cell of the group whole, those apart that no option can serve."""
    demanding = {c.name for c in facts.demanding_cells}
    return demanding.isdisjoint(group_missing_per_s(facts, group, counts))


def _group_shares(facts: Facts, name: GroupName, counts: Counts) -> Shares:
    live = tuple(o for o in facts.options_by_group[name] if counts.get(o.name, 0) > 0)
    replicas = {o.name: counts[o.name] for o in live}
    reached = {cell for cell, option in facts.capacity_per_s if option in replicas}
    cells = tuple(c for c in facts.cells_by_group[name] if c.name in reached)
    busy = _Group(facts, tuple(c for c in cells if c.rate_per_s > 0), replicas, live)
    found = _alike_cells(busy)
    if found is None:
        found = _many_cells(busy)
    for cell in cells:
        if cell.rate_per_s == 0:
            found.update(_in_proportion(busy, cell, 1.0))
    return found


def _in_proportion(group: _Group, cell: Cell, served: float) -> Shares:
    """`served` (0-1) of one cell, split in proportion to the capacity of each option for it."""
    capacity = {
        option: replicas * group.facts.capacity_per_s[cell.name, option]
        for option, replicas in group.replicas.items()
        if (cell.name, option) in group.facts.capacity_per_s
    }
    total = math.fsum(capacity.values())
    found = {(cell.name, option): served * part / total for option, part in capacity.items()}
    return {pair: share for pair, share in found.items() if share > 0}


def _alike_cells(group: _Group) -> Shares | None:
    """The closed form; None where capacities differ, or a priority decides which of them is served."""
    known = group.facts.capacity_per_s
    capacities = {tuple(known.get((c.name, o), 0.0) for o in group.replicas) for c in group.cells}
    if len(capacities) != 1:
        return None
    (each_per_s,) = capacities
    carried_per_s = math.fsum(n * k for n, k in zip(group.replicas.values(), each_per_s, strict=True))
    demand_per_s = math.fsum(c.rate_per_s for c in group.cells)
    served = group.facts.problem.headroom * carried_per_s / demand_per_s
    if served < 1 - WHOLE and len({c.priority for c in group.cells}) > 1:
        return None
    part = 1.0 if served >= 1 - WHOLE else served
    found: Shares = {}
    for cell in group.cells:
        found.update(_in_proportion(group, cell, part))
    return found


def _many_cells(group: _Group) -> Shares:
    if not group.cells:
        return {}
    whole = dict.fromkeys((c.name for c in group.cells), 1.0)
    utilisation, found = _balanced(group, whole)
    if utilisation > group.facts.problem.headroom * (1 + WHOLE):
        _, found = _balanced(group, _rationed(group))
    return found


class _ShareProgram:
    """The linear program over one group's shares: balancing and rationing add their rows to it."""

    def __init__(self, group: _Group) -> None:
        self.program = mathopt.Model()
        self.share = {
            (cell.name, option.name): self.program.add_variable(lb=0.0)
            for option in group.options
            for cell, _ in group.pairs(option)
        }
        self.served = {
            c.name: mathopt.fast_sum(x for (cell, _), x in self.share.items() if cell == c.name)
            for c in group.cells
        }
        self.utilisation = {
            o.name: mathopt.fast_sum(load * self.share[c.name, o.name] for c, load in group.pairs(o))
            for o in group.options
            if group.pairs(o)
        }

    def solve(self) -> mathopt.SolveResult | None:
        """The optimal solution, or None where rounding made the program infeasible."""
        result = mathopt.solve(self.program, mathopt.SolverType.GLOP)
        return result if result.termination.reason is mathopt.TerminationReason.OPTIMAL else None


def _balanced(group: _Group, served: dict[CellName, float]) -> tuple[float, Shares]:
    """The largest utilisation, and max-min fair shares that serve `served` (0-1) of each cell."""
    lp = _ShareProgram(group)
    level = lp.program.add_variable(lb=0.0)
    rows = {name: lp.program.add_linear_constraint(u - level <= 0) for name, u in lp.utilisation.items()}
    for cell, share in served.items():
        lp.program.add_linear_constraint(lp.served[cell] == share)
    lp.program.minimize(level)
    levels: list[float] = []
    found: Shares = {}
    while rows and (result := lp.solve()) is not None:
        reached = result.variable_values(level)
        levels.append(reached)
        found = {pair: result.variable_values(x) for pair, x in lp.share.items()}
        frozen = [name for name, row in rows.items() if abs(result.dual_values(row)) > NEGLIGIBLE]
        for name in frozen:
            rows[name].set_coefficient(level, 0.0)
            rows.pop(name).upper_bound = reached
        if not frozen:
            break
    return max(levels, default=math.inf), _tidied(found, served)


def _tidied(found: Shares, served: dict[CellName, float]) -> Shares:
    """The shares without noise, scaled so that each cell's add up exactly."""
    kept = {pair: share for pair, share in found.items() if share > NEGLIGIBLE}
    totals = dict.fromkeys(served, 0.0)
    for (cell, _), share in kept.items():
        totals[cell] += share
    return {(cell, option): share * served[cell] / totals[cell] for (cell, option), share in kept.items()}


def _rationed(group: _Group) -> dict[CellName, float]:
    """The part (0-1) of each cell that can be served: one priority after the other, the highest first."""
    lp = _ShareProgram(group)
    for total in lp.served.values():
        lp.program.add_linear_constraint(total <= 1)
    for utilisation in lp.utilisation.values():
        lp.program.add_linear_constraint(utilisation <= group.facts.problem.headroom)
    served = dict.fromkeys(lp.served, 0.0)
    for priority in sorted({c.priority for c in group.cells}, reverse=True):
        level = [c for c in group.cells if c.priority == priority]
        total_per_s = math.fsum(c.rate_per_s for c in level)
        part_of_level = {c.name: c.rate_per_s / total_per_s for c in level}
        score = mathopt.fast_sum(part * lp.served[name] for name, part in part_of_level.items())
        lp.program.maximize(score)
        result = lp.solve()
        if result is None:
            break
        values = result.variable_values()
        found = {name: mathopt.evaluate_expression(total, values) for name, total in lp.served.items()}
        served = {name: _whole_or_none(share) for name, share in found.items()}
        # No slack: it would all be taken from one cell, of which it is a larger part.
        lp.program.add_linear_constraint(score >= result.objective_value())
        for name, part in part_of_level.items():
            if part < SMALL_PART:
                lp.program.add_linear_constraint(lp.served[name] >= found[name] - NEGLIGIBLE)
    return served


def _whole_or_none(share: float) -> float:
    return 1.0 if share > 1 - WHOLE else (0.0 if share < WHOLE else share)
