"""The verdict on a run: queues whose answer is known, and what the verdict must not depend on."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from judge_stationarity import Queue, verdicts

from argosy.arrays import Floats
from argosy.engine import EngineLimits, Requests, StepCoefficients, twin
from argosy.engine.stationarity import MIN_REQUESTS, Stationarity, judge_run, judge_times

SEEDS = range(200)
STATIONARY, OVERLOADED, BACKLOGGED, UNKNOWN = (
    Stationarity.STATIONARY,
    Stationarity.OVERLOADED,
    Stationarity.BACKLOGGED,
    Stationarity.UNKNOWN,
)


@pytest.mark.parametrize("load", [0.5, 0.8, 0.95])
def test_a_queue_that_keeps_up_is_called_unstable_in_at_most_one_run_of_twenty(load: float) -> None:
    found = verdicts(Queue("M/M/1", load, 5000), SEEDS)
    assert found[OVERLOADED] + found[BACKLOGGED] <= 0.05
    assert found[STATIONARY] >= 0.9


def test_a_queue_five_per_cent_overloaded_is_called_stationary_in_at_most_one_run_of_twenty() -> None:
    found = verdicts(Queue("M/M/1", 1.05, 20_000), SEEDS)
    assert found[STATIONARY] + found[BACKLOGGED] <= 0.05
    assert found[OVERLOADED] >= 0.9


def test_a_backlog_that_lasts_is_found_and_a_short_one_is_warm_up() -> None:
    lasting = verdicts(Queue("M/M/1", 0.8, 5000, backlog=900), SEEDS)
    assert lasting[BACKLOGGED] >= 0.95
    passing = verdicts(Queue("M/M/1", 0.8, 5000, backlog=50), SEEDS)
    assert passing[STATIONARY] >= 0.95
    run = judge_run(*Queue("M/M/1", 0.8, 5000, backlog=50).run(1))
    assert 0 < run.warm_up_s <= 0.25 * run.end_s


def steady(num: int = 2000, load: float = 0.8) -> tuple[Floats, Floats]:
    return Queue("M/M/1", load, num).run(3)


def test_few_requests_say_nothing() -> None:
    found = judge_run(*steady(MIN_REQUESTS - 1))
    assert found.state is UNKNOWN
    assert math.isnan(found.drift_per_s)
    assert found.message == "unknown: 99 requests in the measured part, at least 100 are needed"
    assert judge_run(np.array([]), np.array([])).state is UNKNOWN
    at_once = judge_run(np.zeros(500), np.arange(500.0))
    assert at_once.state is UNKNOWN


def test_a_run_too_short_for_its_noise_is_unknown_and_its_sentence_has_the_remedy() -> None:
    found = judge_run(*Queue("M/M/1", 0.95, 500).run(2))
    assert found.state is UNKNOWN
    assert "would tell" in found.message


@given(st.floats(1e-3, 1e3), st.floats(-1e6, 1e6), st.integers(0, 30))
@settings(max_examples=60, deadline=None)
def test_the_verdict_depends_neither_on_the_unit_of_time_nor_on_its_origin(
    unit: float, origin: float, seed: int
) -> None:
    arrivals, ends = Queue("M/M/1", 1.1, 1000).run(seed)
    here, there = judge_run(arrivals, ends), judge_run(origin + unit * arrivals, origin + unit * ends)
    assert there.num_requests == pytest.approx(here.num_requests, abs=10)
    if abs(abs(here.drift_per_s) - 2.5 * here.drift_error_per_s) > 0.1 * here.drift_error_per_s:
        assert (here.state is OVERLOADED) == (there.state is OVERLOADED)


def test_the_order_of_the_requests_does_not_matter() -> None:
    arrivals, ends = steady()
    shuffled = np.random.default_rng(1).permutation(len(arrivals))
    assert judge_run(arrivals[shuffled], ends[shuffled]) == judge_run(arrivals, ends)


@pytest.mark.parametrize("never", [np.nan, np.inf])
def test_requests_that_never_left_are_still_in_the_system(never: float) -> None:
    arrivals, ends = steady()
    half = len(arrivals) // 2
    stuck = np.concatenate([ends[:half], np.full(len(ends) - half, never)])
    found = judge_run(arrivals, stuck, arrivals[half])
    assert found.state is OVERLOADED
    assert found.drift_share == pytest.approx(1.0, abs=0.05)


def test_the_mean_number_is_that_of_little() -> None:
    arrivals, ends = steady(50_000, 0.5)
    found = judge_run(arrivals, ends)
    assert found.mean_in_system == pytest.approx(
        found.requests_per_s * float((ends - arrivals).mean()), rel=0.02
    )
    assert found.mean_in_system == pytest.approx(1.0, rel=0.1)


def test_a_constant_number_has_no_drift() -> None:
    arrivals = np.arange(1000.0)
    found = judge_run(arrivals, arrivals + 5.0, 10.0)
    assert found.state is STATIONARY
    assert found.drift_per_s == pytest.approx(0.0, abs=1e-9)


def test_the_caller_may_say_where_the_measured_part_begins() -> None:
    arrivals, ends = steady()
    found = judge_run(arrivals, ends, 100.0)
    assert (found.start_s, found.num_requests) == (100.0, int((arrivals >= 100.0).sum()))


def test_arrays_that_are_no_run_are_refused() -> None:
    arrivals, ends = steady()
    with pytest.raises(ValueError, match="one end for each arrival"):
        judge_run(arrivals, ends[1:])
    with pytest.raises(ValueError, match="finite"):
        judge_run(np.array([0.0, np.nan]), np.array([1.0, 2.0]))


def test_a_simulated_engine_beyond_its_saturation_is_overloaded_and_below_it_is_not() -> None:
    limits = EngineLimits(
        max_num_seqs=4, max_num_batched_tokens=64, kv_blocks=1000, block_size=16, max_model_len=1000
    )
    constant = StepCoefficients(10.0, 0.0, 4.0, 0, 0, 0, 0, 0, 0, 0)
    rng = np.random.default_rng(1)
    count = 3000
    units = np.cumsum(rng.exponential(1.0, count))
    outputs = rng.integers(1, 40, count)
    outputs[0] = 999  # with its prompt longer than the engine takes: refused, so never in the system
    most = 4 / (0.01 * 20.0)

    def verdict(load: float) -> Stationarity:
        requests = Requests(units / (load * most), np.full(count, 8), outputs)
        return judge_times(requests.arrivals_s, twin.simulate(requests, limits, constant)).state

    assert [verdict(load) for load in (0.5, 0.8, 1.3)] == [STATIONARY, STATIONARY, OVERLOADED]
