"""What /healthz, /readyz and /readyz/ads answer, over HTTP."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest
from virtual_clock import VirtualClock, in_virtual_time, troubles_of

from argosy.errors import SpecError
from argosy.reconcile.metrics import Metrics
from argosy.reconcile.reporting.health import Health, serve_health
from argosy.reconcile.reporting.heartbeats import Heartbeats
from argosy.reconcile.reporting.troubles import LASTING_S


class Endpoint:
    """The running endpoint and what it reads."""

    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.troubles, self.heartbeats = troubles_of(self.clock), Heartbeats(self.clock)
        self.is_synced, self.unseen = True, tuple[str, ...]()
        self.health = Health(
            Metrics(), self.troubles, self.heartbeats, lambda: self.is_synced, lambda: self.unseen
        )
        self.url = ""

    async def get(self, path: str) -> tuple[int, str]:
        async with aiohttp.ClientSession() as session, session.get(f"{self.url}{path}") as answer:
            return answer.status, await answer.text()


@asynccontextmanager
async def serving(address: str = "127.0.0.1:0") -> AsyncIterator[Endpoint]:
    endpoint = Endpoint()
    runner = await serve_health(address, endpoint.health)
    try:
        host, port = runner.addresses[0][:2]
        host = "127.0.0.1" if host == "::" else host
        endpoint.url = f"http://{host}:{port}"
        yield endpoint
    finally:
        await runner.cleanup()


@in_virtual_time
async def test_a_process_that_does_its_work_is_healthy_and_ready() -> None:
    async with serving() as endpoint:
        for path in ("/healthz", "/readyz", "/readyz/ads"):
            assert await endpoint.get(path) == (200, "ok\n")
        status, text = await endpoint.get("/metrics")
        assert (status, "argosy_is_leader" in text) == (200, True)


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="no sockets of both families here")
@in_virtual_time
async def test_all_addresses_of_ipv6_are_those_of_ipv4_too() -> None:
    async with serving("[::]:0") as endpoint:
        assert await endpoint.get("/healthz") == (200, "ok\n")


@in_virtual_time
async def test_envoys_are_served_only_from_complete_caches() -> None:
    async with serving() as endpoint:
        endpoint.is_synced = False
        for path in ("/readyz", "/readyz/ads"):
            status, text = await endpoint.get(path)
            assert (status, text.startswith("caches are not complete")) == (503, True)
        assert await endpoint.get("/healthz") == (200, "ok\n")


@in_virtual_time
async def test_a_kind_that_is_not_seen_any_more_turns_readyz_back_but_takes_no_envoy_its_server() -> None:
    async with serving() as endpoint:
        endpoint.unseen = ("the API server has no kind GPUPool",)
        endpoint.troubles.lasted("lost: telemetry", "none can be read", endpoint.clock.monotonic_s() - 60.0)
        assert await endpoint.get("/readyz") == (
            503,
            "the API server has no kind GPUPool\nlost: telemetry: none can be read\n",
        )
        assert await endpoint.get("/readyz/ads") == (200, "ok\n")


@in_virtual_time
async def test_a_failure_that_lasts_turns_readyz_back_but_takes_no_envoy_its_server() -> None:
    async with serving() as endpoint:
        endpoint.troubles.failed("decisions", "the account may not create fleetplans")
        await endpoint.clock.sleep(LASTING_S)
        refused = (503, "decisions: the account may not create fleetplans\n")
        assert await endpoint.get("/readyz") == refused
        assert await endpoint.get("/readyz/ads") == (200, "ok\n")
        endpoint.troubles.succeeded("decisions")
        assert await endpoint.get("/readyz") == (200, "ok\n")


@in_virtual_time
async def test_what_fails_for_some_time_is_a_metric_by_activity_until_it_works() -> None:
    series = 'argosy_failing{activity="leader election"} 1.0'
    async with serving() as endpoint:
        endpoint.troubles.failed("leader election", "the API server does not answer")
        endpoint.troubles.failed("events", "one was not posted", is_readiness=False)
        assert series not in (await endpoint.get("/metrics"))[1], "it may be over in a moment"
        await endpoint.clock.sleep(LASTING_S)
        text = (await endpoint.get("/metrics"))[1]
        assert series in text
        assert 'argosy_failing{activity="events"} 1.0' in text, "also what /readyz leaves out"
        endpoint.troubles.succeeded("leader election")
        assert series not in (await endpoint.get("/metrics"))[1]


@in_virtual_time
async def test_a_loop_that_does_not_come_round_is_unhealthy_and_one_that_rests_is_not() -> None:
    async with serving() as endpoint:
        endpoint.heartbeats.beat("the traffic loop", 120.0)
        endpoint.heartbeats.beat("the planning loop", 330.0)
        await endpoint.clock.sleep(119.0)
        assert await endpoint.get("/healthz") == (200, "ok\n")
        endpoint.heartbeats.rest("the planning loop")
        await endpoint.clock.sleep(500.0)
        assert await endpoint.get("/healthz") == (
            503,
            "the traffic loop has not come round for 619 s: at most 120 s is allowed; restart the process and"
            " report its log\n",
        )
        endpoint.heartbeats.beat("the traffic loop", 120.0)
        assert await endpoint.get("/healthz") == (200, "ok\n")


@in_virtual_time
async def test_an_ipv6_address_is_written_in_brackets() -> None:
    runner = await serve_health("[::1]:0", Endpoint().health)
    host = runner.addresses[0][0]
    await runner.cleanup()
    assert host == "::1"


@in_virtual_time
async def test_a_port_that_is_taken_is_refused_by_the_name_of_its_flag() -> None:
    async with serving() as endpoint:
        with pytest.raises(SpecError, match="--http-address: cannot listen on"):
            await serve_health(endpoint.url.removeprefix("http://"), endpoint.health)
