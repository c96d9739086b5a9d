"""Watching a run in a cluster from outside: pods and plans by the API server, endpoints by each Envoy.

Owns the observation while the story runs. Input: a kubectl and the cluster's `Survey`. Output: `Observations`
as of an embedded run, and `PodSeen`s. Envoys are read at the port that the operator reads, through `kubectl
port-forward`: what they list is not a latency.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import aiohttp

from argosy.snapshot import EndpointHealth
from argosy.telemetry.parse import parse_clusters
from argosy_sim.controlplane.errors import StartError
from argosy_sim.demo.pods.lives import PodSeen
from argosy_sim.demo.pods.objects import NAMESPACE
from argosy_sim.demo.pods.survey import Survey
from argosy_sim.demo.watch import Observations, json_documents, requests_by_cluster

HEALTH_POLL_S = 0.2
POLLS_PER_COUNT = 5
STATS_PORT = 9902
CURRENT_S = 3.0
"""An Envoy that has not answered for longer has no say about an endpoint's health."""
_AGAIN_S = 1.0
_FORWARDING = re.compile(rb"Forwarding from 127\.0\.0\.1:(\d+) ")


class EnvoysView:
    """What all Envoys together say about endpoints: healthy from when every one of them counts it healthy."""

    def __init__(self, observed: Observations) -> None:
        self._observed = observed
        self._answers: dict[str, tuple[float, dict[str, EndpointHealth]]] = {}
        self._counts: dict[str, dict[str, int]] = {}

    def note_health(self, envoy: str, healths: dict[str, EndpointHealth], now_s: float) -> None:
        """One Envoy's endpoints."""
        self._answers[envoy] = (now_s, healths)
        current = [each for at_s, each in self._answers.values() if now_s - at_s < CURRENT_S]
        for address in healths:
            states = [each.get(address) for each in current]
            if all(state is EndpointHealth.HEALTHY for state in states):
                self._observed.healthy_s.setdefault(address, now_s)
            was_healthy = address in self._observed.healthy_s
            if was_healthy and EndpointHealth.UNHEALTHY in states and EndpointHealth.HEALTHY not in states:
                self._observed.unhealthy_s.setdefault(address, now_s)

    def note_requests(self, envoy: str, counts: dict[str, int], now_s: float) -> None:
        """One Envoy's counters; a sample is the sum over all."""
        self._counts[envoy] = counts
        total: dict[str, int] = {}
        for each in self._counts.values():
            for cluster, num in each.items():
                total[cluster] = total.get(cluster, 0) + num
        self._observed.requests.append((now_s, total))


class PodsWatcher:
    """Observes until it is stopped."""

    def __init__(self, kubectl: Sequence[str], survey: Survey) -> None:
        self._kubectl, self._survey = kubectl, survey
        self.observed = Observations()
        self.pods: list[PodSeen] = []
        self._view = EnvoysView(self.observed)
        self._tasks: dict[str, asyncio.Task[None]] = {}

    async def start(self) -> None:
        """Begin to watch."""
        self._tasks = {
            "the watch of pods": asyncio.create_task(self._watch_pods()),
            "the watch of FleetPlans": asyncio.create_task(self._watch_plans()),
        }
        for envoy in self._survey.envoys:
            self._tasks[f"reading Envoy {envoy}"] = asyncio.create_task(self._watch_envoy(envoy))

    async def stop(self) -> None:
        """End all observation."""
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    def require_running(self) -> None:
        """Raises StartError where an observation has ended: without it nothing could be judged."""
        for name, task in self._tasks.items():
            if task.done():
                reason = f": {error}" if not task.cancelled() and (error := task.exception()) else ""
                raise StartError(f"{name} has ended{reason}; the demo can be run again")

    async def _watch_pods(self) -> None:
        command = ("get", "pods", "-n", NAMESPACE, "--watch", "--output-watch-events", "-o", "json")
        async with self._running(*command) as output:
            async for event in json_documents(output):
                self.pods.append(PodSeen(time.time(), event["type"], event["object"]))

    async def _watch_plans(self) -> None:
        async with self._running("get", "fleetplans.argosy.dev", "--watch", "-o", "json") as output:
            async for plan in json_documents(output):
                if plan["metadata"]["name"] not in self._survey.plans:
                    self.observed.plans.append((time.time(), plan))

    async def _watch_envoy(self, envoy: str) -> None:
        """Until the end of the run: a forwarded port may be lost, its pod too."""
        where = ("port-forward", "-n", self._survey.namespace, f"pod/{envoy}", f":{STATS_PORT}")
        while True:
            async with self._running(*where) as output:
                if port := await _forwarded_port(output):
                    await self._read_envoy(envoy, f"http://127.0.0.1:{port}", output)
            await asyncio.sleep(_AGAIN_S)

    async def _read_envoy(self, envoy: str, url: str, output: asyncio.StreamReader) -> None:
        """While the port is forwarded and the Envoy answers."""
        polls = 0
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=2.0)) as session:
            while not output.at_eof():
                try:
                    async with session.get(f"{url}/clusters?format=json") as response:
                        healths = parse_clusters(await response.read())
                    if isinstance(healths, dict):
                        self._view.note_health(envoy, healths, time.time())
                    if polls % POLLS_PER_COUNT == 0:
                        async with session.get(
                            f"{url}/stats?format=json&filter=upstream_rq_total$"
                        ) as response:
                            counts = requests_by_cluster((await response.json())["stats"])
                        self._view.note_requests(envoy, counts, time.time())
                except (aiohttp.ClientError, TimeoutError):
                    return
                polls += 1
                await asyncio.sleep(HEALTH_POLL_S)

    @asynccontextmanager
    async def _running(self, *arguments: str) -> AsyncIterator[asyncio.StreamReader]:
        """kubectl's output, for a block. In a session of its own: Ctrl-C is the demo's to handle."""
        process = await asyncio.create_subprocess_exec(
            *self._kubectl,
            *arguments,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            start_new_session=True,
        )
        assert process.stdout is not None
        try:
            yield process.stdout
        finally:
            with suppress(ProcessLookupError):
                process.terminate()
            await process.wait()


async def _forwarded_port(output: asyncio.StreamReader) -> int | None:
    """The local port that kubectl names; None where it ended without one."""
    while line := await output.readline():
        if match := _FORWARDING.match(line):
            return int(match.group(1))
    return None


def kubectl_command(program: Path, kubeconfig: Path) -> tuple[str, ...]:
    """What every command to the cluster begins with."""
    return str(program), f"--kubeconfig={kubeconfig}"
