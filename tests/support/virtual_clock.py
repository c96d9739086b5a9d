"""Virtual time: an event loop that never sleeps, and the `Clock` of the loops that run on it.

Owns `in_virtual_time`, which runs a test to its end at once however long its loops wait. Time advances
to the next timer's instant only when no task can run: the event loop asks its selector to wait
exactly then.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import selectors
from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec

from argosy.reconcile.clock import Clock, SystemClock
from argosy.reconcile.reporting.troubles import Troubles

P = ParamSpec("P")

EPOCH_S = 1_700_000_000.0
"""What `VirtualClock.now_s` returns at the start."""

PATIENCE_S = 5.0
"""Real seconds without an event after which tasks that wait for no timer wait for ever."""


SETTLE_S = 0.005
"""Real seconds that sockets of the same machine get before time advances."""


class _VirtualSelector(selectors.DefaultSelector):
    """Advances the time instead of waiting."""

    elapsed_s = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            events = super().select(PATIENCE_S)
            assert events, "every task waits, and no timer is set"
            return events
        # What one socket of the test has sent, another may not have received yet.
        has_sockets = timeout > 0 and len(self.get_map()) > 1
        events = super().select(SETTLE_S if has_sockets else 0)
        if not events and timeout > 0:
            self.elapsed_s += timeout
        return events


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """An event loop whose `time()` starts at 0 and advances only where every task waits."""

    def __init__(self) -> None:
        self._virtual = _VirtualSelector()
        super().__init__(self._virtual)

    def time(self) -> float:
        return self._virtual.elapsed_s


class VirtualClock(SystemClock):
    """The loops' `Clock`, on the event loop of the test: that loop's timers take no time."""

    def __init__(self) -> None:
        self._ahead_s = 0.0

    def jump(self, seconds: float) -> None:
        """Somebody sets the machine's clock; its monotonic one goes on."""
        self._ahead_s += seconds

    def now_s(self) -> float:
        return round(EPOCH_S + self.monotonic_s() + self._ahead_s, 3)

    def monotonic_s(self) -> float:
        return asyncio.get_running_loop().time()


def troubles_of(clock: Clock) -> Troubles:
    """A process's record of what goes wrong, which logs as `argosy.test`."""
    return Troubles(clock, logging.getLogger("argosy.test"))


def in_virtual_time(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """A test that runs in virtual time; its tasks are cancelled at its end."""

    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
            runner.run(test(*args, **kwargs))

    return run
