"""Parameters moved from a prior until a simulated engine shows what was measured; and how far they moved.

Owns the nouns `Parameter`, `Move` and `RobustFit`, and the search. The caller owns the simulation, its noise
and what its parameters do. Input: parameters, and a function from their values to residuals in units of the
noise. Output: a `RobustFit`.

    cost = half the sum of rho(residual), over data and parameters; a parameter's is (value - prior)/spread

rho is quadratic near zero and grows like the distance far off, so that one bad run does not bend the rest.
scipy's trust region searches in units of the prior's spread. Its own differences are relative to the value:
at a prior of zero they have no size, and the size that stands in for it (1.5e-8) is smaller than the jumps of
a simulation, where one request more or less joins an iteration. So derivatives are taken over `STEP` spreads
on either side (on one side at a bound). Where single requests are compared, whose times jump with every
iteration that they join, the caller gives several steps, the coarsest first: each round begins at the best
values so far (implicit filtering: Kelley, SIAM 2011).

Common random numbers: the function must be one of its values alone. Its maker draws lengths and arrivals
once, before the fit, and simulates the same requests at every point; then a difference of two points shows
the parameters and not the draw. `tests/unit/perf/test_robust_fit.py` compares the optima with a search
without derivatives (Nelder and Mead) on the same functions.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np

from argosy.arrays import Floats
from argosy.errors import SpecError

STEP = 0.1
"""Spreads on either side of a derivative. Over groups of measured runs 0.02 and 0.1 end at the same cost to a
thousandth, 0.3 up to 0.5 % higher."""
ROUGH_STEPS = (1.0, 0.5, 0.25, STEP)
"""Where single requests are compared (see the module)."""
_AT_BOUND = 1e-3
_CONVERGED = 1e-3
_MOST_STEPS = 40


class Loss(StrEnum):
    """What far residuals count; scipy's names. Huber's is linear beyond `scale`, the soft one bends there."""

    HUBER = "huber"
    SOFT = "soft_l1"


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter before the fit. Raises SpecError for a spread that is none, and a prior out of bounds.

    unit:         of `prior`, as printed; empty for a factor
    spread:       standard deviation of the prior
    is_logarithm: values are natural logarithms of a factor: a move is printed as the factor
    """

    name: str
    prior: float
    spread: float
    unit: str = ""
    low: float = -math.inf
    high: float = math.inf
    is_logarithm: bool = False

    def __post_init__(self) -> None:
        if not (math.isfinite(self.spread) and self.spread > 0):
            raise SpecError(f"a prior needs a spread above 0, got {self.spread}", self.name)
        if not (math.isfinite(self.prior) and self.low <= self.prior <= self.high and self.low < self.high):
            raise SpecError(f"{self.prior} is not between {self.low} and {self.high}", self.name)


class Bound(StrEnum):
    """Which end of its range a parameter stopped at: the measurements ask for more."""

    LOW = "low"
    HIGH = "high"


@dataclass(frozen=True, slots=True)
class Move:
    """How far one parameter moved: `prior` and `value` as printed (a factor, or in `unit`).

    spreads:  the distance in standard deviations of the prior, with its sign (of a factor: of its logarithm)
    at_bound: the end of its range, where it stopped there
    """

    name: str
    unit: str
    prior: float
    value: float
    spreads: float
    at_bound: Bound | None = None

    def __str__(self) -> str:
        unit = f" {self.unit}" if self.unit else ""
        stopped = f", stopped at its {self.at_bound} bound" if self.at_bound else ""
        change = f"{self.prior:.3g} to {self.value:.3g}{unit}"
        return f"{self.name} {change} ({self.spreads:+.2g} spreads{stopped})"


@dataclass(frozen=True, slots=True)
class RobustFit:
    """Where the search ended. P parameters, O data residuals.

    values:        shape (P,), as the residual function takes them
    cost:          see the module
    start_cost:    the same at the prior
    residuals:     shape (O,), of the data; jacobian: shape (O, P), per unit of each value
    num_simulated: how often the residual function was called
    has_converged: False: it stopped after `_MOST_STEPS` steps
    """

    values: Floats
    moves: tuple[Move, ...]
    cost: float
    start_cost: float
    residuals: Floats
    jacobian: Floats
    num_simulated: int
    has_converged: bool

    @property
    def at_bounds(self) -> tuple[Move, ...]:
        """Those that stopped at an end of their range."""
        return tuple(move for move in self.moves if move.at_bound is not None)


Residuals = Callable[[Floats], Floats]


def fit_parameters(
    residuals: Residuals,
    parameters: Sequence[Parameter],
    loss: Loss = Loss.HUBER,
    scale: float = 2.5,
    steps: tuple[float, ...] = (STEP,),
) -> RobustFit:
    """The values with the smallest cost near the prior.

    residuals: from values, shape (P,), to residuals, shape (O,): (predicted - measured)/noise, mostly of
               logarithms; a pure function (see the module)
    scale:     the residual beyond which `loss` grows slowly
    steps:     spreads on either side of a derivative, one search after another, each from the best so far

    Raises SpecError for no parameter, no step, or a step that is not above 0.
    """
    if not parameters:
        raise SpecError("at least one is needed", "parameters")
    if not steps or not all(math.isfinite(step) and step > 0 for step in steps):
        raise SpecError(f"must be numbers above 0, got {steps}", "steps")
    search = _Search(residuals, tuple(parameters))
    start_cost = robust_cost(search.all_residuals(search.start), loss, scale)
    at, cost, has_converged = search.start, start_cost, False
    for step in steps:
        found = search.from_point(at, step, (loss, scale))
        if found.cost <= cost:
            at, cost, has_converged = found.x, float(found.cost), bool(found.status > 0)
    return RobustFit(
        values=search.values(at),
        moves=tuple(map(_move, search.parameters, at.tolist())),
        cost=cost,
        start_cost=start_cost,
        residuals=search.all_residuals(at)[: -len(at)],
        jacobian=search.data_derivatives(at, steps[-1]) / search.spreads,
        num_simulated=search.num_simulated,
        has_converged=has_converged,
    )


def robust_cost(all_residuals: Floats, loss: Loss, scale: float) -> float:
    """Half the sum of rho over residuals of any shape: what `fit_parameters` makes small."""
    squares = (all_residuals / scale) ** 2
    if loss is Loss.SOFT:
        rho = 2.0 * (np.sqrt(1.0 + squares) - 1.0)
    else:
        rho = np.where(squares <= 1.0, squares, 2.0 * np.sqrt(squares) - 1.0)
    return float(0.5 * scale**2 * rho.sum())


class _Search:
    """The problem in units of the prior's spreads: zero is the prior."""

    def __init__(self, residuals: Residuals, parameters: tuple[Parameter, ...]) -> None:
        self._residuals = residuals
        self.parameters = parameters
        self.num_simulated = 0
        self._priors = np.array([one.prior for one in parameters])
        self.spreads = np.array([one.spread for one in parameters])
        self.low = (np.array([one.low for one in parameters]) - self._priors) / self.spreads
        self.high = (np.array([one.high for one in parameters]) - self._priors) / self.spreads
        self.start = np.zeros(len(parameters))

    def values(self, at: Floats) -> Floats:
        """Within the bounds whatever rounding did."""
        lows = np.array([one.low for one in self.parameters])
        highs = np.array([one.high for one in self.parameters])
        inside: Floats = np.clip(self._priors + at * self.spreads, lows, highs)
        return inside

    def all_residuals(self, at: Floats) -> Floats:
        return np.concatenate([self._data(at), at])

    def from_point(self, at: Floats, step: float, loss: tuple[Loss, float]) -> Any:
        """Where scipy's search from `at` ends, with derivatives over `step`: scipy's `OptimizeResult`."""
        from scipy.optimize import least_squares  # only where something is fitted

        return least_squares(
            self.all_residuals,
            at,
            lambda here: np.vstack([self.data_derivatives(here, step), np.eye(len(here))]),
            bounds=(self.low, self.high),
            method="dogbox",
            loss=str(loss[0]),
            f_scale=loss[1],
            xtol=_CONVERGED,
            max_nfev=_MOST_STEPS,
        )

    def data_derivatives(self, at: Floats, step: float) -> Floats:
        """Per spread, shape (O, P): differences over `step` on either side, as far as the bounds let."""
        columns = []
        for index in range(len(at)):
            below, above = at.copy(), at.copy()
            below[index] = max(self.low[index], at[index] - step)
            above[index] = min(self.high[index], at[index] + step)
            columns.append((self._data(above) - self._data(below)) / (above[index] - below[index]))
        return np.stack(columns, axis=1)

    def _data(self, at: Floats) -> Floats:
        self.num_simulated += 1
        return self._residuals(self.values(at))


def _move(parameter: Parameter, at: float) -> Move:
    value = parameter.prior + at * parameter.spread
    near = _AT_BOUND * parameter.spread
    bound = None
    if value <= parameter.low + near:
        bound = Bound.LOW
    elif value >= parameter.high - near:
        bound = Bound.HIGH
    shown = (
        (math.exp(parameter.prior), math.exp(value)) if parameter.is_logarithm else (parameter.prior, value)
    )
    return Move(parameter.name, parameter.unit, *shown, at, bound)
