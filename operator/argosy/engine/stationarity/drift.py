"""The drift of the number of requests in the system, with its error, and where the warm-up ends.

Owns the statistics of `judge`. Input: sorted instants at which requests came and left, or batch means.
Output: a slope and its standard error; an instant.

The warm-up is removed by MSER-5 (White, Simulation 69, 1997, p. 323): of all beginnings up to a
quarter of the run, the one whose removal makes the standard error of the mean number smallest; a minimum at
that limit is none, and nothing is removed (White allows half: of overloaded runs it then finds the part that
is the flattest by chance, and twice as many pass as stationary). The rest, up to the last arrival, is cut
into 20 batches of equal time. A line is laid through the 20 mean numbers, and its slope is the drift.
Successive batches are correlated, and under overload their sum of errors is a random walk, so the error is
that of generalised least squares with AR(1) errors, whose coefficient is corrected for its bias on short
series and counts as 1 where it is within 1/sqrt(20) of 1: then the slope over its error is nearly normal for
stationary noise and for a random walk alike (Perron and Yabu, J. Econometrics 151, 2009, p. 56).
"""

from __future__ import annotations

import math

import numpy as np

from argosy.arrays import Floats

_PER_CELL = 5
_MOST_WARM_UP = 0.25


def mean_numbers(arrivals_s: Floats, ends_s: Floats, edges_s: Floats) -> Floats:
    """The mean number in the system between successive edges; all sorted, shape (edges - 1,)."""
    spent_s = _spent(arrivals_s, edges_s) - _spent(ends_s[np.isfinite(ends_s)], edges_s)
    numbers: Floats = np.diff(spent_s) / np.diff(edges_s)
    return numbers


def _spent(instants_s: Floats, edges_s: Floats) -> Floats:
    """Seconds since these sorted instants, summed, at each edge; an instant to come counts as none."""
    sums = np.concatenate([[0.0], np.cumsum(instants_s)])
    before = np.searchsorted(instants_s, edges_s)
    spent: Floats = before * edges_s - sums[before]
    return spent


def warm_from(arrivals_s: Floats, ends_s: Floats) -> float:
    """Where the measured part begins: MSER-5 over cells that hold five arrivals on average."""
    num_cells = len(arrivals_s) // _PER_CELL
    edges_s = np.linspace(arrivals_s[0], arrivals_s[-1], num_cells + 1)
    numbers = mean_numbers(arrivals_s, ends_s, edges_s)
    left = np.arange(num_cells, 0, -1)
    # Of the cells from each one on: sum and sum of squares, about a value near the mean against rounding.
    centred = numbers - numbers.mean()
    sums, squares = np.cumsum(centred[::-1])[::-1], np.cumsum(centred[::-1] ** 2)[::-1]
    errors = (squares - sums**2 / left) / left.astype(np.float64) ** 2
    most = int(_MOST_WARM_UP * num_cells)
    best = int(np.argmin(errors[: most + 1]))
    return float(edges_s[best if best < most else 0])


def slope(values: Floats) -> tuple[float, float]:
    """The slope of a line through equally spaced values, per step, and its standard error."""
    count = len(values)
    at = np.arange(count) - (count - 1) / 2
    residuals = values - values.mean() - at * float(at @ values) / float(at @ at)
    squares = float(residuals @ residuals)
    if squares <= 1e-18 * float(values @ values):
        return float(at @ values) / float(at @ at), 0.0
    seen = float(residuals[1:] @ residuals[:-1]) / squares
    # About a line, the coefficient of n values is too small by (2 + 4 phi)/n.
    phi = min(max((count * seen + 2.0) / (count - 4.0), 0.0), 1.0)
    if phi > 1.0 - 1.0 / math.sqrt(count):
        changes = np.diff(values)
        return float(changes.mean()), float(changes.std(ddof=1)) / math.sqrt(count - 1)
    first = math.sqrt(1.0 - phi * phi)
    design = np.stack([np.ones(count), at], axis=1)
    design = np.vstack([first * design[:1], design[1:] - phi * design[:-1]])
    shown = np.concatenate([first * values[:1], values[1:] - phi * values[:-1]])
    information = design.T @ design
    line = np.linalg.solve(information, design.T @ shown)
    left = shown - design @ line
    variance = float(left @ left) / (count - 3)
    return float(line[1]), math.sqrt(variance * float(np.linalg.inv(information)[1, 1]))
