"""Argosy's own file of an observed run: JSON lines that `argosy perf observe` writes and everything reads.

Owns the format (`kind: ArgosyRun`, version 1). The first line is the header: the endpoint, what is known
of its engine, and how the load was made. Then one line per request, in the order of their ends. The last
line is the end: whether the run went to its end, and how late the client was. A file without it was
interrupted and is read all the same, marked so; so is one whose last line was cut off.

Times are seconds after the run's origin, rounded to the microsecond; gaps between tokens are summarised
in milliseconds.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from argosy.perf.observed.run import Engine

KIND = "ArgosyRun"
VERSION = 1
COMPLETED = "Completed"
"""The outcome of a request that was answered in full."""


@dataclass(frozen=True, slots=True)
class RunHeader:
    """How a run was made.

    started:        the instant of the origin, ISO 8601
    prompts:        "token ids", whose number is exact, or "text"
    speed:          the trace's times were divided by it
    num_planned:    requests that were to be sent
    """

    started: str
    url: str
    trace: str
    path: str
    prompts: str
    speed: float
    max_in_flight: int
    num_planned: int
    engine: Engine

    def to_json(self) -> str:
        """The first line, without its end."""
        return json.dumps({"kind": KIND, "version": VERSION, **asdict(self)})


@dataclass(frozen=True, slots=True)
class RunEnd:
    """How a run went.

    num_recorded:       requests with a line
    dispatch_lag_p99_s: how late the client sent; large: do not trust the latencies
    """

    is_complete: bool
    num_recorded: int
    dispatch_lag_p99_s: float | None

    def to_json(self) -> str:
        """The last line, without its end."""
        return json.dumps({"end": asdict(self)})


@dataclass(frozen=True, slots=True)
class RequestLine:
    """One request: times in seconds after the origin; None for what did not happen.

    due_s:      when it was to be sent; sent_s: when it was
    gap_..._ms: of the times between its tokens
    outcome:    `COMPLETED`, or how it failed, with the cause in `error`
    """

    id: str
    outcome: str
    due_s: float
    sent_s: float | None
    first_token_s: float | None
    last_token_s: float | None
    end_s: float
    prompt_tokens: int
    output_tokens: int
    cached_tokens: int | None = None
    gap_p50_ms: float | None = None
    gap_p99_ms: float | None = None
    gap_max_ms: float | None = None
    status: int | None = None
    error: str = ""

    def to_json(self) -> str:
        """One line, without its end; what is None is left out."""
        values = {name: value for name, value in asdict(self).items() if value is not None}
        return json.dumps({name: _rounded(value) for name, value in values.items()})


def _rounded(value: object) -> object:
    return round(value, 6) if isinstance(value, float) else value


def is_header(found: Mapping[str, Any]) -> bool:
    """Whether a JSON object is the header of a run, of any version."""
    return found.get("kind") == KIND
