"""Dead, silent, busy: what Envoy does with requests when an engine dies, in four ways, or takes long.

All cases run side by side behind one Envoy, each a class of its own over a victim and a survivor; every test
reads what became of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from argosy.route.table import Endpoint, EndpointState

ENGINE = Path(__file__).parents[2] / "support" / "mortal_engine.py"
HEADER_S = 3.0
"""How long an answer takes that must begin anew elsewhere."""
PAUSE_S = 25.0
"""How long a stream on a living engine is silent: longer than any death takes to be noticed."""
LIMIT_S = 15.0
"""Within this a request is sent elsewhere, or a broken stream ends."""
LATE_S = 20.0
"""After this an engine that answers its health check after 8 s has left the rotation."""
ALIVE = ("silent", "leaving", "late")
CASES = ("killed", "frozen", "frozen-not-ready", "vanished", "health-only", "health-only-limited")


@dataclass
class Fate:
    """What became of one request; times in seconds. `replica` is the one that answered."""

    status: int = 0
    replica: str = ""
    attempts: str = ""
    is_whole: bool = False
    has_header: bool = False
    began_s: float = 0.0
    ended_s: float | None = None


@dataclass
class Outcome:
    """One case: when the victim died, and what became of its streams, and of requests without a header."""

    died_s: float = 0.0
    streams: list[Fate] = field(default_factory=list)
    waiting: list[Fate] = field(default_factory=list)

    def streams_of(self, replica: str) -> list[Fate]:
        return [fate for fate in self.streams if fate.replica == replica]

    @property
    def moved(self) -> list[Fate]:
        """Requests without a header that were answered by a second try."""
        return [fate for fate in self.waiting if fate.attempts not in ("", "1")]

    def after_death_s(self, fate: Fate) -> float:
        assert fate.ended_s is not None, "it never ended"
        return fate.ended_s - self.died_s


@dataclass
class Engine:
    """The process of a mortal engine."""

    name: str
    process: asyncio.subprocess.Process
    port: int

    @classmethod
    async def start(cls, name: str) -> Engine:
        process = await asyncio.create_subprocess_exec(
            sys.executable, ENGINE, name, stdout=asyncio.subprocess.PIPE
        )
        assert process.stdout is not None
        return cls(name, process, int(await asyncio.wait_for(process.stdout.readline(), 20)))

    def endpoint(self, state: EndpointState = EndpointState.READY) -> Endpoint:
        return Endpoint("127.0.0.1", self.port, f"n/{self.name}", state)

    async def end(self) -> None:
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()


class Stage:
    """The engines, the Envoy, and the requests of all cases."""

    def __init__(self, world: Any, build: Any) -> None:
        self.world = world
        self.build = build
        self.outcomes = {case: Outcome() for case in CASES}
        self.long = {"silent stream": Fate(), "long answer": Fate(), "stream of a pod that is gone": Fate()}
        self.late = Fate()
        self.is_late_in_rotation = True
        self.engines: dict[str, Engine] = {}
        self._client = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))

    async def run(self) -> None:
        names = [*CASES, *ALIVE, "survivor"]
        started = await asyncio.gather(*(Engine.start(name) for name in names))
        self.engines = dict(zip(names, started, strict=True))
        await self._publish(1)
        await self.world.until_async(self._all_healthy)
        await asyncio.gather(*(self._die(case) for case in CASES), self._live(), self._be_late())

    async def close(self) -> None:
        await self._client.close()
        for engine in self.engines.values():
            await engine.end()

    async def _publish(
        self, revision: int, *, gone: tuple[str, ...] = (), not_ready: tuple[str, ...] = ()
    ) -> None:
        routes, clusters = [], []
        for case in (*CASES, *ALIVE):
            state = EndpointState.NOT_READY if case in not_ready else EndpointState.READY
            members = [] if case in gone else [self.engines[case].endpoint(state)]
            if case in CASES or case in gone:
                members.append(self.engines["survivor"].endpoint())
            limit_s = 4.0 if case == "health-only-limited" else None
            routes.append(self.build.route(case, {case: 1.0}, idle_s=limit_s))
            clusters.append(self.build.cluster(case, *members))
        await self.world.publish(self.world.table(routes, clusters, revision))

    async def _all_healthy(self) -> bool:
        health = await self.world.health()
        return all(health.get(engine.endpoint().pod) for engine in self.engines.values())

    async def _ask(self, case: str, body: dict[str, float], fate: Fate) -> None:
        fate.began_s = time.monotonic()
        url = f"http://127.0.0.1:{self.world.gateway.port}/"
        with contextlib.suppress(aiohttp.ClientError, TimeoutError):
            timeout = aiohttp.ClientTimeout(total=40)
            async with self._client.post(
                url, json=body, headers={"x-class": case}, timeout=timeout
            ) as answer:
                fate.status, fate.has_header = answer.status, True
                fate.replica = answer.headers.get("x-replica", "")
                fate.attempts = answer.headers.get("x-envoy-attempt-count", "")
                fate.is_whole = (await answer.read()).endswith(b"[DONE]\n")
        fate.ended_s = time.monotonic()

    async def _die(self, case: str) -> None:
        """Streams whose header is out and requests without one, on both engines; then the victim dies."""
        outcome = self.outcomes[case]
        pause_s = 1.0 if case == "health-only-limited" else PAUSE_S
        tasks: list[asyncio.Task[None]] = []
        while not (outcome.streams_of(case) and outcome.streams_of("survivor")):
            await self._send(case, {"silence_s": pause_s}, outcome.streams, tasks)
            await self.world.until(lambda: all(fate.has_header for fate in outcome.streams))
        num_streams = len(outcome.streams_of(case))
        while await self._num_active(case) < num_streams + 2:
            await self._send(case, {"header_s": HEADER_S}, outcome.waiting, tasks)
        self._kill(case)
        outcome.died_s = time.monotonic()
        done, hanging = await asyncio.wait(tasks, timeout=PAUSE_S + 5)
        for task in hanging:
            task.cancel()
        await asyncio.gather(*done)

    def _kill(self, case: str) -> None:
        signals = {"killed": signal.SIGKILL, "vanished": signal.SIGUSR1}
        by_prefix = signal.SIGSTOP if case.startswith("frozen") else signal.SIGUSR2
        self.engines[case].process.send_signal(signals.get(case, by_prefix))

    async def _send(
        self, case: str, body: dict[str, float], fates: list[Fate], tasks: list[asyncio.Task[None]]
    ) -> None:
        """Send one more request, and return once it has reached an engine."""
        fates.append(Fate())
        num_tried = await self._num_tried(case)
        tasks.append(asyncio.create_task(self._ask(case, body, fates[-1])))

        async def is_there() -> bool:
            return await self._num_tried(case) > num_tried

        await self.world.until_async(is_there)

    async def _num_active(self, case: str) -> int:
        """Requests in flight on the case's victim."""
        clusters = json.loads(await self.world.admin("/clusters?format=json"))["cluster_statuses"]
        (hosts,) = [each["host_statuses"] for each in clusters if each["name"] == case]
        (victim,) = [host for host in hosts if host["hostname"] == f"n/{case}"]
        return int(next(stat.get("value", 0) for stat in victim["stats"] if stat["name"] == "rq_active"))

    async def _num_tried(self, case: str) -> int:
        stats = await self.world.admin(f"/stats?format=json&filter=^cluster.{case}.upstream_rq_total$")
        return sum(stat["value"] for stat in json.loads(stats)["stats"] if "value" in stat)

    async def _live(self) -> None:
        """Requests that only take long, and a stream of a replica that is removed."""
        quiet, long, gone = self.long.values()
        tasks = [
            asyncio.create_task(self._ask("silent", {"silence_s": 35.0}, quiet)),
            asyncio.create_task(self._ask("silent", {"header_s": 25.0}, long)),
            asyncio.create_task(self._ask("leaving", {"silence_s": 30.0}, gone)),
        ]
        await self.world.until(lambda: gone.has_header)
        await self.world.until(lambda: self.outcomes["frozen-not-ready"].died_s > 0)
        # As the kubelet's probe finds the frozen one, long before Envoy's; and the leaving one is gone.
        await self._publish(2, gone=("leaving",), not_ready=("frozen-not-ready",))
        await asyncio.gather(*tasks)

    async def _be_late(self) -> None:
        """A stream on an engine that answers its health check from then on, but late."""
        stream = asyncio.create_task(self._ask("late", {"silence_s": 35.0}, self.late))
        await self.world.until(lambda: self.late.has_header)
        self.engines["late"].process.send_signal(signal.SIGHUP)
        await asyncio.sleep(LATE_S)
        self.is_late_in_rotation = bool((await self.world.health())[self.engines["late"].endpoint().pod])
        await stream


@pytest.fixture(scope="module")
def deaths(tmp_path_factory: pytest.TempPathFactory, make_world: Callable[[Path], Any], build: Any) -> Stage:
    directory = tmp_path_factory.mktemp("deaths")

    async def play() -> Stage:
        world = make_world(directory)
        try:
            await world.start()
            stage = Stage(world, build)
            try:
                await stage.run()
            finally:
                await stage.close()
        finally:
            await world.stop()
        return stage

    return asyncio.run(play())


DEATHS = ("killed", "frozen", "frozen-not-ready", "vanished")


@pytest.mark.parametrize("case", DEATHS)
def test_a_request_without_a_header_on_a_dead_engine_is_answered_elsewhere(deaths: Stage, case: str) -> None:
    outcome = deaths.outcomes[case]
    assert {fate.status for fate in outcome.waiting} == {200}
    assert len(outcome.moved) >= 2, "those that were on the victim"
    latest_s = max(outcome.after_death_s(fate) for fate in outcome.moved)
    print(f"{case}: header elsewhere after {latest_s - HEADER_S:.1f} s")  # noqa: T201
    assert latest_s < LIMIT_S + HEADER_S


@pytest.mark.parametrize("case", DEATHS)
def test_a_stream_on_a_dead_engine_ends_and_those_on_others_live(deaths: Stage, case: str) -> None:
    outcome = deaths.outcomes[case]
    cut, kept = outcome.streams_of(case), outcome.streams_of("survivor")
    assert len(cut) + len(kept) == len(outcome.streams)
    print(f"{case}: streams end after {[round(outcome.after_death_s(fate), 1) for fate in cut]}")  # noqa: T201
    assert not any(fate.is_whole for fate in cut)
    assert max(outcome.after_death_s(fate) for fate in cut) < LIMIT_S
    assert all(fate.is_whole for fate in kept), "silent for 25 s, alive"


def test_requests_on_an_engine_that_answers_only_its_health_check_hang(deaths: Stage) -> None:
    outcome = deaths.outcomes["health-only"]
    hanging = [fate for fate in outcome.waiting if fate.ended_s is None]
    assert hanging, "nothing tells such an engine from one that thinks for long"
    assert [fate for fate in outcome.streams_of("health-only") if fate.ended_s is not None] == []
    assert {fate.status for fate in outcome.waiting if fate.ended_s is not None} <= {200}


def test_a_policys_limit_sends_them_elsewhere(deaths: Stage) -> None:
    outcome = deaths.outcomes["health-only-limited"]
    assert {fate.status for fate in outcome.waiting} == {200}
    assert outcome.moved
    assert max(outcome.after_death_s(fate) for fate in outcome.moved) < 4.0 + HEADER_S + 2.0


def test_a_stream_that_is_silent_for_35_s_lives_while_its_engine_does(deaths: Stage) -> None:
    assert deaths.long["silent stream"].is_whole


def test_a_stream_lives_while_its_engine_is_too_late_for_new_requests(deaths: Stage) -> None:
    assert not deaths.is_late_in_rotation, "two answers in a row took more than 5 s"
    assert deaths.late.is_whole


def test_an_answer_that_takes_25_s_comes_with_its_first_attempt(deaths: Stage) -> None:
    fate = deaths.long["long answer"]
    assert (fate.status, fate.attempts, fate.is_whole) == (200, "1", True)


def test_a_stream_outlives_its_endpoint(deaths: Stage) -> None:
    assert deaths.long["stream of a pod that is gone"].is_whole, (
        "removed right after it began, 30 s before its end"
    )
