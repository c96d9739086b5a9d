"""What no arithmetic survives is refused with the name of the culprit."""

import math
import pickle
from dataclasses import replace
from typing import Any

import pytest

from argosy.plan.problem import Cell, Option, PlanProblem, PoolLimit
from argosy.plan.solver.search import SolveLimits

CELL = Cell("chat", "chat", 8.0, priority=1)
OPTION = Option("l40s", "chat", "llama", "l40s", gpus=1, price_usd_per_hour=0.9, load_s=20.0)
PROBLEM = PlanProblem((CELL,), (OPTION,), (PoolLimit("l40s", (2, 2)),), {("chat", "l40s"): 4.0})


@pytest.mark.parametrize(
    ("value", "change", "sentence"),
    [
        pytest.param(CELL, {"rate_per_s": math.nan}, "rate of cell chat", id="a rate that is no number"),
        pytest.param(CELL, {"rate_per_s": -1.0}, "rate of cell chat", id="a negative rate"),
        pytest.param(OPTION, {"price_usd_per_hour": math.nan}, "price of option l40s", id="a NaN price"),
        pytest.param(OPTION, {"price_usd_per_hour": -0.1}, "price of option l40s", id="a negative price"),
        pytest.param(OPTION, {"load_s": math.inf}, "load time of option l40s", id="a load that never ends"),
        pytest.param(OPTION, {"gpus": 0}, "GPUs of option l40s", id="a replica without GPUs"),
        pytest.param(OPTION, {"current_replicas": -1}, "current replicas", id="less than no replica"),
        pytest.param(OPTION, {"gpus": 1.5}, "GPUs of option l40s", id="half a GPU"),
        pytest.param(PROBLEM.pools[0], {"node_gpus": (2, -1)}, "node of pool l40s", id="a node owing GPUs"),
        pytest.param(
            PROBLEM, {"capacity_per_s": {("chat", "l40s"): math.nan}}, "capacity", id="NaN capacity"
        ),
        pytest.param(PROBLEM, {"capacity_per_s": {("chat", "l40s"): -4.0}}, "capacity", id="minus capacity"),
        pytest.param(PROBLEM, {"headroom": 0.0}, "headroom", id="no headroom at all"),
        pytest.param(PROBLEM, {"headroom": 1.01}, "headroom", id="more than a replica has"),
        pytest.param(PROBLEM, {"budget_usd_per_hour": math.nan}, "budget", id="a NaN budget"),
        pytest.param(PROBLEM, {"transition_horizon_s": 0.0}, "horizon", id="pay back at once"),
        pytest.param(PROBLEM, {"min_replicas": {"chat": -1}}, "floor of group chat", id="a negative floor"),
        pytest.param(PROBLEM, {"max_replicas": {"llama": -1}}, "ceiling of model llama", id="minus ceiling"),
        pytest.param(PROBLEM, {"cells": (CELL, CELL)}, "cell chat is named twice", id="a cell twice"),
        pytest.param(PROBLEM, {"options": (OPTION, OPTION)}, "option l40s is named twice", id="option twice"),
        pytest.param(SolveLimits(), {"time_limit_s": math.nan}, "time limit", id="a NaN time limit"),
        pytest.param(SolveLimits(), {"gap": -1.0}, "gap", id="a negative gap"),
    ],
)
def test_what_no_arithmetic_survives_is_refused(value: Any, change: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        replace(value, **change)


def test_a_problem_pickles() -> None:
    assert pickle.loads(pickle.dumps(PROBLEM)) == PROBLEM


@pytest.mark.parametrize(
    ("limit_s", "took_s", "left_s"),
    [(10.0, 0.0, 10.0), (10.0, 4.0, 6.0), (10.0, 11.0, 2.5), (None, 3.0, None)],
)
def test_a_second_solve_gets_what_is_left_of_the_time_and_a_quarter_at_least(
    limit_s: float | None, took_s: float, left_s: float | None
) -> None:
    assert SolveLimits(time_limit_s=limit_s, seed=7).after(took_s) == SolveLimits(time_limit_s=left_s, seed=7)
