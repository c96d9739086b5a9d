"""Moving a step time until a simulated engine shows what was measured.

Owns the parameters and their prior; `robust_fit` searches.
`fit` decides which parameters are free. Input: trials, a table, names. Output: `Solution`.

Least squares of the logarithms of predicted over measured, in units of the quantity's noise,
Huber's beyond 2.5 of them (one bad run must not bend the rest). The prior is a Gaussian
around the known step time, as wide as software and silicon of one kind differ, so that what
few rows cannot tell apart stays where it was. A trial draws its requests once: every step time is
judged on the same ones (`robust_fit` needs that).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np

from argosy.arrays import Floats
from argosy.engine.request import EngineLimits
from argosy.engine.step_times import StepTable, StepTimeSource
from argosy.perf.measurements.scaled import ScalingFactors, scaled
from argosy.perf.measurements.trial import ObservedStatistic, Quantity
from argosy.perf.robust_fit import STEP, Loss, Parameter, RobustFit, fit_parameters

FRONT_END = "front_end_ms"
"""What client, network and HTTP server add to a TTFT: in every measurement, in no step time."""

_HUBER = 2.5

# Standard deviations of the prior: logarithms of factors, milliseconds for the others.
_WIDTH = {"s": 0.3, "compute": 0.2, "attention": 0.2, "c0": 1.5, "cb": 0.05, FRONT_END: 20.0}
_LOGARITHMS = ("s", "compute", "attention")
_UNITS = {"c0": "ms", "cb": "ms per sequence", FRONT_END: "ms"}
# Far beyond what is plausible, and near enough that times stay finite on the way there.
_FAR = 50.0
_USUAL_FRONT_END_MS = 5.0


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
    def parameters(self) -> tuple[Parameter, ...]:
        """The free ones; no part takes negative time, unless the prior's host does."""
        known = {"c0": self.table.c0, "cb": self.table.cb, FRONT_END: _USUAL_FRONT_END_MS}
        lows = {"c0": min(0.0, self.table.c0), "cb": min(0.0, self.table.cb), FRONT_END: 0.0}
        return tuple(
            Parameter(
                name,
                known.get(name, 0.0),
                _WIDTH[name],
                _UNITS.get(name, ""),
                low=lows.get(name, -math.inf),
                is_logarithm=name in _LOGARITHMS,
            )
            for name in self.free
        )

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

    def predict(self, table: StepTable, front_end_ms: float) -> Floats:
        """A value for each observed one, shape (O,); milliseconds, requests/s for a throughput."""
        shown = np.concatenate([trial.predict(self.limits, table) for trial in self.trials])
        return shown + front_end_ms * self.has_front_end

    def errors(self, at: Floats) -> Floats:
        """Logarithms of predicted over measured at parameters of shape (P,); shape (O,)."""
        predicted = self.predict(scaled(self.table, self.factors(at)), self.front_end_ms(at))
        found: Floats = np.log(predicted / np.array([one.value for _, one in self.observed]))
        return found


@dataclass(frozen=True, slots=True)
class Solution:
    """Where the fit ended: the search, parameters (P,), errors (O,), their derivatives (O, P), and Huber's
    weights (O,).
    """

    fit: RobustFit
    at: Floats
    errors: Floats
    jacobian: Floats
    weights: Floats

    def normal(self, problem: FitProblem) -> Floats:
        """The matrix of the normal equations, the prior's part included; shape (P, P)."""
        weighted = self.jacobian * self.weights[:, None]
        spreads = np.array([one.spread for one in problem.parameters])
        found: Floats = weighted.T @ self.jacobian + np.diag(spreads**-2.0)
        return found


def solve(problem: FitProblem, steps: tuple[float, ...] = (STEP,)) -> Solution:
    """The most likely parameters, with what `left_out` needs; `steps` as of `fit_parameters`."""
    noise = problem.noise
    fit = fit_parameters(lambda at: problem.errors(at) / noise, problem.parameters, Loss.HUBER, _HUBER, steps)
    weights = np.minimum(1.0, _HUBER / np.maximum(np.abs(fit.residuals), 1e-12)) / noise**2
    return Solution(fit, fit.values, fit.residuals * noise, fit.jacobian * noise[:, None], weights)


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
