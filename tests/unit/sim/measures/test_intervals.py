"""Confidence intervals against published values, and what they refuse."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from argosy_sim.measures.intervals import (
    Interval,
    TooFew,
    batch_means_interval,
    mean_interval,
    percentile_interval,
    share_interval,
)


def bounds(found: Interval | TooFew) -> tuple[float, float]:
    assert isinstance(found, Interval), found
    return found.low, found.high


@pytest.mark.parametrize(
    ("num_kept", "num_all", "expected"),
    [
        # Newcombe, Statistics in Medicine 17 (1998), table I, method 3.
        pytest.param(81, 263, (0.2553, 0.3662), id="81 of 263"),
        pytest.param(15, 148, (0.0624, 0.1605), id="15 of 148"),
        pytest.param(0, 20, (0.0, 0.1611), id="none of 20"),
        pytest.param(1, 29, (0.0061, 0.1718), id="1 of 29"),
    ],
)
def test_the_interval_of_a_share_is_wilsons(
    num_kept: int, num_all: int, expected: tuple[float, float]
) -> None:
    assert bounds(share_interval(num_kept, num_all)) == pytest.approx(expected, abs=5e-5)


def test_a_share_of_all_ends_at_one_and_is_still_uncertain_below() -> None:
    low, high = bounds(share_interval(17, 17))
    assert high == 1.0
    assert low == pytest.approx(0.8157, abs=5e-5)


def test_the_interval_of_a_mean_is_students() -> None:
    # Law, Simulation Modeling and Analysis, 5th ed., section 4.5: ten observations, 1.34 +- 0.24 at 90 %.
    sample = [1.20, 1.50, 1.68, 1.89, 0.95, 1.49, 1.58, 1.55, 0.50, 1.09]
    low, high = bounds(mean_interval(sample, 0.90))
    assert ((low + high) / 2, (high - low) / 2) == pytest.approx((1.34, 0.24), abs=0.005)


def test_ten_values_bracket_their_median_between_the_second_and_the_ninth() -> None:
    # The classic sign-test interval: 97.9 % for 2..9, and only 89.1 % for 3..8.
    assert bounds(percentile_interval(range(1, 11), 0.5)) == (2, 9)


def test_a_tail_of_exactly_the_probability_allowed_is_allowed() -> None:
    # Both of two values lie above their median with probability 1/4, and below it too.
    assert bounds(percentile_interval([1.0, 2.0], 0.5, 0.5)) == (1.0, 2.0)


def test_batches_drop_what_does_not_fill_one_at_the_start() -> None:
    series = [1000.0, *([1.0] * 3), *([2.0] * 3), *([3.0] * 3)]
    found = batch_means_interval(series, num_batches=3)
    assert isinstance(found, Interval)
    assert found.estimate == 2.0
    assert found == mean_interval([1.0, 2.0, 3.0])


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        pytest.param(lambda: share_interval(0, 0), TooFew.of(0, 1), id="a share of nothing"),
        pytest.param(lambda: mean_interval([3.0]), TooFew.of(1, 2), id="one replication"),
        pytest.param(lambda: batch_means_interval([1.0] * 19), TooFew.of(19, 20), id="less than one each"),
        pytest.param(lambda: percentile_interval(range(71), 0.95), TooFew.of(71, 72), id="p95 of 71"),
        pytest.param(lambda: percentile_interval(range(71), 0.05), TooFew.of(71, 72), id="p5 of 71"),
        pytest.param(lambda: percentile_interval([], 0.5), TooFew.of(0, 6), id="a median of nothing"),
    ],
)
def test_too_few_observations_are_an_answer(found: Callable[[], Interval | TooFew], expected: TooFew) -> None:
    assert found() == expected
    assert str(expected.needed) in str(expected)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        pytest.param(lambda: share_interval(5, 4), "number of trials", id="more kept than there were"),
        pytest.param(lambda: share_interval(1, 2, 1.0), "level", id="certainty"),
        pytest.param(lambda: mean_interval([1.0, math.nan]), "finite observations, got nan", id="NaN"),
        pytest.param(lambda: batch_means_interval([1.0], 1), "number of batches", id="one batch"),
        pytest.param(lambda: percentile_interval([1.0], 1.0), "share", id="the maximum is no percentile"),
        pytest.param(lambda: percentile_interval([1.0], 0.5, math.nan), "level", id="no level"),
    ],
)
def test_inputs_without_a_meaning_are_refused(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_batch_means_widen_where_successive_values_are_correlated() -> None:
    rng = np.random.default_rng(7)
    noise = rng.normal(size=40_000)
    series = np.empty_like(noise)
    series[0] = noise[0]
    for index in range(1, len(noise)):
        series[index] = 0.95 * series[index - 1] + noise[index]
    as_if_independent, batched = bounds(mean_interval(series)), bounds(batch_means_interval(series))
    assert batched[1] - batched[0] > 3 * (as_if_independent[1] - as_if_independent[0])
    assert batched[0] < 0 < batched[1]
