"""Monotone step times: what makes more work take longer, and as little of it as will do.

Owns the lower envelope of a line, isotonic regression on grids, and the measure of how far either
moved what. Values that are monotone already come back as they are, to the last bit.

Measured tables have bumps where a kernel's tiles do not divide the batch (FP8 on Hopper most
of all: 257 tokens take longer than 512). A planner that meets one concludes that more load is
faster. The matrices of an iteration are a function of its tokens alone, which engines pad: their line is
replaced by its lower envelope. On the even rows of the measured Llama-70B runs (three folds)
that predicts TPOT within 2.5 / 4.0 / 4.9 % on H100 / H200 / B200 and isotonic regression within
2.9 / 3.8 / 5.8 %. Attention is not padded: its grids are made monotone by the least change, weighed
relative to the whole step that it is part of, since that is what a request waits for.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import isotonic_regression

from argosy.arrays import Floats

NUM_SWEEPS = 200
TOLERANCE = 1e-10


@dataclass(frozen=True)
class Moved:
    """How far smoothing moved steps, relative to the step (0-1): the largest, and the mean."""

    max: float
    mean: float

    @staticmethod
    def between(before: Floats, after: Floats, step_ms: Floats) -> Moved:
        """Of `before` and `after` (ms, one shape), both part of steps that take `step_ms` (same shape)."""
        moved = np.abs(after - before) / step_ms
        return Moved(float(moved.max()), float(moved.mean()))


def lower_envelope(values: Floats) -> Floats:
    """The largest not decreasing line that is nowhere above `values`, shape (N,).

    For sizes that an engine may pad: a step of fewer tokens can always be run as one of more, and
    CUDA graphs do just that. So what a larger size takes is enough for every smaller one.
    """
    line: Floats = np.minimum.accumulate(values[::-1])[::-1]
    return line


def monotone_line(values: Floats, weights: Floats) -> Floats:
    """The nearest not decreasing line (least squares); values, weights and result have shape (N,)."""
    if np.all(np.diff(values) >= 0):
        return values
    line: Floats = isotonic_regression(values, weights=weights).x
    return line


def monotone_grid(values: Floats, weights: Floats) -> Floats:
    """The nearest grid that decreases along neither axis (Dykstra's alternating projections).

    values, weights and result: shape (N, M)
    """
    if np.all(np.diff(values, axis=0) >= 0) and np.all(np.diff(values, axis=1) >= 0):
        return values
    grid, by_column, by_row = values, np.zeros_like(values), np.zeros_like(values)
    for _ in range(NUM_SWEEPS):
        start = grid
        columns = _columns(grid + by_column, weights)
        by_column = grid + by_column - columns
        grid = _columns((columns + by_row).T, weights.T).T
        by_row = columns + by_row - grid
        if np.max(np.abs(grid - start)) <= TOLERANCE * np.max(values):
            break
    # What the last sweep left over is far below float32; the maxima make it exact.
    exact: Floats = np.maximum.accumulate(np.maximum.accumulate(grid, axis=0), axis=1)
    return exact


def _columns(values: Floats, weights: Floats) -> Floats:
    return np.column_stack([monotone_line(values[:, j], weights[:, j]) for j in range(values.shape[1])])
