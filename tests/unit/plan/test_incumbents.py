"""A running group's last replica: which other group may take it, and in which words."""

from __future__ import annotations

from dataclasses import replace

import pytest

from argosy.keys import CellName, DeploymentKey, GroupName, ModelKey
from argosy.plan.check import violations
from argosy.plan.facts import Facts
from argosy.plan.problem import Cell, Option, PlanProblem, PoolLimit
from argosy.plan.solution import Plan
from argosy.plan.solve import solve
from argosy.plan.solver.greedy import fill
from argosy.plan.solver.search import SolveLimits


def cell(name: str, rate_per_s: float, priority: int = 100, *, is_served: bool = False) -> Cell:
    return Cell(CellName(name), GroupName(name), rate_per_s, priority, is_served)


def a_pool_of(gpus: int, *cells: Cell, floors: int = 1, current: dict[str, int] | None = None) -> PlanProblem:
    """One pool, one option for each cell; a replica carries 4 requests/s of it."""
    running = current or {}
    return PlanProblem(
        cells=cells,
        options=tuple(
            Option(
                DeploymentKey(f"for-{c.name}"),
                c.group,
                ModelKey("m"),
                "l40s",
                1,
                0.9,
                30.0,
                running.get(c.name, 0),
                variant="small",
            )
            for c in cells
        ),
        pools=(PoolLimit("l40s", (1,) * gpus),),
        capacity_per_s={(c.name, DeploymentKey(f"for-{c.name}")): 4.0 for c in cells},
        min_replicas={c.group: floors for c in cells},
        headroom=1.0,
    )


def replicas(plan: Plan) -> dict[str, int]:
    return {name.removeprefix("for-"): n for name, n in plan.replicas.items()}


RUNNING = cell("batch", 1.0, is_served=True)


@pytest.mark.parametrize(
    ("new", "floors", "winner"),
    [
        pytest.param(cell("a-new", 1.0, 100), 1, "batch", id="a new one of equal priority waits"),
        pytest.param(cell("a-new", 4.0, 100), 1, "batch", id="however much more it asks for"),
        pytest.param(cell("a-new", 4.0, 100), 0, "batch", id="with floors or without"),
        pytest.param(cell("a-new", 1.0, 99), 1, "batch", id="one of lower priority waits"),
        pytest.param(cell("a-new", 1.0, 101), 1, "a-new", id="one of higher priority takes it"),
        pytest.param(cell("a-new", 0.0, 101), 1, "a-new", id="for its floor alone, too"),
        pytest.param(cell("a-new", 1.0, 101), 0, "a-new", id="or for its requests"),
    ],
)
def test_the_last_replica_of_a_running_group_is_taken_by_a_higher_priority_only(
    new: Cell, floors: int, winner: str
) -> None:
    problem = a_pool_of(1, RUNNING, new, floors=floors, current={"batch": 1})
    plan = solve(problem)
    assert {name: n for name, n in replicas(plan).items() if n} == {winner: 1}
    assert violations(problem, plan) == ()


def test_without_a_running_one_the_larger_rate_is_served() -> None:
    plan = solve(a_pool_of(1, replace(RUNNING, is_served=False), cell("a-new", 4.0), floors=0))
    assert replicas(plan) == {"a-new": 1, "batch": 0}


def test_a_running_group_whose_replicas_all_died_still_comes_before_a_new_one() -> None:
    assert replicas(solve(a_pool_of(1, RUNNING, cell("a-new", 4.0)))) == {"a-new": 0, "batch": 1}


def test_replicas_beyond_the_last_one_go_to_floors_of_equal_priority() -> None:
    running = cell("batch", 12.0, is_served=True)
    plan = solve(a_pool_of(3, running, cell("a-new", 1.0), current={"batch": 3}))
    assert replicas(plan) == {"a-new": 1, "batch": 2}


def test_a_running_group_without_requests_and_floor_keeps_nothing() -> None:
    idle = cell("batch", 0.0, 100, is_served=True)
    plan = solve(a_pool_of(1, idle, cell("a-new", 1.0), floors=0, current={"batch": 1}))
    assert replicas(plan) == {"a-new": 1, "batch": 0}


def test_the_loser_is_told_which_one_takes_its_last_replica() -> None:
    problem = a_pool_of(1, replace(RUNNING, priority=50), cell("a-new", 1.0), current={"batch": 1})
    [shortfall] = solve(problem).shortfalls
    assert shortfall.cell == "batch"
    assert shortfall.message == (
        "batch lacks 1.0 req/s of 1.0 req/s: the last replica that serves it is taken for a-new (priority"
        " 100), as its own priority is 50; pool l40s has 1 GPU and 2 are needed; add nodes to GPUPool l40s or"
        " lower the demand of batch"
    )


def test_a_group_that_never_ran_is_not_told_of_a_loss() -> None:
    problem = a_pool_of(1, RUNNING, cell("a-new", 1.0), current={"batch": 1})
    [shortfall] = solve(problem).shortfalls
    assert shortfall.message == (
        "a-new lacks 1.0 req/s of 1.0 req/s: pool l40s has 1 GPU and 2 are needed; add nodes to GPUPool l40s"
        " or lower the demand of a-new"
    )


@pytest.mark.parametrize("priority", [99, 100, 101])
@pytest.mark.parametrize("floors", [0, 1])
def test_the_greedy_rule_keeps_the_same_replica(priority: int, floors: int) -> None:
    problem = a_pool_of(1, RUNNING, cell("a-new", 4.0, priority), floors=floors, current={"batch": 1})
    assert fill(Facts(problem), {}) == dict(solve(problem).replicas)
    assert dict(solve(problem, SolveLimits(time_limit_s=0.0)).replicas) == dict(solve(problem).replicas)


# What is missing, in all.


def test_each_of_many_groups_that_find_a_pool_full_reads_what_all_of_them_need() -> None:
    problem = a_pool_of(10, *(cell(f"c{i:02}", 1.0) for i in range(48)))
    found = solve(problem).shortfalls
    assert len(found) == 38
    assert {s.message.partition(": ")[2].partition(" (")[0] for s in found} == {
        "pool l40s has 10 GPUs and 48 are needed"
    }
    [first, *_] = found
    assert f"(1 for {first.cell}, the rest for those of 37 other groups); add nodes" in first.message


def test_groups_that_are_idle_and_below_their_floors_count_in_what_is_needed() -> None:
    problem = a_pool_of(2, cell("a", 4.0, 200), cell("b", 8.0), cell("c", 0.0), floors=3)
    plan = solve(problem)
    assert plan.shortfalls[-1].message.partition(": ")[2].startswith("pool l40s has 2 GPUs and 9 are needed")


def test_cells_of_one_group_need_the_replicas_of_their_sum() -> None:
    one = a_pool_of(1, cell("a", 6.0))
    halves = tuple(replace(cell(name, 3.0), group=GroupName("a")) for name in ("a", "b"))
    capacity = {(c.name, DeploymentKey("for-a")): 4.0 for c in halves}
    found = solve(replace(one, cells=halves, capacity_per_s=capacity)).shortfalls
    assert [s.message.partition(": ")[2] for s in found] == [
        "pool l40s has 1 GPU and 2 are needed; add nodes to GPUPool l40s or lower the demand of"
        " sharing group a (a, b)"
    ] * 2


def test_a_ceiling_and_a_budget_name_what_all_groups_need_as_well() -> None:
    three = a_pool_of(5, *(cell(name, 4.0) for name in "abc"))
    limited = solve(replace(three, max_replicas={ModelKey("m"): 1}))
    assert {s.message.partition(": ")[2].partition(";")[0] for s in limited.shortfalls} == {
        "model m may have 1 replica and 3 are needed"
    }
    poor = solve(replace(three, budget_usd_per_hour=1.0))
    assert {s.message.partition(": ")[2].partition(";")[0] for s in poor.shortfalls} == {
        "the budget is $1.00/h and $2.70/h is needed, for 1 more replica of small and those of another group"
    }
