"""The ADS server against a real Envoy: acknowledgements, refusals, restarts, take-overs."""

from __future__ import annotations

import asyncio
import json
import socket
from dataclasses import replace
from typing import Any

import grpc
import pytest
from envoy.config.listener.v3 import listener_pb2
from envoy.service.discovery.v3 import ads_pb2_grpc, discovery_pb2

from argosy.errors import SpecError
from argosy.manifests.envoy_bootstrap import BOOTSTRAP, files
from argosy.route.table import RouteTable
from argosy.xds.gateway.listener import LISTENER
from argosy.xds.resources import resources_of
from argosy.xds.server import AdsServer
from argosy.xds.snapshot import Snapshot, TypeUrl
from argosy_sim.envoy import EnvoyProcess

CHAT = {"x-class": "chat"}
LOOPBACK = "127.0.0.1"


async def one_class(world: Any, build: Any, revision: int = 1) -> RouteTable:
    replica = world.replicas.get("a") or await world.replica("a")
    table: RouteTable = world.table(
        [build.route("chat", {"c": 1.0})], [build.cluster("c", replica)], revision
    )
    return table


async def test_envoy_acknowledges_what_it_serves(world: Any, build: Any) -> None:
    await world.until(lambda: len(world.ads.envoys()) == 1)
    assert world.ads.envoys()[0].acknowledged_version == "", "nothing published, nothing sent"
    snapshot = await world.publish(await one_class(world, build))
    assert (await world.ask(headers=CHAT)).replica == "a"
    (state,) = world.ads.envoys()
    assert (state.node_id, state.acknowledged_version, state.refused_version) == (
        "envoy-1",
        snapshot.version,
        "",
    )


async def test_a_refused_snapshot_is_reported_and_traffic_goes_on(world: Any, build: Any) -> None:
    good = await world.publish(await one_class(world, build))
    load = asyncio.create_task(world.load(200, 80, headers=CHAT))
    await asyncio.sleep(0.3)
    newer = await world.replica("b")
    table = world.table([build.route("chat", {"d": 1.0})], [build.cluster("d", newer)], 2)
    bad = Snapshot.of(2, [broken(message) for message in resources_of(table)])
    world.ads.publish(bad)
    await world.until(lambda: any(state.refused_version for state in world.ads.envoys()))
    (state,) = world.ads.envoys()
    assert state.acknowledged_version == good.version
    assert state.refused_version == bad.resources(TypeUrl.LISTENER).version
    assert state.message.startswith("Listener: ")
    assert "malformed IP address" in state.message

    corrected = await world.publish(
        world.table([build.route("chat", {"d": 1.0})], [build.cluster("d", newer)], 3)
    )
    assert build.statuses(await load) == {200: 200}
    (state,) = world.ads.envoys()
    assert (state.acknowledged_version, state.refused_version) == (corrected.version, "")
    assert (await world.ask(headers=CHAT)).replica == "b"


def broken(message: Any) -> Any:
    """A resource that our own checks have no eye for, and Envoy refuses: an address that is none."""
    if isinstance(message, listener_pb2.Listener) and message.name == LISTENER:
        message.address.socket_address.address = "not-an-address"
    return message


async def test_a_gateway_port_that_is_taken_is_reported_in_envoys_words(world: Any, build: Any) -> None:
    with socket.socket() as taken:
        taken.bind((world.gateway.address, world.gateway.port))
        taken.listen()
        world.ads.publish(Snapshot.of_table(await one_class(world, build)))
        await world.until(lambda: any(state.refused_version for state in world.ads.envoys()))
    assert "Address already in use" in world.ads.envoys()[0].message


async def test_a_second_envoy_on_the_port_of_the_first_is_refused_and_takes_over_when_the_port_is_free(
    world: Any, build: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("argosy.xds.server.FIRST_RETRY_S", 1.0)
    await world.publish(await one_class(world, build))
    settings = replace(world.envoy.settings, node_id="envoy-2", directory=world.directory / "second")
    second = await EnvoyProcess.start(settings)
    world.at_the_end(second.stop)

    def refusal() -> str:
        return next((state.message for state in world.ads.envoys() if state.node_id == "envoy-2"), "")

    await world.until(lambda: bool(refusal()))
    assert f"cannot bind '{LOOPBACK}:{world.gateway.port}': Address already in use" in refusal()
    answers = await world.load(50, 200, headers=CHAT)
    assert build.statuses(answers) == {200: 50}, "all went to the first one"
    await world.envoy.stop()
    await world.until(lambda: not refusal() and len(world.ads.envoys()) == 1)
    await world.until_listening()
    assert (await world.ask(headers=CHAT)).replica == "a"


async def test_the_connections_of_clients_are_spread_evenly_over_envoys_workers(
    world: Any, build: Any
) -> None:
    await world.publish(await one_class(world, build))
    streams: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def by_worker() -> list[int]:
        stats = json.loads(await world.admin("/stats?format=json&filter=worker_.\\.downstream_cx_active"))
        port = str(world.gateway.port)
        return [each["value"] for each in stats["stats"] if port in each.get("name", "")]

    async def are_all_counted() -> bool:
        return sum(await by_worker()) == len(streams)

    await world.until_async(are_all_counted)  # those of the tests before have ended
    streams += [await asyncio.open_connection(LOOPBACK, world.gateway.port) for _ in range(20)]
    await world.until_async(are_all_counted)
    assert max(await by_worker()) == len(streams) / 2
    for _, writer in streams:
        writer.close()


async def test_an_envoy_whose_bootstrap_lacks_internal_listeners_is_reported(
    world: Any, build: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert world.envoy is not None
    await world.envoy.stop()
    monkeypatch.setattr(
        "argosy_sim.envoy.files",
        lambda wanted: {BOOTSTRAP: {**files(wanted)[BOOTSTRAP], "bootstrap_extensions": []}},
    )
    await world.start_envoy()
    world.ads.publish(Snapshot.of_table(await one_class(world, build)))
    await world.until(lambda: any(state.refused_version for state in world.ads.envoys()))
    assert "InternalListener bootstrap extension is mandatory" in world.ads.envoys()[0].message


async def test_a_restarted_server_with_the_same_inputs_changes_nothing(world: Any, build: Any) -> None:
    table = await one_class(world, build)
    snapshot = await world.publish(table)
    load = asyncio.create_task(world.load(200, 80, headers=CHAT))
    await asyncio.sleep(0.3)
    await world.ads.stop()
    await asyncio.sleep(0.3)
    world.ads = AdsServer()
    world.ads.publish(Snapshot.of_table(table))
    assert await world.ads.serve(LOOPBACK, world.ads_ports[0]) == world.ads_ports[0]
    await world.until(lambda: world.acknowledged() == snapshot.version)
    assert build.statuses(await load) == {200: 200}
    assert "rds.argosy.config_reload: 1\n" in await world.admin("/stats?filter=config_reload$"), (
        "sent once in all"
    )


async def test_a_standby_takes_over_under_load(world: Any, build: Any) -> None:
    standby = AdsServer()
    world.at_the_end(standby.stop)
    port = await standby.serve(LOOPBACK, 0)
    assert world.envoy is not None
    await world.envoy.stop()
    world.ads_ports = (*world.ads_ports, port)
    await world.start_envoy()
    servers = [world.ads, standby]

    table = await one_class(world, build)
    for server in servers:
        server.publish(Snapshot.of_table(table))
    await world.until(lambda: any(server.envoys() for server in servers))
    await world.until_listening()
    leader = next(server for server in servers if server.envoys())
    other = next(server for server in servers if server is not leader)

    load = asyncio.create_task(world.load(240, 80, headers=CHAT))
    await asyncio.sleep(0.3)
    await leader.stop()
    newer = await world.replica("b")
    after = world.table([build.route("chat", {"d": 1.0})], [build.cluster("d", newer)], 2)
    other.publish(Snapshot.of_table(after))
    took = await world.until(
        lambda: any(
            state.acknowledged_version == Snapshot.of_table(after).version for state in other.envoys()
        )
    )
    assert took < 3.0
    assert build.statuses(await load) == {200: 240}
    assert (await world.ask(headers=CHAT)).replica == "b"


async def test_no_envoy_is_sent_routes_of_an_older_revision(world: Any, build: Any) -> None:
    newer, older = await one_class(world, build, 7), world.table([], [], 6)
    await world.publish(newer)
    await world.ads.stop()
    world.ads = AdsServer()
    world.ads.publish(Snapshot.of_table(older))  # a standby whose watch lags behind
    await world.ads.serve(LOOPBACK, world.ads_ports[0])
    await world.until(lambda: any(state.is_ahead for state in world.ads.envoys()))
    assert build.statuses(await world.load(20, 100, headers=CHAT)) == {200: 20}
    caught_up = await world.publish(await one_class(world, build, 8))
    (state,) = world.ads.envoys()
    assert (state.acknowledged_version, state.is_ahead) == (caught_up.version, False)


async def test_a_server_without_a_snapshot_leaves_envoy_as_it_is(world: Any, build: Any) -> None:
    snapshot = await world.publish(await one_class(world, build))
    await world.ads.stop()
    world.ads = AdsServer()
    await world.ads.serve(LOOPBACK, world.ads_ports[0])
    await world.until(lambda: len(world.ads.envoys()) == 1)
    await asyncio.sleep(0.3)
    assert build.statuses(await world.load(20, 100, headers=CHAT)) == {200: 20}
    assert world.ads.publish(snapshot)
    await world.until(lambda: world.acknowledged() == snapshot.version)


async def test_a_killed_envoy_gets_the_configuration_again(world: Any, build: Any) -> None:
    snapshot = await world.publish(await one_class(world, build))
    assert isinstance(world.envoy, EnvoyProcess)
    await world.envoy.kill()
    assert not world.envoy.is_running
    await world.until(lambda: world.ads.envoys() == ())
    await world.start_envoy()
    await world.until(lambda: world.acknowledged() == snapshot.version)
    await world.until_listening()
    assert (await world.ask(headers=CHAT)).status == 200


async def test_a_change_is_reported_to_what_writes_the_status(world: Any, build: Any) -> None:
    changes: list[int] = []
    listening = AdsServer(on_change=lambda: changes.append(len(listening.envoys())))
    port = await listening.serve(LOOPBACK, 0)
    world.at_the_end(listening.stop)
    async with grpc.aio.insecure_channel(f"{LOOPBACK}:{port}") as channel:
        call = ads_pb2_grpc.AggregatedDiscoveryServiceStub(channel).StreamAggregatedResources()
        request = discovery_pb2.DiscoveryRequest(type_url=TypeUrl.CLUSTER)
        request.node.id = "e"
        await call.write(request)
        await world.until(lambda: 1 in changes)
        call.cancel()
        await world.until(lambda: changes[-1] == 0)


async def test_a_taken_port_is_named(world: Any) -> None:
    with pytest.raises(SpecError, match=str(world.ads_ports[0])):
        await AdsServer().serve(LOOPBACK, world.ads_ports[0])
