"""Whether a run had settled: the drift of the number of requests in the system, with its error.

Owns the test, its verdict and its sentence. Input: when requests came and when they left, of a simulated or
an observed run with arrivals of its own (an open load). Output: a `RunVerdict`. Percentiles of a run that
was not stationary describe how long it was, not what it served.

    Stationary   the number in the system does not drift: what comes leaves
    Overloaded   it grows: more comes than leaves
    Backlogged   it falls: a queue from before the measured part is still being worked off
    Unknown      too few requests to tell

The drift (`drift` has the method) is judged as a share of the arrivals. It is found where its interval (2.5
standard errors) does not hold 0 and the number changes by more than a quarter of its mean. A run is
stationary where none is found and the interval excludes that more than `MARGIN` of what arrives piles up;
where it does not, nothing is known.
How often the verdict is wrong was measured on queues with known answers (`hack/judge_stationarity.py`; the
table is in docs/performance-model.md). A run of a few hundred requests that begins empty is not judged well:
its warm-up may be longer than the quarter that is looked at.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np

from argosy.arrays import Floats
from argosy.engine.simulate import RequestTimes
from argosy.engine.stationarity.drift import mean_numbers, slope, warm_from

NUM_BATCHES = 20
MARGIN = 0.05
"""Of the arrivals: a stationary verdict excludes that a larger share piles up."""
MIN_REQUESTS = 100
"""In the measured part; five per batch."""
MATERIAL_CHANGE = 0.25
"""Of the mean number in the system: percentiles hardly feel a smaller change over the whole run."""

_QUANTILE = 2.5
"""Standard errors on either side. Student's t with 17 degrees of freedom (20 batches less a level, a slope
and a correlation) is within 2.11 in 95 of 100 cases, within 2.5 in 97.7. The rest is for the error of the
error: correlations of 20 batches are known badly."""


class Stationarity(StrEnum):
    """What a run was; see the module."""

    STATIONARY = "Stationary"
    BACKLOGGED = "Backlogged"
    OVERLOADED = "Overloaded"
    UNKNOWN = "Unknown"


@dataclass(frozen=True, slots=True)
class RunVerdict:
    """What a run was, and the figures for it.

    message:           a sentence with the figures
    num_requests:      that arrived in the measured part
    start_s, end_s:    the measured part; the warm-up before it is `warm_up_s` long
    mean_in_system:    mean number over the measured part
    drift_per_s:       by how many requests the number changes per second; `drift_error_per_s`: its standard
                       error. Both NaN where there were too few requests
    """

    state: Stationarity
    message: str
    num_requests: int
    start_s: float
    end_s: float
    warm_up_s: float
    mean_in_system: float
    drift_per_s: float
    drift_error_per_s: float

    @property
    def is_stationary(self) -> bool:
        """Only then do percentiles hold for the load, and intervals mean anything."""
        return self.state is Stationarity.STATIONARY

    @property
    def is_unstable(self) -> bool:
        """A queue grew, or one from before was worked off: no interval holds for such a run."""
        return self.state in (Stationarity.OVERLOADED, Stationarity.BACKLOGGED)

    @property
    def requests_per_s(self) -> float:
        """Arrivals per second in the measured part."""
        return self.num_requests / (self.end_s - self.start_s) if self.end_s > self.start_s else math.nan

    @property
    def drift_share(self) -> float:
        """The drift as a share of the arrivals: 0.05 is one request of twenty that piles up."""
        return self.drift_per_s / self.requests_per_s

    @property
    def word(self) -> str:
        """What is printed beside percentiles: empty for a stationary run."""
        return "" if self.is_stationary else self.state.value.lower()


def judge_run(arrivals_s: Floats, ends_s: Floats, measured_from_s: float | None = None) -> RunVerdict:
    """What the run was whose requests came and left at these seconds; shape (N,) each, any order.

    A request that never left has NaN or infinity in `ends_s`; one that never came in (refused, not sent) is
    left out by the caller, and one that was lost left when it was. `measured_from_s`: where the
    measured part begins; None: MSER-5 finds it. Raises ValueError for arrivals that are not finite, and
    arrays that differ in length.
    """
    arrivals_s, ends_s = np.sort(_checked(arrivals_s, ends_s)), np.sort(_ends(ends_s))
    if len(arrivals_s) < MIN_REQUESTS or arrivals_s[-1] <= arrivals_s[0]:
        return _too_few(arrivals_s, arrivals_s[0] if len(arrivals_s) else 0.0)
    # After the last arrival every run drains: that says nothing of its load.
    first_s, end_s = float(arrivals_s[0]), float(arrivals_s[-1])
    start_s = warm_from(arrivals_s, ends_s) if measured_from_s is None else max(first_s, measured_from_s)
    count = int(len(arrivals_s) - np.searchsorted(arrivals_s, start_s))
    if count < MIN_REQUESTS or start_s >= end_s:
        return _too_few(arrivals_s, start_s)
    edges_s = np.linspace(start_s, end_s, NUM_BATCHES + 1)
    means = mean_numbers(arrivals_s, ends_s, edges_s)
    change, error = slope(means)
    batch_s = (end_s - start_s) / NUM_BATCHES
    found = RunVerdict(
        state=Stationarity.UNKNOWN,
        message="",
        num_requests=count,
        start_s=start_s,
        end_s=end_s,
        warm_up_s=start_s - first_s,
        mean_in_system=float(means.mean()),
        drift_per_s=change / batch_s,
        drift_error_per_s=error / batch_s,
    )
    return _judged(found)


def judge_times(arrivals_s: Floats, times: RequestTimes, measured_from_s: float | None = None) -> RunVerdict:
    """The same of a simulated run, shape (N,); requests that the engine refused were never in it."""
    served = ~times.refused
    arrivals_s = arrivals_s[served]
    return judge_run(arrivals_s, arrivals_s + times.e2e_ms[served] / 1e3, measured_from_s)


def _checked(arrivals_s: Floats, ends_s: Floats) -> Floats:
    if arrivals_s.ndim != 1 or arrivals_s.shape != ends_s.shape:
        raise ValueError(f"one end for each arrival is needed, got {ends_s.shape} for {arrivals_s.shape}")
    if not np.all(np.isfinite(arrivals_s)):
        raise ValueError("arrivals must be finite")
    return arrivals_s


def _ends(ends_s: Floats) -> Floats:
    return np.where(np.isnan(ends_s), np.inf, ends_s)


def _judged(found: RunVerdict) -> RunVerdict:
    """With the verdict and its sentence."""
    drift, half = found.drift_per_s, _QUANTILE * found.drift_error_per_s
    margin = MARGIN * found.requests_per_s
    change = drift * (found.end_s - found.start_s)
    is_material = abs(change) > MATERIAL_CHANGE * found.mean_in_system
    if abs(drift) > half and is_material:
        state = Stationarity.OVERLOADED if drift > 0 else Stationarity.BACKLOGGED
    elif abs(drift) + half < margin or (abs(drift) > half and not is_material):
        state = Stationarity.STATIONARY
    else:
        state = Stationarity.UNKNOWN
    return _worded(found, state, half / found.requests_per_s)


def _worded(found: RunVerdict, state: Stationarity, half_share: float) -> RunVerdict:
    share = f"{found.drift_share:+.1%} of the arrivals (give or take {half_share:.1%})"
    number = f"{found.mean_in_system:.3g} requests in the system on average"
    match state:
        case Stationarity.STATIONARY:
            message = f"stationary: {number}, a drift of {share}"
        case Stationarity.OVERLOADED:
            message = (
                f"overloaded: {number}, and the number grows by {share}; percentiles grow with the length of "
                "the run: offer less load or more replicas"
            )
        case Stationarity.BACKLOGGED:
            message = (
                f"backlogged: {number}, and the number falls by {share}; a queue from before is still worked "
                "off: begin to measure later"
            )
        case Stationarity.UNKNOWN:
            message = (
                f"unknown: {number}, a drift of {share}, where up to {MARGIN:.0%} would be stationary; a run "
                f"about {_times_longer(half_share)} times as long would tell"
            )
    return replace(found, state=state, message=message)


def _times_longer(half_share: float) -> int:
    """At a drift of half the margin. The error falls at least with the root of the length."""
    return max(2, math.ceil((half_share / (MARGIN / 2)) ** 2))


def _too_few(arrivals_s: Floats, start_s: float) -> RunVerdict:
    end_s = float(arrivals_s[-1]) if len(arrivals_s) else start_s
    count = int(np.count_nonzero(arrivals_s >= start_s))
    return RunVerdict(
        state=Stationarity.UNKNOWN,
        message=f"unknown: {count} requests in the measured part, at least {MIN_REQUESTS} are needed",
        num_requests=count,
        start_s=float(start_s),
        end_s=end_s,
        warm_up_s=float(start_s - arrivals_s[0]) if count and len(arrivals_s) else 0.0,
        mean_in_system=math.nan,
        drift_per_s=math.nan,
        drift_error_per_s=math.nan,
    )
