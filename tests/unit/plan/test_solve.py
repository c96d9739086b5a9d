"""Stories of sizing: what is asked, what there is, and what comes out."""

import pickle
from dataclasses import replace
from typing import Any

import pytest

from argosy.plan.check import violations
from argosy.plan.problem import Cell, Option, PlanProblem, PoolLimit
from argosy.plan.solution import Plan, ShortfallCause, SolveStatus
from argosy.plan.solve import solve
from argosy.plan.solver.model import SizingModel
from argosy.plan.solver.search import Incumbent, NoSolution, Search, SolveLimits


def option(name: str, price_usd_per_hour: float, gpus: int = 1, **more: Any) -> Option:
    """An option `group-pool`, of model `llama`, loaded in no time."""
    group, pool = name.split("-")
    fields: dict[str, Any] = {"model": "llama", "load_s": 0.0, **more}
    return Option(
        name=name, group=group, pool=pool, gpus=gpus, price_usd_per_hour=price_usd_per_hour, **fields
    )


def two_classes(chat_per_s: float, **more: Any) -> PlanProblem:
    """chat before batch, on six L40S nodes of two and two H100 nodes of two."""
    problem = PlanProblem(
        cells=(Cell("chat", "chat", chat_per_s, 10), Cell("batch", "batch", 0.3, 1)),
        options=tuple(
            option(f"{group}-{pool}", price, load_s=23.0)
            for group in ("chat", "batch")
            for pool, price in (("l40s", 0.9), ("h100", 6.0))
        ),
        pools=(PoolLimit("l40s", (2,) * 6), PoolLimit("h100", (2, 2))),
        capacity_per_s={
            ("chat", "chat-l40s"): 4.51,
            ("chat", "chat-h100"): 14.0,
            ("batch", "batch-l40s"): 0.5,
            ("batch", "batch-h100"): 2.0,
        },
        min_replicas={"chat": 1, "batch": 1},
    )
    return replace(problem, **more)


def running(plan: Plan) -> dict[str, int]:
    return {name: n for name, n in plan.replicas.items() if n}


def solved(problem: PlanProblem, limits: SolveLimits | None = None) -> Plan:
    plan = solve(problem, limits)
    assert violations(problem, plan) == ()
    return plan


@pytest.mark.parametrize(
    ("problem", "expected"),
    [
        pytest.param(two_classes(8), {"chat-l40s": 3, "batch-l40s": 1}, id="three cheap replicas carry chat"),
        pytest.param(two_classes(16), {"chat-l40s": 5, "batch-l40s": 1}, id="the burst takes two more"),
        pytest.param(two_classes(0), {"chat-l40s": 1, "batch-l40s": 1}, id="no traffic: the floor stays"),
        pytest.param(
            two_classes(0, min_replicas={"batch": 1}),
            {"batch-l40s": 1},
            id="no traffic and no floor: nothing",
        ),
        pytest.param(
            two_classes(16, pools=(PoolLimit("h100", (2, 2)),)),
            {"chat-h100": 2, "batch-h100": 1},
            id="a vanished pool is replaced",
        ),
        pytest.param(
            two_classes(8, min_replicas={"chat": 4, "batch": 1}),
            {"chat-l40s": 4, "batch-l40s": 1},
            id="a floor above the demand",
        ),
    ],
)
def test_a_fleet_is_sized(problem: PlanProblem, expected: dict[str, int]) -> None:
    plan = solved(problem)
    assert running(plan) == expected
    assert plan.shortfalls == ()
    assert plan.report.status == SolveStatus.OPTIMAL


def test_a_price_change_moves_the_class_whose_loading_pays_back() -> None:
    before = two_classes(8)
    current = solved(before).replicas
    cheap = {"l40s": 0.9, "h100": 2.0}
    options = tuple(
        replace(o, price_usd_per_hour=cheap[o.pool], current_replicas=current[o.name]) for o in before.options
    )
    after = solved(replace(before, options=options))
    assert running(after) == {"chat-h100": 1, "batch-l40s": 1}


def test_a_move_that_does_not_pay_back_within_the_horizon_is_not_made() -> None:
    old, new = option("chat-a", 1.0, current_replicas=2), option("chat-b", 0.99, load_s=60.0)
    problem = PlanProblem(
        cells=(Cell("chat", "chat", 4.0, 1),),
        options=(old, new),
        pools=(PoolLimit("a", (8,)), PoolLimit("b", (8,))),
        capacity_per_s={("chat", "chat-a"): 2.5, ("chat", "chat-b"): 2.5},
    )
    plan = solved(problem)
    assert running(plan) == {"chat-a": 2}
    assert "$0.02/h cheaper to run, but loading it weighs $0.20/h over 600 s" in [
        a.reason for a in plan.alternatives
    ]
    assert running(solved(replace(problem, transition_horizon_s=36_000.0))) == {"chat-b": 2}


# The example of Melange (arXiv 2404.14527): 30 req/s in four slices, max throughputs of one GPU.
MELANGE = PlanProblem(
    cells=tuple(Cell(f"slice{i}", "all", 30.0 * share, 0) for i, share in enumerate((0.2, 0.1, 0.5, 0.2))),
    options=(option("all-a10g", 1.01), option("all-a100", 3.67)),
    pools=(PoolLimit("a10g", (4,)), PoolLimit("a100", (4,))),
    capacity_per_s={
        **{(f"slice{i}", "all-a10g"): k for i, k in enumerate((2.0, 1.0, 5.0, 2.0))},
        **{(f"slice{i}", "all-a100"): k for i, k in enumerate((20.0, 20.0, 40.0, 20.0))},
    },
    headroom=1.0,
)


def test_melanges_example_with_divisible_slices_takes_one_of_each() -> None:
    # Its sliced binary program pays $6.70 (factor 1) and $5.69 (factor 2); Envoy can split a cell.
    plan = solved(MELANGE)
    assert running(plan) == {"all-a10g": 1, "all-a100": 1}
    assert plan.cost_usd_per_hour == pytest.approx(4.68)


# AIBrix's simulator profiles for llama2-7b, requests/s by output (4-512) and input (128-2048) tokens.
AIBRIX_A40 = (
    (53.468, 26.947, 13.351, 6.4491, 3.0687),
    (49.181, 25.769, 12.751, 6.2170, 3.9082),
    (41.108, 22.757, 11.871, 5.8299, 2.8225),
    (26.893, 19.117, 10.259, 5.2229, 2.5432),
    (22.159, 14.476, 8.0336, 4.2722, 2.1646),
    (12.634, 9.1056, 5.3419, 3.0724, 1.6056),
    (6.4407, 4.9085, 2.8257, 1.7049, 0.97584),
    (2.6865, 2.0460, 1.3656, 1.2239, 0.50422),
)
AIBRIX_A100 = (
    (62.477, 32.313, 16.795, 8.5066, 4.2551),
    (60.316, 31.743, 16.649, 8.4565, 4.2321),
    (31.390, 31.441, 16.355, 8.3199, 4.1952),
    (29.660, 29.443, 15.737, 8.0995, 4.0975),
    (15.195, 15.141, 8.0842, 7.6355, 3.9453),
    (7.6749, 7.6464, 7.4700, 4.0215, 2.0825),
    (3.8569, 3.8474, 3.7883, 2.0289, 0.0),
    (0.0, 0.0, 0.0, 0.0, 0.0),
)


def test_aibrix_uniform_load_takes_two_a40_and_not_one_of_each_kind_more() -> None:
    # 5 req/s over 40 buckets are 1.449 A40. Rounding up per GPU type pays $1.60 for it.
    buckets = [(i, j) for i in range(8) for j in range(5)]
    problem = PlanProblem(
        cells=tuple(Cell(f"bucket-{i}-{j}", "all", 5 / 40, 0) for i, j in buckets),
        options=(option("all-a40", 0.3), option("all-a100", 1.0)),
        pools=(PoolLimit("a40", (8,)), PoolLimit("a100", (8,))),
        capacity_per_s={
            (f"bucket-{i}-{j}", name): table[i][j]
            for i, j in buckets
            for name, table in (("all-a40", AIBRIX_A40), ("all-a100", AIBRIX_A100))
        },
        headroom=1.0,
    )
    plan = solved(problem)
    assert running(plan) == {"all-a40": 2}
    assert plan.cost_usd_per_hour == pytest.approx(0.6)


def test_shares_make_unlike_options_equally_busy() -> None:
    problem = two_classes(18, pools=(PoolLimit("l40s", (3,)), PoolLimit("h100", (2,))))
    plan = solved(problem)
    assert running(plan) == {"chat-l40s": 2, "chat-h100": 1, "batch-l40s": 1}
    capacity = {"chat-l40s": 2 * 4.51, "chat-h100": 14.0}
    busy = [18 * plan.shares["chat", o] / k for o, k in capacity.items()]
    assert busy == pytest.approx([18 / 23.02] * 2)


def test_several_cells_share_a_group_without_overfilling_one_option() -> None:
    # `long` only runs on the large GPU; `short` must make way for it there.
    problem = PlanProblem(
        cells=(Cell("short", "chat", 10.0, 1), Cell("long", "chat", 3.0, 1)),
        options=(option("chat-small", 1.0), option("chat-large", 4.0)),
        pools=(PoolLimit("small", (1,)), PoolLimit("large", (2,))),
        capacity_per_s={
            ("short", "chat-small"): 10.0,
            ("short", "chat-large"): 30.0,
            ("long", "chat-large"): 6.0,
        },
    )
    plan = solved(problem)
    assert running(plan) == {"chat-small": 1, "chat-large": 1}
    # s/10 = (10 - s)/30 + 3/6 makes both equally busy: s = 6.25.
    assert plan.shares == pytest.approx(
        {("short", "chat-small"): 0.625, ("short", "chat-large"): 0.375, ("long", "chat-large"): 1.0}
    )


def test_the_important_class_is_served_first_and_the_other_is_named() -> None:
    problem = two_classes(9, pools=(PoolLimit("l40s", (2, 2)),), min_replicas={})
    plan = solved(replace(problem, cells=(Cell("chat", "chat", 14.0, 10), Cell("batch", "batch", 0.3, 1))))
    assert running(plan) == {"chat-l40s": 4}
    assert [(s.cell, s.cause) for s in plan.shortfalls] == [("batch", ShortfallCause.POOL_FULL)]


def test_priorities_hold_over_more_than_two_levels_and_any_size_of_rate() -> None:
    cells = tuple(
        Cell(name, name, rate, p) for name, rate, p in (("a", 0.1, 3), ("b", 1000.0, 2), ("c", 50.0, 1))
    )
    problem = PlanProblem(
        cells=cells,
        options=tuple(option(f"{c.name}-pool", 1.0) for c in cells),
        pools=(PoolLimit("pool", (1, 1)),),
        capacity_per_s={("a", "a-pool"): 0.2, ("b", "b-pool"): 10.0, ("c", "c-pool"): 100.0},
    )
    plan = solved(problem)
    # The tenth of a request keeps its replica; b takes the other, c gets nothing.
    assert running(plan) == {"a-pool": 1, "b-pool": 1}
    assert {s.cell: s.missing_per_s for s in plan.shortfalls} == pytest.approx({"b": 992.0, "c": 50.0})


def test_a_cell_that_nothing_can_serve_is_named_and_the_rest_is_served() -> None:
    problem = two_classes(8)
    hard = replace(problem, cells=(*problem.cells, Cell("novel", "novel", 1.0, 99)))
    plan = solved(hard)
    assert running(plan) == {"chat-l40s": 3, "batch-l40s": 1}
    (short,) = plan.shortfalls
    assert (short.cell, short.missing_per_s, short.cause) == ("novel", 1.0, ShortfallCause.NO_VARIANT)


def test_zero_nodes_make_an_empty_plan_with_every_cell_named() -> None:
    plan = solved(two_classes(8, pools=()))
    assert running(plan) == {}
    assert {s.cell: s.cause for s in plan.shortfalls} == dict.fromkeys(
        ("chat", "batch"), ShortfallCause.NO_NODES
    )
    assert plan.unmet_floors == {"chat": 1, "batch": 1}
    assert [r.code for r in plan.reasons].count("FloorUnmet") == 2


def test_a_floor_that_cannot_be_met_leaves_the_others_whole() -> None:
    problem = two_classes(
        8,
        pools=(PoolLimit("l40s", (2, 2, 2)),),
        min_replicas={"chat": 1, "batch": 9},
        max_replicas={"llama": 5},
    )
    plan = solved(problem)
    # The floor comes before the demand: chat keeps its floor of one, batch has all the rest.
    assert running(plan) == {"chat-l40s": 1, "batch-l40s": 4}
    assert plan.unmet_floors == {"batch": 5}
    assert [s.cause for s in plan.shortfalls] == [ShortfallCause.REPLICA_LIMIT]


def test_the_budget_holds_and_the_shortfall_says_so() -> None:
    plan = solved(two_classes(16, budget_usd_per_hour=3.6))
    assert running(plan) == {"chat-l40s": 3, "batch-l40s": 1}
    (short,) = plan.shortfalls
    assert short.cause is ShortfallCause.BUDGET
    assert "raise the budget of the Fleet" in short.message


def test_groups_of_unlike_sizes_share_nodes_exactly() -> None:
    # Two threes and two twos need all of 5 + 5; a formula that counts GPUs alone would allow a third two.
    problem = PlanProblem(
        cells=(Cell("a", "a", 6.0, 2), Cell("b", "b", 9.0, 1)),
        options=(option("a-pool", 3.0, gpus=3), option("b-pool", 2.0, gpus=2)),
        pools=(PoolLimit("pool", (5, 5)),),
        capacity_per_s={("a", "a-pool"): 3.0, ("b", "b-pool"): 3.0},
        headroom=1.0,
    )
    plan = solved(problem)
    assert running(plan) == {"a-pool": 2, "b-pool": 2}
    assert {s.cell: s.missing_per_s for s in plan.shortfalls} == pytest.approx({"b": 3.0})


def test_ties_go_to_what_runs_and_then_to_the_first_name() -> None:
    problem = PlanProblem(
        cells=(Cell("chat", "chat", 4.0, 1),),
        options=(option("chat-b", 1.0), option("chat-a", 1.0), option("chat-c", 1.0)),
        pools=tuple(PoolLimit(p, (8,)) for p in "abc"),
        capacity_per_s={("chat", f"chat-{p}"): 2.5 for p in "abc"},
    )
    assert running(solved(problem)) == {"chat-a": 2}
    on_c = tuple(replace(o, current_replicas=2 if o.pool == "c" else 0) for o in problem.options)
    assert running(solved(replace(problem, options=on_c))) == {"chat-c": 2}


@pytest.mark.parametrize(("current", "num_searches"), [(3, 1), (2, 2)])
def test_a_fleet_that_is_as_cheap_as_any_other_is_searched_for_once(
    current: int, num_searches: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    gaps: list[float] = []

    class Counted(Search):
        def run(self, sizing: SizingModel, gap: float, *more: Any) -> Incumbent | NoSolution:
            gaps.append(gap)
            return super().run(sizing, gap, *more)

    monkeypatch.setattr("argosy.plan.solve.Search", Counted)
    runs, problem = {"chat-l40s": current, "batch-l40s": 1}, two_classes(8)
    options = tuple(replace(o, current_replicas=runs.get(o.name, 0)) for o in problem.options)
    assert running(solved(replace(problem, options=options))) == {"chat-l40s": 3, "batch-l40s": 1}
    assert len(gaps) == num_searches


def test_a_rate_next_to_nothing_still_gets_a_replica() -> None:
    plan = solved(two_classes(1e-12, min_replicas={}))
    assert plan.replicas["chat-l40s"] == 1
    assert plan.report.gap == pytest.approx(0.0)  # the program itself asks for it


def test_a_capacity_next_to_nothing_wrecks_no_program() -> None:
    problem = two_classes(8)
    capacity = {**problem.capacity_per_s, ("chat", "chat-h100"): 1e-300, ("batch", "batch-h100"): 0.0}
    assert running(solved(replace(problem, capacity_per_s=capacity))) == {"chat-l40s": 3, "batch-l40s": 1}


def test_without_time_the_greedy_rule_answers_and_says_so() -> None:
    plan = solved(two_classes(16), SolveLimits(time_limit_s=0.0))
    assert plan.report.status == SolveStatus.GREEDY
    assert plan.reasons[0].code == "Greedy"
    assert running(plan) == {"chat-l40s": 5, "batch-l40s": 1}
    assert plan.report.bound_usd_per_hour <= plan.report.objective_usd_per_hour


def test_without_time_and_without_room_the_greedy_rule_still_books_every_shortfall() -> None:
    plan = solved(two_classes(160), SolveLimits(time_limit_s=0.0))
    assert plan.report.status == SolveStatus.GREEDY
    assert [s.cell for s in plan.shortfalls] == ["chat"]


def test_the_question_and_its_answer_survive_the_way_to_the_worker_and_back() -> None:
    plan = solved(two_classes(16))
    assert pickle.loads(pickle.dumps(plan)) == plan
    assert pickle.loads(pickle.dumps(solve)) is solve


def test_an_empty_problem_has_an_empty_plan() -> None:
    problem = PlanProblem(cells=(), options=(), pools=(), capacity_per_s={})
    plan = solved(problem)
    assert (running(plan), plan.cost_usd_per_hour, plan.report.gap) == ({}, 0.0, 0.0)
