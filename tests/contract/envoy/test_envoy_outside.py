"""What clients read of Envoy, and what its access log keeps, as Envoy itself writes both."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from argosy.route.table import AccessLogFormat, Hints, ModelHint, RequestMatch

HINTS = Hints(
    by_model=(ModelHint("llama-8b", "class default/chat takes it with header x-argosy-class: chat"),),
    other_model="the models that classes take are llama-8b",
    no_model="send a JSON body that names a model, as in POST /v1/chat/completions; the models that classes"
    " take are llama-8b",
)


async def one_class(world: Any, build: Any) -> Any:
    """A class that takes one model with a header, and its replica."""
    chat = await world.replica("chat")
    match = RequestMatch(headers=(("x-argosy-class", "chat"),), models=("llama-8b",))
    routes = [build.route("chat", {"chat": 1.0}, match=match)]
    await world.publish(world.table(routes, [build.cluster("chat", chat)], hints=HINTS))
    return chat


CHAT = {"x-argosy-class": "chat"}
PATH = "/v1/chat/completions"


async def test_what_no_class_takes_is_refused_with_what_is_missing(world: Any, build: Any) -> None:
    await one_class(world, build)
    asked = {
        "the header is missing": await world.ask(PATH, json_body={"model": "llama-8b"}),
        "another model": await world.ask(PATH, json_body={"model": "gpt-5"}),
        "a body without a model": await world.ask(PATH, json_body={"prompt": "x"}),
        "a health check": await world.ask("/health", method="GET"),
        "the root": await world.ask("/", method="GET"),
    }
    assert {answer.status for answer in asked.values()} == {404}
    no_model = f"{HINTS.no_model}."
    assert {case: answer.json["error"]["message"] for case, answer in asked.items()} == {
        "the header is missing": (
            "No workload class takes POST /v1/chat/completions with model llama-8b: class default/chat"
            " takes it with header x-argosy-class: chat."
        ),
        "another model": (
            "No workload class takes POST /v1/chat/completions with model gpt-5: the models that classes take"
            " are llama-8b."
        ),
        "a body without a model": f"No workload class takes POST /v1/chat/completions: {no_model}",
        "a health check": f"No workload class takes GET /health: {no_model}",
        "the root": f"No workload class takes GET /: {no_model}",
    }
    assert (await world.ask(PATH, headers=CHAT, json_body={"model": "llama-8b"})).replica == "chat"


@pytest.mark.parametrize("names_itself", [True, False])
async def test_clients_learn_no_inner_address_and_always_a_request_id(
    world: Any, build: Any, names_itself: bool
) -> None:
    chat = await one_class(world, build)
    chat.names_itself = names_itself
    answer = await world.ask(PATH, headers=CHAT, json_body={"model": "llama-8b"})
    assert (answer.status, answer.headers["server"]) == (200, "argosy")
    assert "x-argosy-endpoint" not in answer.headers
    assert str(chat.port) not in json.dumps(answer.headers)
    refused = await world.ask(PATH, json_body={"model": "llama-8b"})
    assert len(answer.headers["x-request-id"]) == len(refused.headers["x-request-id"]) == 36


@pytest.mark.parametrize("names_itself", [True, False])
async def test_where_it_is_asked_for_the_endpoint_is_shown(
    world: Any, build: Any, names_itself: bool
) -> None:
    world.gateway = replace(world.gateway, shows_endpoint=True)
    chat = await one_class(world, build)
    chat.names_itself = names_itself
    answer = await world.ask(PATH, headers=CHAT, json_body={"model": "llama-8b"})
    assert answer.headers["x-argosy-endpoint"] == f"127.0.0.1:{chat.port}"


@pytest.mark.parametrize("log_format", list(AccessLogFormat))
async def test_the_access_log_names_request_class_model_replica_and_outcome(
    world: Any, build: Any, log_format: AccessLogFormat
) -> None:
    world.gateway = replace(world.gateway, access_log=log_format)
    chat = await one_class(world, build)
    answer = await world.ask(PATH, headers=CHAT, json_body={"model": "llama-8b", "prompt": "secret"})
    refused = await world.ask(PATH, json_body={"model": "gpt-5"})

    def rows() -> list[dict[str, str]]:
        lines = (world.directory / "envoy.log").read_text().splitlines()
        if log_format is AccessLogFormat.JSON:
            return [json.loads(line) for line in lines if line.startswith("{")]
        return [dict(p.split("=", 1) for p in line.split(" ")) for line in lines if line.startswith("time=")]

    await world.until(lambda: len(rows()) == 2, timeout_s=20.0)  # Envoy writes its log every ten seconds
    served, unserved = rows()
    assert served["request_id"] == answer.headers["x-request-id"]
    assert (served["class"], served["model"]) == ("default/chat", "llama-8b")
    assert (str(served["status"]), served["upstream"]) == ("200", f"127.0.0.1:{chat.port}")
    assert float(served["duration_ms"]) >= float(served["first_byte_ms"]) >= 0
    assert "secret" not in (world.directory / "envoy.log").read_text()
    assert unserved["request_id"] == refused.headers["x-request-id"]
    assert (str(unserved["status"]), unserved["model"], unserved["class"] or "-") == ("404", "gpt-5", "-")


async def test_without_the_option_nothing_is_logged(world: Any, build: Any) -> None:
    await one_class(world, build)
    answer = await world.ask(PATH, headers=CHAT, json_body={"model": "llama-8b"})
    assert answer.headers["x-request-id"] not in (world.directory / "envoy.log").read_text()
