"""An earlier plan is kept only where every promise of the new problem still holds."""

from __future__ import annotations

from dataclasses import replace

import pytest

from argosy.keys import CellName, DeploymentKey, GroupName, ModelKey
from argosy.plan.kept import Earlier, Shares, kept
from argosy.plan.problem import Cell, Option, PlanProblem, PoolLimit
from argosy.plan.solution import Plan
from argosy.plan.solve import solve
from argosy.plan.solver.search import SolveLimits

CELL, GROUP = CellName("chat"), GroupName("n/chat")
CHEAP, DEAR = DeploymentKey("n/cheap"), DeploymentKey("n/dear")


def a_problem(rate_per_s: float = 8.0, floor: int = 1, gpus: int = 6) -> PlanProblem:
    """A replica carries 4 requests/s, of either option."""
    return PlanProblem(
        cells=(Cell(CELL, GROUP, rate_per_s, 100, False),),
        options=tuple(
            Option(key, GROUP, ModelKey("n/m"), pool, 1, usd, 30.0, 0, variant=pool)
            for key, pool, usd in ((CHEAP, "l40s", 1.0), (DEAR, "h100", 3.0))
        ),
        pools=(PoolLimit("l40s", (1,) * gpus), PoolLimit("h100", (1,) * gpus)),
        capacity_per_s={(CELL, CHEAP): 4.0, (CELL, DEAR): 4.0},
        min_replicas={GROUP: floor},
        headroom=1.0,
    )


def found(problem: PlanProblem) -> Plan:
    plan = solve(problem, SolveLimits(time_limit_s=None))
    assert isinstance(plan, Plan)
    return plan


def earlier(counts: dict[DeploymentKey, int], shares: Shares | None = None) -> Earlier:
    total = sum(counts.values())
    even = {(CELL, key): n / total for key, n in counts.items()}
    return Earlier(counts, even if shares is None else shares, 0.01)


def test_the_dearer_replicas_are_kept_with_what_they_cost() -> None:
    problem = a_problem()
    plan = kept(problem, found(problem), earlier({DEAR: 2}))
    assert plan is not None
    assert {key: n for key, n in plan.replicas.items() if n} == {DEAR: 2}
    assert plan.shares == {(CELL, DEAR): 1.0}
    report = plan.report
    best = found(problem).report
    assert report.objective_usd_per_hour > best.objective_usd_per_hour
    assert report.bound_usd_per_hour == best.bound_usd_per_hour
    difference = report.objective_usd_per_hour - report.bound_usd_per_hour
    assert report.gap == pytest.approx(difference / report.objective_usd_per_hour)


def test_the_gap_of_a_fleet_that_costs_cents_is_as_true() -> None:
    problem = a_problem(4.0)
    cents = tuple(replace(o, price_usd_per_hour=o.price_usd_per_hour / 100) for o in problem.options)
    problem = replace(problem, options=cents)
    plan = kept(problem, found(problem), earlier({DEAR: 1}))
    assert plan is not None
    assert plan.report.objective_usd_per_hour < 1.0
    assert plan.report.gap > 0.5


def test_a_search_that_was_cut_does_not_put_the_bound_above_what_is_kept() -> None:
    problem = a_problem()
    cut = found(problem)
    cut = replace(cut, report=replace(cut.report, bound_usd_per_hour=1e6))
    plan = kept(problem, cut, earlier({CHEAP: 2}))
    assert plan is not None
    assert plan.report.bound_usd_per_hour == plan.report.objective_usd_per_hour
    assert plan.report.gap == 0.0


@pytest.mark.parametrize(
    ("problem", "before"),
    [
        pytest.param(a_problem(), earlier({DeploymentKey("n/gone"): 2}), id="an option is gone"),
        pytest.param(
            a_problem(),
            earlier({CHEAP: 2}, {(CELL, CHEAP): 1.0, (CellName("gone"), CHEAP): 1.0}),
            id="a cell is gone",
        ),
        pytest.param(a_problem(), earlier({CHEAP: 1}), id="it would serve half"),
        pytest.param(a_problem(1.0, floor=2), earlier({CHEAP: 1}), id="it would break a floor"),
        pytest.param(a_problem(gpus=2), earlier({CHEAP: 3}), id="the nodes are gone"),
        pytest.param(
            a_problem(), earlier({CHEAP: 1, DEAR: 1}, {(CELL, CHEAP): 1.0}), id="one replica gets too much"
        ),
    ],
)
def test_what_does_not_serve_as_much_is_not_kept(problem: PlanProblem, before: Earlier) -> None:
    assert kept(problem, found(problem), before) is None


def test_every_option_may_be_in_use() -> None:
    problem = a_problem()
    plan = kept(problem, found(problem), earlier({CHEAP: 1, DEAR: 1}))
    assert plan is not None
    assert plan.shares == {(CELL, CHEAP): 0.5, (CELL, DEAR): 0.5}


@pytest.mark.parametrize(
    ("share", "expected"),
    [pytest.param(0.505, 0.5, id="hardly: balanced"), pytest.param(0.6, 0.6, id="clearly: the earlier one")],
)
def test_earlier_shares_stay_where_they_differ_from_the_balanced_ones(share: float, expected: float) -> None:
    problem = a_problem(6.0)
    shares = {(CELL, CHEAP): share, (CELL, DEAR): 1.0 - share}
    plan = kept(problem, found(problem), earlier({CHEAP: 1, DEAR: 1}, shares))
    assert plan is not None
    assert plan.shares[CELL, CHEAP] == pytest.approx(expected)


def test_a_plan_that_falls_short_as_the_one_found_does_is_kept_with_its_shares_of_what_is_served() -> None:
    problem = a_problem(16.0, gpus=1)
    short = found(problem)
    plan = kept(problem, short, earlier({CHEAP: 1, DEAR: 1}))
    assert plan is not None
    assert plan.shares == pytest.approx({(CELL, CHEAP): 0.25, (CELL, DEAR): 0.25})


def test_a_floor_that_the_plan_found_misses_too_is_no_reason_against_keeping() -> None:
    problem = a_problem(1.0, floor=3, gpus=1)
    short = found(problem)
    assert short.unmet_floors == {GROUP: 1}
    assert kept(problem, short, earlier({CHEAP: 1, DEAR: 1})) is not None


def test_no_replica_for_no_request_costs_nothing_and_is_kept() -> None:
    problem = a_problem(0.0, floor=0)
    plan = kept(problem, found(problem), Earlier({}, {}, 0.01))
    assert plan is not None
    assert (plan.report.objective_usd_per_hour, plan.report.gap) == (0.0, 0.0)


BATCH, BATCH_GROUP = CellName("batch"), GroupName("n/batch")
FOR_BATCH = DeploymentKey("n/for-batch")


def two_cells(
    chat_per_s: float = 4.0, batch_per_s: float = 4.0, floors: dict[GroupName, int] | None = None
) -> PlanProblem:
    """One GPU, for which the replicas of two groups compete; chat goes first."""
    return PlanProblem(
        cells=(
            Cell(CELL, GROUP, chat_per_s, 100, False),
            Cell(BATCH, BATCH_GROUP, batch_per_s, 50, False),
        ),
        options=tuple(
            Option(key, group, ModelKey("n/m"), "l40s", 1, 1.0, 30.0, 0, variant="l40s")
            for key, group in ((CHEAP, GROUP), (FOR_BATCH, BATCH_GROUP))
        ),
        pools=(PoolLimit("l40s", (1,)),),
        capacity_per_s={(CELL, CHEAP): 4.0, (BATCH, FOR_BATCH): 4.0},
        min_replicas=floors or {GROUP: 0, BATCH_GROUP: 0},
        headroom=1.0,
    )


@pytest.mark.parametrize("rate_per_s", [4.0, 0.5])
def test_a_plan_that_serves_one_class_better_at_the_cost_of_another_is_not_kept(rate_per_s: float) -> None:
    problem = two_cells(rate_per_s, rate_per_s)
    best = found(problem)
    assert {key: n for key, n in best.replicas.items() if n} == {CHEAP: 1}
    assert kept(problem, best, Earlier({FOR_BATCH: 1}, {(BATCH, FOR_BATCH): 1.0}, 0.01)) is None
    assert kept(problem, best, Earlier({CHEAP: 1}, {(CELL, CHEAP): 1.0}, 0.01)) is not None


def test_a_plan_that_breaks_the_floor_that_the_one_found_keeps_is_not_kept() -> None:
    problem = two_cells(0.0, 0.0, {GROUP: 1, BATCH_GROUP: 1})
    best = found(problem)
    assert best.unmet_floors == {BATCH_GROUP: 1}
    assert kept(problem, best, Earlier({CHEAP: 1}, {(CELL, CHEAP): 1.0}, 0.01)) is not None
    assert kept(problem, best, Earlier({FOR_BATCH: 1}, {(BATCH, FOR_BATCH): 1.0}, 0.01)) is None


def test_earlier_shares_are_those_of_what_is_served_now() -> None:
    """The earlier plan left half unserved; now it serves all, by the same proportions."""
    problem = a_problem(6.0)
    shares = {(CELL, CHEAP): 0.3, (CELL, DEAR): 0.2}
    plan = kept(problem, found(problem), earlier({CHEAP: 1, DEAR: 1}, shares))
    assert plan is not None
    assert plan.shares == pytest.approx({(CELL, CHEAP): 0.6, (CELL, DEAR): 0.4})


def test_shares_are_close_only_where_all_of_them_are() -> None:
    """Two cells on the same two options: one as balanced, the other the other way round."""
    problem = replace(
        a_problem(4.0),
        cells=(Cell(CELL, GROUP, 4.0, 100, False), Cell(BATCH, GROUP, 1.0, 100, False)),
        capacity_per_s={(cell, key): 4.0 for cell in (CELL, BATCH) for key in (CHEAP, DEAR)},
    )
    best = found(problem)
    even = kept(problem, best, Earlier({CHEAP: 1, DEAR: 1}, {}, 1.0))
    assert even is not None
    shares = {**even.shares, (BATCH, CHEAP): 0.7, (BATCH, DEAR): 0.3}
    plan = kept(problem, best, Earlier({CHEAP: 1, DEAR: 1}, shares, 0.01))
    assert plan is not None
    assert plan.shares[BATCH, CHEAP] == pytest.approx(0.7)


@pytest.mark.parametrize("missing_in", ["the earlier plan", "the balanced shares"])
def test_a_share_that_only_one_of_both_has_makes_them_differ(missing_in: str) -> None:
    """Of five options the fifth has 3 %, and each other differs by less than the tolerance."""
    keys = [DeploymentKey(f"n/{letter}") for letter in "abcde"]
    options = tuple(
        Option(key, GROUP, ModelKey("n/m"), "l40s", 1, 1.0, 30.0, 0, variant=key.name) for key in keys
    )
    problem = PlanProblem(
        cells=(Cell(CELL, GROUP, 8.0, 100, False),),
        options=options,
        pools=(PoolLimit("l40s", (1,) * 8),),
        capacity_per_s={(CELL, key): 4.0 if key != keys[4] else 0.5 for key in keys},
        min_replicas={GROUP: 0},
        headroom=1.0,
    )
    counts = dict.fromkeys(keys, 1)
    shares = dict.fromkeys([(CELL, key) for key in keys[:4]], 0.25)
    if missing_in == "the balanced shares":
        del counts[keys[4]]
        shares = {**dict.fromkeys([(CELL, key) for key in keys[:4]], 0.2425), (CELL, keys[4]): 0.03}
    plan = kept(problem, found(problem), Earlier(counts, shares, 0.01))
    if missing_in == "the earlier plan":
        assert plan is not None
        assert plan.shares == pytest.approx(shares)
    else:
        assert plan is None, "requests would go to a Deployment without replicas"
