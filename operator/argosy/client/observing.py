"""Observing an endpoint: a trace's requests sent to it, a line per request in a file.

Owns the planning of the requests, the file's life and what becomes of an interruption. Input: a trace and an
`Observation`. Output: the file, which `perf.observed.file` describes, and `Observed`.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from argosy.client.open_loop import ReplayTarget, replay
from argosy.client.planned import TEXT_PATH, PlannedRequest
from argosy.client.records import RequestRecord
from argosy.client.settings import engine_settings
from argosy.perf.observed.file import RequestLine, RunEnd, RunHeader
from argosy.perf.observed.run import Engine
from argosy.traces.trace import Trace

_START_DELAY_S = 0.5
"""From planning to the origin: the first request must not be late."""

_CLASS = "observed"


@dataclass(frozen=True, slots=True)
class Observation:
    """What is asked of the endpoint.

    engine:  what the user says of it; the endpoint's own answers are added
    speed:   by which the trace's times were divided already, for the header
    as_text: prompts as text, whose number of tokens is about right, in place of token ids
    """

    target: ReplayTarget
    engine: Engine
    speed: float = 1.0
    path: str = TEXT_PATH
    as_text: bool = False

    @property
    def as_token_ids(self) -> bool:
        """A chat has no form for token ids."""
        return self.path.endswith(TEXT_PATH) and not self.as_text


@dataclass(slots=True)
class Observed:
    """How it went, as far as it went.

    num_by_outcome: requests with a line
    """

    engine: Engine
    num_planned: int
    is_complete: bool = False
    num_by_outcome: Counter[str] = field(default_factory=Counter)
    lags_s: list[float] = field(default_factory=list)

    @property
    def lag_p99_s(self) -> float | None:
        """How late the client sent its requests; None where it sent none."""
        if not self.lags_s:
            return None
        return float(np.percentile(self.lags_s, 99, method="inverted_cdf"))


async def observe(trace: Trace, asked: Observation, out: Path, report: Callable[[int], None]) -> Observed:
    """Send the trace's requests when they are due; the file is complete when this returns or is cancelled.

    report: gets the number of requests that have ended

    Raises SpecError where the endpoint does not answer or does not serve the model. A cancellation ends
    the observation: the file tells it, and what was observed is returned.
    """
    told = await engine_settings(asked.target.base_url, asked.target.headers, asked.engine.model)
    engine = _joined(asked.engine, told)
    requests = planned(trace, engine.model or "", asked)
    origin_s = time.time() + _START_DELAY_S
    found = Observed(engine, len(requests))
    header = RunHeader(
        started=datetime.fromtimestamp(origin_s, UTC).isoformat(timespec="milliseconds"),
        url=asked.target.base_url,
        trace=trace.name,
        path=asked.path,
        prompts="token ids" if asked.as_token_ids else "text",
        speed=asked.speed,
        max_in_flight=asked.target.max_in_flight,
        num_planned=len(requests),
        engine=engine,
    )
    with _RunFile(out, header, found, report) as file:
        try:
            await replay(requests, asked.target, file, origin_s)
            found.is_complete = True
        except asyncio.CancelledError:
            # Interrupted by the user: what was observed is kept. The task ends here, so nothing waits for it.
            pass
    return found


def planned(trace: Trace, model: str, asked: Observation) -> tuple[PlannedRequest, ...]:
    """The trace's requests at their times."""
    return tuple(
        PlannedRequest(
            id=f"{number:06d}",
            class_name=_CLASS,
            arrival_s=one.arrival_s,
            prompt_tokens=one.prompt_tokens,
            output_tokens=one.output_tokens,
            path=asked.path,
            headers=(),
            model=model,
            prefix_blocks=one.prefix_blocks,
            as_token_ids=asked.as_token_ids,
        )
        for number, one in enumerate(trace.requests)
    )


def line_of(record: RequestRecord) -> RequestLine:
    """A record as a line; tokens are those that the server counted, where it did."""
    gaps = record.gaps_ms
    p50, p99 = np.percentile(gaps, (50, 99), method="inverted_cdf").tolist() if gaps else (None, None)
    counted = record.counted_prompt_tokens
    return RequestLine(
        id=record.id,
        outcome=str(record.outcome),
        due_s=record.arrival_s,
        # A clock's last digit may let the first request go a moment before the start.
        sent_s=None if record.sent_s is None else max(0.0, record.sent_s),
        first_token_s=record.first_token_s,
        last_token_s=record.last_token_s,
        end_s=record.end_s,
        prompt_tokens=record.prompt_tokens if counted is None else counted,
        output_tokens=record.num_tokens,
        cached_tokens=record.cached_tokens,
        gap_p50_ms=p50,
        gap_p99_ms=p99,
        gap_max_ms=max(gaps, default=None),
        status=record.status,
        error=record.error,
    )


def _joined(stated: Engine, told: Engine) -> Engine:
    """What the endpoint tells, and what only the user can know."""
    known = {name: value for name in Engine.__slots__ if (value := getattr(stated, name)) is not None}
    return replace(told, **known)


class _RunFile:
    """A sink that writes lines as requests end, and the last line at its end."""

    def __init__(self, path: Path, header: RunHeader, found: Observed, report: Callable[[int], None]) -> None:
        self._path, self._header, self._found, self._report = path, header, found, report

    def __enter__(self) -> Self:
        self._file = self._path.open("x", encoding="utf-8")
        self._file.write(self._header.to_json() + "\n")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        found = self._found
        end = RunEnd(found.is_complete, found.num_by_outcome.total(), found.lag_p99_s)
        self._file.write(end.to_json() + "\n")
        self._file.close()

    def write(self, record: RequestRecord) -> None:
        """One line to the buffer."""
        self._found.num_by_outcome[str(record.outcome)] += 1
        self._found.lags_s.append(record.dispatch_lag_s)
        self._file.write(line_of(record).to_json() + "\n")
        self._report(self._found.num_by_outcome.total())

    def flush(self) -> None:
        """Hand the buffer to the operating system."""
        self._file.flush()
