"""What an Envoy refused is sent to it again: after growing pauses, and at once on a new stream."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest
from envoy.service.discovery.v3 import discovery_pb2
from virtual_clock import VirtualClock, in_virtual_time

from argosy.route.table import Backend, ClusterEntry, Endpoint, Gateway, RequestMatch, RouteEntry, RouteTable
from argosy.xds.server import FIRST_RETRY_S, LONGEST_RETRY_S, AdsServer
from argosy.xds.snapshot import Snapshot, TypeUrl


def snapshot() -> Snapshot:
    entry = RouteEntry("n/c", "n/c", "n_c", RequestMatch(models=("m",)), (Backend("a", 1.0),), 2, 15.0)
    clusters = (ClusterEntry("a", (Endpoint("10.0.0.1", 8000, "n/p"),)),)
    return Snapshot.of_table(RouteTable(1, Gateway("0.0.0.0", 8080), (entry,), clusters))


def a_server() -> tuple[VirtualClock, AdsServer]:
    """One that has published a snapshot."""
    clock = VirtualClock()
    server = AdsServer(times=clock)
    server.publish(snapshot())
    return clock, server


def request_for(each: TypeUrl) -> Any:
    """For all clusters and listeners; for routes and endpoints by their names, as Envoy asks for them."""
    by_name = each in (TypeUrl.ROUTE, TypeUrl.ENDPOINT)
    names = snapshot().resources(each).by_name if by_name else ()
    return discovery_pb2.DiscoveryRequest(type_url=each, resource_names=names)


class Peer:
    """An Envoy that refuses clusters until `accepts` is set."""

    def __init__(self, server: AdsServer, clock: VirtualClock) -> None:
        self.accepts, self.clock = False, clock
        self.received_s: list[float] = []
        self._answers: asyncio.Queue[Any] = asyncio.Queue()
        context = SimpleNamespace(peer=lambda: "ipv4:127.0.0.1:1", write=self._take)
        self._task = asyncio.create_task(server._stream(self._requests(), context))

    async def _requests(self) -> AsyncIterator[Any]:
        for each in TypeUrl:
            first = request_for(each)
            first.node.id = "edge"
            yield first
        while True:
            yield await self._answers.get()

    async def _take(self, response: Any) -> None:
        is_refused = response.type_url == TypeUrl.CLUSTER and not self.accepts
        if response.type_url == TypeUrl.CLUSTER:
            self.received_s.append(self.clock.monotonic_s())
        answer = request_for(TypeUrl(response.type_url))
        answer.response_nonce = response.nonce
        if not is_refused:
            answer.version_info = response.version_info
        else:
            answer.error_detail.message = "cannot bind:\nAddress already in use\n"
        self._answers.put_nowait(answer)

    def leave(self) -> None:
        self._task.cancel()


@in_virtual_time
async def test_what_was_refused_is_sent_again_after_pauses_that_grow_until_it_is_accepted() -> None:
    clock, server = a_server()
    peer = Peer(server, clock)
    await clock.sleep(4 * FIRST_RETRY_S)
    assert peer.received_s == pytest.approx([0.0, FIRST_RETRY_S, 3 * FIRST_RETRY_S], abs=0.1)
    (state,) = server.envoys()
    assert state.message == "Cluster: cannot bind: Address already in use"
    peer.accepts = True
    await clock.sleep(4 * FIRST_RETRY_S)
    assert server.envoys()[0].refused_version == ""
    num_sent = len(peer.received_s)
    await clock.sleep(2 * LONGEST_RETRY_S)
    assert len(peer.received_s) == num_sent
    peer.leave()


@in_virtual_time
async def test_while_it_is_refused_again_and_again_the_pauses_have_a_bound() -> None:
    clock, server = a_server()
    peer = Peer(server, clock)
    await clock.sleep(20 * LONGEST_RETRY_S)
    gaps = [b - a for a, b in zip(peer.received_s, peer.received_s[1:], strict=False)]
    assert max(gaps) == pytest.approx(LONGEST_RETRY_S, abs=0.1)
    assert len(gaps) > 15
    assert server.envoys()[0].refused_version, "it is shown all the time"
    peer.leave()


@in_virtual_time
async def test_a_new_stream_is_sent_at_once_what_the_last_one_refused() -> None:
    clock, server = a_server()
    before = Peer(server, clock)
    await clock.sleep(1.0)
    before.leave()
    await clock.sleep(1.0)
    restarted = Peer(server, clock)
    restarted.accepts = True
    await clock.sleep(1.0)
    assert restarted.received_s == pytest.approx([2.0], abs=0.1)
    assert server.envoys()[0].refused_version == ""
    restarted.leave()


@in_virtual_time
async def test_an_envoy_that_ends_while_a_response_is_written_is_gone_at_once() -> None:
    clock, server = a_server()
    peer = Peer(server, clock)
    peer.leave()
    await clock.sleep(0.1)
    writing = asyncio.Event()

    async def never_taken(_: Any) -> None:
        writing.set()
        await asyncio.Event().wait()

    context = SimpleNamespace(peer=lambda: "ipv4:127.0.0.1:2", write=never_taken)
    stream = asyncio.create_task(server._stream(peer._requests(), context))
    await writing.wait()
    assert [each.node_id for each in server.envoys()] == ["edge"]
    stream.cancel()
    await asyncio.wait([stream])
    assert server.envoys() == ()
