"""Gateway API's mirrored requests on a real Envoy: one, several, shares, and that no copy is felt."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

from argosy.route.table import MirrorRoute

BODY = {"model": "llama", "messages": [{"role": "user", "content": "hello"}]}


async def with_mirrors(world: Any, build: Any, shares: dict[str, float], **cluster: Any) -> dict[str, Any]:
    """The class chat on replica `own`, and one replica for each mirror."""
    replicas = {name: await world.replica(name) for name in ("own", *shares)}
    mirrors = tuple(MirrorRoute(name, share) for name, share in shares.items())
    entry = replace(build.route("chat", {"own": 1.0}, attempts=0), mirrors=mirrors)
    clusters = [
        build.cluster(name, each, **({} if name == "own" else cluster)) for name, each in replicas.items()
    ]
    await world.publish(world.table([entry], clusters))
    return replicas


async def ask(world: Any, **more: Any) -> Any:
    return await world.ask(headers={"x-class": "chat"}, json_body={**BODY, **more})


async def test_each_mirror_gets_one_copy_with_path_body_and_headers(world: Any, build: Any) -> None:
    replicas = await with_mirrors(world, build, {"m1": 1.0, "m2": 1.0})
    answers = [await ask(world) for _ in range(10)]
    assert {(each.status, each.replica) for each in answers} == {(200, "own")}
    await world.until(lambda: all(each.num_requests == 10 for each in replicas.values()))
    await asyncio.sleep(0.2)
    assert {name: each.num_requests for name, each in replicas.items()} == {"own": 10, "m1": 10, "m2": 10}
    seen = ("host", "content-length", "content-type", "x-class")
    sent = {tuple(each.headers[0][name] for name in seen) for each in replicas.values()}
    assert len(sent) == 1, "a copy is the request itself, its host name too"


async def test_a_share_of_the_requests_is_copied(world: Any, build: Any) -> None:
    replicas = await with_mirrors(world, build, {"fifth": 0.2, "half": 0.5, "none": 0.0})
    answers = await world.load(500, 500.0, headers={"x-class": "chat"}, json_body=BODY)
    assert build.statuses(answers) == {200: 500}
    await asyncio.sleep(0.5)
    # Four standard deviations of a draw with replacement.
    assert abs(replicas["fifth"].num_requests - 100) < 36
    assert abs(replicas["half"].num_requests - 250) < 45
    assert replicas["none"].num_requests == 0


async def test_a_mirror_that_fails_stalls_or_is_gone_is_not_felt(world: Any, build: Any) -> None:
    replicas = await with_mirrors(world, build, {"fails": 1.0, "stalls": 1.0, "gone": 1.0})
    replicas["fails"].status = 500
    replicas["stalls"].fall_silent()
    await replicas["gone"].die()
    answers = [await ask(world) for _ in range(20)]
    assert {(each.status, each.replica) for each in answers} == {(200, "own")}
    assert max(each.seconds for each in answers) < 2.0
    assert replicas["own"].num_requests == 20, "what fails at a mirror is not tried again"
    assert replicas["fails"].num_requests <= 20


async def test_a_stream_is_copied_and_its_copy_is_read_to_the_end(world: Any, build: Any) -> None:
    replicas = await with_mirrors(world, build, {"mirror": 1.0})
    replicas["own"].stream_s = replicas["mirror"].stream_s = 0.5
    answer = await ask(world, stream=True)
    assert (answer.status, "data: own" in answer.body, "data: mirror" in answer.body) == (200, True, False)
    await world.until(lambda: replicas["mirror"].num_requests == 1)


async def test_copies_are_no_demand_and_no_answers_of_any_class(world: Any, build: Any) -> None:
    replicas = await with_mirrors(world, build, {"mirror": 1.0})
    for _ in range(5):
        await ask(world)
    await world.until(lambda: replicas["mirror"].num_requests == 5)
    counters = await world.admin("/stats?filter=vhost.argosy.route")
    totals = [line for line in counters.splitlines() if "upstream_rq_total" in line]
    assert totals == ["vhost.argosy.route.default_chat.upstream_rq_total: 5"]


async def test_a_mirror_refuses_copies_beyond_its_own_limit(world: Any, build: Any) -> None:
    replicas = await with_mirrors(world, build, {"mirror": 1.0}, request_limit=2)
    replicas["mirror"].delay_s = 1.0
    answers = await world.load(20, 200.0, headers={"x-class": "chat"}, json_body=BODY)
    assert build.statuses(answers) == {200: 20}
    await asyncio.sleep(0.3)
    assert replicas["mirror"].num_requests <= 4
