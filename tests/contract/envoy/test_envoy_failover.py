"""What happens to requests when replicas come, die, fall silent or drain.

What takes as long as a health check does is in test_envoy_deaths.
"""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import aiohttp

from argosy.route.table import EndpointState
from argosy.telemetry.parse import parse_clusters

CHAT = {"x-class": "chat"}


async def serve(
    world: Any, build: Any, shares: dict[str, float], members: dict[str, list[str]], **route: Any
) -> None:
    """Publish a class `chat` over these clusters; replicas are started on first use."""
    for names in members.values():
        for name in names:
            if name not in world.replicas:
                await world.replica(name)
    clusters = [build.cluster(c, *(world.replicas[name] for name in names)) for c, names in members.items()]
    await world.publish(world.table([build.route("chat", shares, **route)], clusters))


async def test_no_request_is_lost_when_a_replica_dies(world: Any, build: Any) -> None:
    await serve(world, build, {"c": 1.0}, {"c": ["a", "b", "d"]})
    load = asyncio.create_task(world.load(200, 100, headers=CHAT))
    await asyncio.sleep(0.7)
    await world.replicas["b"].die()
    assert build.statuses(await load) == {200: 200}


async def test_no_request_is_lost_when_a_whole_cluster_dies(world: Any, build: Any) -> None:
    await serve(world, build, {"c": 0.5, "d": 0.5}, {"c": ["a"], "d": ["b"]})
    load = asyncio.create_task(world.load(500, 80, headers=CHAT))  # 6 s: past its last health check
    await asyncio.sleep(0.7)
    await world.replicas["b"].die()
    assert build.statuses(await load) == {200: 500}


async def test_a_policys_limit_takes_a_silent_replica_out_before_its_health_check_does(
    world: Any, build: Any
) -> None:
    await serve(world, build, {"c": 1.0}, {"c": ["a", "b"]}, idle_s=1.0)
    begin = time.monotonic()
    world.replicas["b"].fall_silent()
    load = asyncio.create_task(world.load(200, 40, headers=CHAT))

    async def is_out() -> bool:
        return not (await world.health())["default/b"]

    await world.until_async(is_out)
    assert time.monotonic() - begin < 5.0
    answers = await load
    assert build.statuses(answers) == {200: 200}
    retried = [answer for answer in answers if answer.headers["x-envoy-attempt-count"] != "1"]
    assert retried, "some must have met the silent replica"
    # Envoy reads its clock once per turn of its event loop: a timer may fire some milliseconds early.
    assert all(0.95 <= answer.seconds < 2.5 for answer in retried)


async def test_a_policys_limit_breaks_a_stream_whose_replica_falls_silent(world: Any, build: Any) -> None:
    await serve(world, build, {"c": 1.0}, {"c": ["a", "b"]}, idle_s=1.0)
    for replica in world.replicas.values():
        replica.stream_s = 30.0
    async with aiohttp.ClientSession() as session:
        url = f"http://127.0.0.1:{world.gateway.port}/v1/completions"
        async with session.post(url, headers=CHAT, json={"stream": True}) as response:
            await response.content.readline()
            begin = time.monotonic()
            for replica in world.replicas.values():
                replica.fall_silent()
            try:
                rest = await response.content.read()
            except aiohttp.ClientError:
                rest = b""
    assert b"[DONE]" not in rest
    assert time.monotonic() - begin < 3.0


async def test_a_new_endpoint_is_counted_healthy_within_a_second(world: Any, build: Any) -> None:
    await serve(world, build, {"c": 1.0}, {"c": ["a"]})
    load = asyncio.create_task(world.load(100, 50, headers=CHAT))
    took = []
    for name in ("b", "d", "e"):
        replica = await world.replica(name)
        members = [world.replicas[n] for n in world.replicas]
        begin = time.monotonic()
        await world.publish(
            world.table([build.route("chat", {"c": 1.0})], [build.cluster("c", *members)]), settled=False
        )

        async def is_healthy(pod: str = f"default/{replica.name}") -> bool:
            return bool((await world.health()).get(pod))

        await world.until_async(is_healthy)
        took.append(time.monotonic() - begin)
    print(f"EDS push until Envoy counts the endpoint healthy: {[f'{1000 * t:.0f} ms' for t in took]}")  # noqa: T201
    assert max(took) < 1.0
    seen = parse_clusters((await world.admin("/clusters?format=json")).encode())
    assert isinstance(seen, dict)
    ports = {f"127.0.0.1:{replica.port}" for replica in world.replicas.values()}
    others = {f"127.0.0.1:{port}" for port in (*world.ads_ports, world.envoy.prepared.admin_port)}
    assert seen.keys() - others == ports, "no inner address"
    assert build.statuses(await load) == {200: 100}


async def test_a_replica_that_comes_back_is_connected_to_at_once(world: Any, build: Any) -> None:
    await serve(world, build, {"c": 1.0}, {"c": ["a", "b"]})
    back = world.replicas["b"]
    route, other = build.route("chat", {"c": 1.0}), world.replicas["a"]
    await back.die()
    waiting = build.cluster("c", other, back.endpoint(EndpointState.NOT_READY))
    await world.publish(world.table([route], [waiting], 2))

    async def is_connected() -> bool:
        return bool((await world.health()).get("default/b"))

    async def is_refused() -> bool:
        return not await is_connected()

    await world.until_async(is_refused)
    await back.start()
    assert await world.until_async(is_connected) < 0.8, "checked every 100 ms while it is down"
    await world.publish(world.table([route], [build.cluster("c", other, back)], 3))
    answers = await world.load(40, 80, headers=CHAT)
    assert build.statuses(answers) == {200: 40}
    assert {answer.headers["x-envoy-attempt-count"] for answer in answers} == {"1"}


async def test_a_draining_replica_finishes_its_streams_and_gets_no_new_ones(world: Any, build: Any) -> None:
    await serve(world, build, {"c": 1.0}, {"c": ["a"]})
    old = world.replicas["a"]
    old.stream_s = 2.0
    stream = asyncio.create_task(world.ask(headers=CHAT, json_body={"stream": True}))
    await world.until(lambda: old.num_requests == 1)
    new = await world.replica("b")
    route = build.route("chat", {"c": 1.0})
    draining = build.cluster("c", old.endpoint(EndpointState.DRAINING), new)
    await world.publish(world.table([route], [draining], 2))

    async def is_healthy() -> bool:
        return bool((await world.health())["default/b"])

    await world.until_async(is_healthy)
    assert build.statuses(await world.load(20, 100, headers=CHAT)) == {200: 20}
    assert (old.num_requests, new.num_requests) == (1, 20)
    await world.publish(world.table([route], [build.cluster("c", new)], 3))
    answer = await stream
    assert "[DONE]" in answer.body, "also after its endpoint and with it the last trace of it was removed"


async def test_a_change_of_weights_under_load_loses_nothing(world: Any, build: Any) -> None:
    members = {"c": ["a"], "d": ["b"]}
    await serve(world, build, {"c": 0.5, "d": 0.5}, members)
    load = asyncio.create_task(world.load(300, 150, headers=CHAT))
    for share in (0.9, 0.1, 0.7, 0.3):
        await asyncio.sleep(0.4)
        await serve(world, build, {"c": share, "d": 1 - share}, members)
    assert build.statuses(await load) == {200: 300}


async def test_clusters_come_and_go_under_load_without_a_lost_request(world: Any, build: Any) -> None:
    await serve(world, build, {"c": 1.0}, {"c": ["a"]})
    load = asyncio.create_task(world.load(400, 200, headers=CHAT))
    for members in ({"d": ["b"]}, {"c": ["a"], "d": ["b"]}, {"e": ["x"]}, {"c": ["a"]}):
        await asyncio.sleep(0.4)
        await serve(world, build, {name: 1 / len(members) for name in members}, members)
    assert build.statuses(await load) == {200: 400}
    listed = json.loads(await world.admin("/clusters?format=json"))["cluster_statuses"]
    names = {cluster["name"] for cluster in listed}
    assert names == {"argosy-admin", "argosy-ads", "argosy-nowhere", "c", "tcp:c", "waiting:c", "any:c"}
