"""Whether a run was stationary: its percentiles mean something only then.

Owns the test and its verdict. Input: when requests came and how long each stayed. Output: a `Verdict`.

The number of requests in the system is averaged over equal parts of the time in which requests arrived.
The parts at the start whose removal makes the mean of the rest steadiest (MSER, White 1997; at most half
of them) are left out as warm-up. A line is fitted through the rest; its slope's error is that of
independent residuals, widened by the correlation of neighbours (an autoregression of order one). A run is
not stationary where the slope is further from zero than chance explains *and* the line moves by a good part
of the mean: a long run may show a drift that is real and does not matter.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from argosy.arrays import Floats

_PARTS = 40
_LEAST_REQUESTS = 80
# Two-sided, 1 %, for the degrees of freedom that half of the parts leave.
_MOST_CHANCE = 2.9
# Of the mean number in the system, over the parts that are judged.
_MATTERS = 0.4
# Fewer requests than this in the system, on average, wait for nothing.
_NEARLY_EMPTY = 0.5


class State(StrEnum):
    """What a run was."""

    STATIONARY = "Stationary"
    BACKLOGGED = "Backlogged"
    """Requests became fewer: it served what had gathered before."""
    OVERLOADED = "Overloaded"
    """Requests became more and more: waiting times follow from the run's length."""
    UNKNOWN = "Unknown"
    """Too few requests to tell."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The state and what it stands on.

    mean_in_system: requests, over the parts that are judged
    drift:          by which the fitted line moves over these parts, as a share of the mean
    chance:         the slope in units of its standard error
    """

    state: State
    mean_in_system: float
    drift: float
    chance: float

    def __str__(self) -> str:
        """In a sentence."""
        if self.state is State.UNKNOWN:
            return f"too few requests to tell whether it was stationary (at least {_LEAST_REQUESTS} needed)"
        words = {
            State.STATIONARY: "stationary",
            State.BACKLOGGED: "not stationary: it served a backlog, and its percentiles follow from that",
            State.OVERLOADED: "not stationary: overloaded, and its percentiles follow from its length",
        }[self.state]
        return (
            f"{words} ({self.mean_in_system:.1f} requests in the system on average, drift {self.drift:+.0%}, "
            f"{abs(self.chance):.1f} standard errors)"
        )


def judged(arrivals_s: Floats, stays_s: Floats) -> Verdict:
    """The verdict on requests with these arrivals (ascending) and stays, shape (N,) each."""
    served = np.isfinite(stays_s)
    arrivals_s, ends_s = arrivals_s[served], (arrivals_s + stays_s)[served]
    if len(arrivals_s) < _LEAST_REQUESTS or arrivals_s[-1] <= arrivals_s[0]:
        return Verdict(State.UNKNOWN, math.nan, math.nan, math.nan)
    edges = np.linspace(arrivals_s[0], arrivals_s[-1], _PARTS + 1)
    parts = _means(arrivals_s, ends_s, edges)
    parts = parts[_warm_up(parts) :]
    return _verdict(parts)


def _means(arrivals_s: Floats, ends_s: Floats, edges: Floats) -> Floats:
    """The mean number in the system between neighbouring edges, shape (len(edges) - 1,)."""
    area = np.array(
        [
            np.clip(edge - arrivals_s, 0.0, None).sum() - np.clip(edge - ends_s, 0.0, None).sum()
            for edge in edges
        ]
    )
    means: Floats = np.diff(area) / np.diff(edges)
    return means


def _warm_up(parts: Floats) -> int:
    """How many parts at the start are left out."""
    rests = [parts[first:] for first in range(len(parts) // 2)]
    return int(np.argmin([rest.var() / len(rest) for rest in rests]))


def _verdict(parts: Floats) -> Verdict:
    count, mean = len(parts), float(parts.mean())
    at = np.arange(count) - (count - 1) / 2
    slope = float(at @ parts / (at @ at))
    residuals = parts - mean - slope * at
    # Two degrees of freedom are used up by the line.
    variance = float(residuals @ residuals) / (count - 2)
    error = math.sqrt(variance * _widened(residuals) / float(at @ at))
    drift = slope * (count - 1) / max(mean, _NEARLY_EMPTY)
    chance = slope / error if error > 0 else math.copysign(math.inf, slope) if slope else 0.0
    if abs(chance) < _MOST_CHANCE or abs(drift) < _MATTERS:
        return Verdict(State.STATIONARY, mean, drift, chance)
    return Verdict(State.OVERLOADED if slope > 0 else State.BACKLOGGED, mean, drift, chance)


def _widened(residuals: Floats) -> float:
    """By which correlation of neighbours widens the slope's variance."""
    squares = float(residuals @ residuals)
    if squares <= 0:
        return 1.0
    rho = min(0.95, max(0.0, float(residuals[1:] @ residuals[:-1]) / squares))
    return (1 + rho) / (1 - rho)
