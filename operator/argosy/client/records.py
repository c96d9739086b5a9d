"""The outcome of one request, as the client observed it.

Owns `RequestRecord`, its derived latencies and its line in a JSON-lines file. Pure.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any


class Outcome(StrEnum):
    """How a request ended. Whatever is not `COMPLETED` is lost."""

    COMPLETED = "Completed"
    """Status 200, the stream ended properly and had every token that was requested."""
    HTTP_ERROR = "HttpError"
    """An answer with another status."""
    BROKEN = "Broken"
    """The response header came, but not the whole stream: it was cut or ended early."""
    CONNECT_ERROR = "ConnectError"
    """No response header: not connected, or the connection ended before it."""
    TIMED_OUT = "TimedOut"
    """Not finished within the request's time-out, or by the end of the drain."""
    REFUSED = "Refused"
    """Not sent: the allowed number of requests was in flight."""


@dataclass(frozen=True, slots=True)
class RequestRecord:
    """One request; times are seconds after the origin of the run, None for what did not happen.

    `dispatch_lag_s` is how late the replayer sent it (not the server's fault).
    `num_tokens` is what the server's usage says, or how many chunks with text arrived where that
    is missing. `gaps_ms` are the times between tokens in order; tokens that arrive in one read
    have a gap of 0. `attempts` and `endpoint` come from the response headers
    `x-envoy-attempt-count` and `x-argosy-endpoint`, None where absent. `counted_prompt_tokens` and
    `cached_tokens` are what the server's usage says of the prompt, None where it says nothing.
    """

    id: str
    class_name: str
    outcome: Outcome
    arrival_s: float
    prompt_tokens: int
    expected_tokens: int
    end_s: float
    sent_s: float | None = None
    header_s: float | None = None
    first_token_s: float | None = None
    last_token_s: float | None = None
    dispatch_lag_s: float = 0.0
    num_tokens: int = 0
    status: int | None = None
    attempts: int | None = None
    endpoint: str | None = None
    error: str = ""
    max_gap_s: float = 0.0
    gaps_ms: tuple[float, ...] = ()
    counted_prompt_tokens: int | None = None
    cached_tokens: int | None = None

    @property
    def is_lost(self) -> bool:
        """No complete answer."""
        return self.outcome is not Outcome.COMPLETED

    @property
    def was_retried(self) -> bool:
        """Envoy sent it more than once."""
        return (self.attempts or 1) > 1

    @property
    def ttft_ms(self) -> float | None:
        """From sending to the first chunk with text; None before there was one.

        Counted from `sent_s`, not `arrival_s`: the load is open, so a late dispatch is the replayer's
        fault, and `dispatch_lag_s` holds it.
        """
        if self.sent_s is None or self.first_token_s is None:
            return None
        return (self.first_token_s - self.sent_s) * 1000

    @property
    def itl_ms(self) -> float | None:
        """Mean gap: (last token - first token) / (tokens - 1); 0 for a single token, as vLLM has it."""
        if self.first_token_s is None or self.last_token_s is None:
            return None
        return (self.last_token_s - self.first_token_s) * 1000 / max(1, self.num_tokens - 1)

    @property
    def e2e_ms(self) -> float | None:
        """From sending to the end of a complete answer; None for a lost request."""
        if self.sent_s is None or self.is_lost:
            return None
        return (self.end_s - self.sent_s) * 1000

    def to_json(self) -> str:
        """One line, without its end: times to the microsecond, gaps to 10 us."""
        return json.dumps({name: _rounded(value) for name, value in asdict(self).items()})

    @classmethod
    def from_json(cls, line: str) -> RequestRecord:
        """The record that `to_json` wrote; `ValueError`, `TypeError` or `KeyError` where it did not."""
        values: dict[str, Any] = json.loads(line)
        values["outcome"] = Outcome(values["outcome"])
        values["gaps_ms"] = tuple(values["gaps_ms"])
        return cls(**values)


def _rounded(value: object) -> object:
    if isinstance(value, float):
        return round(value, 6)
    return [round(gap, 2) for gap in value] if isinstance(value, tuple) else value


def read_records(lines: Iterable[str]) -> Iterator[RequestRecord]:
    """The records of a replay's output file.

    A last line without its end is skipped: its writer was killed before it was complete.
    """
    for line in lines:
        if line.endswith("\n"):
            yield RequestRecord.from_json(line)
