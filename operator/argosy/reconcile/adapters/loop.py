"""The loop of LoRA adapters: has engines load and unload what `control.adapters` decides.

Owns when this happens, and how many engines are asked at once. It runs beside the other loops, so that no
decision waits for an engine; only the leader acts. What an engine holds is written to its pod after each
load, and before each unload: routes follow from that.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace

from argosy.api import ServedModel
from argosy.api.kinds import ROUTED
from argosy.control.adapters.steps import (
    EngineTask,
    Load,
    after_failure,
    after_load,
    after_unload,
    engine_tasks,
    pause_s,
)
from argosy.control.decision import EventRecord
from argosy.control.triggers import Trigger
from argosy.errors import ActuationError
from argosy.reconcile.adapters.engine_api import EngineApi, EngineRefused
from argosy.reconcile.loop_state import LoopState
from argosy.snapshot.adapters.record import AdapterRecord

log = logging.getLogger(__name__)

LOOP = "the loop of adapters"
ACTIVITY = "adapters"
LONGEST_ITERATION_S = 120.0
AT_ONCE = 8
"""Engines that load or unload at a time: they share what they load from."""
SETTLE_S = 0.1
ADAPTER_FAILED = "AdapterFailed"
"""Reason of the event."""


class AdapterLoop:
    """One task per engine at a time. `wake` makes statuses follow soon, `routes_changed` the routes."""

    def __init__(
        self,
        state: LoopState,
        engines: EngineApi,
        wake: Callable[[Trigger], None],
        routes_changed: Callable[[], None],
    ) -> None:
        self._state, self._engines = state, engines
        self._wake, self._routes_changed = wake, routes_changed
        self._underway: dict[str, frozenset[str]] = {}
        self._written: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._changed = asyncio.Event()
        self._is_leader: Callable[[], bool] = lambda: False

    def note(self, kind: str) -> None:
        """An object of this kind has changed."""
        if kind in ROUTED:
            self._changed.set()

    async def run(self, is_leader: Callable[[], bool]) -> None:
        """Look at each change and every `intervals.fastSeconds`, until cancelled."""
        state = self._state
        try:
            while True:
                state.heartbeats.beat(LOOP, LONGEST_ITERATION_S)
                self._changed.clear()
                self.iterate(is_leader)
                await state.clock.wait(self._changed, state.snapshots.fleet_spec().intervals.fast_seconds)
                await state.clock.sleep(SETTLE_S)
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def iterate(self, is_leader: Callable[[], bool]) -> None:
        """Begin what is next at each engine that is not busy."""
        self._is_leader = is_leader
        if not is_leader() or not self._state.snapshots.has_adapters():
            return
        loads = self._state.memory.traffic.adapters
        for task in engine_tasks(self._state.snapshot(), self._underway, loads):
            self._underway[task.pod] = frozenset(load.name for load in task.loads)
            running = asyncio.get_running_loop().create_task(self._guarded(task))
            self._tasks.add(running)
            running.add_done_callback(self._tasks.discard)

    async def _guarded(self, task: EngineTask) -> None:
        troubles = self._state.troubles
        try:
            async with self._slots:
                await self._carry_out(task)
        except ActuationError as error:
            troubles.failed(ACTIVITY, f"what engines hold of adapters was not written: {error}")
        except Exception as error:
            what = f"adapters of pod {task.pod} failed: {error!r}"
            troubles.failed(ACTIVITY, what, level=logging.ERROR, error=error)
        else:
            troubles.succeeded(ACTIVITY)
        finally:
            del self._underway[task.pod]
            # Where nothing came of it, the next look is an interval away: an engine that refuses is not asked
            # again at once.
            if task.pod in self._written:
                self._written.discard(task.pod)
                self._wake(Trigger("LoRA adapters were loaded or unloaded", is_progress=True))
                self._changed.set()

    async def _carry_out(self, task: EngineTask) -> None:
        record = task.record
        if task.looks:
            found = await self._engines.held(task.address)
            if isinstance(found, EngineRefused):
                # It is asked again with the next look: its pod may be ending.
                log.debug("what pod %s holds of adapters is not known: %s", task.pod, found.words)
                return
            # Others are of the engine's own command line.
            held = {name: source for name, source in found.items() if name in task.known}
            record = replace(record, held=held)
        await self._write(task, record)
        for name in task.unloads:
            if not self._is_leader() or await self._engines.unload(task.address, name) is not None:
                return
            record = after_unload(record, name)
            await self._write(task, record)
        for load in task.loads:
            if not self._is_leader():
                return
            record = await self._load(task, record, load)

    async def _load(self, task: EngineTask, record: AdapterRecord, load: Load) -> AdapterRecord:
        refused = await self._engines.load(task.address, load)
        if refused is None:
            log.info("pod %s has loaded adapter %s from %s", task.pod, load.name, load.source)
            record = after_load(record, load)
        else:
            record = after_failure(record, load, refused.words, self._state.clock.now_s())
        await self._write(task, record)
        if refused is not None:
            await self._report(task, record, load, refused)
        return record

    async def _report(
        self, task: EngineTask, record: AdapterRecord, load: Load, refused: EngineRefused
    ) -> None:
        tries = record.failed[load.name].tries
        message = (
            f"spec.adapters: {load.name} was not loaded from {load.source} on pod {task.pod}:"
            f" {refused.words.rstrip('.')}. It is tried again in {pause_s(tries):.0f} s; where the words are"
            " about the source, correct it."
        )
        log.warning("ServedModel %s: %s", task.model, message)
        if tries == 1:
            event = EventRecord(ServedModel.KIND, task.model, "Warning", ADAPTER_FAILED, message)
            await self._state.actor.post([event])

    async def _write(self, task: EngineTask, record: AdapterRecord) -> None:
        if await self._state.actor.note_adapters(task.pod, task.uid, record):
            self._written.add(task.pod)
            # The store has it already, so the watch reports no change.
            self._routes_changed()
