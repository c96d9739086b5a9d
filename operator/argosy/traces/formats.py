"""One line of a published trace, read strictly.

Owns the three line formats and the reasons for which a line is refused. Input: the text of one
line. Output: a `TraceLine` or `Malformed`.

A new format is a class with `has_header`, `read`, and a case in `line_reader`.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import ClassVar, Protocol

from argosy.refusals import Refused

MAX_TOKENS_PER_REQUEST = 10_000_000
"""Beyond any model's context: a larger number is a damaged line."""

_ZERO = datetime(2020, 1, 1, tzinfo=UTC)  # near the traces' dates, so that floats keep microseconds
_WHOLE = re.compile(r"[0-9]+")  # int() would also take "1_000", " 7" and other scripts' digits
_DECIMAL = re.compile(r"[0-9]+(\.[0-9]*)?([eE][+-]?[0-9]+)?")


@dataclass(frozen=True, slots=True)
class TraceLine:
    """A good line. `time_s` has the format's own zero."""

    time_s: float
    prompt_tokens: int
    output_tokens: int
    prefix_blocks: tuple[int, ...] = ()


class MalformedReason(StrEnum):
    """Why a line cannot be used."""

    OTHER_FORMAT = "OtherFormat"
    """Not a line of this format at all."""
    BAD_VALUE = "BadValue"
    """A field is missing or has no usable value."""


@dataclass(frozen=True, slots=True)
class Malformed(Refused[MalformedReason]):
    """A line that cannot be used, and why: the field, the value found and the value needed."""


class LineReader(Protocol):
    """Reads the lines of one format."""

    has_header: ClassVar[bool]

    def read(self, line: str) -> TraceLine | Malformed:
        """One line of the file, header excluded."""


@dataclass(frozen=True, slots=True)
class CsvColumns:
    """Where a CSV file has the time and the lengths: indices of its columns, and their names."""

    names: tuple[str, ...]
    time: int
    prompt: int
    output: int


@dataclass(frozen=True, slots=True)
class AzureCsv:
    """`TIMESTAMP,ContextTokens,GeneratedTokens`; the time is a date, with or without a time zone."""

    columns: CsvColumns
    has_header: ClassVar[bool] = True

    def read(self, line: str) -> TraceLine | Malformed:
        """A row; without a time zone the date is UTC."""
        fields = _fields(line, self.columns)
        if isinstance(fields, Malformed):
            return fields
        return _row(fields, self.columns, _date_s(fields[self.columns.time]))


@dataclass(frozen=True, slots=True)
class BurstGptCsv:
    """`Timestamp,...,Request tokens,Response tokens,...`; the time is in seconds."""

    columns: CsvColumns
    has_header: ClassVar[bool] = True

    def read(self, line: str) -> TraceLine | Malformed:
        """A row; a failed request (no response token) is malformed."""
        fields = _fields(line, self.columns)
        if isinstance(fields, Malformed):
            return fields
        text = fields[self.columns.time]
        time_s = float(text) if _DECIMAL.fullmatch(text) else math.nan
        return _row(fields, self.columns, time_s)


@dataclass(frozen=True, slots=True)
class MooncakeJsonLines:
    """`{"timestamp": ms, "input_length": n, "output_length": n, "hash_ids": [...]}` on each line."""

    has_header: ClassVar[bool] = False

    def read(self, line: str) -> TraceLine | Malformed:
        """One object; `hash_ids` may be absent."""
        try:
            found = json.loads(line)
        except (ValueError, RecursionError):
            return Malformed(MalformedReason.OTHER_FORMAT, "no JSON")
        if not isinstance(found, dict):
            return Malformed(MalformedReason.OTHER_FORMAT, "no JSON object")
        time_ms = found.get("timestamp")
        if isinstance(time_ms, bool) or not isinstance(time_ms, int | float) or not 0 <= time_ms < 1e15:
            message = f"timestamp is {_shown(time_ms)}, a number of milliseconds of at least 0 expected"
            return Malformed(MalformedReason.BAD_VALUE, message)
        for key in ("input_length", "output_length"):
            value = found.get(key)
            if isinstance(value, bool) or not isinstance(value, int) or not _is_count(value):
                return _not_a_count(key, value)
        blocks = found.get("hash_ids", [])
        if not isinstance(blocks, list) or any(type(block) is not int or block < 0 for block in blocks):
            message = "hash_ids is no list of whole numbers of at least 0"
            return Malformed(MalformedReason.BAD_VALUE, message)
        return TraceLine(time_ms / 1000, found["input_length"], found["output_length"], tuple(blocks))


FORMATS: Mapping[str, tuple[str, ...]] = {
    "Azure CSV (TIMESTAMP, ContextTokens, GeneratedTokens)": (
        "TIMESTAMP",
        "ContextTokens",
        "GeneratedTokens",
    ),
    "BurstGPT CSV (Timestamp, Request tokens, Response tokens)": (
        "Timestamp",
        "Request tokens",
        "Response tokens",
    ),
    "Mooncake JSON lines (timestamp, input_length, output_length)": (),
}
"""The known formats as messages name them, with the columns that a CSV's header must have."""


def line_reader(first_line: str) -> LineReader | None:
    """The reader of the format that a file with this first line has; None for an unknown format."""
    if first_line.lstrip().startswith("{"):
        return MooncakeJsonLines()
    names = tuple(name.strip() for name in first_line.split(","))
    azure, burst_gpt, _ = FORMATS.values()
    if columns := _columns(names, azure):
        return AzureCsv(columns)
    if columns := _columns(names, burst_gpt):
        return BurstGptCsv(columns)
    return None


def _columns(names: tuple[str, ...], wanted: tuple[str, ...]) -> CsvColumns | None:
    lowered = [name.lower() for name in names]
    if any(lowered.count(name.lower()) != 1 for name in wanted):
        return None
    time, prompt, output = (lowered.index(name.lower()) for name in wanted)
    return CsvColumns(names, time, prompt, output)


def _fields(line: str, columns: CsvColumns) -> list[str] | Malformed:
    # None of the formats quotes; a quoted comma therefore shows as a wrong number of fields.
    fields = [text.strip() for text in line.split(",")]
    if len(fields) != len(columns.names):
        message = f"{len(fields)} fields, {len(columns.names)} expected"
        return Malformed(MalformedReason.OTHER_FORMAT, message)
    return fields


def _row(fields: list[str], columns: CsvColumns, time_s: float) -> TraceLine | Malformed:
    if not math.isfinite(time_s):
        name = columns.names[columns.time]
        message = f"{name} is {_shown(fields[columns.time])}, a time expected"
        return Malformed(MalformedReason.BAD_VALUE, message)
    for column in (columns.prompt, columns.output):
        text = fields[column]
        if not _WHOLE.fullmatch(text) or len(text) > 20 or not _is_count(int(text)):
            return _not_a_count(columns.names[column], text)
    return TraceLine(time_s, int(fields[columns.prompt]), int(fields[columns.output]))


def _date_s(text: str) -> float:
    """Seconds since a fixed date, or NaN."""
    try:
        date = datetime.fromisoformat(text)
    except ValueError:
        return math.nan
    return ((date if date.tzinfo else date.replace(tzinfo=UTC)) - _ZERO).total_seconds()


def _is_count(value: int) -> bool:
    return 1 <= value <= MAX_TOKENS_PER_REQUEST


def _not_a_count(name: str, value: object) -> Malformed:
    needed = f"a whole number from 1 to {MAX_TOKENS_PER_REQUEST:,} expected"
    return Malformed(MalformedReason.BAD_VALUE, f"{name} is {_shown(value)}, {needed}")


def _shown(value: object) -> str:
    """The value for a sentence: a damaged file may hold a very long one."""
    text = "missing" if value is None else repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
