"""Leader election in virtual time, against an API server that holds one Lease and may hang."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from kubernetes.aio import client
from virtual_clock import VirtualClock, in_virtual_time

from argosy.reconcile.leadership import Leadership, LeaseSettings

SETTINGS = LeaseSettings("argosy-system")


class LeaseServer:
    """One Lease. `status`: of every answer, if it is not None; `hangs`: methods that are never answered."""

    def __init__(self) -> None:
        self.lease: dict[str, Any] = {}
        self.status: int | None = None
        self.hangs: set[str] = set()
        self.asked: Counter[str] = Counter()

    async def answer(self, request: web.Request) -> web.Response:
        self.asked[request.method] += 1
        if request.method in self.hangs:
            await asyncio.Event().wait()
        if self.status is not None:
            return web.json_response({"kind": "Status", "code": self.status}, status=self.status)
        if request.method == "POST" and self.lease:
            return web.json_response({"kind": "Status", "code": 409, "message": "exists"}, status=409)
        if request.method != "GET":
            body = await request.json()
            self.lease = {
                **self.lease,
                **body,
                "spec": {**self.lease.get("spec", {}), **body.get("spec", {})},
            }
        return web.json_response(self.lease)

    @property
    def holder(self) -> str | None:
        holder: str | None = self.lease.get("spec", {}).get("holderIdentity")
        return holder


class SuspendedClock(VirtualClock):
    """`missed_s` more have passed than the timers of the event loop know."""

    missed_s = 0.0

    def monotonic_s(self) -> float:
        return super().monotonic_s() + self.missed_s


@asynccontextmanager
async def standing(server: LeaseServer, clock: VirtualClock | None = None) -> AsyncIterator[Leadership]:
    """One replica that takes part in elections until the block ends."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", server.answer)
    async with TestServer(app) as running:
        settings = client.Configuration()
        settings.host = str(running.make_url("")).rstrip("/")
        async with client.ApiClient(settings) as api_client:
            leadership = Leadership(api_client, clock or VirtualClock(), "me", SETTINGS)
            loop = asyncio.create_task(leadership.run())
            yield leadership
            loop.cancel()
            with suppress(asyncio.CancelledError):
                await loop


@in_virtual_time
async def test_a_free_lease_is_taken_and_renewed_and_given_up_at_the_end() -> None:
    server = LeaseServer()
    async with standing(server) as leadership:
        await leadership.wait_gained()
        assert (leadership.is_leader, server.holder) == (True, "me")
        await asyncio.sleep(60.0)
        assert leadership.is_leader
        assert server.asked["PUT"] == pytest.approx(60, abs=3)
    assert (leadership.is_leader, server.holder) == (False, None)


@in_virtual_time
async def test_a_refusing_api_server_is_asked_again_every_second_until_it_agrees() -> None:
    server = LeaseServer()
    server.status = 500
    async with standing(server) as leadership:
        await asyncio.sleep(20.0)
        assert not leadership.is_leader
        assert server.asked["POST"] == pytest.approx(20, abs=2)
        server.status = None
        await asyncio.sleep(2.0)
        assert leadership.is_leader


@pytest.mark.parametrize("method", ["GET", "PUT"])
@in_virtual_time
async def test_a_request_that_hangs_ends_leadership_before_another_replica_may_lead(method: str) -> None:
    server = LeaseServer()
    async with standing(server) as leadership:
        await leadership.wait_gained()
        await asyncio.sleep(5.0)
        server.hangs = {method}
        await asyncio.sleep(SETTINGS.duration_s)
        assert not leadership.is_leader
        server.hangs = set()
        await asyncio.sleep(SETTINGS.renew_deadline_s + 3 * SETTINGS.retry_s)
        assert leadership.is_leader


@in_virtual_time
async def test_a_lease_that_was_not_renewed_in_time_is_not_held_though_the_election_goes_on() -> None:
    """As where a process was suspended: its election learns only later that time has passed."""
    clock = SuspendedClock()
    async with standing(LeaseServer(), clock) as leadership:
        await leadership.wait_gained()
        renewed_s = leadership._lock.renewed_s
        for age_s, is_leader in ((SETTINGS.duration_s - 0.1, True), (SETTINGS.duration_s, False)):
            clock.missed_s = renewed_s + age_s - asyncio.get_running_loop().time()
            assert leadership.is_leader is is_leader
        assert leadership._gained.is_set()


def held_by_another(server: LeaseServer, renewed: str) -> None:
    spec = {
        "holderIdentity": "other",
        "leaseDurationSeconds": 6,
        "acquireTime": "2026-01-01T00:00:00.000000Z",
        "renewTime": f"2026-01-01T00:{renewed}.000000Z",
    }
    server.lease = {"metadata": {"name": "argosy-operator", "resourceVersion": renewed}, "spec": spec}


@pytest.mark.parametrize("jump_s", [3600.0, -3600.0])
@in_virtual_time
async def test_a_standby_whose_clock_is_set_takes_the_lease_when_it_expires_and_not_before(
    jump_s: float,
) -> None:
    server, clock = LeaseServer(), VirtualClock()
    held_by_another(server, "00:00")
    async with standing(server, clock) as leadership:
        await asyncio.sleep(3.0)
        clock.jump(jump_s)
        for second in range(1, 20):
            held_by_another(server, f"00:{second:02}")
            await asyncio.sleep(1.0)
            assert not leadership.is_leader
        await asyncio.sleep(SETTINGS.duration_s + 3.0)
        assert (leadership.is_leader, server.holder) == (True, "me")


@in_virtual_time
async def test_a_leader_that_sees_another_holder_does_not_act_any_more() -> None:
    server = LeaseServer()
    async with standing(server) as leadership:
        await leadership.wait_gained()
        held_by_another(server, "00:01")
        await asyncio.sleep(SETTINGS.retry_s + 0.5)
        assert not leadership.is_leader
