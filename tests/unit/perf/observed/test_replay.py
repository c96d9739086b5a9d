"""A run through the simulated engine: its own times come back, and errors are what they are called."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from observed_runs import Known, Truth, known, observed, poisson

from argosy.perf.measurements.fit import prior_table
from argosy.perf.observed.replay import CannotReplay, CannotReplayReason, Measure, Replay, replayed
from argosy.perf.observed.run import ObservedRun


@pytest.fixture(scope="module")
def before() -> Known:
    """The library's engine, by its table: that is what `observed` changes."""
    found = known()
    return replace(found, engine=replace(found.engine, step_times=prior_table(found.question.prior)))


def replay_of(run: ObservedRun, before: Known) -> Replay:
    found = replayed(run, before.engine)
    assert isinstance(found, Replay), found
    return found


def test_a_run_of_the_engine_itself_comes_back(before: Known) -> None:
    run = observed(before, Truth(), poisson(120, 4.0, seed=2), client_ms=before.engine.front_end_ms)
    for one in replay_of(run, before).comparisons():
        assert one.median_request_error < 1e-9, one
        assert all(abs(each.error) < 1e-9 for each in one.statistics), one


def test_errors_are_relative_and_positive_where_the_prediction_is_too_high(before: Known) -> None:
    run = observed(before, Truth(), poisson(120, 4.0, seed=2), client_ms=before.engine.front_end_ms)
    halved = tuple(replace(one, e2e_ms=one.e2e_ms / 2, ttft_ms=None) for one in run.requests)
    [e2e] = replay_of(replace(run, requests=halved), before).comparisons()
    assert (e2e.measure, e2e.num_requests) == (Measure.E2E, 120), "the others were not measured"
    assert [round(each.error, 9) for each in e2e.statistics] == [1.0] * 4
    assert e2e.median_request_error == pytest.approx(1.0)
    assert e2e.of("p99").observed_ms == pytest.approx(np.sort([one.e2e_ms for one in halved])[118])


def test_a_part_of_the_requests_is_compared_alone(before: Known) -> None:
    run = observed(before, Truth(), poisson(50, 4.0, seed=2), client_ms=before.engine.front_end_ms)
    spoilt = tuple(
        replace(one, e2e_ms=3 * one.e2e_ms) if number < 10 else one for number, one in enumerate(run.requests)
    )
    found = replay_of(replace(run, requests=spoilt), before)
    rest = {one.measure: one for one in found.comparisons(slice(10, None))}
    assert rest[Measure.E2E].num_requests == 40
    assert abs(rest[Measure.E2E].of("mean").error) < 1e-9


def test_a_request_that_is_longer_than_the_engine_takes_is_refused_with_the_flag(before: Known) -> None:
    run = observed(before, Truth(), poisson(5, 4.0, seed=2))
    longer = replace(run.requests[0], prompt_tokens=9_000_000)
    found = replayed(replace(run, requests=(longer, *run.requests[1:])), before.engine)
    assert isinstance(found, CannotReplay)
    assert found.reason is CannotReplayReason.BEYOND_LIMITS
    assert "--max-model-len" in found.message
