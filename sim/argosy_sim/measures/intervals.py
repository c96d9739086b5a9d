"""Confidence intervals: how far an estimate from a finite run may be off.

Owns the choice of method for a share, a mean over replications, a mean within one long run, and a
percentile. Input: counts or observations. Output: `Interval`, or `TooFew` where the observations
cannot give one. Pure.

A level of 0.95 means: of many such runs, 95 % give an interval that contains the true value.
The docstrings name the methods that need independent observations. Successive requests of one run
are not independent: an interval over them is too narrow where latencies are correlated (Law,
Simulation Modeling and Analysis, 5th ed., chapter 9). Replications with different seeds and batch
means avoid this.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from scipy import special

from argosy.arrays import Floats
from argosy.checks import require_count, require_number
from argosy.refusals import Refused
from argosy_sim.measures.percentiles import percentile

DEFAULT_LEVEL = 0.95
DEFAULT_BATCHES = 20
"""More batches hardly narrow the interval but shorten each batch, which lets correlation between
batch means back in: 10 to 30 are enough (Schmeiser, Operations Research 30, 1982, p. 556)."""


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate and the bounds between which the true value lies at `level` (0-1) of confidence."""

    estimate: float
    low: float
    high: float
    level: float


class TooFewReason(StrEnum):
    """Why there is no interval."""

    TOO_FEW_OBSERVATIONS = "TooFewObservations"


@dataclass(frozen=True, slots=True, kw_only=True)
class TooFew(Refused[TooFewReason]):
    """Why there is no interval: there were `num` observations and `needed` are the fewest that give one."""

    num: int
    needed: int

    @classmethod
    def of(cls, num: int, needed: int) -> TooFew:
        """With its sentence."""
        message = f"{num} observations are too few for a confidence interval: {needed} are needed"
        return cls(TooFewReason.TOO_FEW_OBSERVATIONS, message, num=num, needed=needed)


def share_interval(num_kept: int, num_all: int, level: float = DEFAULT_LEVEL) -> Interval | TooFew:
    """The Wilson score interval of a share: `num_kept` of `num_all` independent trials succeeded.

    Wilson, JASA 22 (1927), p. 209. It stays within 0-1 and keeps its level near 0 and 1, where
    attainment is, and the Wald interval p +- z*sqrt(p(1-p)/n) does not (Brown, Cai and DasGupta,
    Statistical Science 16, 2001, p. 101). Raises ValueError for counts that are none.
    """
    require_count("the number of successes", num_kept)
    require_count("the number of trials", num_all, num_kept)
    _require_level(level)
    if num_all == 0:
        return TooFew.of(0, 1)
    z2 = float(special.ndtri(0.5 + level / 2)) ** 2
    share = num_kept / num_all
    scale = 1 + z2 / num_all
    centre = (share + z2 / (2 * num_all)) / scale
    half = math.sqrt(z2 * share * (1 - share) / num_all + (z2 / (2 * num_all)) ** 2) / scale
    low = 0.0 if num_kept == 0 else max(0.0, centre - half)
    high = 1.0 if num_kept == num_all else min(1.0, centre + half)
    return Interval(share, low, high, level)


def mean_interval(values: Sequence[float] | Floats, level: float = DEFAULT_LEVEL) -> Interval | TooFew:
    """Student's t interval of the mean of independent values, one per replication; shape (n,), any unit.

    Exact for normal values and, by the central limit theorem, good for means over long replications
    (Law, section 9.4.1). Raises ValueError for a value that is not finite.
    """
    sample = _finite(values)
    _require_level(level)
    num = len(sample)
    if num < 2:
        return TooFew.of(num, 2)
    mean = float(sample.mean())
    quantile = float(special.stdtrit(num - 1, 0.5 + level / 2))
    half = quantile * float(sample.std(ddof=1)) / math.sqrt(num)
    return Interval(mean, mean - half, mean + half, level)


def batch_means_interval(
    series: Sequence[float] | Floats, num_batches: int = DEFAULT_BATCHES, level: float = DEFAULT_LEVEL
) -> Interval | TooFew:
    """Student's t interval of the mean of one long, correlated, stationary series; shape (n,), by time.

    The series is cut into `num_batches` of equal length, whose means are nearly independent where a
    batch is much longer than the correlation lasts (Law, section 9.5.3). What does not fill a
    batch is dropped at the start, where the series is least stationary. Remove the warm-up first.
    Raises ValueError for fewer than two batches, or a value that is not finite.
    """
    require_count("the number of batches", num_batches, 2)
    sample = _finite(series)
    length = len(sample) // num_batches
    if length == 0:
        return TooFew.of(len(sample), num_batches)
    kept = sample[len(sample) - length * num_batches :]
    return mean_interval(kept.reshape(num_batches, length).mean(axis=1), level)


def percentile_interval(
    values: Sequence[float] | Floats, share: float, level: float = DEFAULT_LEVEL
) -> Interval | TooFew:
    """An interval of the `share` percentile (0 < share < 1) of independent values, shape (n,), any unit.

    Its bounds are observed values (order statistics), and its level is at least `level` whatever the
    distribution: the number of values below the true percentile is binomial (David and Nagaraja,
    Order Statistics, 3rd ed., section 7.1). Raises ValueError for a value that is not finite.
    """
    if not 0 < share < 1:
        raise ValueError(f"a percentile's share lies between 0 and 1, got {share}")
    ordered = np.sort(_finite(values))
    _require_level(level)
    num, tail = len(ordered), (1 - level) / 2
    # The true percentile exceeds the largest value with probability share^n, and so at the other end.
    needed = max(math.ceil(math.log(tail) / math.log(p)) for p in (share, 1 - share))
    if num < needed:
        return TooFew.of(num, needed)
    at_most = special.bdtr(np.arange(num), num, share)
    # Inside by `needed`; the clip is for the last digit where `num` is just that.
    low = max(0, int(np.searchsorted(at_most, tail, side="right")) - 1)
    high = min(num - 1, int(np.searchsorted(at_most, 1 - tail)))
    return Interval(percentile(ordered.tolist(), share), float(ordered[low]), float(ordered[high]), level)


def _finite(values: Sequence[float] | Floats) -> Floats:
    sample = np.asarray(values, dtype=float)
    for value in sample[~np.isfinite(sample)][:1]:
        raise ValueError(f"an interval needs finite observations, got {value}")
    return sample


def _require_level(level: float) -> None:
    require_number("a level of confidence", level)
    if not 0 < level < 1:
        raise ValueError(f"a level of confidence lies between 0 and 1, got {level}")
