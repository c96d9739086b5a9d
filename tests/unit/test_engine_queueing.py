"""Kernel truth: with one slot and a constant step, the engine is a queue with a known formula."""

from __future__ import annotations

import numpy as np
import pytest

from argosy.engine import EngineLimits, Requests, StepCoefficients, simulate

STEP_MS = 10.0
CONSTANT = StepCoefficients(STEP_MS, 0.0, 4.0, 0, 0, 0, 0, 0, 0, 0)
ONE_SLOT = EngineLimits(
    max_num_seqs=1, max_num_batched_tokens=8, kv_blocks=1000, block_size=16, max_model_len=1000
)
NUM_REQUESTS, NUM_BATCHES = 40_000, 20


@pytest.mark.parametrize("utilisation", [0.3, 0.6, 0.8])
@pytest.mark.parametrize("mean_output", [pytest.param(1, id="M/D/1"), pytest.param(5, id="M/G/1-geometric")])
def test_the_mean_wait_is_that_of_pollaczek_and_khinchine(utilisation: float, mean_output: int) -> None:
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


def test_a_lone_request_takes_its_own_steps_and_nothing_else() -> None:
    times = simulate(Requests(np.array([5.0]), np.array([20]), np.array([4])), ONE_SLOT, CONSTANT)
    # Twenty prompt tokens at eight per step: three steps, then three more tokens.
    assert (times.ttft_ms[0], times.itl_ms[0], times.e2e_ms[0]) == pytest.approx((30.0, 10.0, 60.0))


def test_an_output_of_one_token_has_no_gap_and_a_refused_request_no_times() -> None:
    requests = Requests(np.array([0.0, 0.0]), np.array([5, 2000]), np.array([1, 1]))
    times = simulate(requests, ONE_SLOT, CONSTANT)
    assert times.refused.tolist() == [False, True]
    assert np.isnan(times.itl_ms).all()
    assert np.isnan(times.e2e_ms).tolist() == [False, True]


@pytest.mark.parametrize(
    ("arrivals_s", "message"),
    [([1.0, 0.5], "sorted"), ([0.0, np.nan], "finite"), ([0.0], "same length")],
)
def test_arrivals_that_no_clock_shows_are_named(arrivals_s: list[float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Requests(np.array(arrivals_s), np.array([1, 1]), np.array([1, 1]))
