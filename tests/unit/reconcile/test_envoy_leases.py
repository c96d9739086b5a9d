"""Envoys that are connected to other replicas of the operator."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from memory_api_server import MemoryApiServer
from virtual_clock import EPOCH_S, VirtualClock, in_virtual_time, troubles_of

from argosy.errors import NextStep
from argosy.reconcile.envoy_leases import (
    ANNOTATION,
    DURATION_S,
    LABEL,
    PERIOD_S,
    REMOVE_AFTER_S,
    SHARED_AFTER_S,
    EnvoyLeases,
    envoys_of,
    has_expired,
    lease_name,
)
from argosy.snapshot.fleet import EnvoyState

RENEWED = "2026-01-01T00:00:00.000000Z"
NOW_S = 1767225600.0  # the same instant


def a_lease(name: str, envoys: Any, renewed: str = RENEWED) -> dict[str, Any]:
    text = envoys if isinstance(envoys, str) else json.dumps(envoys)
    return {
        "metadata": {"name": name, "namespace": "argosy-system", "annotations": {ANNOTATION: text}},
        "spec": {"renewTime": renewed, "leaseDurationSeconds": 12},
    }


EDGE = {"node_id": "edge-1", "acknowledged_version": "00000003-ab", "refused_version": "", "message": ""}


@pytest.mark.parametrize(
    ("lease", "expected"),
    [
        pytest.param(
            a_lease("other", [EDGE]), (EnvoyState("edge-1", "00000003-ab"),), id="of another replica"
        ),
        pytest.param(
            a_lease("other", [{**EDGE, "stats_url": "http://10.0.0.7:9902"}]),
            (EnvoyState("edge-1", "00000003-ab", stats_url="http://10.0.0.7:9902"),),
            id="with where its counters can be read",
        ),
        pytest.param(a_lease("own", [EDGE]), (), id="one's own counts from memory"),
        pytest.param(a_lease("other", "not JSON"), (), id="an annotation that is no JSON"),
        pytest.param(a_lease("other", [{"id": "x"}]), (), id="rows of another shape"),
        pytest.param(a_lease("other", {"edge": 1}), (), id="an object instead of rows"),
    ],
)
def test_the_leases_list_envoys_of_other_replicas(
    lease: dict[str, Any], expected: tuple[EnvoyState, ...]
) -> None:
    assert envoys_of([lease], "own") == expected


@pytest.mark.parametrize(("after_s", "expired"), [(0.0, False), (12.0, False), (12.1, True)])
def test_a_replica_counts_as_alive_for_its_leases_duration(after_s: float, expired: bool) -> None:
    assert has_expired(a_lease("other", []), NOW_S + after_s) is expired


@pytest.mark.parametrize(
    "spec", [{}, {"renewTime": RENEWED, "leaseDurationSeconds": None}], ids=["never renewed", "no duration"]
)
def test_a_lease_that_cannot_be_read_has_expired(spec: dict[str, Any]) -> None:
    assert has_expired({"metadata": {"name": "other"}, "spec": spec}, NOW_S)


def test_a_lease_is_named_after_its_replica_whatever_it_is_called() -> None:
    assert lease_name("Host_7:1234") == "argosy-envoys-host-7-1234"


# --- the loop, in virtual time ------------------------------------------------------------------


class Replica:
    """The list of Envoys of one replica of the operator, and what it knows of the others."""

    def __init__(self, server: MemoryApiServer, clock: VirtualClock, identity: str) -> None:
        self.own: tuple[EnvoyState, ...] = ()
        self.num_changes = 0
        self.is_leader = False
        name, troubles = ("argosy-system", identity), troubles_of(clock)
        self.leases = EnvoyLeases(server, clock, name, lambda: self.own, troubles)
        self.task = asyncio.create_task(self.leases.run(self._changed, lambda: self.is_leader))

    def _changed(self) -> None:
        self.num_changes += 1


@in_virtual_time
async def test_replicas_learn_of_each_others_envoys_within_two_periods() -> None:
    server, clock = MemoryApiServer(), VirtualClock()
    one, two = Replica(server, clock, "one"), Replica(server, clock, "two")
    one.own = (EnvoyState("edge-1", "v1"),)
    await clock.sleep(2 * PERIOD_S)
    assert (one.leases.others, two.leases.others) == ((), one.own)
    one.own = (EnvoyState("edge-1", "v1", "v2", "no such cluster"),)
    await clock.sleep(2 * PERIOD_S)
    assert two.leases.others == one.own
    assert (one.num_changes, two.num_changes) == (0, 2)


@in_virtual_time
async def test_a_replica_writes_its_lease_once_per_period() -> None:
    server, clock = MemoryApiServer(), VirtualClock()
    Replica(server, clock, "one")
    await clock.sleep(10 * PERIOD_S + 0.5)
    assert server.count("apply", "leases") == 11


@in_virtual_time
async def test_the_envoys_of_a_replica_that_stopped_are_dropped_once_its_lease_has_expired() -> None:
    server, clock = MemoryApiServer(), VirtualClock()
    one, two = Replica(server, clock, "one"), Replica(server, clock, "two")
    one.own = (EnvoyState("edge-1", "v1"),)
    await clock.sleep(2 * PERIOD_S)
    server.refusal = lambda call: NextStep.RETRY if "one" in call.key else None  # as if it had been killed
    await clock.sleep(DURATION_S - PERIOD_S)
    assert two.leases.others == one.own
    await clock.sleep(2 * PERIOD_S)
    assert two.leases.others == ()


def names(server: MemoryApiServer) -> list[str]:
    return sorted(item["metadata"]["name"] for item in server.of("leases").values())


@in_virtual_time
async def test_a_replica_that_stops_in_order_deletes_its_lease() -> None:
    server, clock = MemoryApiServer(), VirtualClock()
    one, _two = Replica(server, clock, "one"), Replica(server, clock, "two")
    await clock.sleep(2 * PERIOD_S)
    one.task.cancel()
    await clock.sleep(0.1)
    assert names(server) == ["argosy-envoys-two"]


@in_virtual_time
async def test_the_leader_deletes_the_leases_of_replicas_that_were_killed_and_no_other_process_does() -> None:
    server, clock = MemoryApiServer(), VirtualClock()
    abandoned = a_lease("argosy-envoys-gone", [EDGE])
    abandoned["metadata"]["labels"] = {LABEL: "true"}
    server.put("leases", abandoned)
    one, two = Replica(server, clock, "one"), Replica(server, clock, "two")
    await clock.sleep(REMOVE_AFTER_S + 2 * PERIOD_S)
    assert names(server) == ["argosy-envoys-gone", "argosy-envoys-one", "argosy-envoys-two"]
    assert (one.leases.others, two.leases.others) == ((), ())
    one.is_leader = True
    await clock.sleep(2 * PERIOD_S)
    assert names(server) == ["argosy-envoys-one", "argosy-envoys-two"]


@in_virtual_time
async def test_a_replica_whose_clock_is_an_hour_off_is_alive_and_keeps_its_lease() -> None:
    server, clock = MemoryApiServer(), VirtualClock()
    slow = VirtualClock()
    slow.now_s = lambda: EPOCH_S - 3600.0 + clock.monotonic_s()  # type: ignore[method-assign]
    one, two = Replica(server, slow, "one"), Replica(server, clock, "two")
    one.own, two.is_leader = (EnvoyState("edge-1", "v1"),), True
    await clock.sleep(2 * REMOVE_AFTER_S)
    assert names(server) == ["argosy-envoys-one", "argosy-envoys-two"]
    assert two.leases.others == one.own


@in_virtual_time
async def test_while_the_api_server_is_away_the_last_list_stays(caplog: pytest.LogCaptureFixture) -> None:
    server, clock = MemoryApiServer(), VirtualClock()
    one, two = Replica(server, clock, "one"), Replica(server, clock, "two")
    one.own = (EnvoyState("edge-1", "v1"),)
    await clock.sleep(2 * PERIOD_S)
    server.refusal = lambda call: NextStep.RETRY
    await clock.sleep(10 * PERIOD_S)
    assert two.leases.others == one.own
    said = [message for message in caplog.messages if "they were not exchanged" in message]
    assert len(said) <= 4  # once per replica and sentence
    server.refusal = lambda call: None
    await clock.sleep(2 * PERIOD_S)
    assert (two.leases.others, two.task.done()) == (one.own, False)


@in_virtual_time
async def test_two_envoys_with_one_node_id_on_two_replicas_are_found_by_both_and_by_a_third() -> None:
    server, clock = MemoryApiServer(), VirtualClock()
    one, two, three = (Replica(server, clock, name) for name in ("one", "two", "three"))
    one.own = two.own = (EnvoyState("edge-1", "v1"),)
    await clock.sleep(SHARED_AFTER_S + 3 * PERIOD_S)
    marked = EnvoyState("edge-1", "v1", is_duplicate=True)
    assert (one.leases.others, two.leases.others) == ((marked,), (marked,))
    assert three.leases.others == (marked, marked)
    two.own = (EnvoyState("edge-2", "v1"),)
    await clock.sleep(2 * PERIOD_S)
    assert one.leases.others == (EnvoyState("edge-2", "v1"),)


@in_virtual_time
async def test_an_envoy_that_changes_its_replica_is_no_second_envoy() -> None:
    server, clock = MemoryApiServer(), VirtualClock()
    one, two = Replica(server, clock, "one"), Replica(server, clock, "two")
    one.own = two.own = (EnvoyState("edge-1", "v1"),)
    await clock.sleep(SHARED_AFTER_S - 2 * PERIOD_S)
    one.own = ()
    for _ in range(12):
        await clock.sleep(PERIOD_S)
        assert not any(envoy.is_duplicate for envoy in (*one.leases.others, *two.leases.others))
