"""The loop of adapters in virtual time: engines are fakes, the API server and the shell are not."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from pathlib import Path

from builders import a_class, a_fleet, a_model, a_pool
from virtual_clock import in_virtual_time
from virtual_shell import VirtualShell, node_object

from argosy.control.adapters.steps import Load
from argosy.reconcile.adapters.engine_api import EngineRefused
from argosy.reconcile.adapters.loop import AdapterLoop
from argosy.snapshot.adapters.record import ANNOTATION_ADAPTERS, adapter_record


class FakeEngines:
    """Engines by address; each load takes a second."""

    def __init__(self, shell: VirtualShell) -> None:
        self.shell = shell
        self.of: dict[str, dict[str, str]] = {}
        self.failing: set[str] = set()
        self.asked: list[tuple[float, str, str]] = []
        self.is_reachable = True
        self.num_looks = 0

    async def held(self, address: str) -> dict[str, str] | EngineRefused:
        self.num_looks += 1
        if not self.is_reachable:
            return EngineRefused("it cannot be reached", answered=False)
        return dict(self.of.setdefault(address, {}))

    async def load(self, address: str, load: Load) -> EngineRefused | None:
        self.asked.append((self.shell.clock.monotonic_s(), address, load.name))
        await self.shell.clock.sleep(1.0)
        if load.name in self.failing:
            return EngineRefused("No adapter found")
        self.of[address][load.name] = load.source
        return None

    async def unload(self, address: str, name: str) -> EngineRefused | None:
        await self.shell.clock.sleep(0.1)
        del self.of[address][name]
        return None


def model(*names: str) -> object:
    return a_model(
        adapters=[{"name": name, "source": f"/{name}", "rank": 8} for name in names], engine={"maxLoras": 2}
    )


async def settled(directory: Path, *names: str) -> tuple[VirtualShell, FakeEngines, AdapterLoop]:
    shell = VirtualShell(directory)
    for number in range(2):
        shell.server.put("nodes", node_object(f"l40s-{number}"))
    shell.apply(a_fleet(), a_pool(), model(*names), a_class(match={"path": {"value": "/v1"}}))  # type: ignore[arg-type]
    async with shell.running():
        await shell.clock.sleep(90.0)
    engines = FakeEngines(shell)
    loop = AdapterLoop(shell.state, engines, shell.planning.wake, lambda: None)  # type: ignore[arg-type]
    return shell, engines, loop


async def run(shell: VirtualShell, loop: AdapterLoop, seconds: float) -> None:
    """The loop, for so long; what it has begun then is cut."""
    running = asyncio.create_task(loop.run(lambda: shell.election.is_leader))
    await shell.clock.sleep(seconds)
    assert not running.done()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


def loaded(shell: VirtualShell) -> list[list[str]]:
    notes = [
        p["metadata"].get("annotations", {}).get(ANNOTATION_ADAPTERS)
        for p in shell.server.of("pods").values()
    ]
    return sorted(sorted(found.held) for note in notes if (found := adapter_record(note)) is not None)


@in_virtual_time
async def test_adapters_are_loaded_noted_on_the_pods_and_unloaded_after_their_traffic(tmp_path: Path) -> None:
    shell, engines, loop = await settled(tmp_path, "a", "b", "c")
    async with shell.running(planning=False):
        await run(shell, loop, 6.0)
        assert {name for names in loaded(shell) for name in names} == {"a", "b", "c"}
        assert sorted(map(sorted, engines.of.values())) == loaded(shell)
        writes = shell.server.count("patch", "pods")
        await run(shell, loop, 10.0)
        assert shell.server.count("patch", "pods") == writes, "at rest nothing is written"
        shell.apply(model("a", "b"))  # type: ignore[arg-type]
        await run(shell, loop, 2.0)
        assert all("c" not in names for names in loaded(shell))
        assert any("c" in held for held in engines.of.values()), "requests may still be on their way"
        await run(shell, loop, 10.0)
        assert all("c" not in held for held in engines.of.values())
        assert loaded(shell) == [["a", "b"], ["a", "b"]]


@in_virtual_time
async def test_one_that_fails_is_told_once_and_tried_with_growing_pauses(tmp_path: Path) -> None:
    shell, engines, loop = await settled(tmp_path, "a", "bad")
    engines.failing.add("bad")
    async with shell.running(planning=False):
        await run(shell, loop, 65.0)
        one = next(iter(engines.of))
        tries = [at_s for at_s, address, name in engines.asked if (address, name) == (one, "bad")]
        pauses = [later - earlier for earlier, later in pairwise(tries)]
        assert [round(pause / 10.0) for pause in pauses] == [1, 2]
        told = [e for e in shell.server.of("events").values() if e["reason"] == "AdapterFailed"]
        assert len(told) == 2, "one for each pod"
        assert "bad was not loaded from /bad on pod" in told[0]["message"]
        assert "No adapter found" in told[0]["message"]
        assert loaded(shell) == [["a"], ["a"]]


@in_virtual_time
async def test_only_the_leader_loads_and_a_successor_learns_what_engines_hold(tmp_path: Path) -> None:
    shell, engines, loop = await settled(tmp_path, "a", "b")
    async with shell.running(planning=False):
        shell.election.lose()
        await run(shell, loop, 5.0)
        assert engines.of == {}
        shell.election.gain()
        engines.is_reachable = False
        await run(shell, loop, 5.0)
        assert loaded(shell) == []
        assert engines.num_looks <= 2 * 5, "one that does not answer is asked once an interval"
        engines.is_reachable = True
        engines.of = {pod.address: {"a": "/a", "own": "/own"} for pod in shell.state.snapshot().engine_pods}
        await run(shell, loop, 8.0)
        assert loaded(shell) == [["a", "b"], ["a", "b"]]
        assert {name for _, _, name in engines.asked} == {"b"}
        assert all("own" in held for held in engines.of.values()), "what the command line has stays"
