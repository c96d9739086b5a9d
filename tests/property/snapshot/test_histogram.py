"""A histogram never claims more than the values allow, whatever its bounds."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from argosy.snapshot.histogram import Histogram

VALUES = st.lists(st.integers(0, 40).map(float), max_size=30)
BOUNDS = st.lists(st.integers(1, 40).map(float), max_size=8, unique=True).map(lambda b: tuple(sorted(b)))


def counted(values: list[float], bounds: tuple[float, ...]) -> Histogram:
    counts = tuple(float(sum(v <= bound for v in values)) for bound in bounds)
    return Histogram(bounds, counts, float(len(values)))


@given(VALUES, BOUNDS, st.integers(0, 41).map(float))
def test_the_true_share_is_within_the_interval(
    values: list[float], bounds: tuple[float, ...], limit: float
) -> None:
    found = counted(values, bounds).share_within(limit)
    if not values:
        assert found is None
        return
    assert found is not None
    least, most = found
    true = sum(v <= limit for v in values) / len(values)
    assert least <= true <= most
    if limit in bounds:
        assert least == true == most


@given(VALUES, VALUES, BOUNDS, BOUNDS)
def test_histograms_of_other_bounds_add_up_over_the_bounds_that_both_have(
    first: list[float], second: list[float], bounds: tuple[float, ...], others: tuple[float, ...]
) -> None:
    both = tuple(bound for bound in bounds if bound in others)
    added = counted(first, bounds).plus(counted(second, others))
    assert added == counted([*first, *second], both)


@given(VALUES, VALUES, BOUNDS)
def test_what_came_since_is_what_was_added(
    before: list[float], new: list[float], bounds: tuple[float, ...]
) -> None:
    then = counted(before, bounds)
    assert counted([*before, *new], bounds).since(then) == counted(new, bounds)


@given(VALUES.filter(bool), BOUNDS, st.floats(0.01, 1.0))
def test_a_quantile_lies_in_the_bucket_of_the_true_one(
    values: list[float], bounds: tuple[float, ...], share: float
) -> None:
    true = sorted(values)[max(0, math.ceil(share * len(values) - 1e-9) - 1)]
    found = counted(values, bounds).quantile(share)
    above = [bound for bound in bounds if bound >= true]
    if not above:
        assert found is None
        return
    assert found is not None
    low = max((bound for bound in bounds if bound < true), default=0.0)
    assert low - 1e-9 <= found <= min(above) + 1e-9


def test_a_counter_that_began_again_counts_from_its_start() -> None:
    before, now = Histogram((1.0,), (5.0,), 9.0), Histogram((1.0,), (2.0,), 3.0)
    assert now.since(before) == now


@pytest.mark.parametrize(
    "counts",
    [
        pytest.param({1.0: 2.0}, id="no total"),
        pytest.param({1.0: 3.0, math.inf: 2.0}, id="more than the total"),
        pytest.param({1.0: 3.0, 2.0: 1.0, math.inf: 4.0}, id="counts that fall"),
        pytest.param({1.0: math.nan, math.inf: 4.0}, id="a count that is no number"),
        pytest.param({math.nan: 1.0, math.inf: 4.0}, id="a bound that is no number"),
    ],
)
def test_counts_that_are_no_histogram_are_refused(counts: dict[float, float]) -> None:
    assert Histogram.of_buckets(counts) is None
