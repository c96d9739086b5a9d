"""Engines that really run, with a small server in vLLM's place."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from argosy_sim.livefleet.addresses import AddressClaim
from argosy_sim.livefleet.kubelet.probes import get
from argosy_sim.livefleet.runtime.contract import EngineStart, NotStarted, NotStartedReason
from argosy_sim.livefleet.runtime.process import ProcessEngine, ProcessRuntime

PATIENCE_S = 60.0
# It answers /health, starts a process beside itself as vLLM does, and writes their pids and its core.
SERVER = """
import http.server, os, signal, subprocess, sys
class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers()
    def log_message(self, *_): pass
if "--fail" in sys.argv:
    print("ValueError: no such model"); sys.exit(3)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
host, port = (sys.argv[sys.argv.index(flag) + 1] for flag in ("--host", "--port"))
print(os.getpid(), child.pid, len(os.sched_getaffinity(0)), flush=True)
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
http.server.HTTPServer((host, int(port)), Answer).serve_forever()
"""


class Container:
    """One container's start, and what became known of it."""

    def __init__(self, claim: AddressClaim, script: Path, *args: str) -> None:
        self.lines: list[str] = []
        self.deaths: list[tuple[int, str]] = []
        words = ["--model", "tiny", "--port", str(claim.engine_port), *args]
        self.container: dict[str, Any] = {"command": ["python3", str(script)], "args": words}
        address = claim.next_address()
        start = EngineStart(
            self.container,
            address,
            {},
            "NVIDIA-L4",
            self.lines.append,
            lambda *each: self.deaths.append(each),
        )
        engine = ProcessRuntime(Path(sys.executable), Path.cwd()).start(start)
        assert isinstance(engine, ProcessEngine)
        self.engine = engine

    async def serves(self) -> tuple[int, int, int]:
        """Wait until it answers; its pid, its child's, and how many cores it may use."""
        assert await self.engine.load() is None
        await until(self.is_healthy)
        pid, child, num_cores = map(int, self.lines[-1].split())
        return pid, child, num_cores

    async def is_healthy(self) -> bool:
        try:
            return await get(self.engine.endpoint, "/health")
        except OSError:
            return False


async def until(what: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not await what():  # noqa: ASYNC110  (processes have no events)
            await asyncio.sleep(0.05)


async def is_gone(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0]  # noqa: ASYNC240
    except (FileNotFoundError, ProcessLookupError):
        return True
    return state == "Z"


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "server.py"
    path.write_text(SERVER)
    return path


async def test_an_engine_serves_at_its_pods_address_on_one_core_and_ends_with_all_its_processes(
    script: Path,
) -> None:
    with AddressClaim.claim() as claim:
        container = Container(claim, script)
        pid, child, num_cores = await container.serves()
        assert num_cores == 1
        hook = {"exec": {"command": ["python3", "-c", f"open({str(script) + '.hook'!r}, 'w').write('ran')"]}}
        await container.engine.pre_stop(hook, lambda: False)
        assert script.with_name("server.py.hook").read_text() == "ran"
        await container.engine.terminate(lambda: False)
        await until(lambda: is_gone(pid))
        await until(lambda: is_gone(child))
        await container.engine.ended()
        assert container.deaths == []


async def test_a_hook_that_outlasts_the_grace_is_ended_and_one_that_fails_is_a_line(script: Path) -> None:
    with AddressClaim.claim() as claim:
        container = Container(claim, script)
        await container.serves()
        await container.engine.pre_stop(
            {"exec": {"command": ["python3", "-c", "import time; time.sleep(600)"]}}, lambda: True
        )
        await container.engine.pre_stop({"exec": {"command": ["python3", "-c", "1 / 0"]}}, lambda: False)
        container.engine.kill()
        await container.engine.ended()
        assert "ZeroDivisionError" in container.lines[-1]


async def test_an_engine_that_ends_by_itself_tells_its_code_and_its_last_line(script: Path) -> None:
    with AddressClaim.claim() as claim:
        container = Container(claim, script, "--fail")
        assert await container.engine.load() is None

        async def died() -> bool:
            return bool(container.deaths)

        await until(died)
        await container.engine.ended()
        assert container.deaths == [
            (3, "the engine ended with exit code 3; its last line: ValueError: no such model")
        ]


async def test_a_dead_machines_engine_keeps_its_socket_and_answers_nothing(script: Path) -> None:
    with AddressClaim.claim() as claim:
        container = Container(claim, script)
        pid, child, _ = await container.serves()
        container.engine.freeze()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                await get(container.engine.endpoint, "/health")
        container.engine.kill()
        await until(lambda: is_gone(pid))
        await until(lambda: is_gone(child))
        await container.engine.ended()


async def test_a_program_that_is_not_there_is_a_sentence() -> None:
    container = {"command": ["/no/such/engine"], "args": ["--model", "tiny"]}
    start = EngineStart(container, "127.10.1.1", {}, "NVIDIA-L4", print, print)
    assert ProcessRuntime(Path(sys.executable), Path.cwd()).start(start) == NotStarted(
        NotStartedReason.BAD_COMMAND, "/no/such/engine is no program of this host"
    )
