"""The stream meter: what OpenAI servers send, in pieces of any size."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from argosy.client.stream import MAX_EVENT_BYTES, StreamMeter

Event = dict[str, object]


def chat(text: str | None, **more: object) -> Event:
    delta = {"role": "assistant", "content": ""} if text is None else {"content": text}
    return {"id": "x", "choices": [{"index": 0, "delta": delta, "finish_reason": None}], **more}


def completion(text: str | None) -> Event:
    return {"id": "x", "choices": [{"index": 0, "text": text or "", "finish_reason": None}]}


def usage(num_tokens: int) -> Event:
    return {"id": "x", "choices": [], "usage": {"prompt_tokens": 4, "completion_tokens": num_tokens}}


def body(*events: Event | str, compact: bool = True) -> bytes:
    separators = (",", ":") if compact else None
    texts = [e if isinstance(e, str) else json.dumps(e, separators=separators) for e in events]
    return "".join(f"data: {text}\n\n" for text in texts).encode()


@pytest.mark.parametrize("compact", [True, False])
@pytest.mark.parametrize("event", [chat, completion])
@pytest.mark.parametrize("piece_bytes", [1, 7, 64, 100_000])
def test_tokens_are_counted_however_the_stream_is_cut(
    piece_bytes: int, event: Callable[[str | None], Event], compact: bool
) -> None:
    whole = body(
        event(None), event("a"), event("b"), event(""), event("c"), usage(4), "[DONE]", compact=compact
    )
    meter = StreamMeter()
    for start in range(0, len(whole), piece_bytes):
        meter.feed(whole[start : start + piece_bytes], start)
    assert (meter.num_text_events, len(meter.gaps_s)) == (3, 2)
    assert (meter.completion_tokens, meter.is_done, meter.error) == (4, True, "")
    assert sum(meter.gaps_s) == (meter.last_token_s or 0) - (meter.first_token_s or 0)


def test_times_are_those_of_the_read_that_brought_the_text() -> None:
    meter = StreamMeter()
    for at_s, events in [
        (1.0, [chat(None)]),
        (2.0, [chat("a")]),
        (2.5, [chat("b"), chat("c")]),
        (3.0, [usage(3)]),
    ]:
        meter.feed(body(*events), at_s)
    assert (meter.first_token_s, meter.last_token_s, meter.gaps_s) == (2.0, 2.5, [0.5, 0.0])
    assert not meter.is_done


def test_text_that_looks_like_an_event_is_text() -> None:
    nasty = 'say "content":"x" and "content":"" then [DONE] "completion_tokens": 9 data: {}'
    meter = StreamMeter()
    for text in ("a", nasty, "b"):
        meter.feed(body(chat(text)), 1.0)
    assert (meter.num_text_events, meter.is_done, meter.completion_tokens) == (3, False, None)


def test_an_error_in_the_stream_is_kept() -> None:
    meter = StreamMeter()
    meter.feed(body(chat("a")) + body({"error": {"message": "out of blocks"}}, "[DONE]"), 1.0)
    assert meter.error == '{"message": "out of blocks"}'
    meter = StreamMeter()
    meter.feed(b"data: {broken\n\n: comment\n\n", 1.0)
    assert meter.error.startswith("an event that is no JSON: b'{broken'")


def test_reasoning_is_text_too_and_may_change_over_to_content() -> None:
    def reasoning(text: str) -> Event:
        return {"choices": [{"delta": {"content": None, "reasoning_content": text}}]}

    meter = StreamMeter()
    for event in (reasoning("hm"), reasoning("so"), chat("a"), chat("b")):
        meter.feed(body(event), 1.0)
    assert meter.num_text_events == 4


def test_an_endless_event_is_not_kept() -> None:
    meter = StreamMeter()
    for _ in range(3):
        meter.feed(b"x" * (MAX_EVENT_BYTES // 2 + 1), 1.0)
    assert meter.error.startswith("an event of more than")
