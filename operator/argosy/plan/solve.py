"""From a `PlanProblem` to the cheapest `Plan` that keeps every promise that can be kept.

Owns the order of the questions put to the solver. Never looks at a clock, and says how sure the
answer is. The formulation is docs/design/0002-sizing-and-placement.md:

    1  everything served, all floors kept: minimise the cost
    2  only where that is impossible: floors that cannot be met are given up, the least important
       first; then unserved rate is minimised, one priority after the other, the highest first;
       then the cost, with all that held
    3  among answers of the same cost: the fewest changes, then the first by name
    4  shares from the counts alone (`shares`)

Sequential solves and not weights: no weight is right for rates of 0.1 and of 10,000 requests/s.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ortools.math_opt.python import mathopt

from argosy.plan import constraints
from argosy.plan.explain.reasons import explain
from argosy.plan.facts import Counts, Facts
from argosy.plan.greedy import fill
from argosy.plan.model import SizingModel, change_penalty, declare
from argosy.plan.problem import PlanProblem
from argosy.plan.search import Answer, Search, SolveLimits, Values, Verdict
from argosy.plan.shares import missing_per_s, shares
from argosy.plan.solution import Plan, SolveReport, SolveStatus

LEVEL_GAP = 1e-6
"""Relative gap when service is maximised: promises are not traded for solving time."""

HOLD_TOLERANCE = 1e-8
"""By how much a later solve may undo what an earlier one reached: more than the solver's own
tolerance, less than what `shares` calls whole."""

TIE_TOLERANCE = 1e-7
"""Costs this close (relative) are the same cost."""

TIE_NODE_LIMIT = 200
"""Branch-and-bound nodes spent on choosing among equals: a bound that no clock decides."""


@dataclass(frozen=True, slots=True)
class _Found:
    """Counts from the solver, and the best cost that any counts can have."""

    counts: dict[str, int]
    bound: float


def solve(problem: PlanProblem, limits: SolveLimits | None = None) -> Plan:
    """The plan for a problem; partial, with its shortfalls, where not all can be served.

    Without a time limit the plan is a function of the problem, whatever the order of its parts.
    """
    facts = Facts(problem)
    search = Search(limits or SolveLimits())
    found = _search_counts(facts, search) if facts.options else _Found({}, 0.0)
    counts, status = _settled(facts, found, search)
    objective = facts.objective_usd_per_hour(counts)
    bound = min(objective, max(0.0, found.bound)) if found else 0.0  # no plan costs less than nothing
    gap = (objective - bound) / objective if objective > 0 else 0.0
    report = SolveReport(status, objective, bound, gap, search.seconds)
    return explain(facts, counts, report)


def _search_counts(facts: Facts, search: Search) -> _Found | None:
    """What the solver finds; None where it is stopped before it has anything."""
    sizing = declare(facts)
    for constraint in constraints.ALL:
        constraint.add_to(sizing)
    sizing.program.minimize(sizing.cost())
    answer = search.run(sizing, search.limits.gap)
    if answer is Verdict.INFEASIBLE:
        answer = _search_partial(sizing, search)
    if not isinstance(answer, Answer):
        return None
    values = _settle_ties(sizing, search, answer) if answer.is_proven else answer.values
    return _Found(sizing.counts(values), answer.bound)


def _search_partial(sizing: SizingModel, search: Search) -> Answer | Verdict:
    """Floors, service by priority, cost: each as good as can be without undoing the one before."""
    sizing.relax_floors()
    sizing.relax_service()
    best: Values = sizing.nothing()
    has_solution = False
    for level in _levels(sizing):
        sizing.program.minimize(level)
        answer = search.run(sizing, LEVEL_GAP, best)
        reached = mathopt.evaluate_expression(level, best)
        if isinstance(answer, Answer):
            best, reached, has_solution = answer.values, answer.objective, True
        sizing.program.add_linear_constraint(level <= max(0.0, reached) + HOLD_TOLERANCE)
    sizing.program.minimize(sizing.cost())
    answer = search.run(sizing, search.limits.gap, best)
    if isinstance(answer, Answer) or not has_solution:
        return answer
    search.was_cut = True
    return Answer(best, sizing.facts.objective_usd_per_hour(sizing.counts(best)), 0.0, is_proven=False)


def _levels(sizing: SizingModel) -> Iterator[mathopt.LinearSum]:
    """What is minimised in turn before the cost."""
    groups = {sizing.facts.priority_by_group[g] for g in sizing.unmet}
    cells = {c.priority for c in sizing.facts.demanding_cells}
    yield from (sizing.unmet_at(p) for p in sorted(groups, reverse=True))
    yield from (sizing.missing_at(p) for p in sorted(cells, reverse=True))


def _settle_ties(sizing: SizingModel, search: Search, answer: Answer) -> Values:
    """The same cost with the fewest changes from what runs now, then the first names."""
    current = {o.name: o.current_replicas for o in sizing.facts.options}
    limit = answer.objective + TIE_TOLERANCE * max(1.0, answer.objective)
    sizing.program.add_linear_constraint(sizing.cost() <= limit)
    sizing.program.minimize(change_penalty(sizing, current))
    better = search.run(sizing, 0.0, answer.values, TIE_NODE_LIMIT)
    return better.values if isinstance(better, Answer) else answer.values


def _settled(facts: Facts, found: _Found | None, search: Search) -> tuple[Counts, SolveStatus]:
    """The counts to use and how they were found.

    An answer that the solver could not finish competes with the greedy one; both are filled up
    first, so that nothing stays unserved for which there is room.
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
    """What `solve` minimises, in its order: unmet floors, missing rates, cost."""
    unmet = facts.unmet_floors(counts)
    missing = missing_per_s(facts, shares(facts, counts))
    floors = sorted({facts.priority_by_group[g] for g in facts.groups}, reverse=True)
    levels = sorted({c.priority for c in facts.cells}, reverse=True)
    return (
        *(sum(n for g, n in unmet.items() if facts.priority_by_group[g] == p) for p in floors),
        *(sum(missing.get(c.name, 0.0) for c in facts.cells if c.priority == p) for p in levels),
        facts.objective_usd_per_hour(counts),
    )
