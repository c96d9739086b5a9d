"""Telemetry from a real Envoy: what its counters and its view of endpoints say."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from argosy.route.counters import VIRTUAL_HOST, cell_of, stat_prefix_of
from argosy.snapshot import CounterReading, EndpointHealth, EngineReading, RouteCounters, TelemetryReading
from argosy.telemetry import DirectScraper, Targets
from argosy.telemetry.parse import parse_engine
from argosy_sim.envoy import find_envoy
from argosy_sim.livefleet.vllm.metrics import EngineIdentity, EngineLoad, FinishedRequest, VllmMetrics

HEALTHY, UNHEALTHY = EndpointHealth.HEALTHY, EndpointHealth.UNHEALTHY
TYPE = "type.googleapis.com/envoy"


def _socket_address(port: int) -> dict[str, Any]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def _cluster(name: str, *ports: int) -> dict[str, Any]:
    check = {
        **{"timeout": "1s", "interval": "0.2s", "no_traffic_interval": "0.2s"},
        **{"unhealthy_threshold": 2, "healthy_threshold": 1, "http_health_check": {"path": "/health"}},
    }
    endpoints = [{"endpoint": {"address": _socket_address(port)}} for port in ports]
    return {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "0.5s",
        "common_lb_config": {"healthy_panic_threshold": {"value": 0}},
        "health_checks": [check],
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": endpoints}]},
    }


def _route(class_name: str, *clusters: str, **match: Any) -> dict[str, Any]:
    share = 100 // len(clusters)
    return {
        "match": {"prefix": f"/{class_name}", **match},
        "stat_prefix": stat_prefix_of(f"ns/{class_name}"),
        "route": {
            "timeout": "0s",
            "weighted_clusters": {"clusters": [{"name": name, "weight": share} for name in clusters]},
            "retry_policy": {"retry_on": "5xx", "num_retries": 2},
        },
    }


def _routes(*routes: dict[str, Any]) -> str:
    resource = {
        "@type": f"{TYPE}.config.route.v3.RouteConfiguration",
        "name": "routes",
        "virtual_hosts": [{"name": VIRTUAL_HOST, "domains": ["*"], "routes": list(routes)}],
    }
    return json.dumps({"resources": [resource]})


def _bootstrap(routes_file: Path, clusters: list[dict[str, Any]]) -> dict[str, Any]:
    manager = {
        "@type": f"{TYPE}.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "gateway",
        "rds": {
            "route_config_name": "routes",
            "config_source": {"path_config_source": {"path": str(routes_file)}},
        },
        "http_filters": [
            {"name": "router", "typed_config": {"@type": f"{TYPE}.extensions.filters.http.router.v3.Router"}}
        ],
    }
    listener = {
        "name": "gateway",
        "address": _socket_address(0),
        "filter_chains": [{"filters": [{"name": "manager", "typed_config": manager}]}],
    }
    return {
        "node": {"id": "envoy-1", "cluster": "test"},
        "admin": {"address": _socket_address(0)},
        "static_resources": {"listeners": [listener], "clusters": clusters},
    }


class Backend:
    """An engine as Envoy sees one: `/late` waits before its header, `/stream` after it."""

    def __init__(self) -> None:
        self.port = 0
        self.is_well = True

    async def answer(self, request: web.Request) -> web.StreamResponse:
        if request.path == "/health":
            return web.Response(status=200 if self.is_well else 503)
        if request.path.startswith("/failing"):
            return web.Response(status=503)
        if request.path.startswith("/late"):
            await asyncio.sleep(1.5)
        if request.path.startswith("/stream"):
            response = web.StreamResponse()
            await response.prepare(request)
            await response.write(b"x")
            await asyncio.sleep(1.5)
            return response
        return web.Response(text="ok")


class Gateway:
    """A running Envoy: where it listens, its admin interface, and its routes to be replaced."""

    def __init__(self, admin_url: str, url: str, backend: Backend, routes_file: Path) -> None:
        self.admin_url = admin_url
        self.url = url
        self.backend = backend
        self._routes_file = routes_file
        self.session = aiohttp.ClientSession()
        self.scraper = DirectScraper(cell_of)

    async def ask(self, path: str, timeout_s: float = 10.0) -> int:
        timeout = aiohttp.ClientTimeout(total=timeout_s)
        async with self.session.get(f"{self.url}{path}", timeout=timeout) as response:
            await response.read()
            return response.status

    async def read(self) -> TelemetryReading:
        return await self.scraper.read(Targets((), (("envoy-1", self.admin_url),)), time.time())

    async def counters(self, class_name: str) -> RouteCounters:
        return (await self.read()).routes["envoy-1", f"ns/{class_name}"].value

    async def health_becomes(self, port: int, health: EndpointHealth) -> bool:
        async def seen() -> bool:
            sample = (await self.read()).endpoints.get(f"127.0.0.1:{port}")
            return sample is not None and sample.value is health

        return await _eventually(seen)

    async def reroute(self, routes: str) -> None:
        before = await self._reloads()
        fresh = self._routes_file.with_suffix(".new")
        fresh.write_text(routes)
        fresh.rename(self._routes_file)

        async def reloaded() -> bool:
            return await self._reloads() > before

        assert await _eventually(reloaded)

    async def _reloads(self) -> int:
        url = f"{self.admin_url}/stats?filter=rds.routes.config_reload$&format=json"
        async with self.session.get(url) as response:
            return int(
                next(s["value"] for s in (await response.json(content_type=None))["stats"] if "value" in s)
            )


async def _eventually(condition: Callable[[], Any], within_s: float = 8.0) -> bool:
    deadline_s = time.monotonic() + within_s
    while time.monotonic() < deadline_s:
        if await condition():
            return True
        await asyncio.sleep(0.1)
    return False


def _all_routes(share_in_empty: bool = True) -> str:
    return _routes(
        _route("chat", "alive"),
        _route("failing", "alive"),
        _route("late", "alive"),
        # Two routes of one class, as for streams and whole answers: their counters are one.
        _route("stream", "alive", headers=[{"name": "x-whole", "present_match": True}]),
        _route("stream", "alive"),
        _route("dead", "dead"),
        _route("empty", "empty"),
        _route("split", *(["alive", "empty"] if share_in_empty else ["alive"])),
    )


@contextlib.asynccontextmanager
async def _running_backend() -> AsyncIterator[Backend]:
    backend = Backend()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", backend.answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    backend.port = runner.addresses[0][1]
    try:
        yield backend
    finally:
        await runner.cleanup()


@contextlib.asynccontextmanager
async def _running_envoy(directory: Path, config: dict[str, Any]) -> AsyncIterator[str]:
    """The URL of the admin interface of an Envoy with this bootstrap."""
    config_file, address_file = directory / "envoy.json", directory / "admin"
    config_file.write_text(json.dumps(config))
    with (directory / "envoy.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *(str(find_envoy()), "-c", str(config_file), "--admin-address-path", str(address_file)),
            *("--use-dynamic-base-id", "--concurrency", "1", "-l", "warn"),
            stdout=log,
            stderr=log,
        )
    try:

        async def is_up() -> bool:
            return address_file.exists() and bool(address_file.read_text())

        assert await _eventually(is_up, 20), (directory / "envoy.log").read_text()
        yield f"http://{address_file.read_text().strip()}"
    finally:
        process.kill()
        await process.wait()


async def _listening_at(admin_url: str) -> str:
    """The URL of the only listener; its port was given by the kernel."""
    async with aiohttp.ClientSession() as session:

        async def listeners() -> list[Any]:
            async with session.get(f"{admin_url}/listeners?format=json") as response:
                return list((await response.json(content_type=None)).get("listener_statuses", []))

        async def is_ready() -> bool:
            async with session.get(f"{admin_url}/ready") as response:
                return response.status == 200 and bool(await listeners())

        assert await _eventually(is_ready, 20)
        port = (await listeners())[0]["local_address"]["socket_address"]["port_value"]
    return f"http://127.0.0.1:{port}"


def _unused_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


DEAD_PORT = _unused_port()


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[Gateway]:
    routes_file = tmp_path / "routes.json"
    routes_file.write_text(_all_routes())
    async with _running_backend() as backend:
        clusters = [_cluster("alive", backend.port), _cluster("dead", DEAD_PORT), _cluster("empty")]
        async with _running_envoy(tmp_path, _bootstrap(routes_file, clusters)) as admin_url:
            made = Gateway(admin_url, await _listening_at(admin_url), backend, routes_file)
            try:
                assert await made.health_becomes(backend.port, HEALTHY)
                yield made
            finally:
                await made.scraper.close()
                await made.session.close()


async def test_every_request_of_a_class_counts_once_whatever_becomes_of_it(gateway: Gateway) -> None:
    assert await gateway.health_becomes(DEAD_PORT, UNHEALTHY)
    classes = ("chat", "failing", "dead", "empty", "split")
    for name in classes:
        for _ in range(10):
            await gateway.ask(f"/{name}")
    found = {name: await gateway.counters(name) for name in classes}
    assert {name: counters.requests_total for name, counters in found.items()} == dict.fromkeys(classes, 10.0)
    assert found["chat"] == RouteCounters(10.0, 0.0, 0.0)
    # Three tries each: the retries are no demand.
    assert found["failing"] == RouteCounters(10.0, 10.0, 20.0)
    # No endpoint to try: Envoy answers 503 itself, and the demand is there all the same.
    assert found["dead"] == RouteCounters(10.0, 10.0, 0.0)
    assert found["empty"] == RouteCounters(10.0, 10.0, 0.0)


async def test_a_request_counts_when_it_arrives_not_when_it_is_answered(gateway: Gateway) -> None:
    asked = [asyncio.create_task(gateway.ask(path)) for path in ("/late", "/late", "/stream", "/stream")]
    whole = gateway.session.get(f"{gateway.url}/stream", headers={"x-whole": "1"})

    async def have_arrived() -> bool:
        late, stream = await gateway.counters("late"), await gateway.counters("stream")
        return (late.requests_total, stream.requests_total) == (2.0, 3.0)

    async with whole as response:
        assert await _eventually(have_arrived, 1.2)
        assert not any(task.done() for task in asked)
        await response.read()
    await asyncio.gather(*asked)
    assert await have_arrived()


async def test_a_client_that_gives_up_has_asked_nevertheless(gateway: Gateway) -> None:
    for _ in range(2):
        with pytest.raises(TimeoutError):
            await gateway.ask("/late", timeout_s=0.2)
    assert (await gateway.counters("late")).requests_total == 2.0


async def test_new_routes_do_not_start_the_counters_again(gateway: Gateway) -> None:
    for name in ("chat", "empty"):
        for _ in range(3):
            await gateway.ask(f"/{name}")
    await gateway.reroute(_all_routes(share_in_empty=False))
    for name in ("chat", "empty"):
        await gateway.ask(f"/{name}")
        assert (await gateway.counters(name)).requests_total == 4.0


async def test_an_endpoints_health_follows_envoys_active_checks(gateway: Gateway) -> None:
    assert await gateway.health_becomes(DEAD_PORT, UNHEALTHY)
    gateway.backend.is_well = False
    assert await gateway.health_becomes(gateway.backend.port, UNHEALTHY)
    gateway.backend.is_well = True
    assert await gateway.health_becomes(gateway.backend.port, HEALTHY)


def test_what_the_simulated_engine_exposes_is_readable() -> None:
    metrics = VllmMetrics(EngineIdentity("m", max_model_len=4096, block_size=16, kv_blocks=1000))
    for reason in ("stop", "length"):
        metrics.request_ended(FinishedRequest(reason, 60, 20, 20, 0.0, 0.1, 1.0))
    metrics.ttft.observe(0.1)
    for gap_s in (0.02, 0.03, 0.04):
        metrics.itl.observe(gap_s)
    metrics.iteration_ended(prompt_tokens=120, cached_tokens=48, generated_tokens=2)
    metrics.iteration_ended(0, 0, 38)
    metrics.num_preemptions.value = 7.0
    body = metrics.render(EngineLoad(num_running=3, num_waiting=2, kv_usage=0.25))
    counters = CounterReading(
        iterations=2.0,
        gaps=3.0,
        gap_s=pytest.approx(0.09),
        prompts=1.0,
        prompt_tokens=120.0,
        cached_prompt_tokens=48.0,
        preemptions=7.0,
        num_running=3.0,
        kv_cache_usage=0.25,
        kv_blocks=1000.0,
        block_size=16.0,
    )
    reading = parse_engine(body)
    assert isinstance(reading, EngineReading)
    latencies = reading.latencies
    assert reading == EngineReading(3, 2, 0.25, 120.0, 40.0, 2.0, counters, latencies)
    totals = {term.value: histogram.total for term, histogram in latencies.items()}
    assert totals == {"TTFT": 1.0, "ITL": 2.0, "E2E": 2.0}
