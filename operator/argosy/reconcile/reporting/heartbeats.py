"""Whether the loops of this process still come round.

Owns when each loop last reported and by when it must report again. Input: beats. Output: the sentences of
loops that are late, which /healthz answers with: a process with a stuck loop is restarted.
"""

from __future__ import annotations

from dataclasses import dataclass

from argosy.reconcile.clock import Clock


@dataclass(frozen=True, slots=True)
class _Beat:
    at_s: float
    within_s: float


class Heartbeats:
    """The last beat of each loop."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._beats: dict[str, _Beat] = {}

    def beat(self, loop: str, within_s: float) -> None:
        """The loop runs, and beats again within this time."""
        self._beats[loop] = _Beat(self._clock.monotonic_s(), within_s)

    def rest(self, loop: str) -> None:
        """The loop waits for something that may never come, such as leading."""
        self._beats.pop(loop, None)

    def late(self) -> tuple[str, ...]:
        """One sentence for each loop that is late."""
        now_s = self._clock.monotonic_s()
        return tuple(
            f"{loop} has not come round for {now_s - beat.at_s:.0f} s: at most {beat.within_s:.0f} s is"
            " allowed; restart the process and report its log"
            for loop, beat in sorted(self._beats.items())
            if now_s - beat.at_s > beat.within_s
        )
