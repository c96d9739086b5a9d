"""What becomes of a request by the kind of its body, as Envoy decides it: bytes as clients send them."""

from __future__ import annotations

import asyncio
import base64
import gzip
import json
from dataclasses import dataclass, field
from typing import Any

import pytest

from argosy.route.table import Hints, RequestMatch, RoutePath, Unnamed

CHAT, AUDIO = "/v1/chat/completions", "/v1/audio/transcriptions"
LLAMA = b'{"model": "llama"}'
JSON = {"content-type": "application/json"}
FORM = b'--b\r\ncontent-disposition: form-data; name="model"\r\n\r\nwhisper\r\n--b--\r\n'
IN_BROTLI = base64.b64decode("iwiAeyJtb2RlbCI6ICJsbGFtYSJ9Aw==")
MUCH_IN_BROTLI = base64.b64decode("m3rjFvgdCXashQuHwZ1SBGSvwvCSRacPNuAEvMCaEG4HHhhCI64pv5f0GdsWwA==")
IN_ZSTD = base64.b64decode("KLUv/SASkQAAeyJtb2RlbCI6ICJsbGFtYSJ9")
HINTS = Hints(other_model="the models that classes take are llama", no_model="name a model")


@dataclass(frozen=True)
class Asked:
    """One request."""

    body: bytes = b""
    headers: dict[str, str] = field(default_factory=lambda: dict(JSON))
    path: str = CHAT
    method: str = "POST"


def encoded(encoding: str, body: bytes, path: str = CHAT) -> Asked:
    return Asked(body, {**JSON, "content-encoding": encoding}, path)


@dataclass(frozen=True)
class Got:
    """What came back."""

    status: int
    json: Any

    @property
    def outcome(self) -> str:
        """The replica that answered, or the code of the refusal."""
        return str(self.json["replica"] if self.status == 200 else self.json["error"]["code"])


async def send(port: int, asked: Asked) -> Got:
    """The request, byte by byte as given: libraries add headers of their own."""
    head = [f"{asked.method} {asked.path} HTTP/1.1", "host: argosy", "connection: close"]
    head += [f"{name}: {value}" for name, value in asked.headers.items()]
    head += [f"content-length: {len(asked.body)}"] if asked.body else []
    return await exchange(port, "\r\n".join([*head, "", ""]).encode() + asked.body)


async def exchange(port: int, sent: bytes) -> Got:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(sent)
    async with asyncio.timeout(10):
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        # Not until the end: Envoy closes a second after it has refused.
        body = await reader.readexactly(int(head.split("content-length: ")[1].split("\r\n")[0]))
    writer.close()
    return Got(int(head.split()[1]), json.loads(body))


async def three_classes(world: Any, build: Any, *, only: bool) -> None:
    """A class by model, one by path and model, one by header; only: where a missing model is llama."""
    replicas = {name: await world.replica(name) for name in ("chat", "audio", "batch")}
    routes = [
        build.route(
            "audio",
            {"audio": 1.0},
            match=RequestMatch(RoutePath("/v1/audio", False), models=("whisper",)),
            unnamed=Unnamed.UNREADABLE,
        ),
        build.route("batch", {"batch": 1.0}),
        build.route(
            "chat",
            {"chat": 1.0},
            match=RequestMatch(models=("llama",)),
            unnamed=Unnamed.ANY if only else Unnamed.REFUSED,
        ),
    ]
    clusters = [build.cluster(name, replica) for name, replica in replicas.items()]
    await world.publish(world.table(routes, clusters, hints=HINTS))


EVERYWHERE = {
    "JSON": (Asked(LLAMA), "chat"),
    "content type in capitals": (Asked(LLAMA, {"Content-Type": "Application/JSON"}), "chat"),
    "content type with a parameter": (
        Asked(LLAMA, {"content-type": "application/json; charset=utf-8"}),
        "chat",
    ),
    "a vendor's JSON": (Asked(LLAMA, {"content-type": "application/vnd.api+json"}), "chat"),
    "no content type": (Asked(LLAMA, {}), "chat"),
    "a byte order mark": (Asked(b"\xef\xbb\xbf" + LLAMA), "chat"),
    "gzip": (encoded("gzip", gzip.compress(LLAMA)), "chat"),
    "gzip in capitals": (encoded("GZIP", gzip.compress(LLAMA)), "chat"),
    "brotli": (encoded("br", IN_BROTLI), "chat"),
    "zstd": (encoded("zstd", IN_ZSTD), "chat"),
    "not encoded, by name": (encoded("identity", LLAMA), "chat"),
    "an empty content encoding": (encoded("", LLAMA), "chat"),
    "nested a thousand deep": (
        Asked(b'{"model": "llama", "x": ' + b"[" * 1000 + b"]" * 1000 + b"}"),
        "invalid_json",
    ),
    "deflate": (encoded("deflate", LLAMA), "unsupported_content_encoding"),
    "two encodings": (encoded("br, gzip", gzip.compress(LLAMA)), "unsupported_content_encoding"),
    "no gzip, though the header names it": (encoded("gzip", LLAMA), "no_model_decoded"),
    "no gzip, though the header names it in capitals": (encoded(" GZIP", LLAMA), "no_model_decoded"),
    "no brotli": (encoded("br", LLAMA), "no_model_decoded"),
    "no zstd": (encoded("zstd", LLAMA), "no_model_decoded"),
    "compressed without a model": (encoded("gzip", gzip.compress(b"{}")), "no_model_decoded"),
    "gzip cut short": (encoded("gzip", gzip.compress(LLAMA)[:-12]), "invalid_json"),
    "gzip that grows over the limit": (
        encoded("gzip", gzip.compress(b'{"model": "llama", "x": "' + b"0123456789abcdef" * 400_000, 1)),
        "request_too_large",
    ),
    "gzip that grows very much, within the limit": (
        encoded("gzip", gzip.compress(b'{"model": "llama", "x": "' + b"a" * 1_500_000 + b'"}')),
        "chat",
    ),
    "brotli that grows very much, which Envoy cuts off": (encoded("br", MUCH_IN_BROTLI), "invalid_json"),
    "a form where a path leads to a class": (
        Asked(FORM, {"content-type": "multipart/form-data; boundary=b"}, AUDIO),
        "audio",
    ),
    "a long form, whose length is no matter of a context": (
        Asked(FORM * 60_000, {"content-type": "multipart/form-data; boundary=b"}, AUDIO),
        "audio",
    ),
    "a form where a header does": (
        Asked(FORM, {"content-type": "multipart/form-data; boundary=b", "x-class": "batch"}),
        "batch",
    ),
    "compressed where a header leads to a class": (
        Asked(gzip.compress(LLAMA), {**JSON, "content-encoding": "gzip", "x-class": "batch"}),
        "batch",
    ),
    "broken JSON where a header does": (Asked(b"{", {**JSON, "x-class": "batch"}), "batch"),
    "a form that loads an adapter": (
        Asked(FORM, {"content-type": "multipart/form-data; boundary=b"}, "/v1/audio/load_x"),
        "unsupported_media_type",
    ),
    "cut short": (Asked(LLAMA[:-1]), "invalid_json"),
    "NaN": (Asked(b'{"model": "llama", "temperature": NaN}'), "invalid_json"),
    "Latin-1": (Asked('{"model": "llama", "prompt": "\xe4"}'.encode("latin-1")), "invalid_json"),
    "UTF-16": (Asked('{"model": "llama"}'.encode("utf-16")), "invalid_json"),
    "no JSON without a content type": (Asked(b"model=llama", {}), "invalid_json"),
    "another model": (Asked(b'{"model": "gpt"}'), "no_workload_class"),
    "a number as the model": (Asked(b'{"model": 5}'), "no_workload_class"),
    "no body": (Asked(method="GET", path="/metrics", headers={}), "no_workload_class"),
    "the content type of a form, and no body": (
        Asked(method="GET", path="/metrics", headers={"content-type": "multipart/form-data; boundary=b"}),
        "no_workload_class",
    ),
    "a header of encoding, and no body": (
        Asked(method="GET", path="/metrics", headers={"content-encoding": "gzip"}),
        "unsupported_content_encoding",
    ),
    "no model for an adapter": (
        Asked(b'{"lora_name": "x"}', path="/v1/load_lora_adapter"),
        "no_workload_class",
    ),
}
IN_A_FLEET = {
    "JSON without a model where only forms are taken": (
        Asked(b"{}", path="/v1/audio/other"),
        "no_workload_class",
    ),
    "compressed, with an empty model": (
        encoded("gzip", gzip.compress(b'{"model": ""}')),
        "no_workload_class",
    ),
    "no model": (Asked(b"{}"), "no_workload_class"),
    "an empty model": (Asked(b'{"model": ""}'), "no_workload_class"),
    "a model that is null": (Asked(b'{"model": null}'), "no_workload_class"),
    "an object as the model": (Asked(b'{"model": {}}'), "no_workload_class"),
    "a list": (Asked(b"[1]"), "no_workload_class"),
    "a form": (Asked(FORM, {"content-type": "multipart/form-data; boundary=b"}), "unsupported_media_type"),
    "what curl sends by default": (
        Asked(LLAMA, {"content-type": "application/x-www-form-urlencoded"}),
        "unsupported_media_type",
    ),
}
WITH_ONE_MODEL = {
    "no model": (Asked(b"{}"), "chat"),
    "an empty model": (Asked(b'{"model": ""}'), "chat"),
    "a model that is null": (Asked(b'{"model": null}'), "chat"),
    "no model, not encoded by name": (encoded("identity", b"{}"), "chat"),
    "no model to tokenize": (Asked(b"{}", path="/tokenize"), "chat"),
    "no model, put to sleep": (Asked(b"{}", path="/sleep"), "no_workload_class"),
    "a query string": (Asked(b"{}", path=f"{CHAT}?x=1"), "chat"),
    "a form": (Asked(FORM, {"content-type": "multipart/form-data; boundary=b"}, "/v1/images/edits"), "chat"),
}


@pytest.mark.parametrize(
    ("only", "cases"),
    [
        pytest.param(False, EVERYWHERE | IN_A_FLEET, id="of several models"),
        pytest.param(True, EVERYWHERE | WITH_ONE_MODEL, id="of one model"),
    ],
)
async def test_each_kind_of_body_leads_to_its_class_or_to_its_cause(
    world: Any, build: Any, only: bool, cases: dict[str, tuple[Asked, str]]
) -> None:
    await three_classes(world, build, only=only)
    got = {case: await send(world.gateway.port, asked) for case, (asked, _) in cases.items()}
    assert {case: each.outcome for case, each in got.items()} == {
        case: outcome for case, (_, outcome) in cases.items()
    }
    refused = {case: each for case, each in got.items() if each.status != 200}
    assert {case: each for case, each in refused.items() if not is_openai_error(each)} == {}
    if not only:
        await judge_sentences(world, got)


def is_openai_error(got: Got) -> bool:
    """The four fields, a type that clients know, and a sentence without a placeholder."""
    error = got.json["error"]
    words = error["message"].rstrip(".").replace(":", " ").split()
    return (
        set(error) == {"message", "type", "param", "code"}
        and error["type"] == "invalid_request_error"
        and 400 <= got.status < 500
        and len(words) > 3
        and "-" not in words
    )


async def judge_sentences(world: Any, got: dict[str, Got]) -> None:
    said = {
        case: (each.status, each.json["error"]["message"]) for case, each in got.items() if each.status != 200
    }
    assert said["what curl sends by default"] == (
        415,
        "No workload class takes POST /v1/chat/completions by path or headers alone, and the model is read"
        " only from JSON, not from content-type application/x-www-form-urlencoded: send content-type"
        " application/json; the models that classes take are llama.",
    )
    assert said["deflate"] == (
        415,
        "The body of POST /v1/chat/completions has content-encoding deflate, and this gateway decodes gzip,"
        " br, zstd, each once, of a body that is not empty: send it so, or uncompressed.",
    )
    assert (
        said["no model"]
        == said["an empty model"]
        == (
            404,
            "No workload class takes POST /v1/chat/completions: name a model.",
        )
    )
    assert said["NaN"][0] == 400
    assert said["no gzip, though the header names it"] == (
        400,
        f"The body of POST {CHAT}, decoded from content-encoding gzip, is JSON without a model, or is not in"
        " that encoding at all: name a model in it, and send the header only with a body that is encoded so.",
    )
    assert said["gzip that grows over the limit"] == (
        413,
        f"The body of POST {CHAT} is longer than {world.gateway.max_body_bytes} bytes, which no model's"
        " context holds.",
    )
    await judge_what_is_no_request(world.gateway.port)


async def judge_what_is_no_request(port: int) -> None:
    """Each of these ends before a route is chosen: no message may hold a placeholder of one."""
    upgrade = b"GET /v1/realtime HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n"
    no_path = "without a path reaches no workload class: send a path, such as /v1/chat/completions."
    no_http = "The request is no HTTP that this gateway reads:"
    sent = {
        b"GET /x HTTP/1.1\r\n\r\n": (400, f"{no_http} missing_host_header."),
        b"GET /%00 HTTP/1.1\r\nhost: a\r\n\r\n": (400, f"{no_http} path_normalization_failed."),
        b"\x16\x03\x01\r\n\r\n": (400, f"{no_http} http1.codec_error."),
        b"GET /x HTTP/1.0\r\n\r\n": (426, "The request is HTTP/1.0: send it as HTTP/1.1 or 2."),
        b"OPTIONS * HTTP/1.1\r\nhost: a\r\n\r\n": (404, f"OPTIONS {no_path}"),
        b"CONNECT a:80 HTTP/1.1\r\nhost: a:80\r\n\r\n": (403, f"CONNECT {no_path}"),
        upgrade: (
            403,
            "GET /v1/realtime asks to change to websocket, and this gateway passes on HTTP alone.",
        ),
    }
    got = {each: await exchange(port, each) for each in sent}
    assert {each: (found.status, found.json["error"]["message"]) for each, found in got.items()} == sent
