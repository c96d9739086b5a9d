"""Watching a run from outside: Envoy's view of endpoints, its counters, plan revisions, memory.

Owns the observation while the demo runs. Input: a running `Stage`. Output: `Observations`, in Unix
seconds; `collect` turns them into seconds of the story.
"""

from __future__ import annotations

import asyncio
import codecs
import json
import re
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from argosy.snapshot import EndpointHealth
from argosy.telemetry.parse import parse_clusters
from argosy_sim.controlplane.host.processes import resident_bytes
from argosy_sim.stage import Stage

HEALTH_POLL_S = 0.1
SLOW_POLL_S = 1.0
_REQUESTS = re.compile(r"^cluster\.(.+)\.upstream_rq_total$")


@dataclass
class Observations:
    """What was observed, by Unix time.

    healthy_s, unhealthy_s: by endpoint address, when Envoy first counted it healthy, and after that
    unhealthy; requests: (time, requests so far by cluster); plans: (time, FleetPlan), one entry per
    version of each plan; memory_bytes: the highest by process
    """

    healthy_s: dict[str, float] = field(default_factory=dict)
    unhealthy_s: dict[str, float] = field(default_factory=dict)
    requests: list[tuple[float, dict[str, int]]] = field(default_factory=list)
    plans: list[tuple[float, dict[str, Any]]] = field(default_factory=list)
    memory_bytes: dict[str, int] = field(default_factory=dict)

    def plan_counts(self) -> dict[int, int]:
        """Replicas by revision of every plan observed."""
        return {
            plan["spec"]["revision"]: sum(d["replicas"] for d in plan["spec"].get("deployments", ()))
            for _, plan in self.plans
        }

    def applied_revision(self) -> int | None:
        """The newest revision observed with Applied=True; None before the first."""
        applied = [
            plan["spec"]["revision"]
            for _, plan in self.plans
            for c in plan.get("status", {}).get("conditions", ())
            if c["type"] == "Applied" and c["status"] == "True"
        ]
        return max(applied, default=None)


class Watcher:
    """Observes one stage until it is stopped."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self.observed = Observations()
        self._tasks: list[asyncio.Task[None]] = []
        self._kubectl: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Begin to watch."""
        self._kubectl = await asyncio.create_subprocess_exec(
            str(self._stage.cluster.kubectl),
            f"--kubeconfig={self._stage.cluster.admin_kubeconfig}",
            *("get", "fleetplans.argosy.dev", "--watch", "-o", "json"),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
        loops = (self._watch_plans(self._kubectl), self._watch_health(), self._watch_slowly())
        self._tasks = [asyncio.create_task(loop) for loop in loops]

    async def stop(self) -> None:
        """End all observation."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._kubectl is not None and self._kubectl.returncode is None:
            with suppress(ProcessLookupError):
                self._kubectl.terminate()
            await self._kubectl.wait()

    async def _watch_plans(self, kubectl: asyncio.subprocess.Process) -> None:
        assert kubectl.stdout is not None
        async for plan in json_documents(kubectl.stdout):
            self.observed.plans.append((time.time(), plan))

    async def _watch_health(self) -> None:
        url = f"http://{self._stage.envoy.admin_address}/clusters?format=json"
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=1.0)) as session:
            while True:
                with suppress(aiohttp.ClientError, TimeoutError):
                    async with session.get(url) as response:
                        self._note_health(await response.read(), time.time())
                await asyncio.sleep(HEALTH_POLL_S)

    def _note_health(self, body: bytes, now_s: float) -> None:
        healths = parse_clusters(body)
        if not isinstance(healths, dict):
            return
        # Envoy's list also has the operator's own address: only the fleet's pods count.
        pods = self._stage.fleet.network.removesuffix("0.0/16")
        for address, health in healths.items():
            if not address.startswith(pods):
                continue
            if health is EndpointHealth.HEALTHY:
                self.observed.healthy_s.setdefault(address, now_s)
            elif health is EndpointHealth.UNHEALTHY and address in self.observed.healthy_s:
                self.observed.unhealthy_s.setdefault(address, now_s)

    async def _watch_slowly(self) -> None:
        url = f"http://{self._stage.envoy.admin_address}/stats?format=json&filter=upstream_rq_total$"
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=1.0)) as session:
            while True:
                with suppress(aiohttp.ClientError, TimeoutError):
                    async with session.get(url) as response:
                        stats = (await response.json())["stats"]
                        self.observed.requests.append((time.time(), requests_by_cluster(stats)))
                self._note_memory()
                await asyncio.sleep(SLOW_POLL_S)

    def _note_memory(self) -> None:
        named = {
            **self._stage.processes,
            "envoy": self._stage.envoy.process,
            **{p.name: p for p in self._stage.cluster.processes},
        }
        for name, process in named.items():
            resident = resident_bytes(process.identity)
            self.observed.memory_bytes[name] = max(resident, self.observed.memory_bytes.get(name, 0))


async def json_documents(stream: asyncio.StreamReader) -> AsyncIterator[dict[str, Any]]:
    """The objects that `kubectl get --watch -o json` prints one after another, until its end."""
    decoder, text = json.JSONDecoder(), ""
    utf8 = codecs.getincrementaldecoder("utf-8")()
    while chunk := await stream.read(65536):
        text += utf8.decode(chunk)
        while stripped := text.lstrip():
            try:
                document, end = decoder.raw_decode(stripped)
            except ValueError:
                break
            text = stripped[end:]
            yield document


def requests_by_cluster(stats: list[dict[str, Any]]) -> dict[str, int]:
    """Requests so far by cluster, of the answer to `/stats?format=json&filter=upstream_rq_total$`."""
    counts = {}
    for stat in stats:
        match = _REQUESTS.match(stat.get("name", ""))
        if match:
            counts[match.group(1)] = int(stat["value"])
    return counts
