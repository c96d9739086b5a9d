"""Values that hold from one moment until the next: GPUs bound, prices, dollars per hour.

Owns `Steps`, its value at a moment and its integral; what the value means is the caller's. Pure.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise


@dataclass(frozen=True, slots=True)
class Span:
    """An amount that counts from `start_s` until `end_s` (infinity: it did not end while observed)."""

    start_s: float
    end_s: float
    amount: float


@dataclass(frozen=True, slots=True)
class Steps:
    """`points` are (second, value), by time: the value holds from that second on, 0 before the first."""

    points: tuple[tuple[float, float], ...]

    @classmethod
    def of_spans(cls, spans: Iterable[Span]) -> Steps:
        """The sum of the spans' amounts; a span that does not end after its start counts nowhere."""
        change_by_s: dict[float, float] = defaultdict(float)
        for span in spans:
            if span.end_s > span.start_s:
                change_by_s[span.start_s] += span.amount
                change_by_s[span.end_s] -= span.amount
        change_by_s.pop(float("inf"), None)
        points: list[tuple[float, float]] = []
        value = 0.0
        for at_s, change in sorted(change_by_s.items()):
            value += change
            points.append((at_s, value))
        return cls(tuple(points))

    def at(self, at_s: float) -> float:
        """The value that holds at this moment."""
        index = bisect_right(self.points, at_s, key=lambda point: point[0])
        return self.points[index - 1][1] if index else 0.0

    def integral(self, start_s: float, end_s: float) -> float:
        """Value times seconds between the two moments."""
        return sum((right - left) * value for left, right, value in self.pieces(start_s, end_s))

    def pieces(self, start_s: float, end_s: float) -> tuple[tuple[float, float, float], ...]:
        """(from, to, value), contiguous from `start_s` to `end_s`; none where the second is not later."""
        if end_s <= start_s:
            return ()
        inside = [at_s for at_s, _ in self.points if start_s < at_s < end_s]
        edges = [start_s, *inside, end_s]
        return tuple((left, right, self.at(left)) for left, right in pairwise(edges))
