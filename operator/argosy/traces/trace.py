"""Request traces as they were published: when each request arrived, its prompt and output lengths.

Owns the `Trace` value, its slicing and scaling, and `load_trace`, which turns a file into a
`Trace`, or into a `BadTrace` that names every malformed line: no missing number is guessed. The
formats of the lines are `trace_formats`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path

from argosy.refusals import Refused
from argosy.traces.formats import FORMATS, Malformed, TraceLine, line_reader

MAX_REPORTED_LINES = 20
"""Malformed lines named one by one; the rest is counted (a wrong file has millions)."""


@dataclass(frozen=True, slots=True)
class TraceRequest:
    """One request of a trace.

    `arrival_s` counts from the trace's first request. `prefix_blocks` are the identities of the
    prompt's leading 512-token blocks (Mooncake's `hash_ids`): equal numbers are equal text.
    """

    arrival_s: float
    prompt_tokens: int
    output_tokens: int
    prefix_blocks: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class BadLine:
    """A line that cannot be used: its number in the file, from 1, and what is wrong with it."""

    number: int
    problem: Malformed


@dataclass(frozen=True, slots=True)
class BadLines:
    """The first malformed lines of a file, in its order, and how many more there were."""

    lines: tuple[BadLine, ...] = ()
    num_more: int = 0

    @property
    def num_lines(self) -> int:
        """All malformed lines, those that are only counted included."""
        return len(self.lines) + self.num_more

    def __str__(self) -> str:
        named = "; ".join(f"line {line.number}: {line.problem}" for line in self.lines)
        return f"{named}; and {self.num_more} more" if self.num_more else named


class BadTraceReason(StrEnum):
    """Why a file gives no trace."""

    CANNOT_OPEN = "CannotOpen"
    EMPTY = "Empty"
    UNKNOWN_FORMAT = "UnknownFormat"
    MALFORMED_LINES = "MalformedLines"
    NO_REQUEST = "NoRequest"


@dataclass(frozen=True, slots=True, kw_only=True)
class BadTrace(Refused[BadTraceReason]):
    """Why a file gives no trace, in a sentence that names the file and, if there are any, malformed lines."""

    bad_lines: BadLines = BadLines()


@dataclass(frozen=True, slots=True)
class Trace:
    """Requests in the order of their arrival. `skipped` are the file's lines that were left out."""

    name: str
    requests: tuple[TraceRequest, ...]
    skipped: BadLines = field(default=BadLines())

    @property
    def arrivals_s(self) -> tuple[float, ...]:
        """Arrival times, seconds, ascending."""
        return tuple(request.arrival_s for request in self.requests)

    def window(self, start_s: float, end_s: float) -> Trace:
        """The requests of [start_s, end_s), with `start_s` as the new zero; may hold none.

        Raises ValueError where the window is empty by itself (`end_s` at or before `start_s`, or NaN).
        """
        if not 0 <= start_s < end_s:
            raise ValueError(f"a slice starts at 0 or later and ends after its start, got {start_s}:{end_s}")
        kept = tuple(
            replace(request, arrival_s=request.arrival_s - start_s)
            for request in self.requests
            if start_s <= request.arrival_s < end_s
        )
        return replace(self, requests=kept)

    def rescaled(self, rate_factor: float) -> Trace:
        """The same requests `rate_factor` times as fast: every arrival time is divided by it.

        Raises ValueError unless the factor is finite and positive.
        """
        if not (math.isfinite(rate_factor) and rate_factor > 0):
            raise ValueError(f"a rate factor is a positive number, got {rate_factor}")
        return self.retimed([arrival_s / rate_factor for arrival_s in self.arrivals_s])

    def retimed(self, arrivals_s: Sequence[float]) -> Trace:
        """The trace's requests at other times, in its order and from the start again after its end.

        `arrivals_s` ascends. A trace without requests stays empty.
        """
        if not self.requests:
            return self
        num = len(self.requests)
        moved = tuple(
            replace(self.requests[i % num], arrival_s=float(arrival_s))
            for i, arrival_s in enumerate(arrivals_s)
        )
        return replace(self, requests=moved)


def load_trace(path: Path, skip_bad_lines: bool = False) -> Trace | BadTrace:
    """Read a trace file; its format is found from its first line.

    Known are the CSV files of Azure's LLM inference traces (`TIMESTAMP, ContextTokens,
    GeneratedTokens`) and of BurstGPT (`Timestamp`, `Request tokens`, `Response tokens`), columns in
    any order, and Mooncake's JSON lines. Fractions of a second beyond microseconds are cut.

    A line is malformed where a token count is not a whole number of at least 1 (BurstGPT's failed
    requests have 0), a time is no finite number or date, or a field is missing. One malformed line
    refuses the file, unless `skip_bad_lines`: then the trace has the others, and `skipped`
    names the missing ones. Lines that are out of order are not malformed: requests are sorted by
    time, those of the same instant in the order of the file. The first request's time becomes 0.
    Blank lines are skipped.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig", errors="replace")
    except OSError as error:
        message = f"{path.name}: cannot be read: {error.strerror or error}"
        return BadTrace(BadTraceReason.CANNOT_OPEN, message)
    lines = [(number, line) for number, line in enumerate(text.splitlines(), start=1) if line.strip()]
    if not lines:
        return BadTrace(BadTraceReason.EMPTY, f"{path.name}: holds no line")
    first = lines[0][1]
    reader = line_reader(first)
    if reader is None:
        begins = f"{path.name}: has an unknown format, it begins with {first[:80]!r}"
        message = f"{begins}; known are {', '.join(FORMATS)}"
        return BadTrace(BadTraceReason.UNKNOWN_FORMAT, message, tuple(FORMATS))
    body = lines[1:] if reader.has_header else lines
    good, bad = _sorted_out((number, reader.read(line)) for number, line in body)
    if bad.num_lines and not skip_bad_lines:
        message = f"{path.name}: {bad.num_lines} of {len(body)} lines are malformed: {bad}"
        return BadTrace(BadTraceReason.MALFORMED_LINES, message, bad_lines=bad)
    if not good:
        message = f"{path.name}: holds no usable request" + (f": {bad}" if bad.num_lines else "")
        return BadTrace(BadTraceReason.NO_REQUEST, message, bad_lines=bad)
    return Trace(path.name, _from_zero(good), bad)


def _sorted_out(
    numbered: Iterable[tuple[int, TraceLine | Malformed]],
) -> tuple[list[TraceLine], BadLines]:
    good: list[TraceLine] = []
    bad: list[BadLine] = []
    num_more = 0
    for number, line in numbered:
        if isinstance(line, TraceLine):
            good.append(line)
        elif len(bad) < MAX_REPORTED_LINES:
            bad.append(BadLine(number, line))
        else:
            num_more += 1
    return good, BadLines(tuple(bad), num_more)


def _from_zero(lines: list[TraceLine]) -> tuple[TraceRequest, ...]:
    ordered = sorted(lines, key=lambda line: line.time_s)
    zero_s = ordered[0].time_s
    return tuple(
        # Rounded to the microsecond, the finest that any format gives: differences of dates carry noise.
        TraceRequest(
            round(line.time_s - zero_s, 6), line.prompt_tokens, line.output_tokens, line.prefix_blocks
        )
        for line in ordered
    )
