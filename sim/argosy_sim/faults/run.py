"""Runs cases one after the other on as few stages as they leave at rest.

Owns the order of one case: rest, preparation, load, disturbance, recovery, judgement. Input: cases.
Output: a `Result` for each.
"""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

from argosy_sim.faults.case import Case, Result, judged
from argosy_sim.faults.load import Load
from argosy_sim.faults.record import LOOK_S, Recorder
from argosy_sim.faults.world import REFUSED, NotAtRestError, World, world
from argosy_sim.livefleet.event_log import read_events
from argosy_sim.livefleet.spec import DEFAULT_FLEET, LiveFleetSpec
from argosy_sim.stage import Say, StagePlan

SETTLED_S = 3.0
"""So long must a world stay recovered to count as such."""
WARM_UP_S = 2.0
DISTURBANCE_LIMIT_S = 420.0


@dataclass(frozen=True, slots=True)
class FaultSettings:
    """Where the stages are, and how fast engines load (`fleet.load_seconds`)."""

    repository: Path
    output: Path
    fleet: LiveFleetSpec = DEFAULT_FLEET


async def run_cases(cases: Sequence[Case], settings: FaultSettings, say: Say) -> AsyncIterator[Result]:
    """Run every case; another stage starts after one that was not left at rest."""
    waiting, number = list(cases), 0
    while waiting:
        directory = settings.output / f"stage-{number}"
        shutil.rmtree(directory, ignore_errors=True)
        plan = StagePlan(directory, settings.repository, fleet=settings.fleet)
        async with world(plan, say) as found:
            while waiting:
                case = waiting.pop(0)
                say(f"{case.id}: {case.words}")
                yield await run_case(case, found)
                if waiting and not (case.leaves_rest and await _is_restored(found, say)):
                    break
        number += 1


async def _is_restored(found: World, say: Say) -> bool:
    try:
        await found.restore()
    except REFUSED as error:
        say(f"another stage is needed: {error}")
        return False
    return True


async def run_case(case: Case, found: World) -> Result:
    """Run one case on a world at rest."""
    try:
        return await _run(case, found)
    except (*REFUSED, TimeoutError) as error:
        return Result(case, None, (), f"{type(error).__name__}: {error}")


async def _run(case: Case, found: World) -> Result:
    await case.prepare(found)
    found.load = load = Load(found.stage.gateway_url, case.rates)
    found.recorder = recorder = Recorder(found.reader)
    async with AsyncExitStack() as stack:
        load.start()
        stack.push_async_callback(load.stop)
        await asyncio.sleep(WARM_UP_S if case.rates else 0.0)
        await recorder.start()
        stack.push_async_callback(recorder.stop)
        recorder.strike()
        async with asyncio.timeout(DISTURBANCE_LIMIT_S):
            await case.disturb(found)
        recovered_s = await _recovery(case, recorder)
    pods = read_events(found.stage.fleet_dir / "events.jsonl")
    return judged(case, await recorder.outcome(recovered_s, load.records, pods))


async def _recovery(case: Case, recorder: Recorder) -> float | None:
    """Since when (Unix seconds) the world is recovered; None where it is not within the case's bound."""
    ended_s = time.time()
    while True:
        since_s = recorder.held_since(case.recovered)
        now_s = time.time()
        if since_s is not None and now_s - max(since_s, ended_s) >= SETTLED_S:
            return since_s
        if now_s > ended_s + case.bound_s + SETTLED_S:
            return None
        await asyncio.sleep(LOOK_S)


__all__ = ["FaultSettings", "NotAtRestError", "run_case", "run_cases"]
