"""A burst beyond what replicas can take: Envoy refuses the rest before a header, and loses nothing."""

from __future__ import annotations

import asyncio
import random
from typing import Any

from argosy.engine import EngineLimits, StepCoefficients
from argosy.route.table import Endpoint, EndpointState
from argosy.snapshot import RouteCounters
from argosy.telemetry.parse import ROUTE_STATS_FILTER, parse_route_stats
from argosy_sim.livefleet.addresses import AddressClaim, listen_on
from argosy_sim.livefleet.vllm.server import EngineProfile, VllmServer

CHAT = {"x-class": "chat"}
SERVICE_S = 0.5
BURST_S = 10.0
BURST = 20

SLOTS, TOKENS, STEP_MS = 4, 25, 20.0
"""A simulated engine that answers eight requests/s: four at a time, each in half a second."""
ENGINE = EngineProfile(
    "m",
    ("chat",),
    EngineLimits(SLOTS, 8192, 10_000, 16, 4096),
    StepCoefficients(wn=STEP_MS, f=0.01, q=1.0, c1=0.0, a0=0.0, a1=0.0, a2=0.0, b0=0.0, b1=0.0, b2=0.0),
)


async def serve(world: Any, build: Any, limit: int | None) -> Any:
    """A class over one replica with answers of half a second, and a limit at Envoy."""
    replica = world.replicas.get("a") or await world.replica("a")
    replica.delay_s = SERVICE_S
    cluster = build.cluster("c", replica, request_limit=limit)
    await world.publish(world.table([build.route("chat", {"c": 1.0})], [cluster]))
    return replica


async def counted(world: Any, name: str = "default_chat") -> RouteCounters:
    """Requests of a class as the operator counts them."""
    stats = parse_route_stats((await world.admin(f"/stats?filter={ROUTE_STATS_FILTER}&format=json")).encode())
    assert isinstance(stats, dict)
    return stats[name].counters()


async def test_of_a_burst_every_request_completes_or_is_refused_with_a_time_to_come_back(
    world: Any, build: Any
) -> None:
    limit, num = 5, 600  # three seconds
    replica = await serve(world, build, limit)
    answers = await world.load(num, 20 * limit / SERVICE_S, headers=CHAT)
    found = build.statuses(answers)
    assert set(found) == {200, 429}
    assert found[200] == replica.num_requests, "what was refused reached no replica, and was not retried"
    assert found[200] >= limit
    refused = [answer for answer in answers if answer.status == 429]
    assert {answer.headers["retry-after"] for answer in refused} == {"5"}
    assert refused[0].json["error"] == {
        "message": "The replicas that serve default/chat have as many requests as can be answered in time;"
        " try again in 5 s.",
        "type": "rate_limit_error",
        "param": None,
        "code": "overloaded",
    }
    assert sorted(answer.seconds for answer in refused)[len(refused) // 2] < 0.1
    # A refused request is demand, and no error.
    assert await counted(world) == RouteCounters(num, 0.0, 0.0, found[429])


async def test_of_classes_that_share_a_cluster_each_is_told_its_own_refused_requests(
    world: Any, build: Any
) -> None:
    replica = await serve(world, build, None)
    routes = [build.route("chat", {"c": 1.0}), build.route("batch", {"c": 1.0})]
    await world.publish(world.table(routes, [build.cluster("c", replica, request_limit=4)]))
    loads = [world.load(n, 100, headers={"x-class": name}) for name, n in (("chat", 60), ("batch", 30))]
    for name, answers in zip(("default_chat", "default_batch"), await asyncio.gather(*loads), strict=True):
        found, counters = build.statuses(answers), await counted(world, name)
        assert found[429] > 0
        assert (counters.refused_total, counters.errors_5xx_total) == (found[429], 0.0)


async def test_a_replica_that_fails_is_an_error_and_nothing_was_refused(world: Any, build: Any) -> None:
    replica = await serve(world, build, 64)
    before, replica.status = await counted(world), 500
    assert build.statuses([await world.ask(headers=CHAT)]) == {500: 1}
    replica.status, now = 200, await counted(world)
    assert now.errors_5xx_total - before.errors_5xx_total == 1
    assert now.refused_total == before.refused_total


async def test_of_ten_seconds_at_twenty_times_the_capacity_of_simulated_engines_nothing_is_lost(
    world: Any, build: Any
) -> None:
    limit = 2 * SLOTS  # a queue as long as the slots: half a second of waiting
    asked = {"model": "chat", "messages": [{"role": "user", "content": "x"}], "stream": True}
    asked |= {"max_tokens": TOKENS, "ignore_eos": True}
    with AddressClaim.claim() as claim:
        engine = VllmServer(ENGINE, listen_on(claim.next_address(), claim.engine_port), lambda line: None)
        engine.serve()
        try:
            address, _, port = engine.endpoint.rpartition(":")
            endpoint = Endpoint(address, int(port), "default/engine", EndpointState.READY)
            cluster = build.cluster("c", endpoint, request_limit=limit)
            await world.publish(world.table([build.route("chat", {"c": 1.0})], [cluster]))
            await world.until_async(lambda: is_healthy(world))
            rate_per_s = BURST * SLOTS / SERVICE_S
            answers = await world.load(int(BURST_S * rate_per_s), rate_per_s, headers=CHAT, json_body=asked)
        finally:
            engine.crash()
    found = build.statuses(answers)
    assert set(found) == {200, 429}
    assert all(answer.body.rstrip().endswith("data: [DONE]") for answer in answers if answer.status == 200)
    assert {answer.headers["retry-after"] for answer in answers if answer.status == 429} == {"5"}
    assert found[200] >= 0.7 * SLOTS / SERVICE_S * BURST_S, "the engine was kept busy throughout"


async def is_healthy(world: Any) -> bool:
    return bool((await world.health()).get("default/engine"))


async def test_bursty_arrivals_at_the_planned_rate_are_refused_nothing(world: Any, build: Any) -> None:
    # 40 requests/s of half a second: 20 in flight; five deviations for a CV of 4 are 65 more.
    await serve(world, build, 128)
    gamma, tasks = random.Random(7), []
    shape = 1 / 4.0**2
    for _ in range(200):
        tasks.append(asyncio.create_task(world.ask(headers=CHAT)))
        await asyncio.sleep(gamma.gammavariate(shape, 1 / (40 * shape)))
    assert build.statuses(await asyncio.gather(*tasks)) == {200: 200}


async def test_a_changed_limit_cuts_no_request(world: Any, build: Any) -> None:
    await serve(world, build, 64)
    load = asyncio.create_task(world.load(150, 50, headers=CHAT))
    for limit in (128, None, 64):
        await asyncio.sleep(0.7)
        await serve(world, build, limit)
    assert build.statuses(await load) == {200: 150}
