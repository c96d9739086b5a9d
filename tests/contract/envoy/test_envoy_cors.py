"""Pages of other origins, as a browser asks for them and Envoy answers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from argosy.route.table import Cors, RequestMatch, RoutePath

CHAT = "/v1/chat/completions"
CORS = Cors(
    origins=("https://chat.example.com", "https://*.apps.example.com:8443", "http://[::1]:3000"),
    methods=("GET", "POST"),
    headers=("authorization", "content-type"),
    exposed=("x-request-id", "retry-after"),
    credentials=True,
    max_age_s=600,
)
ALLOWED = ("https://chat.example.com", "https://a.b.apps.example.com:8443", "http://[::1]:3000")
REFUSED = (
    "https://evil.example",
    "http://chat.example.com",
    "https://chat.example.com.evil.example",
    "https://evilapps.example.com:8443",
    "null",
)


def marks(answer: Any) -> dict[str, str]:
    """The headers that a browser looks at."""
    names = (
        "allow-origin",
        "allow-methods",
        "allow-headers",
        "allow-credentials",
        "expose-headers",
        "max-age",
    )
    found = {name: answer.headers.get(f"access-control-{name}") for name in names}
    return {name: value for name, value in found.items() if value is not None}


async def one_class(world: Any, build: Any, cors: Cors | None) -> Any:
    """A class of one path, whose engine lets every origin read, as vLLM does."""
    world.gateway = replace(world.gateway, cors=cors)
    chat = await world.replica("chat")
    chat.more_headers = {"access-control-allow-origin": "*"}
    routes = [build.route("chat", {"chat": 1.0}, match=RequestMatch(RoutePath(CHAT, exact=True)))]
    await world.publish(world.table(routes, [build.cluster("chat", chat)]))
    return chat


async def preflight(world: Any, origin: str, path: str = CHAT) -> Any:
    headers = {"origin": origin, "access-control-request-method": "POST"}
    return await world.ask(path, method="OPTIONS", headers=headers)


async def test_allowed_pages_are_answered_and_others_refused_before_any_engine(
    world: Any, build: Any
) -> None:
    chat = await one_class(world, build, CORS)
    for origin in ALLOWED:
        for path in (CHAT, "/v1/other"):
            answer = await preflight(world, origin, path)
            assert (answer.status, answer.body) == (200, "")
            assert marks(answer) == {
                "allow-origin": origin,
                "allow-methods": "GET, POST",
                "allow-headers": "authorization, content-type",
                "allow-credentials": "true",
                "expose-headers": "x-request-id, retry-after",
                "max-age": "600",
            }
    for origin in REFUSED:
        answer = await preflight(world, origin)
        assert (answer.status, answer.json["error"]["code"], marks(answer)) == (403, "origin_not_allowed", {})
    assert answer.json["error"]["message"] == (
        "A page of origin null may not send POST /v1/chat/completions: the origin is not in"
        " spec.gateway.cors.allowOrigins of the Fleet."
    )
    assert chat.num_requests == 0


async def test_a_page_reads_answers_refusals_and_the_list_of_models(world: Any, build: Any) -> None:
    await one_class(world, build, CORS)
    readable = {"allow-credentials": "true", "expose-headers": "x-request-id, retry-after"}
    for status, method, path in ((200, "POST", CHAT), (404, "POST", "/v1/other"), (200, "GET", "/v1/models")):
        for origin in (*ALLOWED, *REFUSED):
            answer = await world.ask(path, method=method, headers={"origin": origin})
            assert answer.status == status, "whether a page may read it is the browser's matter"
            assert marks(answer) == ({"allow-origin": origin} | readable if origin in ALLOWED else {})
            assert answer.headers["vary"] == "Origin"
    assert marks(await world.ask(CHAT)) == {}, "no page at all"


async def test_every_origin_may_be_allowed_and_none_is_by_default(world: Any, build: Any) -> None:
    anyone = replace(CORS, origins=("*",), headers=("*", "authorization"), credentials=False)
    chat = await one_class(world, build, anyone)
    answer = await preflight(world, "https://any.example", "/v1/other")
    assert marks(answer)["allow-origin"] == "*"
    assert marks(answer)["allow-headers"] == "*, authorization"
    assert marks(await world.ask(headers={"origin": "https://any.example"}))["allow-origin"] == "*"

    world.gateway = replace(world.gateway, cors=None)
    routes = [build.route("chat", {"chat": 1.0}, match=RequestMatch(RoutePath(CHAT, exact=True)))]
    await world.publish(world.table(routes, [build.cluster("chat", chat)], revision=2))
    refused = await preflight(world, "https://any.example", "/v1/other")
    assert (refused.status, refused.json["error"]["code"]) == (403, "origin_not_allowed")
    assert refused.json["error"]["message"].endswith(
        ": no origin is allowed: list origins in spec.gateway.cors.allowOrigins of the Fleet."
    )
    assert (await preflight(world, "https://any.example")).replica == "chat", "a class's engine may answer"
    assert marks(await world.ask(CHAT)) == {"allow-origin": "*"}, "what engines say stays"
