"""Moving a step time until a simulated engine shows what was measured.

Owns the parameters, their prior and their derivatives; scipy solves.
`fit` decides which parameters are free. Input: trials, a table, names. Output: `Solution`.

Least squares of the logarithms of predicted over measured, in units of the quantity's noise,
Huber's beyond 2.5 of them (one bad run must not bend the rest). The prior is a Gaussian
around the known step time, as wide as software and silicon of one kind differ, so that what
few rows cannot tell apart stays where it was. Derivatives are differences between simulations
of the same requests.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np

from argosy.arrays import Floats
from argosy.engine.request import EngineLimits
from argosy.engine.step_times import StepTable, StepTimeSource
from argosy.perf.measurements.scaled import ScalingFactors, scaled
from argosy.perf.measurements.trial import ObservedStatistic, Quantity

FRONT_END = "front_end_ms"
"""What client, network and HTTP server add to a TTFT: in every measurement, in no step time."""

_HUBER = 2.5

# Standard deviations of the prior: logarithms of factors, milliseconds for the others.
_WIDTH = {"s": 0.3, "compute": 0.2, "attention": 0.2, "c0": 1.5, "cb": 0.05, FRONT_END: 20.0}
_LOGARITHMS = ("s", "compute", "attention")
# Far beyond what is plausible, and near enough that times stay finite on the way there.
_FAR = 50.0
_USUAL_FRONT_END_MS = 5.0
_DIFFERENCE = 0.02
_MOST_STEPS = 20
# Multiples of `differences`, the coarsest first.
_ROUNDS = (15.0, 10.0, 7.0, 5.0, 3.5, 2.5, 1.5, 1.0, 0.5)
_STEPS_PER_ROUND = 8
_CONVERGED = 1e-3


class Repeatable(Protocol):
    """What was measured, and how an engine would have shown it: `Trial`, or a run of single requests."""

    @property
    def observed(self) -> tuple[ObservedStatistic, ...]:
        """What was measured."""

    @property
    def noise(self) -> tuple[float, ...]:
        """Relative standard error of each observed value."""

    def predict(self, limits: EngineLimits, source: StepTimeSource) -> Floats:
        """What an engine with these step times shows for each of `observed`; shape (len(observed),)."""


@dataclass(frozen=True)
class FitProblem:
    """Residuals as a function of the free parameters (logarithms of factors; milliseconds for the others).

    P free parameters, O observed values of all trials together.
    """

    trials: tuple[Repeatable, ...]
    limits: EngineLimits
    table: StepTable
    free: tuple[str, ...]

    @cached_property
    def start(self) -> Floats:
        """Where the search starts: the prior's own values, shape (P,)."""
        values = {"c0": self.table.c0, "cb": self.table.cb, FRONT_END: _USUAL_FRONT_END_MS}
        return np.array([values.get(name, 0.0) for name in self.free])

    @cached_property
    def widths(self) -> Floats:
        """Standard deviations of the prior, shape (P,)."""
        return np.array([_WIDTH[name] for name in self.free])

    @cached_property
    def differences(self) -> Floats:
        """Steps that change a small batch's iteration by about two per cent each, shape (P,)."""
        one_token_ms = float(self.table.s * self.table.matrix_ms[0])
        steps = {"c0": _DIFFERENCE * one_token_ms, "cb": _DIFFERENCE * one_token_ms / 32, FRONT_END: 1.0}
        return np.array([steps.get(name, _DIFFERENCE) for name in self.free])

    @cached_property
    def observed(self) -> tuple[tuple[int, ObservedStatistic], ...]:
        """All quantities, each with the index of its trial."""
        return tuple((index, one) for index, trial in enumerate(self.trials) for one in trial.observed)

    @cached_property
    def noise(self) -> Floats:
        """Relative standard error of each observed value, shape (O,)."""
        return np.array([noise for trial in self.trials for noise in trial.noise])

    @cached_property
    def has_front_end(self) -> Floats:
        """1 for the values that contain a first token, else 0; shape (O,)."""
        with_first = (Quantity.TTFT, Quantity.E2E)
        return np.array([float(one.quantity in with_first) for _, one in self.observed])

    def factors(self, at: Floats) -> ScalingFactors:
        """The factors at parameters of shape (P,); those that are not free stay as they were."""
        given = dict(zip(self.free, at.tolist(), strict=True))
        powers = {name: given.get(name, 0.0) for name in _LOGARITHMS}
        values = {name: math.exp(max(-_FAR, min(_FAR, power))) for name, power in powers.items()}
        return ScalingFactors(c0=given.get("c0", self.table.c0), cb=given.get("cb", self.table.cb), **values)

    def front_end_ms(self, at: Floats) -> float:
        """Milliseconds at parameters of shape (P,); zero where the rows could not tell."""
        return float(at[self.free.index(FRONT_END)]) if FRONT_END in self.free else 0.0

    @cached_property
    def floor(self) -> Floats:
        """Lower bounds, shape (P,): no part takes negative time, unless the prior's host does."""
        floor = {"c0": min(0.0, self.table.c0), "cb": min(0.0, self.table.cb), FRONT_END: 0.0}
        return np.array([floor.get(name, -math.inf) for name in self.free])

    def predict(self, table: StepTable, front_end_ms: float) -> Floats:
        """A value for each observed one, shape (O,); milliseconds, requests/s for a throughput."""
        shown = np.concatenate([trial.predict(self.limits, table) for trial in self.trials])
        return shown + front_end_ms * self.has_front_end

    def errors(self, at: Floats) -> Floats:
        """Logarithms of predicted over measured at parameters of shape (P,); shape (O,)."""
        predicted = self.predict(scaled(self.table, self.factors(at)), self.front_end_ms(at))
        found: Floats = np.log(predicted / np.array([one.value for _, one in self.observed]))
        return found

    def derivatives(self, at: Floats) -> Floats:
        """Of `errors`, shape (O, P): differences between simulations of the same requests."""
        errors, columns = self.errors(at), []
        for index, difference in enumerate(self.differences.tolist()):
            beside = at.copy()
            beside[index] += difference
            columns.append((self.errors(beside) - errors) / difference)
        return np.stack(columns, axis=1)


@dataclass(frozen=True, slots=True)
class Solution:
    """Where the fit ended: parameters (P,), errors (O,), their derivatives (O, P), Huber's weights (O,)."""

    at: Floats
    errors: Floats
    jacobian: Floats
    weights: Floats

    def normal(self, problem: FitProblem) -> Floats:
        """The matrix of the normal equations, the prior's part included; shape (P, P)."""
        weighted = self.jacobian * self.weights[:, None]
        found: Floats = weighted.T @ self.jacobian + np.diag(problem.widths**-2.0)
        return found


def solve(problem: FitProblem) -> Solution:
    """The most likely parameters, with what `left_out` needs."""
    at, _ = _searched(problem, problem.start, problem.derivatives, _MOST_STEPS)
    return _solution(problem, at)


def solve_rough(problem: FitProblem) -> Solution:
    """The same where single requests are compared, whose times jump where they meet another iteration.

    Derivatives over small differences then show the jumps and not the slope, and the search ends where it
    began. So it begins with coarse central differences and refines them, each round from the best
    parameters so far (implicit filtering: Kelley, SIAM 2011).
    """
    best, least = problem.start, math.inf
    for wider in _ROUNDS:
        at, cost = _searched(problem, best, _central(problem, wider), _STEPS_PER_ROUND)
        if cost < least:
            best, least = at, cost
    return _solution(problem, best)


def _searched(
    problem: FitProblem, start: Floats, derivatives: Callable[[Floats], Floats], most_steps: int
) -> tuple[Floats, float]:
    """Where a search from `start` ends, with these derivatives of the errors; and half the squares there."""
    from scipy.optimize import least_squares  # only where something is fitted

    def residuals(at: Floats) -> Floats:
        return np.concatenate([problem.errors(at) / problem.noise, (at - problem.start) / problem.widths])

    def jacobian(at: Floats) -> Floats:
        return np.vstack([derivatives(at) / problem.noise[:, None], np.diag(1 / problem.widths)])

    found = least_squares(
        residuals,
        start,
        jacobian,
        bounds=(problem.floor, np.inf),
        loss="huber",
        f_scale=_HUBER,
        x_scale=problem.widths,
        xtol=_CONVERGED,
        max_nfev=most_steps,
    )
    return found.x, float(found.cost)


def _central(problem: FitProblem, wider: float) -> Callable[[Floats], Floats]:
    """Derivatives of the errors over differences so many times as wide, shape (O, P)."""

    def derivatives(at: Floats) -> Floats:
        columns = []
        for index, difference in enumerate((wider * problem.differences).tolist()):
            above, below = at.copy(), at.copy()
            above[index] += difference
            below[index] = max(problem.floor[index], below[index] - difference)
            columns.append((problem.errors(above) - problem.errors(below)) / (above[index] - below[index]))
        return np.stack(columns, axis=1)

    return derivatives


def _solution(problem: FitProblem, at: Floats) -> Solution:
    errors = problem.errors(at)
    scores = np.abs(errors / problem.noise)
    weights = np.minimum(1.0, _HUBER / np.maximum(scores, 1e-12)) / problem.noise**2
    return Solution(at, errors, problem.derivatives(at), weights)


def left_out(problem: FitProblem, solution: Solution) -> Floats:
    """Errors of every trial at the solution of the others, to first order; shape (O,)."""
    weighted = solution.jacobian * solution.weights[:, None]
    normal = solution.normal(problem)
    rows = np.array([index for index, _ in problem.observed])
    errors = solution.errors.copy()
    for index in range(len(problem.trials)):
        mine = rows == index
        own, jacobian = weighted[mine], solution.jacobian[mine]
        shift = np.linalg.solve(normal - own.T @ jacobian, own.T @ solution.errors[mine])
        errors[mine] += jacobian @ shift
    return errors
