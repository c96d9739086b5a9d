"""The list of models as clients read it, from Envoy itself."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import openai

from argosy.route.table import Listings, ModelCard, ModelOffer, RequestMatch

LLAMA = ModelCard("llama", "meta-llama/Llama-3.1-8B-Instruct", 1_767_225_600, 16_384)
SQL = ModelCard("org/sql \u00fc:1", "s3://adapters/sql", 1_767_225_600, None, parent="llama")
SECRET = ModelCard("secret", "org/secret", 1_767_225_600, 4096)
TEAM = (("x-team", "a"),)
LISTINGS = Listings(
    by_caller=(ModelOffer(TEAM, (LLAMA, SQL, SECRET)), ModelOffer((), (LLAMA, SQL))),
    by_name=(ModelOffer((), (LLAMA,)), ModelOffer((), (SQL,)), ModelOffer(TEAM, (SECRET,))),
)


async def test_models_are_listed_as_vllm_does_to_those_that_reach_them(world: Any, build: Any) -> None:
    chat = await world.replica("chat")
    # A class that takes every request: the list is Envoy's own all the same, and counts as no demand.
    routes = [build.route("chat", {"chat": 1.0}, match=RequestMatch())]
    await world.publish(replace(world.table(routes, [build.cluster("chat", chat)]), listings=LISTINGS))
    answer = await world.ask("/v1/models?x=1", method="GET")
    assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
    of_session = await world.ask("/v1/models?x=1", method="GET", headers={"content-encoding": "gzip"})
    assert of_session.body == answer.body, "some clients send this header with every request"
    assert answer.json["object"] == "list"
    llama, sql = answer.json["data"]
    (permission,) = llama.pop("permission")
    assert llama == {
        "id": "llama",
        "object": "model",
        "created": 1_767_225_600,
        "owned_by": "vllm",
        "root": "meta-llama/Llama-3.1-8B-Instruct",
        "parent": None,
        "max_model_len": 16_384,
    }
    assert (permission["object"], permission["allow_sampling"]) == ("model_permission", True)
    assert (sql["id"], sql["root"], sql["parent"]) == (SQL.name, SQL.root, "llama")
    team = await world.ask("/v1/models", method="GET", headers={"x-team": "a"})
    assert [each["id"] for each in team.json["data"]] == ["llama", SQL.name, "secret"]
    await judge_single_models(world)
    assert chat.num_requests == 0
    stats = await world.admin("/stats?filter=vhost.argosy.route.default_chat.upstream_rq_completed")
    assert stats.strip() in ("", "vhost.argosy.route.default_chat.upstream_rq_completed: 0")
    assert (await world.ask("/v1/models", json_body={})).replica == "chat", "another method is the class's"


async def judge_single_models(world: Any) -> None:
    url = f"http://127.0.0.1:{world.gateway.port}/v1"
    async with openai.AsyncOpenAI(base_url=url, api_key="none", max_retries=0) as client:
        assert [each.id async for each in client.models.list()] == ["llama", SQL.name]
        for name in ("llama", SQL.name):
            assert (await client.models.retrieve(name)).id == name
    slashes = await world.ask("/v1/models/org/sql%20%C3%BC:1", method="GET")
    assert slashes.json["id"] == SQL.name
    unknown = await world.ask("/v1/models/secret", method="GET")
    assert (unknown.status, unknown.json["error"]) == (
        404,
        {
            "message": "GET /v1/models/secret: no such model for this caller. GET /v1/models, with the"
            " headers that requests have, lists those that there are.",
            "type": "invalid_request_error",
            "param": "model",
            "code": "model_not_found",
        },
    )
    known = await world.ask("/v1/models/secret", method="GET", headers=dict(TEAM))
    assert known.json["id"] == "secret"


async def test_without_a_class_the_list_is_empty_and_a_long_one_is_whole(world: Any) -> None:
    await world.publish(world.table([], []))
    empty = await world.ask("/v1/models", method="GET")
    assert empty.json == {"object": "list", "data": []}
    many = tuple(replace(LLAMA, name=f"m{n:04}") for n in range(300))
    listings = Listings((ModelOffer((), many),), ())
    await world.publish(replace(world.table([], [], revision=2), listings=listings))
    assert len(json.loads((await world.ask("/v1/models", method="GET")).body)["data"]) == 300
