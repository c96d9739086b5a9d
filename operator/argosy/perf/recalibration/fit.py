"""Recursive least squares of step times: what windows say of (s, c0, cB).

Owns the estimate and its evidence. `recalibrate` judges observations. Input: rows with observed
times. Output: new evidence; the old one stays.

    observed ms per iteration = s * silicon ms + c0 + cB * batch + noise        (times iterations:
    busy_ms = s * predicted ms + c0 * N_iter + cB * decode tokens)

The evidence is kept as information (the inverse of the covariance) about u, theta = prior +
`PRIOR_ERROR` u, where the prior is the identity and zero. One round of observations a_i u = b_i does

    A <- f A + (1 - f) I + sum a_i a_i',       v <- f v + sum a_i b_i,        u = A^-1 v

the exact recursive least squares with forgetting f and a prior that never fades. The usual update
of the covariance needs Joseph's form to stay symmetric and positive, and blows up in directions
that no traffic excites (0.995 per window grows it 150 times in four hours); here A is a sum of
squares and the identity, symmetric as it is written, never below the identity, and never above
1 + |a|^2/(1 - f). Where nothing is learnt any more, the estimate returns to the prior.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np

from argosy.arrays import Floats
from argosy.perf.profile import Calibration
from argosy.perf.recalibration.features import Row

FORGETTING = 0.995
"""Per window of 15 s: half is forgotten in 35 minutes."""

NOISE = 0.03
"""Relative scatter of one window that the weights assume."""


PRIOR_ERROR = np.array([[0.3, 0.0, 0.0], [0.0, 0.56, 0.0], [0.0, 0.0172, 0.0089]])
"""A root of its covariance, theta = prior + root u: silicon is wrong by a third; hosts are slower or
faster by 40 % in all they do (c0 and cB together), give or take 0.2 ms and 6 us of their own. Times
say little of how they divide into s, c0 and cB, so the prior does: with three errors independent of
one another, extrapolations were twice as far off."""
PRIOR_ERROR.setflags(write=False)

LOWEST = Calibration(s=0.25, c0=0.0, cb=0.0)
HIGHEST = Calibration(s=4.0, c0=20.0, cb=1.0)
_LOW, _HIGH = LOWEST.values().tolist(), HIGHEST.values().tolist()


_UPPER = np.array([0, 1, 2, 4, 5, 8])
"""Where the upper triangle of a matrix of 3 x 3 is among its nine numbers."""

_PRIOR_INFORMATION = np.eye(3)


@dataclass(frozen=True, slots=True)
class Observation:
    """A window's row, what was measured (ms per iteration), and how much it counts (0-1)."""

    row: Row
    step_ms: float
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class Evidence:
    """What has been learnt beyond the prior.

    information: upper triangle by rows (6 numbers) of the symmetric matrix A, the identity at first
    vector:      v
    """

    information: tuple[float, ...] = (1.0, 0.0, 0.0, 1.0, 0.0, 1.0)
    vector: tuple[float, ...] = (0.0, 0.0, 0.0)

    def matrix(self) -> Floats:
        """A, shape (3, 3)."""
        a, b, c, d, e, f = self.information
        return np.array([[a, b, c], [b, d, e], [c, e, f]])

    def is_sound(self) -> bool:
        """Whether it can have come from observations: finite, and no less than the prior."""
        if len(self.information) != 6 or len(self.vector) != 3:
            return False
        if not all(math.isfinite(value) for value in (*self.information, *self.vector)):
            return False
        return float(np.linalg.eigvalsh(self.matrix())[0]) > 1.0 - 1e-6


def forgotten(evidence: Evidence, share: float) -> Evidence:
    """The evidence after `share` (0-1) of it is kept."""
    kept = share * evidence.matrix() + (1.0 - share) * _PRIOR_INFORMATION
    return _evidence(kept, share * np.array(evidence.vector))


def learnt(evidence: Evidence, prior: Calibration, observation: Observation) -> Evidence:
    """The evidence with one more observation."""
    expected_ms = observation.row.step_ms(estimate(evidence, prior))
    scale = math.sqrt(observation.weight) / (NOISE * expected_ms)
    a = _regressors(observation.row) * scale
    b = (observation.step_ms - observation.row.step_ms(prior)) * scale
    return _evidence(evidence.matrix() + np.outer(a, a), np.array(evidence.vector) + a * b)


def restarted(evidence: Evidence, prior: Calibration) -> Evidence:
    """The same estimate, as unsure as the prior: what was true once may be so no more."""
    u = np.linalg.solve(PRIOR_ERROR, estimate(evidence, prior).values() - prior.values())
    return _evidence(_PRIOR_INFORMATION, u)


def estimate(evidence: Evidence, prior: Calibration) -> Calibration:
    """The most probable calibration within `LOWEST` and `HIGHEST`."""
    change = PRIOR_ERROR @ np.linalg.solve(evidence.matrix(), np.array(evidence.vector))
    found: list[float] = (prior.values() + change).tolist()
    if _is_inside(found):
        return Calibration(*found)
    root = np.linalg.inv(PRIOR_ERROR)
    matrix, vector = root.T @ evidence.matrix() @ root, root.T @ np.array(evidence.vector)
    low, high = LOWEST.values() - prior.values(), HIGHEST.values() - prior.values()
    change = _within(matrix, vector, low, high)
    # Against rounding only.
    found = np.clip(prior.values() + change, LOWEST.values(), HIGHEST.values()).tolist()
    return Calibration(*found)


def _is_inside(theta: list[float]) -> bool:
    return all(a <= x <= b for a, x, b in zip(_LOW, theta, _HIGH, strict=True))


def relative_variance(evidence: Evidence, prior: Calibration, row: Row) -> float:
    """Variance of the estimated step time at `row` over its square, for windows with `NOISE`."""
    x = _regressors(row) / row.step_ms(estimate(evidence, prior))
    return float(x @ np.linalg.solve(evidence.matrix(), x))


def _regressors(row: Row) -> Floats:
    """What a step time changes by along u."""
    return np.asarray(np.array([row.silicon_ms, 1.0, row.batch]) @ PRIOR_ERROR)


def _within(matrix: Floats, vector: Floats, low: Floats, high: Floats) -> Floats:
    """The minimum of x'Ax/2 - v'x in a box.

    A clipped coordinate would leave the others where they made up for it, so the others are solved
    anew: 27 cases of (at the low end, free, at the high end), of which the best that is in the box
    is the minimum, because the function is strictly convex.
    """
    best, best_value = np.clip(np.zeros(3), low, high), math.inf
    for sides in itertools.product((-1, 0, 1), repeat=3):
        free = [i for i, side in enumerate(sides) if side == 0]
        x = np.where(np.array(sides) < 0, low, high)
        if free:
            fixed = [i for i in range(3) if i not in free]
            rest = vector[free] - matrix[np.ix_(free, fixed)] @ x[fixed]
            x[free] = np.linalg.solve(matrix[np.ix_(free, free)], rest)
        value = float(x @ matrix @ x / 2.0 - vector @ x)
        if value < best_value and np.all(x >= low - 1e-9) and np.all(x <= high + 1e-9):
            best, best_value = x, value
    return best


def _evidence(matrix: Floats, vector: Floats) -> Evidence:
    upper: list[float] = matrix.ravel()[_UPPER].tolist()
    found: list[float] = vector.tolist()
    return Evidence(tuple(upper), tuple(found))
