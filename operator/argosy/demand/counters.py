"""From Envoy's counters to rates: one counter's history, robust to restarts, gaps and clock changes.

Owns the history of one class's requests at one Envoy: the sum over its route cells' totals. Input:
samples of the totals. Output: counts and durations of windows. `forecast` decides which rate is planned
for.

A total that falls was restarted: its new value is what was counted since. So is the value of a cell that
appears in a later sample: a new plan has cut the class anew, or the cell got its first request. A cell
that disappears counts no more; what was counted before stays. A time stamp that repeats is ignored; one
that goes back or jumps ahead starts a new history, and the rate known before holds until the new
history is long enough.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from argosy.demand.arrivals import Backlog
from argosy.keys import CellName

HISTORY_S = 60.0
"""Longest history that an estimate averages over."""

WINDOW_S = 6.0
"""A change is detected in the count of this long: three readings of the traffic loop, every 2 s."""

LONGEST_GAP_S = 30.0
"""Between two samples further apart, the count does not show when its requests came."""

SHORTEST_S = 3.5
"""Shortest history that gives a rate: two samples' distance of 2 s, twice."""

NO_BACKLOG = Backlog()

_SLACK_S = 0.25
"""Samples come about every 2 s, not exactly: three of those make a window of 6 s."""


@dataclass(frozen=True, slots=True)
class Count:
    """`num` requests in `duration_s` seconds."""

    num: float
    duration_s: float

    @property
    def rate_per_s(self) -> float:
        """Mean rate over the duration."""
        return self.num / self.duration_s

    @property
    def rate_variance(self) -> float:
        """Variance of the rate for Poisson arrivals; one request where none came, not certainty."""
        return max(self.num, 1.0) / self.duration_s**2


@dataclass(frozen=True, slots=True)
class Track:
    """The history of one class's requests at one Envoy.

    points:  (at_s, requests since the history began), oldest first, at least one
    totals:  of each cell, as last read; of cells that are read no more, too
    before:  the count of the history before this one; holds until this one is long enough
    """

    points: tuple[tuple[float, float], ...]
    totals: Mapping[CellName, float]
    before: Count | None = None

    @classmethod
    def starting(cls, at_s: float, totals: Mapping[CellName, float], before: Count | None = None) -> Track:
        """A history that begins now: its first totals are a base line, not a count."""
        return cls(((at_s, 0.0),), _countable(totals), before)

    @property
    def latest_s(self) -> float:
        """When the total was last read."""
        return self.points[-1][0]

    @property
    def has_just_begun_again(self) -> bool:
        """Whether this history follows another one and nothing is counted in it yet."""
        return len(self.points) == 1 and self.before is not None

    def observed(self, at_s: float, totals: Mapping[CellName, float], backlog: Backlog = NO_BACKLOG) -> Track:
        """The history with one more sample of the totals; a sample seen before changes nothing.

        `backlog`: what of the totals is late: it is entered where it came.
        """
        read = _countable(totals)
        if not read or at_s == self.latest_s:
            return self
        if not (self.totals and 0 < at_s - self.latest_s <= LONGEST_GAP_S):
            before = self.count(self.latest_s - HISTORY_S) or self.before
            return Track.starting(at_s, {**self.totals, **read}, before)
        gained = math.fsum(_gained(self.totals.get(cell, 0.0), total) for cell, total in read.items())
        late = min(gained, math.fsum(backlog.late.get(cell, 0.0) for cell in read))
        counted = gained * (1.0 - backlog.extra_share)
        known = tuple((when_s, num + late * backlog.came_by(when_s)) for when_s, num in self.points)
        points = (*known, (at_s, self.points[-1][1] + counted))
        return replace(self, points=_recent(points), totals={**self.totals, **read})

    def count(self, start_s: float, end_s: float = math.inf) -> Count | None:
        """Requests between two instants, widened at the start to the sample at or before it.

        None where the history in between is shorter than `SHORTEST_S`.
        """
        inside = [point for point in self.points if point[0] <= end_s + _SLACK_S]
        if not inside:
            return None
        last = inside[-1]
        first = next((p for p in reversed(inside) if p[0] <= start_s + _SLACK_S), inside[0])
        duration_s = last[0] - first[0]
        if duration_s < SHORTEST_S:
            return None
        return Count(last[1] - first[1], duration_s)

    def since(self, start_s: float) -> Count | None:
        """Requests since `start_s`, at least over `SHORTEST_S`; for a history still too short, the
        rate from before it.
        """
        return self.count(min(start_s, self.latest_s - SHORTEST_S)) or self.before


def total(counts: Iterable[Count]) -> Count:
    """Several Envoys' counts as one, scaled to the longest duration.

    Their rates add up; the durations may differ by a sampling interval.
    """
    parts = tuple(counts)
    duration_s = max(part.duration_s for part in parts)
    return Count(math.fsum(part.rate_per_s for part in parts) * duration_s, duration_s)


def _countable(totals: Mapping[CellName, float]) -> dict[CellName, float]:
    """The totals that are numbers of zero or more."""
    return {cell: total for cell, total in totals.items() if math.isfinite(total) and total >= 0}


def _gained(before: float, total: float) -> float:
    """Requests since the last sample; all of them after a restart."""
    return total - before if total >= before else total


def _recent(points: tuple[tuple[float, float], ...]) -> tuple[tuple[float, float], ...]:
    """The points of the last `HISTORY_S`, and the one before them, from which they count."""
    oldest_s = points[-1][0] - HISTORY_S - _SLACK_S
    drop = sum(1 for at_s, _ in points if at_s < oldest_s) - 1
    return points[max(drop, 0) :]
