"""The neutral row: one load on one engine and what was measured under it.

Owns the nouns that every reader produces and the fit consumes. Readers know the tools' formats. A
quantity that a report does not have is None, never 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np

from argosy.refusals import Refused


class Tool(StrEnum):
    """What made a report."""

    VLLM_BENCH = "vllm bench serve"
    GUIDELLM = "guidellm"
    AIPERF = "aiperf"
    CSV = "CSV"
    MELANGE = "Mélange"
    AIBRIX = "AIBrix"


@dataclass(frozen=True, slots=True)
class TokenLengths:
    """Tokens per request: mean, and standard deviation where it is known (0: all are alike)."""

    mean: float
    std: float | None = None

    @classmethod
    def of(cls, tokens: Sequence[float]) -> TokenLengths:
        """From the length of every request."""
        return cls(float(np.mean(tokens)), float(np.std(tokens)))


@dataclass(frozen=True, slots=True)
class ClosedLoopLoad:
    """This many requests in flight: the next one is sent when one completes."""

    concurrency: int


@dataclass(frozen=True, slots=True)
class OpenLoopLoad:
    """Requests sent at this mean rate, whatever completes.

    gap_cv: coefficient of variation of the gaps: 1 a Poisson process, 0 a metronome
    """

    requests_per_s: float
    gap_cv: float = 1.0


@dataclass(frozen=True, slots=True)
class SaturatingLoad:
    """As many requests in flight as the engine takes: a table of maximum throughputs."""


OfferedLoad = ClosedLoopLoad | OpenLoopLoad | SaturatingLoad


@dataclass(frozen=True, slots=True)
class Latency:
    """Milliseconds over the requests of a run; what the report does not say is None."""

    mean_ms: float | None = None
    p50_ms: float | None = None
    p90_ms: float | None = None
    p95_ms: float | None = None
    p99_ms: float | None = None

    def or_none(self) -> Latency | None:
        """None where nothing at all was measured."""
        return None if self == Latency() else self


@dataclass(frozen=True, slots=True)
class Measurement:
    """One run.

    where:               the place in the report, for messages ("benchmark 2", "line 7")
    itl:                 the mean gap of a request, (last token - first token)/(tokens - 1); where
                         the tool has only single gaps, theirs
    output_tokens_per_s, requests_per_s: completed
    num_requests:        completed; None where the report does not say
    gpu:                 of this row, in reports that compare several
    """

    where: str
    prompt: TokenLengths
    output: TokenLengths
    load: OfferedLoad
    ttft: Latency | None = None
    itl: Latency | None = None
    e2e: Latency | None = None
    output_tokens_per_s: float | None = None
    requests_per_s: float | None = None
    num_requests: int | None = None
    gpu: str | None = None


@dataclass(frozen=True, slots=True)
class Measurements:
    """A report.

    name, sha256:  of the file that was read
    model, gpu:    as the report spells them; None where it does not say (most never name a GPU)
    notes:         sentences about what was left out or had to be assumed
    """

    name: str
    sha256: str
    tool: Tool
    rows: tuple[Measurement, ...]
    tool_version: str | None = None
    model: str | None = None
    gpu: str | None = None
    notes: tuple[str, ...] = ()

    @property
    def gpus(self) -> tuple[str, ...]:
        """The GPUs that the rows name, in their order."""
        return tuple(dict.fromkeys(row.gpu for row in self.rows if row.gpu is not None))

    def of_gpu(self, gpu: str) -> Measurements:
        """Only the rows of one GPU, where the report compares several."""
        return replace(self, rows=tuple(row for row in self.rows if row.gpu == gpu), gpu=gpu)


class UnreadableReason(StrEnum):
    """Why a file gives no rows."""

    UNKNOWN_FORMAT = "UnknownFormat"
    AMBIGUOUS = "Ambiguous"
    BROKEN = "Broken"
    """Not the JSON or the table that it begins as, or cut off."""
    INCOMPLETE = "Incomplete"
    """Something that a row cannot do without is missing."""
    BAD_VALUE = "BadValue"
    NOTHING_MEASURED = "NothingMeasured"
    """The report is whole, but no request completed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UnreadableReport(Refused[UnreadableReason]):
    """No rows, why (a sentence with row and field), and which file."""

    name: str = ""


class RefusedError(Exception):
    """Carries an `UnreadableReport` out of a reader to `read_measurements`, nowhere further."""

    def __init__(self, reason: UnreadableReason, message: str) -> None:
        super().__init__(message)
        self.fault = UnreadableReport(reason, message)
