"""The worker process in which decisions are computed.

Owns the process and the file of measured capacities. Input: a pickled snapshot. Output: a pickled
`Decision`. The event loop of the operator never waits for a solver.
"""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import os
import sys
import threading
import time
from collections.abc import MutableMapping
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

from argosy.control.decision import Decision
from argosy.control.memory import ControlMemory
from argosy.control.step import StepSettings, step
from argosy.files.capacities import read_capacities, write_capacities
from argosy.perf.model import LibraryPerfModel
from argosy.perf.shipped import shipped_library
from argosy.snapshot.fleet import FleetSnapshot

log = logging.getLogger(__name__)

PARENT_POLL_S = 1.0
_NO_TRACKER_WARNING = "ignore:resource_tracker:UserWarning"


class DecisionWorker:
    """One spawned process that runs `control.step`."""

    def __init__(self, cache_file: Path) -> None:
        self._cache_file = cache_file
        self._pool = self._spawn()

    async def step(self, snapshot: FleetSnapshot, memory: ControlMemory, settings: StepSettings) -> Decision:
        """Decide in the worker; a worker that died is replaced, and the new one tries once more.

        Raises BrokenProcessPool where that one dies too.
        """
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._pool, _step, snapshot, memory, settings)
        except BrokenProcessPool:
            log.warning("the decision worker died; a new one takes over")
            self.close()
            self._pool = self._spawn()
            return await loop.run_in_executor(self._pool, _step, snapshot, memory, settings)

    def close(self) -> None:
        """End the worker; a decision that it is computing is lost."""
        processes = list((self._pool._processes or {}).values())
        self._pool.shutdown(wait=False, cancel_futures=True)
        for process in processes:
            process.terminate()

    def _spawn(self) -> ProcessPoolExecutor:
        # The pool's semaphores end with its processes. After SIGKILL Python's tracker of them warns of
        # leaks, on the terminal of a process that is gone: it reads its filters from this list.
        if _NO_TRACKER_WARNING not in sys.warnoptions:
            sys.warnoptions.append(_NO_TRACKER_WARNING)
        return ProcessPoolExecutor(
            max_workers=1,
            mp_context=multiprocessing.get_context("spawn"),
            initializer=_start,
            initargs=(self._cache_file, os.getpid()),
        )


_perf: LibraryPerfModel | None = None
_cache: MutableMapping[str, Any] = {}
_cache_path: Path | None = None


def _start(cache_file: Path, parent: int) -> None:
    global _perf, _cache_path
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    _cache_path = cache_file
    _cache.update(read_capacities(cache_file))
    _perf = LibraryPerfModel(shipped_library(), _cache, None)


def _step(snapshot: FleetSnapshot, memory: ControlMemory, settings: StepSettings) -> Decision:
    assert _perf is not None
    assert _cache_path is not None
    known = len(_cache)
    decision = step(snapshot, memory, settings, _perf)
    if len(_cache) != known:
        write_capacities(_cache_path, _cache)
    return decision


def _end_with(parent: int) -> None:
    """End this process once its parent has ended: a killed parent does not close the pool's pipes."""
    while os.getppid() == parent:
        time.sleep(PARENT_POLL_S)
    os._exit(0)
