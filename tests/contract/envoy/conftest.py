"""A real Envoy, our ADS server, and small replicas: the far side is fake, nothing of ours is."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from argosy.route.table import (
    Backend,
    ClusterEntry,
    Endpoint,
    EndpointState,
    Gateway,
    Hints,
    OutlierSettings,
    RequestMatch,
    RouteEntry,
    RouteTable,
    Unnamed,
)
from argosy.settings import TlsFiles
from argosy.xds.server import AdsServer
from argosy.xds.snapshot import Snapshot
from argosy.xds.tls.credentials import ServerTls
from argosy_sim.controlplane.host.ports import free_ports
from argosy_sim.envoy import EnvoyProcess, EnvoySettings, find_envoy

LOOPBACK = "127.0.0.1"


NO_CLASS = Hints()
"""As of a fleet without classes."""


class Replica:
    """A server that answers as an engine does, and can fall silent, fail or die."""

    def __init__(self, name: str, host: str = LOOPBACK) -> None:
        self.name = name
        self.host = host
        self.port = 0
        self.num_requests = 0
        self.headers: list[dict[str, str]] = []
        self.status = 200
        self.delay_s = 0.0
        self.stream_s = 0.0
        """How long a streamed answer takes, a chunk every 50 ms."""
        self.more_headers: dict[str, str] = {}
        """Of answers."""
        self.names_itself = False
        """Whether answers carry its address, as those of simulated engines do."""
        self.metrics = ""
        self._speaking = asyncio.Event()
        self._speaking.set()
        self._runner: web.AppRunner | None = None

    async def start(self) -> Replica:
        app = web.Application(client_max_size=64 * 2**20)
        app.router.add_get("/health", self._health)
        app.router.add_route("*", "/{tail:.*}", self._answer)
        self._runner = web.AppRunner(app, shutdown_timeout=0)
        await self._runner.setup()
        site = web.TCPSite(self._runner, self.host, self.port, reuse_address=True)
        await site.start()
        self.port = site._server.sockets[0].getsockname()[1]  # type: ignore[union-attr]
        return self

    def fall_silent(self) -> None:
        """From now on sockets neither answer nor close."""
        self._speaking.clear()

    async def die(self) -> None:
        """Close every socket."""
        self._speaking.set()
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()

    def endpoint(self, state: EndpointState = EndpointState.READY) -> Endpoint:
        return Endpoint(self.host, self.port, f"default/{self.name}", state)

    async def _health(self, request: web.Request) -> web.Response:
        await self._speaking.wait()
        return web.Response(text="ok")

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        if request.path == "/metrics":
            return web.Response(text=self.metrics)
        self.num_requests += 1
        self.headers.append({name.lower(): value for name, value in request.headers.items()})
        body = await request.read()
        await self._speaking.wait()
        if self.status != 200:
            return web.json_response({"replica": self.name}, status=self.status)
        if self.stream_s and b'"stream": true' in body:
            return await self._stream(request)
        await asyncio.sleep(self.delay_s)
        own = {"x-argosy-endpoint": f"{LOOPBACK}:{self.port}"} if self.names_itself else {}
        headers = {**self.more_headers, **own}
        return web.json_response({"replica": self.name, "bytes": len(body)}, headers=headers)

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        end = time.monotonic() + self.stream_s
        while time.monotonic() < end:
            await self._speaking.wait()
            await response.write(b"data: {}\n\n")
            await asyncio.sleep(0.05)
        await response.write(f"data: {self.name}\n\ndata: [DONE]\n\n".encode())
        return response


@dataclass
class Answer:
    """What a client got. `status` 0: the answer broke off, or the connection did."""

    status: int
    body: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def replica(self) -> str:
        return str(self.json["replica"])


class World:
    """One Envoy behind one or two ADS servers, and a client."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.gateway = Gateway(LOOPBACK, free_ports(1)[0], max_body_bytes=2 * 2**20)
        self.ads = AdsServer()
        self.ads_ports: tuple[int, ...] = ()
        self.tls: ServerTls | None = None
        self.client_tls: TlsFiles | None = None
        self.envoy: EnvoyProcess | None = None
        self.replicas: dict[str, Replica] = {}
        self._cleanups: list[Callable[[], Awaitable[object]]] = []
        self._client: aiohttp.ClientSession | None = None

    async def start(self, *, num_ads_ports: int = 1) -> World:
        self.ads_ports = free_ports(num_ads_ports)
        await self.ads.serve(LOOPBACK, self.ads_ports[0], self.tls)
        self._client = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
        await self.start_envoy()
        return self

    async def start_envoy(self) -> EnvoyProcess:
        addresses = tuple((LOOPBACK, port) for port in self.ads_ports)
        settings = EnvoySettings("envoy-1", addresses, self.directory, find_envoy(), tls=self.client_tls)
        self.envoy = await EnvoyProcess.start(settings)
        return self.envoy

    async def stop(self) -> None:
        for cleanup in self._cleanups:
            await cleanup()
        if self._client is not None:
            await self._client.close()
        if self.envoy is not None:
            await self.envoy.stop()
        await self.ads.stop()
        for replica in self.replicas.values():
            await replica.die()

    def at_the_end(self, cleanup: Callable[[], Awaitable[object]]) -> None:
        self._cleanups.append(cleanup)

    async def replica(self, name: str, host: str = LOOPBACK) -> Replica:
        self.replicas[name] = await Replica(name, host).start()
        return self.replicas[name]

    def table(
        self,
        routes: Iterable[RouteEntry],
        clusters: Iterable[ClusterEntry],
        revision: int = 1,
        hints: Hints = NO_CLASS,
    ) -> RouteTable:
        return RouteTable(revision, self.gateway, tuple(routes), tuple(clusters), hints)

    async def publish(self, table: RouteTable, *, settled: bool = True) -> Snapshot:
        snapshot = Snapshot.of_table(table)
        self.ads.publish(snapshot)
        if settled:
            await self.until(lambda: self.acknowledged() == snapshot.version)
            await self.until_listening()
        return snapshot

    def acknowledged(self) -> str:
        return next((state.acknowledged_version for state in self.ads.envoys()), "")

    async def until_listening(self) -> None:
        async def listens() -> bool:
            try:
                _, writer = await asyncio.open_connection(LOOPBACK, self.gateway.port)
            except OSError:
                return False
            writer.close()
            return True

        await self.until_async(listens)

    async def until(self, holds: Callable[[], bool], timeout_s: float = 10.0) -> float:
        async def check() -> bool:
            return holds()

        return await self.until_async(check, timeout_s)

    async def until_async(self, holds: Callable[[], Awaitable[bool]], timeout_s: float = 10.0) -> float:
        """Wait, and return how many seconds it took."""
        begin = time.monotonic()
        while not await holds():
            if time.monotonic() - begin > timeout_s:
                raise AssertionError(f"did not come true within {timeout_s} s; Envoys: {self.ads.envoys()}")
            await asyncio.sleep(0.01)
        return time.monotonic() - begin

    async def ask(
        self,
        path: str = "/v1/chat/completions",
        *,
        headers: dict[str, str] | None = None,
        json_body: object = None,
        data: bytes | None = None,
        method: str = "POST",
    ) -> Answer:
        assert self._client is not None
        begin = time.monotonic()
        url = f"http://{LOOPBACK}:{self.gateway.port}{path}"
        body = {} if json_body is None and data is None else json_body
        try:
            async with self._client.request(method, url, headers=headers, json=body, data=data) as response:
                text = await response.text()
                return Answer(
                    response.status,
                    text,
                    {k.lower(): v for k, v in response.headers.items()},
                    time.monotonic() - begin,
                )
        except aiohttp.ClientError as error:
            return Answer(0, str(error), {}, time.monotonic() - begin)

    async def load(self, num: int, rate_per_s: float, **request: Any) -> list[Answer]:
        """`num` requests, open loop."""
        tasks = []
        for _ in range(num):
            tasks.append(asyncio.create_task(self.ask(**request)))
            await asyncio.sleep(1 / rate_per_s)
        return list(await asyncio.gather(*tasks))

    async def admin(self, path: str) -> str:
        assert self._client is not None
        assert self.envoy is not None
        async with self._client.get(f"http://{self.envoy.admin_address}{path}") as response:
            return await response.text()

    async def health(self) -> dict[str, bool]:
        """Whether Envoy counts an endpoint healthy, in its HTTP and in its TCP cluster, by pod."""
        found: dict[str, bool] = {}
        for cluster in json.loads(await self.admin("/clusters?format=json")).get("cluster_statuses", []):
            for host in cluster.get("host_statuses", []):
                is_healthy = host["health_status"] == {"eds_health_status": "HEALTHY"}
                pod = host.get("hostname", "")
                found[pod] = is_healthy and found.get(pod, True)
        return found


def statuses(answers: Iterable[Answer]) -> Counter[int]:
    return Counter(answer.status for answer in answers)


def route(
    class_name: str,
    shares: dict[str, float],
    *,
    match: RequestMatch | None = None,
    attempts: int = 2,
    idle_s: float | None = None,
    unnamed: Unnamed = Unnamed.REFUSED,
) -> RouteEntry:
    """A route of class default/<class_name>, by its header unless told otherwise."""
    key = f"default/{class_name}"
    return RouteEntry(
        cell=key,
        class_key=key,
        stat_prefix=f"default_{class_name}",
        match=match or RequestMatch(headers=(("x-class", class_name),)),
        backends=tuple(Backend(cluster, share) for cluster, share in shares.items()),
        retry_attempts=attempts,
        refusal="" if shares else f"No replica that serves {key} is ready.",
        per_try_idle_timeout_s=idle_s,
        unnamed=unnamed,
    )


def cluster(
    name: str,
    *members: Replica | Endpoint,
    outlier: OutlierSettings | None = None,
    request_limit: int | None = None,
) -> ClusterEntry:
    endpoints = tuple(m.endpoint() if isinstance(m, Replica) else m for m in members)
    return ClusterEntry(name, endpoints, outlier or OutlierSettings(), request_limit)


class Builders:
    """What tests build tables with; a fixture, because test modules do not import each other."""

    route = staticmethod(route)
    cluster = staticmethod(cluster)
    statuses = staticmethod(statuses)


@pytest.fixture(scope="session")
def build() -> Builders:
    return Builders()


@pytest.fixture(scope="session")
def make_world() -> Callable[[Path], World]:
    """For modules whose tests share one world."""
    return World


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    world = World(tmp_path)
    try:
        yield await world.start()
    finally:
        await world.stop()
