"""What holds of any confidence interval, and that scipy's own functions find the same bounds."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from argosy_sim.measures.intervals import (
    Interval,
    TooFew,
    batch_means_interval,
    mean_interval,
    percentile_interval,
    share_interval,
)

levels = st.sampled_from((0.5, 0.8, 0.9, 0.95, 0.99))
values = st.floats(-1e6, 1e6)
counts = st.integers(1, 5000).flatmap(lambda num: st.tuples(st.integers(0, num), st.just(num)))


@given(counts, levels)
def test_a_share_has_scipys_wilson_interval(count: tuple[int, int], level: float) -> None:
    found = share_interval(*count, level)
    assert isinstance(found, Interval)
    expected = stats.binomtest(*count).proportion_ci(level, method="wilson")
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-9)
    assert 0 <= found.low <= found.estimate <= found.high <= 1


@given(counts, levels)
def test_a_share_and_its_complement_mirror_each_other(count: tuple[int, int], level: float) -> None:
    num_kept, num_all = count
    kept, lost = share_interval(num_kept, num_all, level), share_interval(num_all - num_kept, num_all, level)
    assert isinstance(kept, Interval)
    assert isinstance(lost, Interval)
    assert (kept.low, kept.high) == pytest.approx((1 - lost.high, 1 - lost.low), abs=1e-12)


@given(st.lists(values, min_size=2, max_size=50), levels)
def test_a_mean_has_scipys_t_interval(sample: list[float], level: float) -> None:
    found = mean_interval(sample, level)
    assert isinstance(found, Interval)
    error = stats.sem(sample)
    assert found.low <= found.estimate <= found.high
    if error > 0:
        expected = stats.t.interval(level, len(sample) - 1, loc=np.mean(sample), scale=error)
        assert (found.low, found.high) == pytest.approx(expected, rel=1e-9, abs=1e-6)


@settings(deadline=None)  # scipy's test of a quantile solves for its bounds
@given(
    st.lists(values, min_size=1, max_size=200),
    st.sampled_from((0.05, 0.5, 0.9, 0.95)),
    # Not 0.5: where a tail has exactly the probability allowed, scipy goes one value further.
    st.sampled_from((0.8, 0.9, 0.95, 0.99)),
)
def test_a_percentile_has_scipys_order_statistics(sample: list[float], share: float, level: float) -> None:
    found = percentile_interval(sample, share, level)
    expected = stats.quantile_test(sample, p=share).confidence_interval(level)
    if isinstance(found, TooFew):
        assert found.needed > len(sample)
        assert np.isnan([expected.low, expected.high]).any()
    else:
        assert (found.low, found.high) == (expected.low, expected.high)
        assert found.low <= found.estimate <= found.high


@given(st.lists(values, min_size=2, max_size=60), levels)
def test_batches_of_one_are_the_plain_interval(sample: list[float], level: float) -> None:
    assert batch_means_interval(sample, len(sample), level) == mean_interval(sample, level)


def test_intervals_contain_the_truth_as_often_as_their_level_says() -> None:
    rng = np.random.default_rng(3)
    runs = rng.exponential(size=(2000, 100))
    p90 = -np.log(0.1)
    held = {"share": 0, "mean": 0, "percentile": 0}
    for run in runs:
        for name, truth, found in (
            ("share", 0.9, share_interval(int((run <= p90).sum()), len(run))),
            ("mean", 1.0, mean_interval(run)),
            ("percentile", p90, percentile_interval(run, 0.9)),
        ):
            assert isinstance(found, Interval)
            held[name] += found.low <= truth <= found.high
    # Three standard errors of 2,000 trials at 0.95 are 0.015; t is slightly short for a skewed sample.
    assert {name: num / 2000 for name, num in held.items()} == {
        "share": pytest.approx(0.95, abs=0.02),
        "mean": pytest.approx(0.945, abs=0.02),
        "percentile": pytest.approx(0.96, abs=0.02),
    }
