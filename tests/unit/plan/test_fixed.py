"""Options whose number of replicas is set in the planner's place."""

from __future__ import annotations

from dataclasses import replace

import pytest

from argosy.keys import CellName, DeploymentKey, GroupName, ModelKey
from argosy.plan.check import violations
from argosy.plan.facts import Facts
from argosy.plan.kept import Earlier, kept
from argosy.plan.problem import Cell, Option, PlanProblem, PoolLimit
from argosy.plan.solution import Plan, PlanReasonCode, ShortfallCause
from argosy.plan.solve import solve
from argosy.plan.solver.greedy import fill
from argosy.plan.violation import ViolationCode

CELL, GROUP = CellName("chat"), GroupName("n/chat")
CHEAP, DEAR = DeploymentKey("n/cheap"), DeploymentKey("n/dear")
HPA = "HorizontalPodAutoscaler n/hpa"


def a_problem(fixed: int, rate_per_s: float = 8.0, dear_gpus: int = 6, **fields: object) -> PlanProblem:
    """A replica carries 4 requests/s; of the cheap ones the number is set elsewhere."""
    cheap = Option(CHEAP, GROUP, ModelKey("n/m"), "l40s", 1, 1.0, 30.0, variant="cheap")
    dear = Option(DEAR, GROUP, ModelKey("n/m"), "h100", 1, 3.0, 30.0, variant="dear")
    problem = PlanProblem(
        cells=(Cell(CELL, GROUP, rate_per_s, 100),),
        options=(replace(cheap, least_replicas=fixed, most_replicas=fixed, fixed_by=HPA), dear),
        pools=(PoolLimit("l40s", (1,) * 6), PoolLimit("h100", (1,) * dear_gpus)),
        capacity_per_s={(CELL, CHEAP): 4.0, (CELL, DEAR): 4.0},
        headroom=1.0,
    )
    return replace(problem, **fields)  # type: ignore[arg-type]


def counts(plan: Plan) -> dict[str, int]:
    return {name: n for name, n in plan.replicas.items() if n}


@pytest.mark.parametrize(
    ("fixed", "expected"),
    [(0, {DEAR: 2}), (1, {CHEAP: 1, DEAR: 1}), (2, {CHEAP: 2}), (5, {CHEAP: 5})],
)
def test_the_rest_is_planned_around_it(fixed: int, expected: dict[str, int]) -> None:
    problem = a_problem(fixed)
    plan = solve(problem)
    assert counts(plan) == expected
    assert violations(problem, plan) == ()
    assert {name: n for name, n in fill(Facts(problem), {}).items() if n} == expected


def test_too_few_without_another_option_is_a_shortfall_that_names_what_sets_them() -> None:
    problem = a_problem(1, dear_gpus=0)
    plan = solve(problem)
    assert violations(problem, plan) == ()
    [shortfall] = plan.shortfalls
    assert shortfall.cause is ShortfallCause.FIXED
    assert f"{HPA} sets 1 replica of cheap and 2 are needed; let it set more" in shortfall.message


def test_the_reason_of_the_number_is_what_sets_it_and_not_the_demand() -> None:
    plan = solve(a_problem(3))
    assert [r.code for r in plan.reasons] == [PlanReasonCode.FIXED]
    assert plan.reasons[0].message.endswith(f": {HPA} sets this number")


@pytest.mark.parametrize(("count", "code"), [(1, ViolationCode.BELOW_LEAST), (3, ViolationCode.ABOVE_MOST)])
def test_the_check_finds_another_number(count: int, code: ViolationCode) -> None:
    problem = a_problem(2)
    plan = solve(problem)
    wrong = replace(plan, replicas={**plan.replicas, CHEAP: count})
    assert code in {v.code for v in violations(problem, wrong)}


def test_an_earlier_plan_is_kept_but_for_the_number_that_has_changed() -> None:
    problem = a_problem(2)
    earlier = Earlier({CHEAP: 1, DEAR: 1}, {(CELL, CHEAP): 0.5, (CELL, DEAR): 0.5}, 0.01)
    plan = kept(problem, solve(problem), earlier)
    assert plan is not None
    assert counts(plan) == {CHEAP: 2, DEAR: 1}
    assert plan.shares[CELL, CHEAP] == pytest.approx(2 / 3, abs=1e-3)


def test_a_floor_that_the_number_does_not_reach_is_met_by_another_option() -> None:
    problem = a_problem(1, rate_per_s=0.0, min_replicas={GROUP: 3})
    plan = solve(problem)
    assert counts(plan) == {CHEAP: 1, DEAR: 2}
    assert violations(problem, plan) == ()
