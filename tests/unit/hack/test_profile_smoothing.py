"""Smoothing changes what is not monotone, as little as it can, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from profile_smoothing import Moved, lower_envelope, monotone_grid, monotone_line

from argosy.arrays import Floats

times = st.floats(0.1, 100)
lines = st.integers(2, 30).flatmap(lambda size: arrays(float, size, elements=times))
grids = st.tuples(st.integers(2, 7), st.integers(2, 7)).flatmap(
    lambda shape: arrays(float, shape, elements=times)
)


def rises(values: Floats) -> bool:
    return all(bool(np.all(np.diff(values, axis=axis) >= 0)) for axis in range(values.ndim))


@given(lines)
def test_a_line_that_rises_stays_as_it_is_to_the_last_bit(values: Floats) -> None:
    rising = np.sort(values)
    assert np.array_equal(monotone_line(rising, np.ones(len(rising))), rising)


@given(grids)
def test_a_grid_that_rises_stays_as_it_is_to_the_last_bit(values: Floats) -> None:
    rising = np.sort(np.sort(values, axis=0), axis=1)
    assert np.array_equal(monotone_grid(rising, np.ones(rising.shape)), rising)


@given(lines)
def test_a_smoothed_line_rises_and_keeps_its_weighted_mean(values: Floats) -> None:
    weights = np.linspace(1, 2, len(values))
    smooth = monotone_line(values, weights)
    assert rises(smooth)
    assert np.average(smooth, weights=weights) == pytest.approx(np.average(values, weights=weights))


@settings(max_examples=40, deadline=None)
@given(grids)
def test_a_smoothed_grid_rises_and_stays_between_the_extremes(values: Floats) -> None:
    smooth = monotone_grid(values, np.ones(values.shape))
    assert rises(smooth)
    assert values.min() - 1e-9 <= smooth.min()
    assert smooth.max() <= values.max() + 1e-9


def test_a_bump_is_levelled_with_what_follows_it() -> None:
    values = np.array([1.0, 4.0, 2.0, 5.0])
    assert monotone_line(values, np.ones(4)).tolist() == [1.0, 3.0, 3.0, 5.0]
    assert monotone_line(values, np.array([1.0, 1.0, 3.0, 1.0])).tolist() == [1.0, 2.5, 2.5, 5.0]


def test_a_grid_is_levelled_along_both_axes() -> None:
    values = np.array([[1.0, 3.0], [3.0, 1.0]])
    assert monotone_grid(values, np.ones((2, 2))) == pytest.approx(np.array([[1.0, 7 / 3], [7 / 3, 7 / 3]]))


@given(lines)
def test_the_lower_envelope_rises_under_the_line_and_touches_it_where_no_larger_size_is_faster(
    values: Floats,
) -> None:
    envelope = lower_envelope(values)
    assert rises(envelope)
    assert np.all(envelope <= values)
    assert envelope.tolist() == [values[index:].min() for index in range(len(values))]


def test_how_far_a_step_moved_is_relative_to_the_whole_step() -> None:
    moved = Moved.between(np.array([1.0, 2.0]), np.array([1.0, 3.0]), np.array([10.0, 10.0]))
    assert moved == Moved(max=0.1, mean=0.05)
