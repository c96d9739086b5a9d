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
from argosy_sim.livefleet.vllm.prompt import Prompt

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
        pytest.param(Endpoint.CHAT, {"cache_salt": ""}, "a non-empty string", id="an empty salt"),
        pytest.param(Endpoint.CHAT, {"cache_salt": 7}, "a non-empty string", id="a number as a salt"),
        pytest.param(Endpoint.CHAT, {"cache_salt": "a/b"}, "must not contain '@', '/', '\\\\'", id="a path"),
        pytest.param(Endpoint.CHAT, {"cache_salt": "x" * 129}, "at most 128 characters", id="a long salt"),
    ],
)
def test_a_request_that_cannot_be_served_is_refused(
    endpoint: Endpoint, fields: dict[str, Any], words: str
) -> None:
    answer = parsed(endpoint, **fields)
    assert isinstance(answer, ApiError)
    assert answer.status == 400
    assert words in answer.message


SHARING = ServedEngine(("chat",), 1000, {"poet": "/adapters/poet", "poet-2": "/adapters/poet"}, 16)
LONG = "All of this is the same. " * 40


def prefix_of(endpoint: Endpoint = Endpoint.CHAT, **fields: Any) -> tuple[int, ...]:
    default = {"messages": [{"role": "user", "content": LONG}]} if endpoint is Endpoint.CHAT else {}
    body = json.dumps({"model": "chat", **default, **fields}).encode()
    answer = parse_generation(endpoint, body, SHARING)
    assert isinstance(answer, Generation), answer
    assert answer.prefix is not None
    assert answer.prefix.tokens_each == 16
    assert answer.prefix.tokens == (answer.prompt_tokens - 1) // 16 * 16
    return answer.prefix.ids


def test_equal_prompts_share_all_blocks_but_that_of_the_last_token() -> None:
    assert prefix_of() == prefix_of(max_tokens=3, stream=True)
    assert len(prefix_of()) == 15  # 250 tokens
    parts = [{"type": "text", "text": LONG[:100]}, {"type": "text", "text": LONG[100:]}]
    assert prefix_of(messages=[{"role": "user", "content": parts}]) == prefix_of()


def test_a_conversation_shares_what_was_said_before() -> None:
    asked = [{"role": "system", "content": "x" * 99}, {"role": "user", "content": LONG}]
    answered = [*asked, {"role": "assistant", "content": text_of(37)}, {"role": "user", "content": "more"}]
    before, after = prefix_of(messages=asked), prefix_of(messages=answered)
    assert after[: len(before)] == before
    assert len(after) > len(before)


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({"model": "poet"}, id="an adapter"),
        pytest.param({"model": "poet-2"}, id="another adapter from the same source"),
        pytest.param({"cache_salt": "tenant-1"}, id="a cache salt"),
        pytest.param({"cache_salt": "tenant-2"}, id="another cache salt"),
        pytest.param({"messages": [{"role": "system", "content": LONG}]}, id="another role"),
        pytest.param({"messages": [{"role": "user", "content": "!" + LONG}]}, id="another first letter"),
        pytest.param({"tools": [{"type": "function", "function": {"name": "f"}}]}, id="tools"),
        pytest.param({"endpoint": Endpoint.TEXT, "prompt": LONG}, id="no chat"),
        pytest.param({"endpoint": Endpoint.TEXT, "prompt": list(range(250))}, id="token ids"),
        pytest.param(
            {
                "messages": [
                    {"role": "user", "content": [{"type": "image_url"}, {"type": "text", "text": LONG}]}
                ]
            },
            id="an image before it",
        ),
    ],
)
def test_prompts_that_begin_differently_share_nothing(fields: dict[str, Any]) -> None:
    assert not set(prefix_of(**fields)) & set(prefix_of())
    assert prefix_of(**fields) == prefix_of(**fields)


def test_an_adapter_from_another_source_shares_nothing() -> None:
    body = json.dumps({"model": "poet", "prompt": LONG}).encode()
    elsewhere = ServedEngine(("chat",), 1000, {"poet": "/adapters/poet-of-today"}, 16)
    one, two = (parse_generation(Endpoint.TEXT, body, engine) for engine in (SHARING, elsewhere))
    assert isinstance(one, Generation)
    assert isinstance(two, Generation)
    assert one.prefix is not None
    assert two.prefix is not None
    assert not set(one.prefix.ids) & set(two.prefix.ids)


def test_an_engine_without_a_prefix_cache_is_asked_for_no_blocks() -> None:
    assert valid(Endpoint.TEXT, prompt=LONG).prefix is None


@given(st.binary(max_size=120), st.binary(max_size=60), st.binary(max_size=60), st.integers(1, 9))
def test_prompts_share_exactly_the_full_blocks_that_are_equal(
    before: bytes, one: bytes, two: bytes, block_size: int
) -> None:
    prompts = [Prompt(before + rest, (), 0) for rest in (one, two)]
    ids = [found.ids if (found := prompt.prefix(block_size, ())) else () for prompt in prompts]
    width = 4 * block_size
    most = min((prompt.num_tokens - 1) // block_size for prompt in prompts)
    common = 0
    while common < most and (before + one)[: (common + 1) * width] == (before + two)[: (common + 1) * width]:
        common += 1
    assert ids[0][:common] == ids[1][:common]
    assert not set(ids[0][common:]) & set(ids[1])


@pytest.mark.parametrize("details", [True, False])
def test_usage_has_the_cached_tokens_where_the_engine_was_started_so(details: bool) -> None:
    engine = ServedEngine(("chat",), 1000, {}, 16, details)
    body = b'{"prompt":"x","max_tokens":2,"stream_options":{"include_usage":true}}'
    request = parse_generation(Endpoint.TEXT, body, engine)
    assert isinstance(request, Generation)
    answer = Answer("id-1", 7)
    whole = json.loads(answer.whole(request, 48))["usage"]
    assert whole["prompt_tokens_details"] == ({"cached_tokens": 48} if details else None)
    assert _events(_dechunked(answer.frames(request).last(1, 48)))[-1]["usage"] == whole


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
