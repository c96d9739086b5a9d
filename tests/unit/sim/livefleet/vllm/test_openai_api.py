"""OpenAI requests as values: lengths, defaults, refusals, and the frames of a stream."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from argosy_sim.livefleet.vllm.openai_api import (
    Answer,
    ApiError,
    Endpoint,
    Generation,
    ServedEngine,
    parse_generation,
    text_of,
)

ENGINE = ServedEngine(("chat", "alias"), 1000)
LENGTHS = [
    pytest.param("", 1, id="nothing is still one token"),
    pytest.param("abcd", 1, id="four bytes"),
    pytest.param("abcde", 2, id="five bytes"),
    pytest.param("äöü€", 3, id="bytes of UTF-8, not characters"),
]


def parsed(endpoint: Endpoint = Endpoint.CHAT, **fields: Any) -> Generation | ApiError:
    default = {"messages": [{"role": "user", "content": "hello"}]} if endpoint is Endpoint.CHAT else {}
    return parse_generation(endpoint, json.dumps({"model": "chat", **default, **fields}).encode(), ENGINE)


def valid(endpoint: Endpoint = Endpoint.CHAT, **fields: Any) -> Generation:
    answer = parsed(endpoint, **fields)
    assert isinstance(answer, Generation), answer
    return answer


@pytest.mark.parametrize(("text", "tokens"), LENGTHS)
def test_a_token_is_four_bytes(text: str, tokens: int) -> None:
    messages = [{"role": "user", "content": text}]
    assert valid(messages=messages).prompt_tokens == tokens
    assert valid(Endpoint.TEXT, prompt=text).prompt_tokens == tokens


def test_all_messages_and_all_text_parts_count() -> None:
    messages = [
        {"role": "system", "content": "x" * 8},
        {"role": "user", "content": [{"type": "text", "text": "y" * 8}, {"type": "image_url"}]},
        {"role": "assistant", "content": None},
    ]
    assert valid(messages=messages).prompt_tokens == 4


def test_an_answer_sent_back_counts_the_tokens_it_had() -> None:
    messages = [{"role": "assistant", "content": text_of(37)}]
    assert valid(messages=messages).prompt_tokens == 37


@pytest.mark.parametrize(
    ("endpoint", "fields", "max_tokens"),
    [
        pytest.param(Endpoint.CHAT, {}, 998, id="a chat may fill the context"),
        pytest.param(Endpoint.TEXT, {"prompt": "x"}, 16, id="a completion has 16"),
        pytest.param(Endpoint.CHAT, {"max_tokens": 7}, 7, id="the old name"),
        pytest.param(Endpoint.CHAT, {"max_tokens": 7, "max_completion_tokens": 9}, 9, id="the new name wins"),
        pytest.param(Endpoint.TEXT, {"prompt": [1, 2, 3], "max_tokens": 5}, 5, id="a prompt of token ids"),
        pytest.param(Endpoint.TEXT, {"prompt": ["one"], "max_tokens": 5}, 5, id="a list of one prompt"),
    ],
)
def test_the_longest_answer_is_as_openai_has_it(
    endpoint: Endpoint, fields: dict[str, Any], max_tokens: int
) -> None:
    assert valid(endpoint, **fields).max_tokens == max_tokens


@pytest.mark.parametrize(
    ("endpoint", "fields", "words"),
    [
        pytest.param(Endpoint.CHAT, {"messages": []}, "at least one message", id="no message"),
        pytest.param(Endpoint.CHAT, {"messages": ["hi"]}, "object with a role", id="a message of words only"),
        pytest.param(
            Endpoint.CHAT, {"messages": [{"role": "user", "content": 5}]}, "string or a list", id="a number"
        ),
        pytest.param(Endpoint.TEXT, {}, "prompt must be", id="no prompt"),
        pytest.param(Endpoint.TEXT, {"prompt": ["a", "b"]}, "prompt must be", id="two prompts"),
        pytest.param(Endpoint.CHAT, {"max_tokens": True}, "max_tokens must be", id="a truth for a number"),
        pytest.param(
            Endpoint.CHAT, {"max_tokens": 999}, "you requested 1001 tokens", id="one token too many"
        ),
    ],
)
def test_a_request_that_cannot_be_served_is_refused(
    endpoint: Endpoint, fields: dict[str, Any], words: str
) -> None:
    answer = parsed(endpoint, **fields)
    assert isinstance(answer, ApiError)
    assert answer.status == 400
    assert words in answer.message


@given(st.text(), st.integers(1, 900), st.booleans())
def test_an_answers_length_depends_on_the_prompt_alone_and_fits(
    text: str, max_tokens: int, ignore_eos: bool
) -> None:
    fields = {"prompt": text[:300], "max_tokens": max_tokens, "ignore_eos": ignore_eos}
    request = parsed(Endpoint.TEXT, **fields)
    if isinstance(request, ApiError):  # 300 characters of four bytes, and 900 tokens
        assert "maximum context length" in request.message
        return
    assert request == parsed(Endpoint.TEXT, **fields)
    assert 1 <= request.output_tokens <= max_tokens
    assert (request.finish_reason == "length") == (request.output_tokens == max_tokens)
    if ignore_eos:
        assert request.output_tokens == max_tokens


@pytest.mark.parametrize("num_tokens", [1, 2, 30], ids=["a lone token", "first and last", "many"])
@pytest.mark.parametrize("endpoint", list(Endpoint))
def test_a_streams_frames_are_http_chunks_that_say_what_the_whole_says(
    endpoint: Endpoint, num_tokens: int
) -> None:
    fields: dict[str, Any] = {"prompt": "x"} if endpoint is Endpoint.TEXT else {}
    fields |= {"max_tokens": num_tokens, "ignore_eos": True, "stream_options": {"include_usage": True}}
    request = valid(endpoint, **fields)
    answer = Answer("id-1", 7)
    frames = answer.frames(request)
    wire = b"".join(frames.token(index) for index in range(num_tokens - 1)) + frames.last(num_tokens - 1)
    events = _events(_dechunked(wire))
    choices = [choice for event in events for choice in event["choices"]]
    whole = json.loads(answer.whole(request))
    assert "".join(_text(choice) for choice in choices) == _text(whole["choices"][0])
    assert choices[-1]["finish_reason"] == whole["choices"][0]["finish_reason"] == "length"
    assert events[-1]["usage"] == whole["usage"]
    assert {event["id"] for event in events} == {"id-1"}


def _dechunked(wire: bytes) -> bytes:
    body = b""
    while wire:
        size, _, wire = wire.partition(b"\r\n")
        length = int(size, 16)
        body, end, wire = body + wire[:length], wire[length : length + 2], wire[length + 2 :]
        assert end == b"\r\n"
    return body


def _events(body: bytes) -> list[dict[str, Any]]:
    *events, done, rest = body.split(b"\n\n")
    assert (done, rest) == (b"data: [DONE]", b"")
    return [json.loads(event.removeprefix(b"data: ")) for event in events]


def _text(choice: dict[str, Any]) -> str:
    if "text" in choice:
        return str(choice["text"])
    return str((choice.get("delta") or choice.get("message") or {}).get("content", ""))
