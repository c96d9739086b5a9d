"""The clock of the process, and the virtual one that the tests of its loops run on."""

from __future__ import annotations

import asyncio
import re
import time
from pathlib import Path

from virtual_clock import EPOCH_S, VirtualClock, in_virtual_time

from argosy.reconcile.clock import SystemClock

RECONCILE = Path(__file__).parents[3] / "operator" / "argosy" / "reconcile"
DIRECT = re.compile(r"\b(asyncio\.(sleep|wait_for)|time\.(time|monotonic|sleep)|datetime\.now)\(")


@in_virtual_time
async def test_hours_pass_in_order_and_at_once() -> None:
    clock, started_s, woken = VirtualClock(), time.monotonic(), list[tuple[str, float]]()

    async def sleeper(name: str, seconds: float) -> None:
        await clock.sleep(seconds)
        woken.append((name, clock.now_s() - EPOCH_S))

    await asyncio.gather(sleeper("day", 86_400.0), sleeper("hour", 3_600.0), sleeper("now", 0.0))
    assert woken == [("now", 0.0), ("hour", 3_600.0), ("day", 86_400.0)]
    assert time.monotonic() - started_s < 1.0


@in_virtual_time
async def test_no_time_passes_while_a_task_can_run() -> None:
    clock, asleep = VirtualClock(), asyncio.Event()

    async def sleeper() -> None:
        asleep.set()
        await clock.sleep(1.0)

    task = asyncio.create_task(sleeper())
    await asleep.wait()
    for _ in range(10_000):
        await asyncio.sleep(0)
    assert clock.monotonic_s() == 0.0
    await task
    assert clock.monotonic_s() == 1.0


async def test_the_systems_clock_waits_for_an_event_or_for_its_seconds() -> None:
    clock, event = SystemClock(), asyncio.Event()
    assert await clock.wait(event, 0.01) is False
    event.set()
    assert await clock.wait(event, 60.0) is True
    assert abs(clock.now_s() - time.time()) < 1.0


@in_virtual_time
async def test_the_virtual_clock_waits_for_an_event_or_for_its_seconds() -> None:
    clock, event = VirtualClock(), asyncio.Event()
    assert (await clock.wait(event, 30.0), clock.monotonic_s()) == (False, 30.0)
    asyncio.get_running_loop().call_later(5.0, event.set)
    assert (await clock.wait(event, 30.0), clock.monotonic_s()) == (True, 35.0)


def test_only_the_clock_and_the_worker_process_read_time_or_sleep_directly() -> None:
    found = {
        str(file.relative_to(RECONCILE))
        for file in RECONCILE.rglob("*.py")
        if DIRECT.search(file.read_text())
    }
    assert found == {"clock.py", "worker.py"}
