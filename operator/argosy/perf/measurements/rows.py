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
    """Milliseconds over the requests of a run; what the report does not say is None.

    unread: fields of percentiles that hold NaN or an infinity
    """

    mean_ms: float | None = None
    p50_ms: float | None = None
    p90_ms: float | None = None
    p95_ms: float | None = None
    p99_ms: float | None = None
    unread: tuple[str, ...] = ()

    def or_none(self) -> Latency | None:
        """None where nothing at all was measured."""
        measured = (self.mean_ms, self.p50_ms, self.p90_ms, self.p95_ms, self.p99_ms)
        return None if all(value is None for value in measured) else self


@dataclass(frozen=True, slots=True)
class Course:
    """How a run went, as far as the report says it; `row_rules` judges it.

    num_asked, asked_s:      requests and seconds that the run was asked for
    num_failed:              requests that ended with an error
    num_unfinished:          requests that were in flight when the run was ended
    duration_s:              of the run
    is_cancelled:            the tool says that the run was stopped
    is_warm_up:              the report calls the run a warm-up
    capped_rate:             requests/s that were asked for, where a cap on those in flight made the load
    """

    num_asked: int | None = None
    asked_s: float | None = None
    num_failed: int | None = None
    num_unfinished: int | None = None
    duration_s: float | None = None
    is_cancelled: bool = False
    is_warm_up: bool = False
    capped_rate: float | None = None


@dataclass(frozen=True, slots=True)
class Measurement:
    """One run.

    where:               the place in the report, for messages ("benchmark 2", "line 7")
    itl:                 the mean gap of a request, (last token - first token)/(tokens - 1); where
                         the tool has only single gaps, theirs
    output_tokens_per_s, requests_per_s: completed
    num_requests:        completed; None where the report does not say
    gpu:                 of this row, in reports that compare several
    course:              how the run went
    marks:               what limits the worth of the row, as sentences
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
    course: Course = Course()
    marks: tuple[str, ...] = ()

    @property
    def mean_latency_ms(self) -> float | None:
        """From sending to the last token; put together from TTFT and ITL where only those are known."""
        if self.e2e is not None:
            return self.e2e.mean_ms or self.e2e.p50_ms
        ttft_ms = self.ttft.mean_ms or self.ttft.p50_ms if self.ttft is not None else None
        itl_ms = self.itl.mean_ms or self.itl.p50_ms if self.itl is not None else None
        if ttft_ms is None or (itl_ms is None and self.output.mean > 1):
            return None
        return ttft_ms + (itl_ms or 0.0) * (self.output.mean - 1)

    @property
    def completed_per_s(self) -> float | None:
        """Requests, or what the tokens make of them."""
        if self.requests_per_s is None and self.output_tokens_per_s is not None:
            return self.output_tokens_per_s / self.output.mean
        return self.requests_per_s


@dataclass(frozen=True, slots=True)
class Measurements:
    """A report.

    name, sha256:  of the file that was read
    left_out:      the rows that cannot be used, each with its reason
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
    left_out: tuple[LeftOut, ...] = ()

    @property
    def gpus(self) -> tuple[str, ...]:
        """The GPUs that the rows name, in their order."""
        return tuple(dict.fromkeys(row.gpu for row in self.rows if row.gpu is not None))

    def of_gpu(self, gpu: str) -> Measurements:
        """Only the rows of one GPU, where the report compares several; the others are left out."""
        others = tuple(
            LeftOut(
                UnreadableReason.OTHER_GPU, f"{row.where}: measured on {row.gpu or 'no GPU that it names'}"
            )
            for row in self.rows
            if row.gpu != gpu
        )
        kept = tuple(row for row in self.rows if row.gpu == gpu)
        return replace(self, rows=kept, gpu=gpu, left_out=(*self.left_out, *others))


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
    MOST_FAILED = "MostFailed"
    """As many requests failed as completed, or more: the figures are of the few that got through."""
    CUT_SHORT = "CutShort"
    """Ended before the load was there."""
    CONTRADICTORY = "Contradictory"
    """Figures of one run that cannot all be right."""
    WARM_UP = "WarmUp"
    OTHER_GPU = "OtherGpu"
    """Of a card other than the one that was asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UnreadableReport(Refused[UnreadableReason]):
    """No rows, why (a sentence with row and field), and which file."""

    name: str = ""


@dataclass(frozen=True, slots=True)
class LeftOut(Refused[UnreadableReason]):
    """A row that is not used, and why; the message begins with its place in the report."""


class RefusedError(Exception):
    """Carries an `UnreadableReport` out of a reader to `read_measurements`, nowhere further."""

    def __init__(self, reason: UnreadableReason, message: str) -> None:
        super().__init__(message)
        self.fault = UnreadableReport(reason, message)
