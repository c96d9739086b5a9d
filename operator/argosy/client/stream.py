"""Counting tokens in a server-sent event stream, cheaply.

Owns what is known of one streamed answer: when its tokens came, whether it is complete. Pure: bytes
and their arrival time come in. Input: the body of an OpenAI streaming
response in pieces of any size. Events end in an empty line ("\\n\\n", as vLLM writes them).

Thousands of chunks per second pass through here, so only the events up to the first text, and
those without text (finish, usage, error), are parsed as JSON. In between, occurrences
of the marker that the first text event showed (`"content":"`) are counted. That is exact:
inside a JSON string the marker's quotes would be escaped.
"""

from __future__ import annotations

import json
from typing import Any

MAX_EVENT_BYTES = 1 << 20
"""An event larger than this is no token; the rest of such a stream is not measured."""

_END = b"\n\n"
_MARKERS = (b'"content":"', b'"content": "', b'"text":"', b'"text": "')
_TEXT_KEYS = ("content", "reasoning_content", "reasoning")


class StreamMeter:
    """Feed it the body as it arrives; read the attributes at any time.

    `num_text_events` counts events with text. `gaps_s` are the times between them.
    `completion_tokens`, `prompt_tokens` and `cached_tokens` are what the usage event said, `is_done`
    whether `[DONE]` came, `error` the text of an error event, if any.
    """

    __slots__ = (
        "_empty_marker",
        "_marker",
        "_pending",
        "cached_tokens",
        "completion_tokens",
        "error",
        "first_token_s",
        "gaps_s",
        "is_done",
        "last_token_s",
        "num_text_events",
        "prompt_tokens",
    )

    def __init__(self) -> None:
        self.first_token_s: float | None = None
        self.last_token_s: float | None = None
        self.gaps_s: list[float] = []
        self.num_text_events = 0
        self.completion_tokens: int | None = None
        self.prompt_tokens: int | None = None
        self.cached_tokens: int | None = None
        self.is_done = False
        self.error = ""
        self._pending = b""
        self._marker = b""
        self._empty_marker = b""

    def feed(self, data: bytes, at_s: float) -> None:
        """Take the next bytes of the body, which arrived at `at_s`."""
        if self._pending:
            data = self._pending + data
            self._pending = b""
        end = data.rfind(_END) + len(_END)
        if end < len(_END):
            end = 0
        if end < len(data):
            self._keep(data[end:])
            data = data[:end]
        num_texts = 0
        if self._marker:
            num_texts = data.count(self._marker) - data.count(self._empty_marker)
            if not num_texts or b"[DONE]" in data or b'"completion_tokens"' in data:
                self._read_events(data)
        elif data:
            num_texts = self._read_events(data)
        if num_texts:
            self._count(num_texts, at_s)

    def _keep(self, rest: bytes) -> None:
        if len(rest) > MAX_EVENT_BYTES:
            self.error = f"an event of more than {MAX_EVENT_BYTES:,} bytes"
            return
        self._pending = rest

    def _count(self, num_texts: int, at_s: float) -> None:
        if self.last_token_s is None:
            self.first_token_s = at_s
            num_gaps = num_texts - 1
        else:
            self.gaps_s.append(at_s - self.last_token_s)
            num_gaps = num_texts - 1
        if num_gaps:
            self.gaps_s.extend([0.0] * num_gaps)
        self.last_token_s = at_s
        self.num_text_events += num_texts

    def _read_events(self, data: bytes) -> int:
        """Parse whole events for what is not text; the number of those that have text."""
        num_texts = 0
        for event in data.split(_END):
            payload = event.removeprefix(b"data:").strip()
            if not payload or payload.startswith(b":"):  # the end of the block, or a comment
                continue
            if payload == b"[DONE]":
                self.is_done = True
                continue
            try:
                found = json.loads(payload)
            except ValueError:
                self.error = self.error or f"an event that is no JSON: {payload[:80]!r}"
                continue
            if isinstance(found, dict) and self._read_object(found):
                num_texts += 1
                self._learn_marker(payload)
        return num_texts

    def _read_object(self, found: dict[str, Any]) -> bool:
        """Note usage and errors; True where the event carries text."""
        if found.get("error"):
            self.error = self.error or json.dumps(found["error"])[:300]
        usage = found.get("usage")
        if isinstance(usage, dict) and isinstance(usage.get("completion_tokens"), int):
            self.completion_tokens = usage["completion_tokens"]
            self.prompt_tokens = _whole(usage.get("prompt_tokens"))
            details = usage.get("prompt_tokens_details")
            self.cached_tokens = _whole(details.get("cached_tokens") if isinstance(details, dict) else None)
        choices = found.get("choices")
        if not (isinstance(choices, list) and choices and isinstance(choices[0], dict)):
            return False
        delta = choices[0].get("delta")
        texts = (
            [delta.get(key) for key in _TEXT_KEYS] if isinstance(delta, dict) else [choices[0].get("text")]
        )
        return any(isinstance(text, str) and text for text in texts)

    def _learn_marker(self, payload: bytes) -> None:
        # Reasoning text comes under other keys and may change over to content: such a stream has no
        # marker until content comes, and is parsed event by event up to there.
        for marker in _MARKERS:
            if not self._marker and payload.count(marker) == 1 and marker + b'"' not in payload:
                self._marker, self._empty_marker = marker, marker + b'"'


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None
