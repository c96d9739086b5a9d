"""Recursive least squares of step times: what windows say of (s, c0, cB) and of prefill.

Owns the estimate and its evidence. `recalibrate` judges observations. Input: rows with observed
times. Output: new evidence; the old one stays.

    observed ms per iteration = s * silicon ms + c0 + cB * batch + p * prefill tokens + noise
    (times iterations: busy_ms = s * predicted ms + c0 * N_iter + cB * decode tokens + p * prefill tokens)

The evidence is kept as information (the inverse of the covariance) about u, theta = prior +
root u, where the prior is the identity and zero. One round of observations a_i u = b_i does

    A <- f A + (1 - f) I + sum a_i a_i',       v <- f v + sum a_i b_i,        u = A^-1 v

the exact recursive least squares with forgetting f and a prior that never fades. The usual update
of the covariance needs Joseph's form to stay symmetric and positive, and blows up in directions
that no traffic excites (0.995 per window grows it 150 times in four hours); here A is a sum of
squares and the identity, symmetric as it is written, never below the identity, and never above
1 + |a|^2/(1 - f). Where nothing is learnt any more, the estimate returns to the prior.

Prefill (p) can be told from the rest only where its share of the iterations varies: without prompts it is in
no window, and with a constant share it looks like s. So p stays at the prior, and the others are estimated
for that p, until its variance has fallen to `PREFILL_KNOWN` of the prior's and it is `PREFILL_SURE` standard
errors from there. On simulated engines with 3 % noise and loads of 0.3-0.9 (`hack/judge_recalibration.py`, 20
seeds) a prefill 30 % slow is found in a third of the runs after 12 windows and in nearly all after 40, and is
called slow in one run of twenty where it is not. Without the second rule errors after twenty windows were
1.8 % (root mean square) where prefill is as the profile has it; with it 1.0 %, as with three parameters.

Communication between the ranks of a replica has no parameter of its own. An all-reduce takes a time per
layer and one per token, and so is a constant per iteration, a part for each decoding sequence and one for
each prefill token: what c0, cB and p are. Counters show the sum, and the tables hold the sum of all
kernels, so no traffic can tell it from the host's part; what is slow in it is found as these three.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from functools import cache

import numpy as np

from argosy.arrays import Floats
from argosy.engine.step_times import StepTimes
from argosy.perf.profile import HOST_OVERHEAD, Calibration
from argosy.perf.recalibration.features import Row

FORGETTING = 0.995
"""Per window of 15 s: half is forgotten in 35 minutes."""

NOISE = 0.03
"""Relative scatter of one window that the weights assume."""


_WAITING = ((0.3, 0.0, 0.0), (0.0, 0.56, 0.0), (0.0, 0.0172, 0.0089))
"""A root of the covariance of (s, c0, cB), theta = prior + root u: silicon is wrong by a third; hosts are
slower or faster by 40 % in all they do (c0 and cB together), give or take 0.2 ms and 6 us of their own. Times
say little of how they divide into s, c0 and cB, so the prior does: with three errors independent of
one another, extrapolations were twice as far off."""
_OVERLAPPED = ((0.3, 0.0, 0.0), (0.0, 0.45, 0.0), (0.0, 0.0, 0.015))
"""The same where the host works beside the GPU: c0 and cB are then only what is not hidden. A third of
the usual host (1.34 ms, 46 us per sequence) may be or not be."""

PREFILL_ERROR = 0.25
"""Relative: prefill takes so much longer or shorter than decoding does (one standard deviation)."""
PREFILL_KNOWN = 0.25
"""Of the prior's variance: the error is half of the prior's then."""
PREFILL_SURE = 2.5
"""Standard errors: noise alone moves it so far in one of eighty cases."""
_PREFILL_RANGE = (-2.0, 12.0)
"""In standard deviations: half to four times the silicon's."""

LOWEST = Calibration(s=0.25, c0=0.0, cb=0.0, prefill_ms_per_token=-10.0)
HIGHEST = Calibration(s=4.0, c0=20.0, cb=1.0, prefill_ms_per_token=100.0)
"""Prefill's are those of any engine; `Start` has narrower ones."""

_SIZE = 4
_UPPER = np.flatnonzero(np.triu(np.ones((_SIZE, _SIZE))))
"""Where the upper triangle of a matrix of 4 x 4 is among its sixteen numbers."""

_PRIOR_INFORMATION = np.eye(_SIZE)


@dataclass(frozen=True, slots=True)
class Start:
    """Where learning starts, and how sure that is.

    calibration:    the host overhead that plans assume
    prefill_spread: standard deviation of p, ms per token; 0 leaves p where it is
    is_overlapped:  the host works beside the GPU (vLLM 0.14 and later): c0 and cB are the exposed part
    """

    calibration: Calibration = HOST_OVERHEAD
    prefill_spread: float = 0.0
    is_overlapped: bool = False

    @classmethod
    def of(cls, calibration: Calibration, times: StepTimes) -> Start:
        """Of an engine with these times on silicon."""
        per_token_ms = float(times.matrix_ms[-1]) / (len(times.matrix_ms) - 1)
        overlapped = times.host_ms > 0 or times.host_ms_per_sequence > 0
        return cls(calibration, PREFILL_ERROR * per_token_ms, overlapped)

    @property
    def silicon_ms_per_token(self) -> float:
        """What a token of a prompt takes in the largest iteration, without host and calibration."""
        return self.prefill_spread / PREFILL_ERROR

    @property
    def root(self) -> Floats:
        """A root of the covariance of theta, shape (4, 4), block diagonal: prefill is by itself."""
        return _root(self.prefill_spread, self.is_overlapped)

    @property
    def bounds(self) -> tuple[Floats, Floats]:
        """The lowest and the highest theta, shape (4,) each."""
        low, high = LOWEST.values(), HIGHEST.values()
        low[3], high[3] = (
            self.calibration.prefill_ms_per_token + end * self.prefill_spread for end in _PREFILL_RANGE
        )
        return low, high


@cache
def _root(prefill_spread: float, is_overlapped: bool) -> Floats:
    root = np.zeros((_SIZE, _SIZE))
    root[:3, :3] = _OVERLAPPED if is_overlapped else _WAITING
    root[3, 3] = prefill_spread
    root.setflags(write=False)
    return root


@dataclass(frozen=True, slots=True)
class Observation:
    """A window's row, what was measured (ms per iteration), and how much it counts (0-1)."""

    row: Row
    step_ms: float
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class Evidence:
    """What has been learnt beyond the prior.

    information: upper triangle by rows (10 numbers) of the symmetric matrix A, the identity at first
    vector:      v (4 numbers)
    """

    information: tuple[float, ...] = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 1.0, 0.0, 1.0)
    vector: tuple[float, ...] = (0.0, 0.0, 0.0, 0.0)

    def matrix(self) -> Floats:
        """A, shape (4, 4)."""
        found = np.zeros(_SIZE * _SIZE)
        found[_UPPER] = self.information
        upper = found.reshape(_SIZE, _SIZE)
        return upper + np.triu(upper, 1).T

    def is_sound(self) -> bool:
        """Whether it can have come from observations: finite, and no less than the prior."""
        if len(self.information) != len(_UPPER) or len(self.vector) != _SIZE:
            return False
        if not all(math.isfinite(value) for value in (*self.information, *self.vector)):
            return False
        return float(np.linalg.eigvalsh(self.matrix())[0]) > 1.0 - 1e-6

    @property
    def knows_prefill(self) -> bool:
        """Whether windows could tell prefill from the rest, and it is not the prior's."""
        if self.information[-1] < 1.0 / PREFILL_KNOWN:
            return False
        column = np.linalg.solve(self.matrix(), np.array([0.0, 0.0, 0.0, 1.0]))
        variance, moved = float(column[3]), float(column @ np.array(self.vector))
        return variance <= PREFILL_KNOWN and moved * moved >= PREFILL_SURE**2 * variance


def forgotten(evidence: Evidence, share: float) -> Evidence:
    """The evidence after `share` (0-1) of it is kept."""
    kept = share * evidence.matrix() + (1.0 - share) * _PRIOR_INFORMATION
    return _evidence(kept, share * np.array(evidence.vector))


def learnt(evidence: Evidence, start: Start, observation: Observation) -> Evidence:
    """The evidence with one more observation."""
    expected_ms = observation.row.step_ms(estimate(evidence, start))
    scale = math.sqrt(observation.weight) / (NOISE * expected_ms)
    a = _regressors(observation.row, start) * scale
    b = (observation.step_ms - observation.row.step_ms(start.calibration)) * scale
    return _evidence(evidence.matrix() + np.outer(a, a), np.array(evidence.vector) + a * b)


def restarted(evidence: Evidence, start: Start) -> Evidence:
    """The same estimate, as unsure as the prior: what was true once may be so no more.

    What was known of prefill stays just known: without it the estimate would move.
    """
    change = estimate(evidence, start).values() - start.calibration.values()
    u, information = np.zeros(_SIZE), _PRIOR_INFORMATION.copy()
    u[:3] = np.linalg.solve(start.root[:3, :3], change[:3])
    if evidence.knows_prefill:
        u[3] = change[3] / start.prefill_spread
        information[3, 3] = 1.01 * max(1.0 / PREFILL_KNOWN, (PREFILL_SURE / float(u[3])) ** 2)
    return _evidence(information, information @ u)


def estimate(evidence: Evidence, start: Start) -> Calibration:
    """The most probable calibration within the bounds of `start`; its prefill where that is not known."""
    size = _SIZE if evidence.knows_prefill else _SIZE - 1
    matrix, vector = evidence.matrix()[:size, :size], np.array(evidence.vector)[:size]
    root, (low, high) = start.root[:size, :size], start.bounds
    prior = start.calibration.values()
    found = prior.copy()
    found[:size] += root @ np.linalg.solve(matrix, vector)
    if not (np.all(found >= low) and np.all(found <= high)):
        inverse = np.linalg.inv(root)
        box = (low - prior)[:size], (high - prior)[:size]
        found[:size] = prior[:size] + _within(inverse.T @ matrix @ inverse, inverse.T @ vector, *box)
        # Against rounding only.
        found = np.clip(found, low, high)
    values: list[float] = found.tolist()
    return Calibration(*values)


def relative_variance(evidence: Evidence, start: Start, row: Row) -> float:
    """Variance of the estimated step time at `row` over its square, for windows with `NOISE`."""
    x = _regressors(row, start) / row.step_ms(estimate(evidence, start))
    return float(x @ np.linalg.solve(evidence.matrix(), x))


def _regressors(row: Row, start: Start) -> Floats:
    """What a step time changes by along u."""
    return np.asarray(np.array([row.silicon_ms, 1.0, row.batch, row.prefill_tokens]) @ start.root)


def _within(matrix: Floats, vector: Floats, low: Floats, high: Floats) -> Floats:
    """The minimum of x'Ax/2 - v'x in a box.

    A clipped coordinate would leave the others where they made up for it, so the others are solved
    anew: 27 or 81 cases of (at the low end, free, at the high end), of which the best that is in the box
    is the minimum, because the function is strictly convex.
    """
    size = len(low)
    best, best_value = np.clip(np.zeros(size), low, high), math.inf
    for sides in itertools.product((-1, 0, 1), repeat=size):
        free = [i for i, side in enumerate(sides) if side == 0]
        x = np.where(np.array(sides) < 0, low, high)
        if free:
            fixed = [i for i in range(size) if i not in free]
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
