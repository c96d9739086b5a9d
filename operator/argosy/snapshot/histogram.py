"""A cumulative histogram, as Prometheus exposes one: what is known of values that were only counted.

Owns sums, differences, quantiles and shares of histograms. Input: counts of values at or below some
bounds. Output: histograms, and figures with the interval in which the true one is.

A cumulative histogram stays valid when bounds are left out of it, so histograms with different bounds
(engines of two versions) are combined over the bounds that both have: exact, only coarser.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from operator import add


@dataclass(frozen=True, slots=True)
class Histogram:
    """`counts[i]` values were at or below `bounds[i]`; `total` values were there in all.

    Bounds rise, counts never fall and none is above `total`. Raises ValueError for anything else.
    """

    bounds: tuple[float, ...]
    counts: tuple[float, ...]
    total: float

    def __post_init__(self) -> None:
        if len(self.bounds) != len(self.counts):
            raise ValueError(f"{len(self.bounds)} bounds have {len(self.counts)} counts")
        if not all(low < high for low, high in pairwise((*self.bounds, math.inf))):
            raise ValueError(f"the bounds do not rise: {self.bounds}")
        steps = (0.0, *self.counts, self.total)
        if not all(math.isfinite(step) for step in steps):
            raise ValueError("a count is not a finite number")
        if any(low > high for low, high in pairwise(steps)):
            raise ValueError("the counts fall")

    @classmethod
    def of_buckets(cls, count_by_bound: Mapping[float, float]) -> Histogram | None:
        """From counts by upper bound, infinity included as the total; None where they are no histogram."""
        total = count_by_bound.get(math.inf)
        bounds = tuple(sorted(bound for bound in count_by_bound if bound != math.inf))
        if total is None:
            return None
        try:
            return cls(bounds, tuple(count_by_bound[bound] for bound in bounds), total)
        except ValueError:
            return None

    def since(self, before: Histogram) -> Histogram:
        """The values that came after `before`; all of them where the counter began again."""
        bounds, now, then = _aligned(self, before)
        counts = [new - old for new, old in zip(now, then, strict=True)]
        steps = (0.0, *counts, self.total - before.total)
        if any(low > high for low, high in pairwise(steps)):
            return self
        return Histogram(bounds, tuple(counts), self.total - before.total)

    def plus(self, other: Histogram) -> Histogram:
        """The values of both."""
        bounds, own, others = _aligned(self, other)
        counts = tuple(map(add, own, others))
        return Histogram(bounds, counts, self.total + other.total)

    def share_within(self, limit: float) -> tuple[float, float] | None:
        """Of all values, the share (0-1) at or below `limit`: the least and the most that it may be.

        Both are equal where `limit` is a bound. None for an empty histogram.
        """
        if self.total <= 0:
            return None
        least = max((c for b, c in zip(self.bounds, self.counts, strict=True) if b <= limit), default=0.0)
        most = min(
            (c for b, c in zip(self.bounds, self.counts, strict=True) if b >= limit), default=self.total
        )
        return least / self.total, most / self.total

    def quantile(self, share: float) -> float | None:
        """The value that the `share` (0-1) of all values does not exceed, interpolated within its bucket.

        As Prometheus's `histogram_quantile`, but None where the value is above the last bound: the
        true one is not known then. None also for an empty histogram.
        """
        if self.total <= 0:
            return None
        rank, below, low = share * self.total, 0.0, 0.0
        for bound, count in zip(self.bounds, self.counts, strict=True):
            if count >= rank and count > 0:
                part = (rank - below) / (count - below) if count > below else 1.0
                return low + (bound - low) * max(0.0, part)
            below, low = count, bound
        return None


def total_of(histograms: Iterable[Histogram]) -> Histogram | None:
    """All of them as one; None where there is none."""
    found: Histogram | None = None
    for each in histograms:
        found = each if found is None else found.plus(each)
    return found


def _aligned(
    first: Histogram, second: Histogram
) -> tuple[tuple[float, ...], tuple[float, ...], tuple[float, ...]]:
    """The bounds that both have, and each one's counts at them."""
    if first.bounds == second.bounds:
        return first.bounds, first.counts, second.counts
    others = dict(zip(second.bounds, second.counts, strict=True))
    rows = [
        (bound, count, others[bound])
        for bound, count in zip(first.bounds, first.counts, strict=True)
        if bound in others
    ]
    bounds, own, other = zip(*rows, strict=True) if rows else ((), (), ())
    return bounds, own, other
