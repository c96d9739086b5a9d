"""Shares from counts: equally busy where that is possible, as fair as can be where it is not."""

from dataclasses import replace

import pytest

from argosy.plan.facts import Facts
from argosy.plan.problem import Cell, Option, PlanProblem, PoolLimit
from argosy.plan.solver.shares import missing_per_s, shares


def facts(cells: tuple[Cell, ...], capacity_per_s: dict[tuple[str, str], float]) -> Facts:
    """One group on the options `x`, `y` and `z`, with room for eight replicas of each."""
    options = tuple(Option(name, "g", "m", name, 1, 1.0, 0.0) for name in "xyz")
    pools = tuple(PoolLimit(name, (8,)) for name in "xyz")
    return Facts(PlanProblem(cells, options, pools, capacity_per_s, min_replicas={"g": 2}))


def test_one_cell_goes_in_proportion_to_replicas_and_capacity() -> None:
    one = facts((Cell("a", "g", 4.0, 0),), {("a", "x"): 4.0, ("a", "y"): 1.0})
    assert shares(one, {"x": 1, "y": 2}) == pytest.approx({("a", "x"): 4 / 6, ("a", "y"): 2 / 6})


def test_what_must_go_to_one_option_makes_the_others_carry_the_rest_alike() -> None:
    cells = (Cell("only-x", "g", 7.0, 0), Cell("any", "g", 6.0, 0))
    three = facts(cells, {("only-x", "x"): 10.0, **{("any", o): 10.0 for o in "xyz"}})
    # x is at 0.7 whatever is done; the rest leaves it alone and halves itself.
    assert shares(three, {"x": 1, "y": 1, "z": 1}) == pytest.approx(
        {("only-x", "x"): 1.0, ("any", "y"): 0.5, ("any", "z"): 0.5}
    )


def test_where_not_all_can_be_served_the_important_cell_is() -> None:
    cells = (Cell("low", "g", 5.0, 1), Cell("high", "g", 5.0, 2))
    short = facts(cells, {("low", "x"): 10.0, ("high", "x"): 10.0})
    found = shares(short, {"x": 1})
    assert found == pytest.approx({("high", "x"): 1.0, ("low", "x"): 0.6})
    assert missing_per_s(short, found) == pytest.approx({"low": 2.0})


def test_a_cell_without_demand_gets_weights_where_a_replica_could_serve_it() -> None:
    cells = (Cell("busy", "g", 4.0, 0), Cell("idle", "g", 0.0, 0), Cell("lonely", "g", 0.0, 0))
    some = facts(cells, {("busy", "x"): 8.0, ("idle", "x"): 6.0, ("idle", "y"): 2.0, ("lonely", "z"): 1.0})
    found = shares(some, {"x": 1, "y": 1, "z": 0})
    assert found == pytest.approx({("busy", "x"): 1.0, ("idle", "x"): 0.75, ("idle", "y"): 0.25})


def test_a_small_cell_keeps_all_it_gets_where_lower_priorities_are_short() -> None:
    cells = (Cell("small", "g", 0.2, 1), Cell("large", "g", 18.0, 1), Cell("low", "g", 22.0, 0))
    capacity_per_s = {
        ("small", "x"): 7.0,
        ("large", "x"): 0.84,
        ("low", "x"): 4.8,
        ("small", "y"): 2.5,
        ("large", "y"): 3.1,
    }
    short = replace(facts(cells, capacity_per_s).problem, headroom=1.0)
    missing = missing_per_s(Facts(short), shares(Facts(short), {"x": 2, "y": 6}))
    assert missing == pytest.approx({"low": 22.0 - 2 * 4.8})
