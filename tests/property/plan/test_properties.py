"""What holds for every plan, whatever the problem."""

import math
import pickle
import random
from dataclasses import replace
from typing import TypeVar

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from argosy.plan.check import violations
from argosy.plan.problem import Cell, Option, PlanProblem, PoolLimit
from argosy.plan.search import SolveLimits
from argosy.plan.solution import Plan, SolveStatus
from argosy.plan.solve import solve

EXACT = SolveLimits(gap=0.0)
T = TypeVar("T")
NO_TIME = SolveLimits(time_limit_s=0.0)
POOLS = ("a", "b")

prices = st.sampled_from((0.0, 0.5, 0.9, 1.0, 2.5, 6.0))
rates = st.one_of(st.just(0.0), st.floats(1e-6, 1e-2), st.floats(0.05, 40.0))
capacities = st.floats(0.2, 12.0)


@st.composite
def problems(draw: st.DrawFn, sizes: tuple[int, ...] = (1, 2, 4)) -> PlanProblem:
    """Up to three groups of up to three cells and three options on two small pools."""
    groups = [f"g{i}" for i in range(draw(st.integers(1, 3)))]
    cells, options = [], []
    capacity: dict[tuple[str, str], float] = {}
    for group in groups:
        members = [f"{group}c{i}" for i in range(draw(st.integers(1, 3)))]
        cells += [Cell(name, group, draw(rates), draw(st.integers(0, 2))) for name in members]
        for i in range(draw(st.integers(1, 3))):
            option = Option(
                name=f"{group}o{i}",
                group=group,
                model=draw(st.sampled_from(("llama", "qwen"))),
                pool=draw(st.sampled_from(POOLS)),
                gpus=draw(st.sampled_from(sizes)),
                price_usd_per_hour=draw(prices),
                load_s=draw(st.sampled_from((0.0, 30.0, 300.0))),
                current_replicas=draw(st.integers(0, 3)),
            )
            options.append(option)
            capacity |= {(name, option.name): draw(capacities) for name in members if draw(st.integers(0, 4))}
    return PlanProblem(
        cells=tuple(cells),
        options=tuple(options),
        pools=tuple(PoolLimit(p, tuple(draw(st.lists(st.integers(0, 8), max_size=4)))) for p in POOLS),
        capacity_per_s=capacity,
        min_replicas={g: draw(st.integers(0, 3)) for g in groups},
        max_replicas=draw(st.dictionaries(st.sampled_from(("llama", "qwen")), st.integers(0, 6))),
        headroom=draw(st.sampled_from((0.5, 0.8, 1.0))),
        budget_usd_per_hour=draw(st.one_of(st.none(), st.floats(0.0, 30.0))),
    )


@given(problems())
@settings(max_examples=100, deadline=None)
def test_every_plan_passes_the_check(problem: PlanProblem) -> None:
    assert violations(problem, solve(problem)) == ()


@given(problems(sizes=(1, 2, 3, 5)))
@settings(max_examples=50, deadline=None)
def test_every_plan_with_odd_group_sizes_passes_the_check(problem: PlanProblem) -> None:
    assert violations(problem, solve(problem)) == ()


@given(problems())
@settings(max_examples=50, deadline=None)
def test_the_greedy_plan_passes_the_same_check(problem: PlanProblem) -> None:
    plan = solve(problem, NO_TIME)
    assert violations(problem, plan) == ()
    assert plan.report.status in (SolveStatus.GREEDY, SolveStatus.OPTIMAL)


@given(problems())
@settings(max_examples=50, deadline=None)
def test_a_plan_is_never_worse_than_the_greedy_one(problem: PlanProblem) -> None:
    best, greedy = solve(problem, EXACT), solve(problem, NO_TIME)
    if not best.shortfalls and not best.unmet_floors and not greedy.shortfalls and not greedy.unmet_floors:
        assert best.report.objective_usd_per_hour <= greedy.report.objective_usd_per_hour + 1e-6
    assert sum(best.unmet_floors.values()) <= sum(greedy.unmet_floors.values()) or _unlike(problem)


def _unlike(problem: PlanProblem) -> bool:
    """Floors of unlike importance: a low one may suffer more for a high one."""
    return len({c.priority for c in problem.cells}) > 1


@given(problems(), st.randoms(use_true_random=False))
@settings(max_examples=50, deadline=None)
def test_the_order_of_the_problem_does_not_matter(problem: PlanProblem, rng: random.Random) -> None:
    def shuffled(items: tuple[T, ...]) -> tuple[T, ...]:
        return tuple(rng.sample(items, len(items)))

    other = replace(
        problem,
        cells=shuffled(problem.cells),
        options=shuffled(problem.options),
        pools=tuple(PoolLimit(p.name, shuffled(p.node_gpus)) for p in shuffled(problem.pools)),
        capacity_per_s=dict(shuffled(tuple(problem.capacity_per_s.items()))),
        min_replicas=dict(shuffled(tuple(problem.min_replicas.items()))),
    )
    assert solve(other) == solve(problem)


@given(problems())
@settings(max_examples=25, deadline=None)
def test_the_same_problem_has_the_same_plan(problem: PlanProblem) -> None:
    assert solve(pickle.loads(pickle.dumps(problem))) == solve(problem)


@given(problems(), st.floats(1.0, 3.0))
@settings(max_examples=50, deadline=None)
def test_more_demand_never_costs_less(problem: PlanProblem, factor: float) -> None:
    more = replace(problem, cells=tuple(replace(c, rate_per_s=c.rate_per_s * factor) for c in problem.cells))
    less_plan, more_plan = solve(problem, EXACT), solve(more, EXACT)
    assume(not more_plan.shortfalls and not more_plan.unmet_floors)
    assert not less_plan.shortfalls
    assert (
        less_plan.report.objective_usd_per_hour <= more_plan.report.objective_usd_per_hour * (1 + 1e-6) + 1e-6
    )


@given(problems(), st.sampled_from((0.25, 3.0, 100.0)))
@settings(max_examples=50, deadline=None)
def test_the_cost_scales_with_the_prices(problem: PlanProblem, factor: float) -> None:
    def scaled(price: float) -> float:
        return price * factor

    budget = problem.budget_usd_per_hour
    other = replace(
        problem,
        options=tuple(replace(o, price_usd_per_hour=scaled(o.price_usd_per_hour)) for o in problem.options),
        budget_usd_per_hour=None if budget is None else scaled(budget),
    )
    expected = solve(problem, EXACT).report.objective_usd_per_hour * factor
    assert math.isclose(
        solve(other, EXACT).report.objective_usd_per_hour, expected, rel_tol=1e-6, abs_tol=1e-6 * factor
    )


@given(problems(), st.data())
@settings(max_examples=100, deadline=None)
def test_a_plan_that_was_tampered_with_is_caught(problem: PlanProblem, data: st.DataObject) -> None:
    plan = solve(problem)
    assume(plan.shares)
    (cell, option), share = data.draw(st.sampled_from(sorted(plan.shares.items())))
    assume(share > 1e-5)  # less may be lost without notice: it is within the tolerance
    tampering: dict[str, Plan] = {
        "a share grows": replace(plan, shares={**plan.shares, (cell, option): share + 0.01}),
        "a share shrinks": replace(plan, shares={**plan.shares, (cell, option): share * 0.99 - 1e-5}),
        "a share is lost": replace(
            plan, shares={k: v for k, v in plan.shares.items() if k != (cell, option)}
        ),
        "its replicas are lost": replace(plan, replicas={**plan.replicas, option: 0}),
        "replicas beyond all nodes": replace(plan, replicas={**plan.replicas, option: 99}),
        "the cost is understated": replace(plan, cost_usd_per_hour=plan.cost_usd_per_hour - 0.01),
        "shortfalls are hushed up": replace(plan, shortfalls=()),
    }
    if not plan.shortfalls:
        del tampering["shortfalls are hushed up"]
    kind = data.draw(st.sampled_from(sorted(tampering)))
    assert violations(problem, tampering[kind]) != (), kind
