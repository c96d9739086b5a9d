"""The clock that every loop of the process reads and waits on.

Owns the port, and its implementation for real time. Tests run the same loops in virtual time.
"""

from __future__ import annotations

import asyncio
import time
from typing import Protocol


class Clock(Protocol):
    """Time for a loop; all times and durations are in seconds."""

    def now_s(self) -> float:
        """Seconds since the epoch, rounded to the millisecond: files and statuses have three digits."""
        ...

    def monotonic_s(self) -> float:
        """Seconds since an unspecified instant, for durations: never set back or forward."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Return after this time; at once where it is zero or less."""
        ...

    async def wait(self, event: asyncio.Event, seconds: float) -> bool:
        """Return True once `event` is set, or False where it is not set within `seconds`."""
        ...


class SystemClock:
    """The machine's clock and the timers of asyncio."""

    def now_s(self) -> float:
        """Seconds since the epoch, rounded to the millisecond."""
        return round(time.time(), 3)

    def monotonic_s(self) -> float:
        """Seconds of the machine's monotonic clock."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Sleep without blocking the event loop."""
        await asyncio.sleep(seconds)

    async def wait(self, event: asyncio.Event, seconds: float) -> bool:
        """Wait without blocking the event loop."""
        try:
            await asyncio.wait_for(event.wait(), seconds)
        except TimeoutError:
            return False
        return True
