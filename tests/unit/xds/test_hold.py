"""An Envoy that is ahead of the server is left alone for a stated time, and then led back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest
from envoy.service.discovery.v3 import discovery_pb2
from virtual_clock import VirtualClock, in_virtual_time

from argosy.route.table import Backend, ClusterEntry, Endpoint, Gateway, RequestMatch, RouteEntry, RouteTable
from argosy.xds.cache import SnapshotCache
from argosy.xds.hold import HOLD_S, Hold
from argosy.xds.server import AdsServer
from argosy.xds.snapshot import Snapshot, TypeUrl


@dataclass
class HandClock:
    """A clock that a test sets."""

    at_s: float = 1000.0

    def now_s(self) -> float:
        return 1_700_000_000.0 + self.at_s

    def monotonic_s(self) -> float:
        return self.at_s


def snapshot(revision: int) -> Snapshot:
    entry = RouteEntry("n/c", "n/c", "n_c", RequestMatch(models=("m",)), (Backend("a", 1.0),), 2, 15.0)
    clusters = (ClusterEntry("a", (Endpoint("10.0.0.1", 8000, "n/p"),)),)
    return Snapshot.of_table(RouteTable(revision, Gateway("0.0.0.0", 8080), (entry,), clusters))


@pytest.mark.parametrize(
    ("passed_s", "listed_s", "is_over"),
    [
        pytest.param(HOLD_S, 0.0, True, id="the time is up, and a listing began since"),
        pytest.param(HOLD_S + 100, HOLD_S + 50, True, id="long after"),
        pytest.param(HOLD_S - 0.1, 0.0, False, id="a little too early"),
        pytest.param(HOLD_S + 100, None, False, id="the caches are not complete yet"),
        pytest.param(HOLD_S + 100, -0.1, False, id="no listing since: the API server may be away"),
    ],
)
def test_a_hold_is_over_after_its_time_and_a_later_listing(
    passed_s: float, listed_s: float | None, is_over: bool
) -> None:
    clock = HandClock()
    hold = Hold.begin(17, clock)
    began_s, clock.at_s = clock.at_s, clock.at_s + passed_s
    listed = None if listed_s is None else began_s + listed_s
    assert hold.is_over(clock.at_s, listed) is is_over


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def cache(clock: HandClock) -> SnapshotCache:
    found = SnapshotCache(clock)
    found.publish(snapshot(1))
    found.connect("edge")
    return found


def test_the_state_names_when_it_is_served_and_from_what_it_was_led_back(
    cache: SnapshotCache, clock: HandClock
) -> None:
    hold = cache.hold("edge", 17)
    cache.saw("edge", {}, 17)
    (state,) = cache.envoys()
    assert (state.revision, state.is_ahead, state.served_at_s) == (17, True, clock.now_s() + HOLD_S)
    cache.listed(clock.monotonic_s())
    assert not cache.end_if_over("edge", hold)
    clock.at_s += HOLD_S
    assert cache.end_if_over("edge", hold)
    (state,) = cache.envoys()
    assert (state.is_ahead, state.served_at_s, state.left_revision) == (False, None, 17)


def test_an_envoy_that_connects_again_and_again_waits_no_longer(
    cache: SnapshotCache, clock: HandClock
) -> None:
    first = cache.hold("edge", 17)
    for _ in range(3):
        cache.disconnect("edge")
        clock.at_s += HOLD_S / 3
        cache.connect("edge")
        assert cache.hold("edge", 17) == first
    cache.listed(clock.monotonic_s())
    assert cache.end_if_over("edge", first)


def test_a_later_revision_and_one_that_was_caught_up_with_meanwhile_begin_a_hold_of_their_own(
    cache: SnapshotCache, clock: HandClock
) -> None:
    first = cache.hold("edge", 17)
    clock.at_s += HOLD_S
    assert cache.hold("edge", 18).began_s == clock.at_s
    cache.disconnect("edge")
    cache.publish(snapshot(18))
    cache.publish(snapshot(2))
    cache.connect("edge")
    clock.at_s += HOLD_S
    assert cache.hold("edge", 18).began_s == clock.at_s > first.began_s


def test_of_two_envoys_with_one_node_id_the_one_at_rest_does_not_hold_the_other_back(
    cache: SnapshotCache, clock: HandClock
) -> None:
    cache.connect("edge")
    ahead, at_rest = cache.hold("edge", 17), Hold.begin(17, clock)
    cache.end_hold("edge", at_rest)
    assert cache.hold("edge", 17) is ahead


class Peer:
    """An Envoy as far as a stream sees it: it has the clusters of one version, and takes what comes."""

    def __init__(self, server: AdsServer, clock: VirtualClock, version: str) -> None:
        self.clock, self.version = clock, version
        self.received_s: list[float] = []
        context = SimpleNamespace(peer=lambda: "ipv4:127.0.0.1:1", write=self._take)
        self._task = asyncio.create_task(server._stream(self._requests(), context))

    async def _requests(self) -> AsyncIterator[Any]:
        request = discovery_pb2.DiscoveryRequest(type_url=TypeUrl.CLUSTER, version_info=self.version)
        request.node.id = "edge"
        yield request
        await asyncio.Event().wait()

    async def _take(self, _: Any) -> None:
        self.received_s.append(self.clock.monotonic_s())

    def leave(self) -> None:
        self._task.cancel()


@in_virtual_time
async def test_nothing_but_time_is_needed_once_a_listing_has_confirmed_that_nothing_later_is_there(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock = VirtualClock()
    server = AdsServer(times=clock)
    server.publish(snapshot(1))
    peer = Peer(server, clock, snapshot(17).resources(TypeUrl.CLUSTER).version)
    await clock.sleep(1.0)
    assert [(e.is_ahead, e.revision) for e in server.envoys()] == [(True, 17)]
    server.listed(clock.monotonic_s())
    await clock.sleep(HOLD_S - 1.5)
    assert peer.received_s == []
    await clock.sleep(60.0)
    assert peer.received_s == pytest.approx([HOLD_S], abs=0.1)
    (sentence,) = caplog.messages
    assert "Envoy edge" in sentence
    assert "revision 17" in sentence
    peer.leave()


@in_virtual_time
async def test_while_the_api_server_is_away_it_keeps_what_it_has_and_then_it_is_served_at_once() -> None:
    clock = VirtualClock()
    server = AdsServer(times=clock)
    server.publish(snapshot(1))
    server.listed(clock.monotonic_s() - 5.0)
    peer = Peer(server, clock, snapshot(17).resources(TypeUrl.CLUSTER).version)
    await clock.sleep(300.0)
    assert peer.received_s == []
    server.listed(clock.monotonic_s())
    await clock.sleep(1.0)
    assert peer.received_s == pytest.approx([300.0], abs=0.1)
    peer.leave()


@in_virtual_time
async def test_a_server_that_catches_up_in_time_serves_at_once_and_leads_nobody_back() -> None:
    clock = VirtualClock()
    server = AdsServer(times=clock)
    server.publish(snapshot(16))
    server.listed(clock.monotonic_s())
    peer = Peer(server, clock, snapshot(17).resources(TypeUrl.CLUSTER).version)
    await clock.sleep(1.0)
    server.publish(snapshot(18))
    await clock.sleep(60.0)
    assert peer.received_s == pytest.approx([1.0], abs=0.1)
    assert [(e.is_ahead, e.left_revision) for e in server.envoys()] == [(False, 0)]
    peer.leave()
