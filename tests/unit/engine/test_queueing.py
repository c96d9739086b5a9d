"""Kernel truth: with one slot and a constant step, the engine is a queue with a known formula.

Asked of the Python scheduler and of its compiled twin.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from argosy.engine import (
    ClosedLoop,
    ClosedLoopTimes,
    EngineLimits,
    Requests,
    RequestTimes,
    StepCoefficients,
    StepTimeSource,
    simulate,
    simulate_loop,
    twin,
)
from argosy.errors import SpecError

Simulate = Callable[[Requests, EngineLimits, StepTimeSource], RequestTimes]
both = pytest.mark.parametrize(
    "simulate", [pytest.param(simulate, id="scheduler"), pytest.param(twin.simulate, id="twin")]
)

STEP_MS = 10.0
CONSTANT = StepCoefficients(STEP_MS, 0.0, 4.0, 0, 0, 0, 0, 0, 0, 0)
ONE_SLOT = EngineLimits(
    max_num_seqs=1, max_num_batched_tokens=8, kv_blocks=1000, block_size=16, max_model_len=1000
)
NUM_REQUESTS, NUM_BATCHES = 40_000, 20


@both
@pytest.mark.parametrize("utilisation", [0.3, 0.6, 0.8])
@pytest.mark.parametrize("mean_output", [pytest.param(1, id="M/D/1"), pytest.param(5, id="M/G/1-geometric")])
def test_the_mean_wait_is_that_of_pollaczek_and_khinchine(
    utilisation: float, mean_output: int, simulate: Simulate
) -> None:
    rng = np.random.default_rng(7)
    outputs = rng.geometric(1 / mean_output, NUM_REQUESTS).clip(max=900)
    mean_service_ms = STEP_MS * mean_output
    # Geometric on 1, 2, ...: E[n^2] = (2 - p)/p^2; for p = 1 it is constant.
    mean_square_ms2 = STEP_MS**2 * mean_output * (2 * mean_output - 1)
    rate_per_ms = utilisation / mean_service_ms
    arrivals_s = np.cumsum(rng.exponential(1 / rate_per_ms, NUM_REQUESTS)) / 1e3
    times = simulate(Requests(arrivals_s, np.ones(NUM_REQUESTS, np.int64), outputs), ONE_SLOT, CONSTANT)

    waits_ms = times.e2e_ms - STEP_MS * outputs
    expected_ms = rate_per_ms * mean_square_ms2 / (2 * (1 - utilisation))
    # Batch means: neighbours in a queue are correlated, whole batches hardly.
    batches = waits_ms[NUM_REQUESTS // 10 :].reshape(NUM_BATCHES, -1).mean(axis=1)
    standard_error = batches.std(ddof=1) / np.sqrt(NUM_BATCHES)
    assert abs(batches.mean() - expected_ms) < 3.5 * standard_error
    assert standard_error < 0.1 * expected_ms


@both
def test_a_lone_request_takes_its_own_steps_and_nothing_else(simulate: Simulate) -> None:
    times = simulate(Requests(np.array([5.0]), np.array([20]), np.array([4])), ONE_SLOT, CONSTANT)
    # Twenty prompt tokens at eight per step: three steps, then three more tokens.
    assert (times.ttft_ms[0], times.itl_ms[0], times.e2e_ms[0]) == pytest.approx((30.0, 10.0, 60.0))


@both
def test_an_output_of_one_token_has_no_gap_and_a_refused_request_no_times(simulate: Simulate) -> None:
    requests = Requests(np.array([0.0, 0.0]), np.array([5, 2000]), np.array([1, 1]))
    times = simulate(requests, ONE_SLOT, CONSTANT)
    assert times.refused.tolist() == [False, True]
    assert np.isnan(times.itl_ms).all()
    assert np.isnan(times.e2e_ms).tolist() == [False, True]


@both
def test_what_the_prefix_cache_holds_is_not_computed(simulate: Simulate) -> None:
    cached = np.array([0, 16, 20])
    requests = Requests(np.arange(3.0), np.full(3, 20), np.full(3, 2), cached)
    # Eight tokens per step: three steps, then one for the last four, then one for the last token.
    assert simulate(requests, ONE_SLOT, CONSTANT).ttft_ms == pytest.approx([30.0, 10.0, 10.0])


@both
def test_no_requests_take_no_time(simulate: Simulate) -> None:
    nothing = np.zeros(0, np.int64)
    assert len(simulate(Requests(np.zeros(0), nothing, nothing), ONE_SLOT, CONSTANT).ttft_ms) == 0


both_loops = pytest.mark.parametrize(
    "simulate_loop", [simulate_loop, twin.simulate_loop], ids=["scheduler", "twin"]
)


@both_loops
def test_two_in_flight_share_one_slot_and_a_refused_request_takes_no_place(
    simulate_loop: Callable[..., ClosedLoopTimes],
) -> None:
    # Two steps each; the third is refused, so the fourth takes its turn.
    closed = simulate_loop(ClosedLoop(np.array([8, 8, 2000, 8]), np.full(4, 2), 2), ONE_SLOT, CONSTANT)
    assert closed.arrivals_s == pytest.approx([0.0, 0.0, np.nan, 0.020], nan_ok=True)
    assert closed.times.ttft_ms == pytest.approx([10.0, 30.0, np.nan, 30.0], nan_ok=True)
    assert closed.times.refused.tolist() == [False, False, True, False]
    assert closed.duration_s == pytest.approx(0.060)


@both_loops
def test_a_closed_loop_with_no_request_in_flight_is_named(
    simulate_loop: Callable[..., ClosedLoopTimes],
) -> None:
    with pytest.raises(SpecError, match="concurrency"):
        simulate_loop(ClosedLoop(np.array([8]), np.array([2]), 0), ONE_SLOT, CONSTANT)


@both_loops
def test_half_a_token_in_a_closed_loop_is_named(simulate_loop: Callable[..., ClosedLoopTimes]) -> None:
    with pytest.raises(ValueError, match="whole numbers"):
        simulate_loop(ClosedLoop(np.array([8.5]), np.array([2]), 1), ONE_SLOT, CONSTANT)


@pytest.mark.parametrize(
    ("arrivals_s", "message"),
    [([1.0, 0.5], "sorted"), ([0.0, np.nan], "finite"), ([0.0], "same length")],
)
def test_arrivals_that_no_clock_shows_are_named(arrivals_s: list[float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Requests(np.array(arrivals_s), np.array([1, 1]), np.array([1, 1]))


@pytest.mark.parametrize(
    ("lengths", "message"),
    [
        pytest.param(([0, 4], [1, 1], None), "at least one token", id="an-empty-prompt"),
        pytest.param(([4, 4], [1, 0], None), "at least one token", id="no-output"),
        pytest.param(([4, 4], [1, 1], [0, 5]), "part of the prompt", id="more-cached-than-there-is"),
        pytest.param(([4, 4], [1, 1], [-1, 0]), "part of the prompt", id="less-than-nothing-cached"),
        pytest.param(([4, 4], [1, 1], [0]), "same length", id="somebodys-cache-unknown"),
        pytest.param(([4.5, 4], [1, 1], None), "whole numbers", id="half-a-token"),
    ],
)
def test_lengths_that_no_client_sends_are_named(
    lengths: tuple[list[float], list[int], list[int] | None], message: str
) -> None:
    prompts, outputs, cached = lengths
    with pytest.raises(ValueError, match=message):
        Requests(
            np.zeros(2), np.array(prompts), np.array(outputs), None if cached is None else np.array(cached)
        )
