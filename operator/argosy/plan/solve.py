"""From a `PlanProblem` to the cheapest `Plan` that serves as much as can be served.

Owns the order of the solves. Input: a `PlanProblem` and limits. Output: a `Plan` whose report gives
the bound and the gap. The formulation is section 1 of docs/design/0002-sizing-and-placement.md:

    1  everything served, all floors met: minimise the cost
    2  only where that is infeasible: minimise the unmet floors, then the unserved rate, each one
       priority after the other, the highest first; then the replicas that stay on leaving nodes; then
       the cost. Each result is a constraint of the solves after it. Before the floors and before the
       rate of a priority: the groups of it that are served now and would lose their last replica
    3  among plans of the same cost: the fewest changes, then the options that come first by name
    4  shares from the counts alone (`shares`)

Sequential solves instead of weights: no weight is right for rates of 0.1 and of 10,000 requests/s.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ortools.math_opt.python import mathopt

from argosy.keys import DeploymentKey
from argosy.plan import constraints
from argosy.plan.explain.reasons import explain
from argosy.plan.facts import Counts, Facts
from argosy.plan.problem import PlanProblem
from argosy.plan.solution import Plan, SolveReport, SolveStatus
from argosy.plan.solver.greedy import fill
from argosy.plan.solver.merge import merged
from argosy.plan.solver.model import SizingModel, change_penalty, declare
from argosy.plan.solver.search import Incumbent, NoSolution, Search, SolveLimits, Values
from argosy.plan.solver.shares import missing_per_s, shares

LEVEL_GAP = 1e-6
"""Relative gap while unmet floors and unserved rate are minimised: far below that of the cost, because
service is not traded for solving time."""

HOLD_TOLERANCE = 1e-8
"""How much a later solve may worsen an earlier one's result: above the solver's feasibility
tolerance, below `shares.WHOLE`."""

TIE_TOLERANCE = 1e-7
"""Costs within this relative distance count as the same."""

TIE_NODE_LIMIT = 200
"""Branch-and-bound nodes for the choice among plans of the same cost: a limit that depends on no clock."""


@dataclass(frozen=True, slots=True)
class _Found:
    """Counts from the solver, and the bound on the cost of all counts ($/h)."""

    counts: dict[DeploymentKey, int]
    bound_usd_per_hour: float


def solve(problem: PlanProblem, limits: SolveLimits | None = None) -> Plan:
    """The plan for a problem; partial, with its shortfalls, where not all can be served.

    Without a time limit the plan is a function of the problem and does not depend on the order of
    its parts.
    """
    facts, alike = Facts(problem), Facts(merged(problem))
    search = Search(limits or SolveLimits())
    found = _search_counts(alike, search) if alike.options else _Found({}, 0.0)
    counts, status = _settled(alike, found, search)
    objective = facts.objective_usd_per_hour(counts)
    bound = min(objective, max(0.0, found.bound_usd_per_hour)) if found else 0.0  # no cost is negative
    gap = (objective - bound) / objective if objective > 0 else 0.0
    report = SolveReport(status, objective, bound, gap, search.seconds)
    return explain(facts, counts, report)


def _search_counts(facts: Facts, search: Search) -> _Found | None:
    """The solver's counts; None where it is stopped before it has a solution."""
    sizing = declare(facts)
    for constraint in constraints.ALL:
        constraint.add_to(sizing)
    sizing.program.minimize(sizing.cost())
    answer = search.run(sizing, search.limits.gap)
    if answer is NoSolution.INFEASIBLE:
        answer = _search_partial(sizing, search)
    if not isinstance(answer, Incumbent):
        return None
    values = _settle_ties(sizing, search, answer) if answer.is_proven else answer.values
    return _Found(sizing.counts(values), answer.bound)


def _search_partial(sizing: SizingModel, search: Search) -> Incumbent | NoSolution:
    """Unmet floors, unserved rate by priority, replicas that stay on leaving nodes, cost: each minimised
    with the results before it held."""
    sizing.relax_staying()
    sizing.relax_floors()
    sizing.relax_service()
    best: Values = sizing.nothing()
    has_solution = False
    for level in _levels(sizing):
        sizing.program.minimize(level)
        answer = search.run(sizing, LEVEL_GAP, best)
        reached = mathopt.evaluate_expression(level, best)
        if isinstance(answer, Incumbent):
            best, reached, has_solution = answer.values, answer.objective, True
        sizing.program.add_linear_constraint(level <= max(0.0, reached) + HOLD_TOLERANCE)
    sizing.program.minimize(sizing.cost())
    answer = search.run(sizing, search.limits.gap, best)
    if isinstance(answer, Incumbent) or not has_solution:
        return answer
    search.was_cut = True
    return Incumbent(best, sizing.facts.objective_usd_per_hour(sizing.counts(best)), 0.0, is_proven=False)


def _levels(sizing: SizingModel) -> Iterator[mathopt.LinearSum]:
    """The objectives that come before the cost, in their order."""
    priority_of = sizing.facts.priority_by_group
    kept = {priority_of[g] for g in sizing.abandoned}
    for priority in sorted({priority_of[g] for g in sizing.unmet}, reverse=True):
        if priority in kept:
            yield sizing.abandoned_at(priority, with_floor=True)
        yield sizing.unmet_at(priority)
    for priority in sorted(kept | {c.priority for c in sizing.facts.demanding_cells}, reverse=True):
        if priority in kept:
            yield sizing.abandoned_at(priority)
        yield sizing.missing_at(priority)
    if sizing.staying:
        yield sizing.num_staying()


def _settle_ties(sizing: SizingModel, search: Search, answer: Incumbent) -> Values:
    """Of the solutions of the same cost, the one with the fewest changes from what runs now."""
    current = {o.name: o.current_replicas for o in sizing.facts.options}
    if sizing.counts(answer.values) == current:
        return answer.values  # no other changes nothing; a fleet at rest is spared half of its solving
    limit = answer.objective + TIE_TOLERANCE * max(1.0, answer.objective)
    sizing.program.add_linear_constraint(sizing.cost() <= limit)
    sizing.program.minimize(change_penalty(sizing, current))
    better = search.run(sizing, 0.0, answer.values, TIE_NODE_LIMIT)
    return better.values if isinstance(better, Incumbent) else answer.values


def _settled(facts: Facts, found: _Found | None, search: Search) -> tuple[Counts, SolveStatus]:
    """The counts to use and how they were found.

    A solution of a solver that was stopped is compared with the greedy one; both are filled up
    first, so that no cell stays unserved for which there is room.
    """
    if found and not search.was_cut:
        return fill(facts, found.counts), SolveStatus.OPTIMAL
    greedy = fill(facts, {})
    if found is None:
        return greedy, SolveStatus.GREEDY
    filled = fill(facts, found.counts)
    if _rank(facts, greedy) < _rank(facts, filled):
        return greedy, SolveStatus.GREEDY
    return filled, SolveStatus.TIME_LIMIT


def _rank(facts: Facts, counts: Counts) -> tuple[float, ...]:
    """The objectives of `solve` in their order: unmet floors, unserved rates, cost."""
    unmet, abandoned = facts.unmet_floors(counts), facts.abandoned(counts)
    missing = missing_per_s(facts, shares(facts, counts))
    priority_of = facts.priority_by_group
    floors: list[float] = []
    for level in sorted(set(priority_of.values()), reverse=True):
        floors.append(sum(priority_of[g] == level for g in abandoned if facts.floor(g)))
        floors.append(sum(n for g, n in unmet.items() if priority_of[g] == level))
    rates: list[float] = []
    for level in sorted({c.priority for c in facts.cells}, reverse=True):
        rates.append(sum(priority_of[g] == level for g in abandoned))
        rates.append(sum(missing.get(c.name, 0.0) for c in facts.cells if c.priority == level))
    return (*floors, *rates, facts.objective_usd_per_hour(counts))
