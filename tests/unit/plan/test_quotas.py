"""What quotas leave is a limit of the plan, and its reason names the quota that binds."""

from __future__ import annotations

from dataclasses import replace

import pytest

from argosy.keys import CellName, DeploymentKey, GroupName, ModelKey
from argosy.plan.check import violations
from argosy.plan.facts import Facts
from argosy.plan.problem import Cell, Option, PlanProblem, PoolLimit, Quota
from argosy.plan.quotas import with_room_for_least
from argosy.plan.solution import Plan, PlanReasonCode, ShortfallCause
from argosy.plan.solve import solve
from argosy.plan.solver.greedy import fill
from argosy.plan.solver.search import SolveLimits

CELL, GROUP = CellName("chat"), GroupName("n/chat")
CHEAP, DEAR = DeploymentKey("n/cheap"), DeploymentKey("n/dear")
TITLE = "ResourceQuota n/gpus leaves {} of 8 nvidia.com/gpu"


def a_problem(units: int, dear_gpus: int = 6, **fields: object) -> PlanProblem:
    """8 requests/s: four cheap replicas of one GPU carry them, or one dear replica of two GPUs."""
    cheap = Option(CHEAP, GROUP, ModelKey("n/m"), "l40s", 1, 1.0, 30.0, variant="cheap")
    dear = Option(DEAR, GROUP, ModelKey("n/m"), "h100", 2, 6.0, 30.0, variant="dear")
    quota = Quota("n/gpus", TITLE.format(units), "raise it", units, {CHEAP: 1, DEAR: 2})
    problem = PlanProblem(
        cells=(Cell(CELL, GROUP, 8.0, 100),),
        options=(cheap, dear),
        pools=(PoolLimit("l40s", (8,)), PoolLimit("h100", (dear_gpus,))),
        capacity_per_s={(CELL, CHEAP): 2.0, (CELL, DEAR): 8.0},
        headroom=1.0,
        quotas=(quota,),
    )
    return replace(problem, **fields)  # type: ignore[arg-type]


def counts(plan: Plan) -> dict[str, int]:
    return {name: n for name, n in plan.replicas.items() if n}


@pytest.mark.parametrize(("units", "expected"), [(4, {CHEAP: 4}), (3, {DEAR: 1}), (2, {DEAR: 1})])
def test_other_hardware_is_used_where_a_quota_leaves_too_little(units: int, expected: dict[str, int]) -> None:
    problem = a_problem(units)
    plan = solve(problem)
    assert counts(plan) == expected
    assert violations(problem, plan) == ()
    assert violations(problem, solve(problem, SolveLimits(time_limit_s=0.0))) == ()
    greedy = fill(Facts(problem), {})
    assert problem.quotas[0].taken(greedy) <= units


def test_the_plan_says_which_quota_is_full_and_what_was_not_taken_for_it() -> None:
    plan = solve(a_problem(3))
    [reason] = [r for r in plan.reasons if r.code is PlanReasonCode.QUOTA]
    assert reason.message == f"{TITLE.format(3)}; the plan takes 2"
    [cheap] = [a for a in plan.alternatives if "cheap" in a.description]
    assert cheap.reason == f"{TITLE.format(3)} and 4 would be taken"


def test_a_quota_that_leaves_room_is_not_mentioned() -> None:
    assert not [r for r in solve(a_problem(8)).reasons if r.code is PlanReasonCode.QUOTA]


@pytest.mark.parametrize(("units", "served"), [(3, 3), (0, 0)])
def test_too_little_is_a_shortfall_that_names_the_quota_and_what_is_needed(units: int, served: int) -> None:
    problem = a_problem(units, dear_gpus=0)
    plan = solve(problem)
    assert violations(problem, plan) == ()
    assert plan.replicas[CHEAP] == served
    [shortfall] = plan.shortfalls
    assert shortfall.cause is ShortfallCause.QUOTA
    assert f"{TITLE.format(units)} and 4 are needed; raise it or lower the demand" in shortfall.message


def test_a_quota_counts_the_replicas_that_stay_whatever_it_leaves() -> None:
    problem = a_problem(1)
    staying = replace(problem, options=(replace(problem.options[0], least_replicas=3), problem.options[1]))
    raised = with_room_for_least(staying)
    assert raised.quotas[0].units == 3
    plan = solve(raised)
    assert violations(raised, plan) == ()
    assert plan.replicas[CHEAP] == 3


def test_an_option_of_which_the_cluster_refuses_more_gives_way_to_another() -> None:
    why = "LimitRange n/small refuses its replicas (too much memory), which are tried again at noon"
    problem = a_problem(8)
    cheap, dear = problem.options
    refused = replace(problem, options=(replace(cheap, most_replicas=1, held_by=why), dear))
    plan = solve(refused)
    assert violations(refused, plan) == ()
    assert plan.replicas[DEAR] == 1
    assert any(a.reason == why for a in plan.alternatives)
    alone = replace(refused, pools=(PoolLimit("l40s", (8,)),))
    [shortfall] = solve(alone).shortfalls
    assert shortfall.cause is ShortfallCause.REFUSED
    assert why in shortfall.message


@pytest.mark.parametrize("fields", [{"units": -1}, {"per_replica": {CHEAP: 0}}])
def test_numbers_that_break_arithmetic_are_refused(fields: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="n/gpus"):
        replace(a_problem(3).quotas[0], **fields)  # type: ignore[arg-type]
