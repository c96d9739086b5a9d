"""A measured value with its age: stale, missing and zero are three different things.

Owns the pairing of a value with the instant at which it was true.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Sample(Generic[T]):
    """`value` as it was at `at_s` (seconds since the epoch)."""

    value: T
    at_s: float

    def age_s(self, now_s: float) -> float:
        """Seconds since the value was true; never negative (clocks jump)."""
        return max(0.0, now_s - self.at_s)


def fresh(sample: Sample[T] | None, now_s: float, max_age_s: float) -> T | None:
    """The value where there is one young enough to act on, else None. Missing is never zero."""
    if sample is None or sample.age_s(now_s) > max_age_s:
        return None
    return sample.value
