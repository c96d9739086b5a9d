"""When requests arrive: rates over time, as a Poisson process or with a trace's pattern.

Owns the piecewise-constant rate schedule and the two ways to turn it into arrival times. Input:
rates, and a numpy `Generator` as the source of chance or a trace's pattern. Output: arrays of seconds.
Pure.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from argosy.arrays import Floats, Integers


@dataclass(frozen=True, slots=True)
class RateStep:
    """A mean rate that holds from `start_s` up to, but not at, `end_s`."""

    start_s: float
    end_s: float
    requests_per_s: float

    def __post_init__(self) -> None:
        if not (0 <= self.start_s < self.end_s < math.inf):
            raise ValueError(f"a rate step starts at 0 or later and ends after its start, got {self}")
        if not 0 <= self.requests_per_s < math.inf:
            raise ValueError(f"a rate is a finite number of at least 0, got {self}")

    @property
    def mean_requests(self) -> float:
        """The expected number of requests in the step."""
        return self.requests_per_s * (self.end_s - self.start_s)


Schedule = tuple[RateStep, ...]
"""Steps in the order of time, without overlap; nothing arrives in the gaps between them."""


def check_order(schedule: Schedule) -> None:
    """Raises `ValueError` where a step begins before the previous one has ended."""
    for before, after in itertools.pairwise(schedule):
        if after.start_s < before.end_s:
            raise ValueError(f"rate steps overlap: {before} and {after}")


def poisson_arrivals_s(schedule: Schedule, rng: np.random.Generator) -> Floats:
    """Arrival times (s) of a Poisson process whose rate is the schedule's, ascending, shape (n,).

    Given their number, the arrivals of a Poisson process are independent and uniform over the
    step. Each step has a random stream of its own, so that a change of one step leaves the
    arrivals of the others as they were. Raises ValueError where steps overlap.
    """
    check_order(schedule)
    parts = [
        _poisson_step(step, stream) for step, stream in zip(schedule, rng.spawn(len(schedule)), strict=True)
    ]
    return np.concatenate(parts) if parts else np.empty(0)


def _poisson_step(step: RateStep, rng: np.random.Generator) -> Floats:
    num_arrivals = int(rng.poisson(step.mean_requests))
    return _inside(step, np.sort(rng.uniform(step.start_s, step.end_s, num_arrivals)))


def trace_patterned_arrivals_s(pattern_s: Sequence[float], schedule: Schedule) -> Floats:
    """Arrival times (s) with the schedule's rates and a trace's burstiness, ascending, shape (n,).

    `pattern_s` are the trace's arrival times (ascending). They are used as an inhomogeneous clock:

    1. Step k gets n_k requests: its mean, rounded so that no fraction is lost (the running sum of
       means is rounded, not each mean). There is no chance in it.
    2. The step takes the next n_k arrivals of the trace, where the step before stopped. After
       its last arrival the trace starts again, one mean gap later.
    3. The borders of that block are halfway to the arrivals before and after it. The time from
       border to border is stretched linearly onto the step.

    So each step has exactly its rate; within a step, ratios between gaps, and with them bursts
    and lulls (coefficient of variation, index of dispersion per request), are the trace's own; the
    trace's slow drift is kept inside steps and removed between them. A block whose arrivals all
    share one instant (Mooncake's clock ticks every 3 s) lies in the middle of its step; a whole
    trace at one instant has no pattern and arrives evenly spaced. Raises ValueError where steps
    overlap.
    """
    check_order(schedule)
    if not (len(pattern_s) and schedule):
        return np.empty(0)
    ends = np.rint(np.cumsum([step.mean_requests for step in schedule])).astype(np.int64)
    starts = np.concatenate(([0], ends[:-1])).astype(np.int64)
    pattern = np.asarray(pattern_s, dtype=float)
    if pattern[-1] == pattern[0]:
        pattern = np.arange(len(pattern), dtype=float)
    parts = [
        _stretched(step, _cyclic(pattern, np.arange(start - 1, end + 1)))
        for step, start, end in zip(schedule, starts, ends, strict=True)
    ]
    return np.concatenate(parts)


def _cyclic(pattern: Floats, index: Integers) -> Floats:
    """The arrivals with these numbers where the pattern repeats without end, in both directions."""
    num = len(pattern)
    span_s = pattern[-1] - pattern[0]
    period_s = span_s * num / (num - 1) if num > 1 else 1.0
    times: Floats = pattern[index % num] + (index // num) * period_s
    return times


def _stretched(step: RateStep, block: Floats) -> Floats:
    """The inner arrivals of `block` mapped onto the step; its first and last are the neighbours."""
    inner = block[1:-1]
    if not len(inner):
        return inner
    left_s, right_s = (block[0] + block[1]) / 2, (block[-2] + block[-1]) / 2
    share = (inner - left_s) / (right_s - left_s) if right_s > left_s else np.full(len(inner), 0.5)
    return _inside(step, step.start_s + share * (step.end_s - step.start_s))


def _inside(step: RateStep, times: Floats) -> Floats:
    """Rounding, or a tie across a border, may touch `end_s`, which belongs to the next step."""
    kept: Floats = np.clip(times, step.start_s, np.nextafter(step.end_s, step.start_s))
    return kept
