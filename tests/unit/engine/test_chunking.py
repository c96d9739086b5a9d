"""Chunked prefill: the token budget of an iteration trades first tokens against gaps."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from perf_engines import H100_8B, H100_LIMITS

from argosy.engine import Requests, simulate


@pytest.fixture(scope="module")
def times_by_budget() -> dict[int, tuple[float, float]]:
    """(TTFT p95, ITL p95) of long prompts at 60 % of saturation, by budget."""
    rng, count = np.random.default_rng(7), 600
    arrivals = np.cumsum(rng.exponential(1 / 8.0, count))
    requests = Requests(arrivals, rng.integers(500, 3500, count), rng.integers(50, 250, count))
    answers = {}
    for budget in (512, 2048, 8192):
        limits = replace(H100_LIMITS, max_num_batched_tokens=budget)
        times = simulate(requests, limits, H100_8B)
        answers[budget] = (float(np.percentile(times.ttft_ms, 95)), float(np.percentile(times.itl_ms, 95)))
    return answers


def test_a_smaller_budget_makes_first_tokens_wait(times_by_budget: dict[int, tuple[float, float]]) -> None:
    assert times_by_budget[512][0] > 1.2 * times_by_budget[8192][0]


def test_a_smaller_budget_makes_gaps_shorter(times_by_budget: dict[int, tuple[float, float]]) -> None:
    assert times_by_budget[512][1] < times_by_budget[8192][1]
