"""A small open-loop load in a thread of its own, while a test changes the world.

Owns requests and what became of each. Never retries: a retry here would hide a loss. Every request
streams a chat completion and asks for a known number of tokens; it is complete only with all of
them, the usage and `[DONE]`.
"""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

import aiohttp

from argosy.client.stream import StreamMeter

OUTPUT_TOKENS = 24
ANSWER_TIMEOUT_S = 60.0
DRAIN_TIMEOUT_S = 90.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of one request (Unix seconds). `error` is empty for a complete answer."""

    sent_s: float
    end_s: float
    status: int = 0
    endpoint: str = ""
    attempts: int = 0
    error: str = ""


@dataclass(frozen=True, slots=True)
class Ask:
    """What every request of a load looks like."""

    url: str
    model: str = "llama-8b"
    headers: Mapping[str, str] = field(default_factory=lambda: {"x-argosy-class": "chat"})
    output_tokens: int = OUTPUT_TOKENS

    def body(self) -> bytes:
        """A streamed chat completion of `output_tokens` tokens."""
        message = {"role": "user", "content": "Tell me of the sea."}
        fields = {
            "model": self.model,
            "messages": [message],
            "max_tokens": self.output_tokens,
            "ignore_eos": True,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        return json.dumps(fields).encode()


class BackgroundLoad:
    """Sends `rate_per_s` requests until the block ends, then waits for those under way."""

    def __init__(self, ask: Ask, rate_per_s: float) -> None:
        self._ask, self._rate_per_s = ask, rate_per_s
        self._answers: list[Answer] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), name="load")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join(DRAIN_TIMEOUT_S)

    @property
    def answers(self) -> tuple[Answer, ...]:
        """What has ended so far, in the order of its end."""
        return tuple(self._answers)

    @property
    def lost(self) -> tuple[Answer, ...]:
        """Requests without a complete answer."""
        return tuple(answer for answer in self._answers if answer.error)

    def num_since(self, at_s: float) -> int:
        """How many requests that were sent after `at_s` have a complete answer."""
        return sum(answer.sent_s > at_s and not answer.error for answer in self._answers)

    async def _run(self) -> None:
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(connector=connector) as session, asyncio.TaskGroup() as group:
            due_s = time.monotonic()
            while not self._stop.is_set():
                group.create_task(self._serve(session))
                due_s += 1 / self._rate_per_s
                await asyncio.sleep(max(0.0, due_s - time.monotonic()))

    async def _serve(self, session: aiohttp.ClientSession) -> None:
        self._answers.append(await exchange(session, self._ask))


async def exchange(session: aiohttp.ClientSession, ask: Ask) -> Answer:
    """Send one request and read its answer to the end."""
    sent_s = time.time()
    headers = {"content-type": "application/json", **ask.headers}
    status, endpoint, attempts = 0, "", 0
    try:
        async with (
            asyncio.timeout(ANSWER_TIMEOUT_S),
            session.post(f"{ask.url}/v1/chat/completions", data=ask.body(), headers=headers) as response,
        ):
            status = response.status
            endpoint = response.headers.get("x-argosy-endpoint", "")
            attempts = int(response.headers.get("x-envoy-attempt-count", "0"))
            error = await _read(response, ask.output_tokens)
    except (aiohttp.ClientError, OSError, TimeoutError) as failure:
        error = f"{type(failure).__name__}: {failure}"
    return Answer(sent_s, time.time(), status, endpoint, attempts, error)


async def _read(response: aiohttp.ClientResponse, output_tokens: int) -> str:
    if response.status != 200:
        return f"status {response.status}: {(await response.text())[:300]}"
    meter = StreamMeter()
    while data := await response.content.readany():
        meter.feed(data, 0.0)
    if meter.is_done and meter.completion_tokens == output_tokens:
        return ""
    return meter.error or f"the stream ended after {meter.num_text_events} of {output_tokens} tokens"


def ask_once(ask: Ask) -> Answer:
    """One request, from a test that awaits nothing."""

    async def once() -> Answer:
        async with aiohttp.ClientSession() as session:
            return await exchange(session, ask)

    return asyncio.run(once())
