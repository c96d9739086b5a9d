"""The clock that every loop of the process reads and sleeps by.

Owns the port, and its one implementation for real time. In tests the same loops run in virtual time.
"""

from __future__ import annotations

import asyncio
import time
from typing import Protocol


class Clock(Protocol):
    """Time as a loop sees it; seconds throughout."""

    def now_s(self) -> float:
        """Seconds since the epoch, to the millisecond: what is remembered is written with three digits."""
        ...

    def monotonic_s(self) -> float:
        """Seconds of a clock that never jumps, for durations."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Return after so long; at once where it is zero or less."""
        ...

    async def wait(self, event: asyncio.Event, seconds: float) -> bool:
        """Return True once `event` is set, False after `seconds` without it."""
        ...


class SystemClock:
    """The machine's clock, and asyncio's timers."""

    def now_s(self) -> float:
        """Seconds since the epoch, to the millisecond."""
        return round(time.time(), 3)

    def monotonic_s(self) -> float:
        """Seconds since some instant; never jumps."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Sleep on the event loop."""
        await asyncio.sleep(seconds)

    async def wait(self, event: asyncio.Event, seconds: float) -> bool:
        """Wait on the event loop."""
        try:
            await asyncio.wait_for(event.wait(), seconds)
        except TimeoutError:
            return False
        return True
