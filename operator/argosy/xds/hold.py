"""How long an Envoy that is ahead is left alone, and when it is led back.

An Envoy is ahead where it has something of a later FleetPlan revision than this process publishes. As a
rule another replica of the operator has served it, and the watches of this one have not caught up yet:
what it has is better. But plans may be deleted, or restored from a backup, and then there is nothing to
catch up with. So a hold ends: `HOLD_S` after it began, once a listing of the API server that began
later has shown that this process knows everything there is.

Owns that rule. Input: instants. Output: whether a hold is over.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

HOLD_S = 15.0
"""Watches lag by less than a second, and a new plan for lost ones takes a few: far longer than both."""


class Times(Protocol):
    """The instants that holds need; the clock of the process has them."""

    def now_s(self) -> float:
        """Seconds since the epoch."""
        ...

    def monotonic_s(self) -> float:
        """Seconds since an unspecified instant: never set back or forward."""
        ...


@dataclass(frozen=True, slots=True)
class Hold:
    """An Envoy that is ahead.

    revision:    the FleetPlan revision that it has
    began_s:     when this process saw it first (monotonic seconds)
    served_at_s: from when on it may be served (seconds since the epoch), for statuses
    """

    revision: int
    began_s: float
    served_at_s: float

    @classmethod
    def begin(cls, revision: int, times: Times) -> Hold:
        """A hold that begins now."""
        return cls(revision, times.monotonic_s(), times.now_s() + HOLD_S)

    def left_s(self, monotonic_s: float) -> float:
        """Seconds until the time is up; 0 afterwards."""
        return max(0.0, self.began_s + HOLD_S - monotonic_s)

    def is_over(self, monotonic_s: float, listed_s: float | None) -> bool:
        """Whether the Envoy may be led back.

        listed_s: when the last complete listing began (monotonic seconds), None before the first
        """
        return self.left_s(monotonic_s) == 0.0 and listed_s is not None and listed_s >= self.began_s
