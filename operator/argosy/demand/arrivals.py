"""What came in at an Envoy against what its routes have counted: which counts are late.

Owns the comparison of one Envoy's totals, reading by reading. Input: the requests that came in (counted
once each, when they come) and those that its routes have counted. Output: a `Backlog` for each reading,
by which `counters` enters late requests where they came.

A route counts a request once an upstream has taken it, and it subtracts a retry when it decides on it.
While engines stop, connections fail: retries are subtracted that were never sent, and the count stands
still. When they go on, all that piled up is counted within one reading, three times the class's rate.
What came in tells both: a request is late that is counted beyond what came in, and it came when less was
counted than came in. No more requests are counted than came in.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from argosy.keys import CellName

REMEMBERED_S = 60.0
"""Requests that came longer ago are in no estimate any more."""

USUAL_SHARE = 0.2
"""Weight of the newest reading in a cell's usual rate: about the last five readings count."""

PROMPT_SHARE = 0.9
"""A reading that counts so much of what came in shows the cells' usual rates."""


@dataclass(frozen=True, slots=True)
class Backlog:
    """How much of what one reading counts is late, and when it came.

    late: requests by cell; came: (instant of a reading, share of the late ones that came before it and
    after the reading before), shares sum to 1
    extra_share: of the requests counted (0-1), those beyond all that came in: counted before, or twice
    """

    late: Mapping[CellName, float] = field(default_factory=dict)
    came: tuple[tuple[float, float], ...] = ()
    extra_share: float = 0.0

    def came_by(self, at_s: float) -> float:
        """Share (0-1) of the late requests that had come at an instant."""
        return math.fsum(share for came_s, share in self.came if came_s <= at_s)


@dataclass(frozen=True, slots=True)
class Arrivals:
    """One Envoy's totals at `at_s`, and what came in and is not counted yet.

    waiting: (instant of a reading, requests that came since the reading before and are uncounted)
    usual_per_s: requests/s by cell while all is counted as it comes
    stray_per_s: requests/s that no route counts (of no class, refused at once); None while unknown
    uncounted: requests that came in since the first reading and were never counted, stray ones included
    """

    at_s: float
    arrived: float
    counted: Mapping[CellName, float]
    waiting: tuple[tuple[float, float], ...] = ()
    usual_per_s: Mapping[CellName, float] = field(default_factory=dict)
    stray_per_s: float | None = None
    uncounted: float = 0.0

    def observed(
        self, at_s: float, arrived: float, counted: Mapping[CellName, float]
    ) -> tuple[Arrivals, Backlog]:
        """The totals of a later reading, and what of its counts is late."""
        if at_s == self.at_s:
            return self, Backlog()
        if at_s < self.at_s or arrived < self.arrived:  # the clock went back, or Envoy was started again
            return Arrivals(at_s, arrived, counted), Backlog()
        gained = {cell: _gained(self.counted.get(cell), total) for cell, total in counted.items()}
        came, num, took_s = arrived - self.arrived, math.fsum(gained.values()), at_s - self.at_s
        uncounted = max(0.0, self.uncounted + came - num)
        seen = replace(self, at_s=at_s, arrived=arrived, counted=counted, uncounted=uncounted)
        if self.stray_per_s is None:  # the first pair of readings: all that is not counted is stray
            stray_per_s = max(0.0, came - num) / took_s
            return replace(seen, usual_per_s=self._usual(gained, took_s), stray_per_s=stray_per_s), Backlog()
        waiting, stray_per_s = self._still_waiting(at_s, took_s)
        expected = max(0.0, came - stray_per_s * took_s)
        if num <= expected:
            more = ((at_s, expected - num),) if expected > num else ()
            usual = self._usual(gained, took_s) if num >= PROMPT_SHARE * expected else self.usual_per_s
            seen = replace(seen, waiting=(*waiting, *more), usual_per_s=usual, stray_per_s=stray_per_s)
            return seen, Backlog()
        num_waiting = math.fsum(each for _, each in waiting)
        late = min(num - expected, num_waiting)
        backlog = Backlog(
            late=_divided(late, gained, {c: r * took_s for c, r in self.usual_per_s.items()}),
            came=tuple((when_s, each / num_waiting) for when_s, each in waiting) if late else (),
            extra_share=max(0.0, num - came - self.uncounted) / num,
        )
        left = 1.0 - late / num_waiting if num_waiting else 0.0
        still = tuple((when_s, each * left) for when_s, each in waiting if left > 0)
        fewer_per_s = USUAL_SHARE * (num - expected - late) / took_s
        return replace(seen, waiting=still, stray_per_s=max(0.0, stray_per_s - fewer_per_s)), backlog

    def _still_waiting(self, at_s: float, took_s: float) -> tuple[tuple[tuple[float, float], ...], float]:
        """What may still be counted late, and the stray requests/s: what is too old was of no class."""
        waiting = tuple((when_s, num) for when_s, num in self.waiting if when_s > at_s - REMEMBERED_S)
        never = math.fsum(num for when_s, num in self.waiting if when_s <= at_s - REMEMBERED_S)
        return waiting, (self.stray_per_s or 0.0) + USUAL_SHARE * never / took_s

    def _usual(self, gained: Mapping[CellName, float], took_s: float) -> dict[CellName, float]:
        """The usual rates after one more reading that counted what came in."""

        def after(cell: CellName, num: float) -> float:
            known = self.usual_per_s.get(cell)
            return num / took_s if known is None else known + USUAL_SHARE * (num / took_s - known)

        return {cell: after(cell, num) for cell, num in gained.items()}


def _gained(before: float | None, total: float) -> float:
    """Requests counted since the last reading; all of a cell that is new."""
    return total if before is None or total < before else total - before


def _divided(
    late: float, gained: Mapping[CellName, float], usual: Mapping[CellName, float]
) -> dict[CellName, float]:
    """The late requests by cell: they are in the cells that gained more than they usually do."""
    beyond = {cell: max(0.0, num - usual.get(cell, 0.0)) for cell, num in gained.items()}
    total = math.fsum(beyond.values())
    if total < late:  # more is late than that: no cell is out of the ordinary
        beyond, total = dict(gained), math.fsum(gained.values())
    return {cell: late * num / total for cell, num in beyond.items()} if late else {}
