"""Calibration on a hundred single requests, judged on the requests that it never saw."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest
from observed_runs import Known, Truth, known, observed, poisson

from argosy.engine.simulate import Requests
from argosy.engine.step_times import StepTable
from argosy.perf.measurements import CannotFit, CannotFitReason, profile_from_bytes, profile_to_bytes
from argosy.perf.measurements.fitted import FittedProfile
from argosy.perf.observed.calibrate import LEAST_REQUESTS, Calibrated, calibrated
from argosy.perf.observed.replay import CannotReplay, Comparison, Measure

TARGETS = {Measure.TTFT: 0.04, Measure.ITL: 0.01, Measure.E2E: 0.015}
"""Of the mean, on the requests that were not fitted to."""
ONE_REQUEST_E2E = 0.03


@pytest.fixture(scope="module")
def before() -> Known:
    return known()


def fitted(before: Known, truth: Truth, requests: Requests, num_first: int = 100) -> Calibrated:
    found = calibrated(observed(before, truth, requests), before.question, before.engine, num_first)
    assert isinstance(found, Calibrated), found
    return found


def of(comparisons: tuple[Comparison, ...], measure: Measure) -> Comparison:
    return next(one for one in comparisons if one.measure is measure)


@pytest.mark.parametrize("per_s", [2.0, 5.0])
@pytest.mark.parametrize(
    "truth",
    [
        Truth(s=1.25),
        Truth(s=0.8),
        Truth(compute=1.25),
        Truth(1.25, 0.8, 1.25, 1.25, 1.25),
        Truth(0.8, 1.25, 0.8, 0.75, 1.25),
    ],
    ids=str,
)
def test_a_hundred_requests_tell_of_an_engine_that_is_a_quarter_off(
    before: Known, truth: Truth, per_s: float
) -> None:
    found = fitted(before, truth, poisson(400, per_s, seed=3))
    for measure, target in TARGETS.items():
        assert abs(of(found.rest, measure).of("mean").error) <= target, found.rest
    assert of(found.rest, Measure.E2E).median_request_error <= ONE_REQUEST_E2E
    assert of(found.rest, Measure.E2E).num_requests == 300
    own, prior = (of(each, Measure.E2E).median_request_error for each in (found.rest, found.prior_rest))
    assert own < prior


def test_requests_after_the_first_ones_change_nothing_but_their_load(before: Known) -> None:
    """They are simulated, for they slow the first ones down, and their own times are not looked at."""
    run = observed(before, Truth(s=1.25), poisson(200, 5.0, seed=4))
    later = tuple(replace(one, e2e_ms=9 * one.e2e_ms, ttft_ms=None) for one in run.requests[100:])
    other = replace(run, requests=run.requests[:100] + later)
    found = [calibrated(each, before.question, before.engine, 100) for each in (run, other)]
    assert isinstance(found[0], Calibrated)
    assert isinstance(found[1], Calibrated)
    assert found[0].fitted.factors == found[1].fitted.factors
    assert found[0].fitted.profile.uncertainty < found[1].fitted.profile.uncertainty, "the rest judges"


def test_the_profile_is_one_that_a_file_holds(before: Known) -> None:
    found = fitted(before, Truth(s=1.25), poisson(150, 5.0, seed=4)).fitted
    again = profile_from_bytes(profile_to_bytes(found), "profile.json")
    assert isinstance(again, FittedProfile)
    assert again.factors == found.factors
    assert again.moves == found.moves
    assert [one.name for one in found.moves] == list(found.fitted)
    assert again.files[0].num_rows == 100
    tables = found.profile.step_times, again.profile.step_times
    assert all(isinstance(one, StepTable) for one in tables)
    assert all(
        np.array_equal(getattr(tables[0], one.name), getattr(tables[1], one.name))
        for one in fields(StepTable)
    )


def test_what_is_too_little_is_refused_with_the_remedy(before: Known) -> None:
    run = observed(before, Truth(), poisson(LEAST_REQUESTS - 1, 2.0, seed=1))
    found = calibrated(run, before.question, before.engine, 100)
    assert isinstance(found, CannotFit)
    assert found.reason is CannotFitReason.NO_ROWS
    assert "19 of the first 100 requests" in found.message
    assert "observe more" in found.message


def test_an_engine_that_cannot_be_the_one_that_is_named_is_refused(before: Known) -> None:
    run = observed(before, Truth(s=30.0), poisson(60, 0.2, seed=1))
    found = calibrated(run, before.question, before.engine, 50)
    assert isinstance(found, CannotFit)
    assert found.reason is CannotFitReason.IMPLAUSIBLE
    # Of a card that is not in the catalogue nothing is known that the run could contradict.
    unknown = replace(before.question, key=replace(before.question.key, gpu="cpu-core"))
    fitted_ = calibrated(run, unknown, before.engine, 50)
    assert isinstance(fitted_, Calibrated)
    assert abs(of(fitted_.rest, Measure.E2E).of("mean").error) < 0.05


def test_a_request_beyond_the_engine_is_refused(before: Known) -> None:
    run = observed(before, Truth(), poisson(40, 2.0, seed=1))
    longer = replace(run.requests[3], prompt_tokens=10_000_000)
    run = replace(run, requests=(*run.requests[:3], longer, *run.requests[4:]))
    assert isinstance(calibrated(run, before.question, before.engine, 30), CannotReplay)


def test_without_a_rest_the_prior_s_uncertainty_stays(before: Known) -> None:
    found = fitted(before, Truth(s=1.25), poisson(60, 5.0, seed=4), num_first=100)
    assert (found.rest, found.prior_rest) == ((), ())
    assert found.fitted.profile.uncertainty == before.question.prior.uncertainty
