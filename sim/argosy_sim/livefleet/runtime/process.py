"""Owns engines that really run: vLLM's own server as a process of this host.

Input: a container and the virtual environment that has vLLM. Output: a process at the pod's address, its
output in the container's log. Each engine is bound to one core, the one that the fewest engines have: two
engines beside each other then have the same speed, whatever the third process does.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from argosy.addresses import written
from argosy_sim.livefleet.runtime import container_init
from argosy_sim.livefleet.runtime.contract import (
    Engine,
    EngineStart,
    EngineUse,
    NotStarted,
    NotStartedReason,
    Object,
)
from argosy_sim.livefleet.runtime.program import Program, hook_words, program_of

_POLL_S = 0.1
_ENVIRONMENT_KEPT = ("PATH", "HOME", "TMPDIR", "TZ", "LANG")
_LINE_LIMIT = 1 << 20
_LAST_LINES_S = 1.0


class ProcessRuntime:
    """Runs every engine by the interpreter `python`, on the cores that this process may use.

    folder: where engines run; a model's name may be a path from there.
    """

    def __init__(self, python: Path, folder: Path) -> None:
        self._python = python
        self._folder = folder
        self._engines_on: Counter[int] = Counter(dict.fromkeys(sorted(os.sched_getaffinity(0)), 0))

    def start(self, start: EngineStart) -> Engine | NotStarted:
        """Return the engine, which starts with `load`; or why its container cannot be made."""
        program = program_of(start.container, start.address, start.pod, self._python)
        if isinstance(program, NotStarted):
            return program
        if shutil.which(program.words[0]) is None:
            return NotStarted(NotStartedReason.BAD_COMMAND, f"{program.words[0]} is no program of this host")
        core = min(self._engines_on, key=lambda each: (self._engines_on[each], each))
        self._engines_on[core] += 1
        room = Room(core, self._python, self._folder, lambda: self._give_back(core))
        return ProcessEngine(start, program, room)

    def _give_back(self, core: int) -> None:
        self._engines_on[core] -= 1


@dataclass(frozen=True, slots=True)
class Room:
    """What an engine gets of this host; `give_back` frees its core."""

    core: int
    python: Path
    folder: Path
    give_back: Callable[[], None]


class ProcessEngine:
    """One container's processes."""

    def __init__(self, start: EngineStart, program: Program, room: Room) -> None:
        self._start = start
        self._program = program
        self._room = room
        self._process: asyncio.subprocess.Process | None = None
        self._following: asyncio.Task[None] | None = None
        self._is_ended = self._is_killed = False
        self._last_line = ""
        self._environment = {name: os.environ[name] for name in _ENVIRONMENT_KEPT if name in os.environ}
        # vLLM binds its own threads: without this to every core of the host.
        self._environment |= {"VLLM_CPU_OMP_THREADS_BIND": str(room.core), **program.environment}

    @property
    def endpoint(self) -> str:
        """Where its server listens once it has loaded."""
        return written(self._start.address, self._program.port)

    @property
    def use(self) -> EngineUse:
        """Only its own metrics tell."""
        return EngineUse()

    @property
    def load_s(self) -> None:
        """Only the engine knows."""
        return

    async def load(self) -> None:
        """Start the process; its probes tell when it serves."""
        self._start.say(f"INFO on core {self._room.core}: {' '.join(self._program.words)}")
        wrapper = [sys.executable, "-I", "-S", container_init.__file__, str(os.getpid())]
        self._process = await asyncio.create_subprocess_exec(
            *wrapper,
            *self._program.words,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env=self._environment,
            cwd=self._room.folder,
            start_new_session=True,
            limit=_LINE_LIMIT,
        )
        with suppress(ProcessLookupError):  # it has ended already
            os.sched_setaffinity(self._process.pid, {self._room.core})
        self._following = asyncio.create_task(self._follow(self._process))

    async def _follow(self, process: asyncio.subprocess.Process) -> None:
        """Copy its output; tell of an end that was not asked for."""
        assert process.stdout is not None
        copying = asyncio.create_task(self._copy(process.stdout))
        await _end_of(process, lambda: False)
        if not self._is_ended:
            await asyncio.wait([copying], timeout=_LAST_LINES_S)
            code, last = process.returncode or 0, self._last_line
            self._start.died(code, f"the engine ended with exit code {code}; its last line: {last}")
        await copying

    async def _copy(self, output: asyncio.StreamReader) -> None:
        while line := await output.readline():
            text = line.decode(errors="replace").rstrip()
            self._last_line = text or self._last_line
            if not self._is_killed:  # the log may be closed by now
                self._start.say(text)

    async def ended(self) -> None:
        """Return once it and all that it has started have ended, and their output was read."""
        if self._following is not None:
            await self._following

    async def pre_stop(self, hook: Object, is_over: Callable[[], bool]) -> None:
        """Run the hook as a process beside the engine; one that fails is a line of the log."""
        words = hook_words(hook, self._start.address, self._room.python)
        if words is None:
            return
        running = await asyncio.create_subprocess_exec(
            *words,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            cwd=self._room.folder,
            env=self._environment,
        )
        ended = asyncio.ensure_future(running.communicate())
        while not is_over() and not ended.done():
            await asyncio.wait([ended], timeout=_POLL_S)
        if not ended.done():
            running.kill()
        _, errors = await ended
        if running.returncode:
            self._start.say(
                f"WARNING the preStop hook failed: {errors.decode(errors='replace').strip()[-500:]}"
            )

    async def terminate(self, is_over: Callable[[], bool]) -> int | None:
        """SIGTERM, then SIGKILL to the whole group once the grace is over; what was cut it does not tell."""
        self._is_ended = True
        if self._process is not None and self._process.returncode is None:
            self._process.send_signal(signal.SIGTERM)
            await _end_of(self._process, is_over)
        self.kill()
        return None

    def kill(self) -> None:
        """SIGKILL to every process of the container."""
        if self._is_killed:
            return
        self._is_ended = self._is_killed = True
        self._signal_group(signal.SIGKILL)
        self._room.give_back()

    def freeze(self) -> None:
        """SIGSTOP to every process: the kernel keeps its sockets open."""
        self._is_ended = True
        self._signal_group(signal.SIGSTOP)

    def delay(self, path: str, seconds: float) -> bool:
        """A real engine is as late as it is."""
        return False

    def _signal_group(self, number: signal.Signals) -> None:
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)


async def _end_of(process: asyncio.subprocess.Process, is_over: Callable[[], bool]) -> None:
    """Return once it has ended, or `is_over`. Its own `wait` may wait for children that hold its output."""
    while process.returncode is None and not is_over():  # noqa: ASYNC110
        await asyncio.sleep(_POLL_S)
