"""All engines of a class stand still for a while: what becomes of the requests that come meanwhile.

Three classes side by side behind one Envoy, asked five times a second:

    frozen       its five engines stop for `FROZEN_S` and go on
    not-ready    two engines do, and their pods are no longer Ready, as their kubelet finds
    half-frozen  has half of its requests on a cluster whose only engine stops, half on one that lives
"""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from argosy.route.table import Endpoint, EndpointState
from argosy.snapshot.liveness import ENVOY_EJECTS_AFTER_S

ENGINE = Path(__file__).parents[2] / "support" / "mortal_engine.py"
CLASSES = ("frozen", "not-ready", "half-frozen")
FROZEN = tuple(f"frozen-{number}" for number in range(5))
FROZEN_S = 20.0
PERIOD_S = 0.2
ANSWER_S = 0.02
"""How long an engine takes for its answer."""


@dataclass
class Asked:
    """One request; times in seconds from the moment at which the engines stopped."""

    at_s: float
    status: int
    took_s: float
    attempts: str


@dataclass
class Stage:
    """One engine process for each name, an Envoy, and what became of the requests of each class."""

    world: Any
    build: Any
    engines: dict[str, tuple[asyncio.subprocess.Process, int]] = field(default_factory=dict)
    asked: dict[str, list[Asked]] = field(default_factory=lambda: {name: [] for name in CLASSES})
    began_s: float = 0.0

    async def run(self) -> None:
        for name in (*FROZEN, "gone-1", "gone-2", "half", "alive"):
            self.engines[name] = await self._engine(name)
        await self._publish(1, EndpointState.READY)
        await self.world.until_async(self._all_healthy)
        self.began_s = time.monotonic() + 1.0
        await asyncio.gather(self._freeze(), *(self._load(name) for name in CLASSES))

    async def close(self) -> None:
        for process, _ in self.engines.values():
            process.kill()
            await process.wait()

    async def _engine(self, name: str) -> tuple[asyncio.subprocess.Process, int]:
        process = await asyncio.create_subprocess_exec(
            sys.executable, ENGINE, name, stdout=asyncio.subprocess.PIPE
        )
        assert process.stdout is not None
        return process, int(await asyncio.wait_for(process.stdout.readline(), 20))

    async def _publish(self, revision: int, state: EndpointState) -> None:
        """`state`: of the pods of class not-ready."""

        def cluster(name: str, *engines: str, state: EndpointState = EndpointState.READY) -> Any:
            members = (Endpoint("127.0.0.1", self.engines[e][1], f"n/{e}", state) for e in engines)
            return self.build.cluster(name, *members)

        routes = [
            self.build.route("frozen", {"frozen": 1.0}),
            self.build.route("not-ready", {"gone": 1.0}),
            self.build.route("half-frozen", {"half": 0.5, "alive": 0.5}),
        ]
        clusters = [
            cluster("frozen", *FROZEN),
            cluster("gone", "gone-1", "gone-2", state=state),
            replace(cluster("half", "half"), alternatives=("alive",)),
            cluster("alive", "alive"),
        ]
        await self.world.publish(self.world.table(routes, clusters, revision))

    async def _all_healthy(self) -> bool:
        health = await self.world.health()
        return all(health.get(f"n/{name}") for name in self.engines)

    async def _freeze(self) -> None:
        await asyncio.sleep(self.began_s - time.monotonic())
        self._signal(signal.SIGSTOP)
        await asyncio.sleep(ENVOY_EJECTS_AFTER_S + 1.0)
        await self._publish(2, EndpointState.NOT_READY)
        await asyncio.sleep(self.began_s + FROZEN_S - time.monotonic())
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        for name, (process, _) in self.engines.items():
            if name != "alive":
                process.send_signal(number)

    async def _load(self, class_name: str) -> None:
        tasks = []
        while time.monotonic() < self.began_s + FROZEN_S + 8.0:
            tasks.append(asyncio.create_task(self._ask(class_name)))
            await asyncio.sleep(PERIOD_S)
        await asyncio.gather(*tasks)

    async def _ask(self, class_name: str) -> None:
        at_s = time.monotonic() - self.began_s
        answer = await self.world.ask("/", headers={"x-class": class_name}, json_body={"header_s": ANSWER_S})
        attempts = answer.headers.get("x-envoy-attempt-count", "")
        self.asked[class_name].append(Asked(at_s, answer.status, answer.seconds, attempts))


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory, make_world: Callable[[Path], Any], build: Any) -> Stage:
    directory = tmp_path_factory.mktemp("waiting")

    async def play() -> Stage:
        world = make_world(directory)
        stage = Stage(world, build)
        try:
            await world.start()
            await stage.run()
        finally:
            await stage.close()
            await world.stop()
        return stage

    return asyncio.run(play())


@pytest.mark.parametrize("class_name", CLASSES)
def test_no_request_is_lost_while_engines_stand_still(stage: Stage, class_name: str) -> None:
    asked = stage.asked[class_name]
    assert len(asked) > 0.7 * (FROZEN_S + 9.0) / PERIOD_S
    assert [each for each in asked if each.status != 200] == []


@pytest.mark.parametrize("class_name", ["frozen", "not-ready"])
def test_requests_wait_until_an_engine_answers_again_and_no_longer(stage: Stage, class_name: str) -> None:
    asked = stage.asked[class_name]
    waited = [each for each in asked if 0 < each.at_s < FROZEN_S - 1.0]
    assert all(each.at_s + each.took_s > FROZEN_S for each in waited)
    latest_s = max(each.at_s + each.took_s for each in waited) - FROZEN_S
    print(f"{class_name}: all are answered {latest_s:.1f} s after the engines went on")  # noqa: T201
    assert latest_s < 5.0, "a second between attempts, the rest is the engine's own"


def test_requests_that_wait_cost_one_attempt(stage: Stage) -> None:
    asked = [e for e in stage.asked["frozen"] if ENVOY_EJECTS_AFTER_S + 1.0 < e.at_s < FROZEN_S]
    assert {each.attempts for each in asked} == {"1"}


def test_where_another_cluster_lives_nothing_waits_for_the_one_that_stands_still(stage: Stage) -> None:
    later = [e for e in stage.asked["half-frozen"] if e.at_s > ENVOY_EJECTS_AFTER_S + 1.0]
    assert max(each.took_s for each in later) < 1.0
