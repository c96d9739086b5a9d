"""Which request goes where, as Envoy itself decides it."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import aiohttp
import pytest

from argosy.route.table import OutlierSettings, RequestMatch, RoutePath


async def three_classes(world: Any, build: Any) -> None:
    """By path and model, by model alone, by header; a replica each, named after its class."""
    replicas = {name: await world.replica(name) for name in ("deep", "chat", "batch")}
    await world.publish(
        world.table(
            [
                build.route(
                    "deep",
                    {"deep": 1.0},
                    match=RequestMatch(RoutePath("/v1/chat", False), models=("llama", "qwen")),
                ),
                build.route("batch", {"batch": 1.0}),
                build.route("chat", {"chat": 1.0}, match=RequestMatch(models=("llama",))),
                build.route("none", {}, match=RequestMatch(models=("nobody",))),
            ],
            [build.cluster(name, replica) for name, replica in replicas.items()],
        )
    )


async def test_path_model_and_header_lead_to_their_class(world: Any, build: Any) -> None:
    await three_classes(world, build)
    asked = {
        "path and model": await world.ask("/v1/chat/completions", json_body={"model": "qwen"}),
        "a path that only begins with the same letters": await world.ask(
            "/v1/chatter", json_body={"model": "llama"}
        ),
        "model alone": await world.ask(
            "/v1/completions", json_body={"model": "llama", "prompt": ["a", {"b": 1}]}
        ),
        "a stream": await world.ask("/v1/completions", json_body={"model": "llama", "stream": True}),
        "header": await world.ask(
            "/v1/completions", headers={"x-class": "batch"}, json_body={"model": "other"}
        ),
        "content type with parameters": await world.ask(
            "/v1/completions",
            data=b'{"model": "llama"}',
            headers={"content-type": "application/json; charset=utf-8"},
        ),
        "header and a body that is no JSON": await world.ask(
            "/", headers={"x-class": "batch"}, data=b"\x00\x01"
        ),
    }
    assert {case: answer.replica for case, answer in asked.items()} == {
        "path and model": "deep",
        "a path that only begins with the same letters": "chat",
        "model alone": "chat",
        "a stream": "chat",
        "header": "batch",
        "content type with parameters": "chat",
        "header and a body that is no JSON": "batch",
    }


async def test_what_no_class_takes_gets_an_openai_style_404(world: Any, build: Any) -> None:
    await three_classes(world, build)
    answer = await world.ask("/v1/x", json_body={"model": 'gpt"5'})
    assert (answer.status, answer.headers["content-type"]) == (404, "application/json")
    assert answer.json == {
        "error": {
            "message": 'No workload class takes POST /v1/x with model gpt"5: no WorkloadClass exists that'
            " takes requests.",
            "type": "invalid_request_error",
            "param": None,
            "code": "no_workload_class",
        }
    }


async def test_a_class_whose_replica_does_not_answer_gets_a_503_without_inner_words(
    world: Any, build: Any
) -> None:
    replica = await world.replica("a")
    routes = [build.route("chat", {"c": 1.0}, attempts=0)]
    await world.publish(world.table(routes, [build.cluster("c", replica)]))
    await world.until_async(lambda: is_healthy(world, replica))
    await replica.die()
    answer = await world.ask(headers={"x-class": "chat"})
    assert (answer.status, answer.headers["retry-after"]) == (503, "5")
    error = answer.json["error"]
    assert (error["message"], error["code"]) == (
        "No replica that serves default/chat can be reached.",
        "no_replica",
    )


async def is_healthy(world: Any, replica: Any) -> bool:
    return bool((await world.health()).get(replica.endpoint().pod))


async def test_a_class_without_replicas_gets_a_503_that_says_when_to_come_back(
    world: Any, build: Any
) -> None:
    await three_classes(world, build)
    answer = await world.ask(json_body={"model": "nobody"})
    assert (answer.status, answer.headers["retry-after"]) == (503, "5")
    error = answer.json["error"]
    assert (error["message"], error["code"]) == (
        "No replica that serves default/none is ready.",
        "no_replica",
    )


@pytest.mark.parametrize("declared", [True, False], ids=["by its declared length", "while it is read"])
async def test_a_body_over_the_limit_gets_an_openai_style_413(world: Any, build: Any, declared: bool) -> None:
    await three_classes(world, build)
    limit = world.gateway.max_body_bytes
    body = json.dumps({"model": "llama", "prompt": "x" * limit}).encode()

    async def in_pieces() -> Any:
        for begin in range(0, len(body), 2**16):
            yield body[begin : begin + 2**16]

    headers = {"content-type": "application/json"}
    try:
        answer = await world.ask("/v1/completions", headers=headers, data=body if declared else in_pieces())
    except aiohttp.ClientError:
        pytest.fail("the connection was closed without an answer")
    assert (answer.status, answer.json["error"]["code"]) == (413, "request_too_large")


async def test_a_body_just_under_the_limit_arrives_whole(world: Any, build: Any) -> None:
    await three_classes(world, build)
    body = json.dumps({"model": "llama", "prompt": "x" * (world.gateway.max_body_bytes - 100)}).encode()
    answer = await world.ask("/v1/completions", data=body, headers={"content-type": "application/json"})
    assert (answer.status, answer.json["bytes"]) == (200, len(body))


async def test_a_client_cannot_name_an_endpoint(world: Any, build: Any) -> None:
    await three_classes(world, build)
    headers = {"x-class": "batch", "x-gateway-destination-endpoint": "10.0.0.1:80", "x-mine": "kept"}
    await world.ask(headers=headers)
    (received,) = world.replicas["batch"].headers
    assert "x-gateway-destination-endpoint" not in received
    assert received["x-mine"] == "kept"


async def test_traffic_is_split_as_the_shares_say(world: Any, build: Any) -> None:
    names = {"a": 0.7, "b": 0.2, "c": 0.1}
    for name in names:
        await world.replica(name)
    await world.publish(
        world.table(
            [build.route("chat", names)], [build.cluster(name, world.replicas[name]) for name in names]
        )
    )
    answers = await world.load(600, 400, headers={"x-class": "chat"})
    assert build.statuses(answers) == {200: 600}
    for name, share in names.items():
        # Four standard deviations of a binomial: one false alarm in 5,000 runs over the three.
        tolerance = 4 * (600 * share * (1 - share)) ** 0.5
        assert abs(world.replicas[name].num_requests - 600 * share) < tolerance, name


async def test_requests_are_counted_per_class_with_refusals_and_retries(world: Any, build: Any) -> None:
    await three_classes(world, build)
    world.replicas["batch"].status = 503
    await world.ask(headers={"x-class": "batch"})
    for _ in range(3):
        await world.ask(json_body={"model": "llama"}, path="/v1/completions")
    await world.ask(json_body={"model": "nobody"})  # a class without replicas: refused, but asked for
    stats = dict(
        line.split(": ")
        for line in (await world.admin("/stats?filter=vhost.argosy.route")).splitlines()
        if line
    )
    prefix = "vhost.argosy.route.default_"
    assert stats[f"{prefix}chat.upstream_rq_completed"] == "3"
    assert stats[f"{prefix}batch.upstream_rq_completed"] == "1"
    assert stats[f"{prefix}none.upstream_rq_completed"] == "1"
    assert stats[f"{prefix}batch.upstream_rq_retry"] == "2"
    labels = await world.admin("/stats/prometheus?filter=vhost.argosy.route")
    assert 'envoy_route="default_chat"' in labels


async def test_a_policys_retries_are_what_is_tried(world: Any, build: Any) -> None:
    replica = await world.replica("a")
    await world.publish(
        world.table(
            [build.route("none", {"a": 1.0}, attempts=0), build.route("four", {"a": 1.0}, attempts=4)],
            [build.cluster("a", replica, outlier=OutlierSettings(consecutive_errors=100))],
        )
    )
    replica.status = 503
    tries = {}
    for name in ("none", "four"):
        replica.num_requests = 0
        answer = await world.ask(headers={"x-class": name})
        tries[name] = (answer.status, replica.num_requests, answer.headers["x-envoy-attempt-count"])
    assert tries == {"none": (503, 1, "1"), "four": (503, 5, "5")}


async def test_a_replica_with_errors_in_a_row_is_left_out_for_as_long_as_the_policy_says(
    world: Any, build: Any
) -> None:
    good, bad = await world.replica("good"), await world.replica("bad")
    settings = OutlierSettings(consecutive_errors=3, ejection_s=4.0)
    await world.publish(
        world.table([build.route("chat", {"c": 1.0})], [build.cluster("c", good, bad, outlier=settings)])
    )
    bad.status = 500  # not retried, so that every error is seen
    answers = await world.load(60, 200, headers={"x-class": "chat"})
    assert build.statuses(answers)[500] <= settings.consecutive_errors + 1
    bad.status = 200
    await asyncio.sleep(1.5)  # long enough for a health check to pass
    seen = bad.num_requests
    await world.load(20, 100, headers={"x-class": "chat"})
    assert bad.num_requests == seen, "its health checks pass, but the ejection lasts"

    async def is_back() -> bool:
        await world.ask(headers={"x-class": "chat"})
        return bool(bad.num_requests > seen)

    assert await world.until_async(is_back, 9.0) < 6.0
