"""The replayer: sends planned requests when they are due and measures the answers.

Owns the open loop (a request is sent at its time, however many are in flight), the HTTP client and
its time stamps. It does not retry: retries are Envoy's, and one here would hide a loss. Input:
planned requests and a target. Output: a `RequestRecord` per request, written to a sink as each
ends, and a `ReplayResult`.

Part of the shell: reads clocks, opens sockets. Stamps are of the monotonic clock,
related to wall time once, at the start. A chunk costs about 48 us of processor time under uvloop (56 us
without), nearly all of it the event loop and the HTTP parser; `stream` is why it is not more.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

import aiohttp
import numpy as np
from yarl import URL

from argosy.client.planned import PlannedRequest
from argosy.client.prompt import prompt_text, prompt_token_ids
from argosy.client.records import Outcome, RequestRecord
from argosy.client.stream import StreamMeter

FLUSH_INTERVAL_S = 1.0
MAX_ERROR_CHARS = 300
_READ_BUFFER_BYTES = 1 << 18


@dataclass(frozen=True, slots=True)
class ReplayTarget:
    """Where requests go and what the replayer allows them.

    `base_url` is scheme, host and port; `headers` are added to every request. Past
    `max_in_flight` a request is recorded as refused. After the last one was due, those in flight
    have `drain_timeout_s` to end. With `takes_any_length` an answer that ends properly is complete
    however many tokens it has.
    """

    base_url: str
    headers: tuple[tuple[str, str], ...] = ()
    max_in_flight: int = 2000
    request_timeout_s: float = 300.0
    drain_timeout_s: float = 300.0
    takes_any_length: bool = False


@dataclass(frozen=True, slots=True)
class ReplayResult:
    """How a replay went. With a large dispatch lag the replayer was too slow: do not trust the latencies."""

    num_requests: int
    num_by_outcome: Mapping[Outcome, int]
    dispatch_lag_p99_s: float
    dispatch_lag_max_s: float


class Sink(Protocol):
    """Takes records as requests end."""

    def write(self, record: RequestRecord) -> None:
        """Take one."""

    def flush(self) -> None:
        """Called every second: what was written must survive a crash from here on."""


class RecordFile:
    """A sink that appends JSON lines to a file; also its context manager."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> Self:
        self._file = self._path.open("a", encoding="utf-8")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def write(self, record: RequestRecord) -> None:
        """Append one line to the buffer."""
        self._file.write(record.to_json() + "\n")

    def flush(self) -> None:
        """Hand the buffer to the operating system."""
        self._file.flush()


async def replay(
    requests: Sequence[PlannedRequest], target: ReplayTarget, sink: Sink, origin_s: float
) -> ReplayResult:
    """Send every request `arrival_s` after `origin_s` (wall time, Unix seconds) and wait for the ends.

    Requests that are already due are sent at once, with their dispatch lag. Every request gets exactly
    one record. When the call is cancelled, those in flight are dropped without one.
    """
    ordered = sorted(requests, key=lambda request: request.arrival_s)
    prompt_text("", 1)  # builds the text, so that the first request does not wait for it
    clock = _Clock.since(origin_s)
    last_s = max(ordered[-1].arrival_s, clock.now_s()) if ordered else 0.0
    flusher = asyncio.create_task(_flush_until_cancelled(sink))
    try:
        async with _session(target) as session, asyncio.TaskGroup() as group:
            run = _Run(target, sink, clock, session)
            run.drained_by_s = last_s + target.drain_timeout_s
            for request in ordered:
                await clock.sleep_until(request.arrival_s)
                run.dispatch(request, group)
    finally:
        flusher.cancel()
        sink.flush()
    return run.result()


def _session(target: ReplayTarget) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0),
        # `_Run` sets one time-out per request: aiohttp's would set a timer on every read.
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=None),
        auto_decompress=False,
        read_bufsize=_READ_BUFFER_BYTES,
        headers=target.headers,
    )


async def _flush_until_cancelled(sink: Sink) -> None:
    while True:
        await asyncio.sleep(FLUSH_INTERVAL_S)
        sink.flush()


@dataclass(frozen=True, slots=True)
class _Clock:
    """Seconds after the origin, from the monotonic clock: steps of the wall clock do not matter."""

    zero_s: float

    @classmethod
    def since(cls, origin_s: float) -> _Clock:
        return cls(time.perf_counter() + origin_s - time.time())

    def now_s(self) -> float:
        return time.perf_counter() - self.zero_s

    async def sleep_until(self, at_s: float) -> None:
        # At least one turn of the event loop even when late, so that answers are read meanwhile.
        await asyncio.sleep(max(0.0, at_s - self.now_s()))


@dataclass(slots=True)
class _Exchange:
    """What is known of a request in flight."""

    request: PlannedRequest
    sent_s: float
    takes_any_length: bool = False
    meter: StreamMeter = field(default_factory=StreamMeter)
    header_s: float | None = None
    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_complete(self) -> bool:
        meter = self.meter
        if not meter.is_done or meter.error or meter.completion_tokens is None:
            return False
        has_length = meter.completion_tokens == self.request.output_tokens
        return has_length or (self.takes_any_length and meter.completion_tokens > 0)

    def record(self, outcome: Outcome, error: str, end_s: float) -> RequestRecord:
        request, meter = self.request, self.meter
        attempts = self.headers.get("x-envoy-attempt-count", "")
        return RequestRecord(
            id=request.id,
            class_name=request.class_name,
            outcome=outcome,
            arrival_s=request.arrival_s,
            prompt_tokens=request.prompt_tokens,
            expected_tokens=request.output_tokens,
            end_s=end_s,
            sent_s=self.sent_s,
            header_s=self.header_s,
            first_token_s=meter.first_token_s,
            last_token_s=meter.last_token_s,
            dispatch_lag_s=self.sent_s - request.arrival_s,
            num_tokens=meter.num_text_events if meter.completion_tokens is None else meter.completion_tokens,
            status=self.status,
            attempts=int(attempts) if attempts.isdecimal() else None,
            endpoint=self.headers.get("x-argosy-endpoint"),
            error=error[:MAX_ERROR_CHARS],
            max_gap_s=max(meter.gaps_s, default=0.0),
            gaps_ms=tuple(gap_s * 1000 for gap_s in meter.gaps_s),
            counted_prompt_tokens=meter.prompt_tokens,
            cached_tokens=meter.cached_tokens,
        )


class _Run:
    """One replay: the session, the requests in flight, the counts."""

    def __init__(
        self, target: ReplayTarget, sink: Sink, clock: _Clock, session: aiohttp.ClientSession
    ) -> None:
        self.drained_by_s = 0.0
        self._target = target
        self._sink = sink
        self._clock = clock
        self._session = session
        self._num_in_flight = 0
        self._lags_s: list[float] = []
        self._num_by_outcome: Counter[Outcome] = Counter()

    def dispatch(self, request: PlannedRequest, group: asyncio.TaskGroup) -> None:
        """Start a task that serves the request, or record it as refused."""
        if self._num_in_flight >= self._target.max_in_flight:
            self._refuse(request)
            return
        self._num_in_flight += 1  # here, not in the task: the bound must count it at once
        group.create_task(self._serve(request))

    def _refuse(self, request: PlannedRequest) -> None:
        now_s = self._clock.now_s()
        self._done(
            RequestRecord(
                id=request.id,
                class_name=request.class_name,
                outcome=Outcome.REFUSED,
                arrival_s=request.arrival_s,
                prompt_tokens=request.prompt_tokens,
                expected_tokens=request.output_tokens,
                end_s=now_s,
                dispatch_lag_s=now_s - request.arrival_s,
                error=f"{self._target.max_in_flight} requests were in flight",
            )
        )

    async def _serve(self, request: PlannedRequest) -> None:
        body = request_body(request)  # before the stamp: making it is the replayer's lag, not the server's
        exchange = _Exchange(request, self._clock.now_s(), self._target.takes_any_length)
        rest_s = self.drained_by_s - exchange.sent_s
        try:
            async with asyncio.timeout(min(rest_s, self._target.request_timeout_s)):
                outcome, error = await self._exchange(exchange, body)
        except TimeoutError:
            outcome, error = _after_failure(exchange, self._time_out_text(rest_s), Outcome.TIMED_OUT)
        finally:
            self._num_in_flight -= 1
        self._done(exchange.record(outcome, error, self._clock.now_s()))

    def _time_out_text(self, rest_s: float) -> str:
        if rest_s < self._target.request_timeout_s:
            return f"not finished {self._target.drain_timeout_s:g} s after the last request was due"
        return f"not finished within {self._target.request_timeout_s:g} s"

    async def _exchange(self, exchange: _Exchange, body: bytes) -> tuple[Outcome, str]:
        """Send the request and read the answer to its end; the outcome, and the error's text."""
        request = exchange.request
        url = URL(self._target.base_url.rstrip("/") + request.path, encoded=True)
        headers = {"content-type": "application/json", **dict(request.headers)}
        try:
            async with self._session.post(url, data=body, headers=headers, allow_redirects=False) as response:
                exchange.header_s = self._clock.now_s()
                exchange.status, exchange.headers = response.status, response.headers
                if response.status != 200:
                    text = (await response.content.read(4 * MAX_ERROR_CHARS)).decode(errors="replace")
                    return Outcome.HTTP_ERROR, f"status {response.status}: {text}"
                await self._read(response.content, exchange.meter)
        except (aiohttp.ClientError, OSError) as error:
            return _after_failure(exchange, f"{type(error).__name__}: {error}")
        return _after_end(exchange)

    async def _read(self, content: aiohttp.StreamReader, meter: StreamMeter) -> None:
        # The innermost loop: once per chunk of every stream.
        now, zero_s = time.perf_counter, self._clock.zero_s
        while data := await content.readany():
            meter.feed(data, now() - zero_s)

    def _done(self, record: RequestRecord) -> None:
        self._num_by_outcome[record.outcome] += 1
        self._lags_s.append(record.dispatch_lag_s)
        self._sink.write(record)

    def result(self) -> ReplayResult:
        lags_s = self._lags_s or [0.0]
        return ReplayResult(
            num_requests=len(self._lags_s),
            num_by_outcome=dict(self._num_by_outcome),
            dispatch_lag_p99_s=float(np.percentile(lags_s, 99, method="inverted_cdf")),
            dispatch_lag_max_s=max(lags_s),
        )


def _after_failure(exchange: _Exchange, error: str, failure: Outcome | None = None) -> tuple[Outcome, str]:
    """What a connection's failure, or a `failure` of another kind, makes of the request.

    It does not matter after a complete answer; else the request is lost before or after its header.
    """
    if exchange.is_complete:
        return Outcome.COMPLETED, ""
    if failure is not None:
        return failure, error
    if exchange.header_s is None:
        return Outcome.CONNECT_ERROR, error
    if exchange.status != 200:
        return Outcome.HTTP_ERROR, f"status {exchange.status}: {error}"
    return Outcome.BROKEN, error


def _after_end(exchange: _Exchange) -> tuple[Outcome, str]:
    """The outcome of a body that ended properly: the answer may still be incomplete."""
    if exchange.is_complete:
        return Outcome.COMPLETED, ""
    meter, expected = exchange.meter, exchange.request.output_tokens
    if meter.error:
        return Outcome.BROKEN, meter.error
    if not meter.is_done:
        return (
            Outcome.BROKEN,
            f"the stream ended without [DONE] after {meter.num_text_events} of {expected} tokens",
        )
    if meter.completion_tokens is None:
        return Outcome.BROKEN, "the stream ended without usage"
    return Outcome.BROKEN, f"{meter.completion_tokens} tokens instead of {expected}"


def request_body(request: PlannedRequest) -> bytes:
    """The OpenAI request: a chat with one message, or a completion, by the path's end."""
    what = (request.id, request.prompt_tokens, request.prefix_blocks)
    prompt = prompt_token_ids(*what) if request.as_token_ids else prompt_text(*what)
    body: dict[str, Any] = {"model": request.model}
    if request.path.endswith("/chat/completions"):
        body["messages"] = [{"role": "user", "content": prompt}]
    else:
        body["prompt"] = prompt
    body |= {
        "stream": True,
        "stream_options": {"include_usage": True},
        "max_tokens": request.output_tokens,
        "ignore_eos": True,
    }
    return json.dumps(body, separators=(",", ":")).encode()
