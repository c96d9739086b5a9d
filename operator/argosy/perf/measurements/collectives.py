"""Figures of an all-reduce from the table that nccl-tests prints.

Owns reading the text of `all_reduce_perf` and fitting a latency and a bus bandwidth to it. Input: text,
and the number of GPUs where the text does not have it. Output: a `MeasuredReduces`, or a
`CollectiveFault` that names the line. The pool's field `spec.interconnect.allReduce` takes the figures.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from argosy.checks import not_negative, positive
from argosy.refusals import Refused
from argosy.snapshot.variant import Reduce

MIN_SIZES = 4
"""A latency and a bandwidth from fewer sizes would be a guess."""
MIN_SPAN = 64.0
"""The largest message over the smallest: below it, one of the two figures is not seen."""
MOST_GPUS = 64
_COLUMNS = (13, 12)
"""size count type redop [root] and twice time algbw busbw wrong: releases before 2.12 print no root."""
_RANK = re.compile(r"#\s+Rank\s+(?P<rank>\d+)\b")
_BUS_OFF = 0.03
"""The table prints two decimals: of a row of 1 GB/s or more, busbw / algbw is known this well."""


class CollectiveReason(StrEnum):
    """Why a table cannot be used."""

    MALFORMED = "MalformedTable"
    WRONG_RESULTS = "WrongResults"
    TOO_FEW_SIZES = "TooFewSizes"
    UNKNOWN_GPUS = "UnknownNumberOfGpus"
    OTHER_OPERATION = "OtherOperation"


class CollectiveFault(Refused[CollectiveReason]):
    """Why a table has no figures; `message` begins with the line where there is one."""


@dataclass(frozen=True, slots=True, order=True)
class TimedMessage:
    """One size of a table. Raises SpecError for bytes or a time that is not positive."""

    num_bytes: int
    milliseconds: float

    def __post_init__(self) -> None:
        positive(self.num_bytes, "num_bytes")
        positive(self.milliseconds, "milliseconds")


@dataclass(frozen=True, slots=True)
class MeasuredReduces:
    """The figures, the sizes that they were fitted to, and the median and worst relative error on them."""

    reduce: Reduce
    messages: tuple[TimedMessage, ...]
    median_error: float
    worst_error: float


@dataclass(frozen=True, slots=True)
class _Row:
    timed: TimedMessage
    algorithm_gb_per_s: float
    bus_gb_per_s: float
    line: int


def read_all_reduce(text: str, num_gpus: int | None = None) -> MeasuredReduces | CollectiveFault:
    """The figures of an `all_reduce_perf` table, out of place (as vLLM calls NCCL).

    num_gpus: as measured; None: the ranks that the text lists.
    """
    ranks = len({found["rank"] for line in text.splitlines() if (found := _RANK.match(line))})
    gpus = num_gpus or ranks
    if gpus < 2:
        message = (
            f"the table lists {ranks} ranks (lines # Rank), and an all-reduce needs at least 2 GPUs; keep"
            " the lines above the table, or set --gpus"
        )
        return CollectiveFault(CollectiveReason.UNKNOWN_GPUS, message)
    if ranks and num_gpus and ranks != num_gpus:
        message = f"the table lists {ranks} ranks and --gpus is {num_gpus}; leave --gpus out"
        return CollectiveFault(CollectiveReason.UNKNOWN_GPUS, message)
    if gpus > MOST_GPUS:
        message = f"{gpus} GPUs are more than a node may have ({MOST_GPUS}); run the test inside one node"
        return CollectiveFault(CollectiveReason.UNKNOWN_GPUS, message)
    rows = _rows(text)
    if isinstance(rows, CollectiveFault):
        return rows
    fault = _too_few(rows) or _other_operation(rows, gpus)
    if fault is not None:
        return fault
    messages = tuple(row.timed for row in rows)
    figures = fitted_reduce(gpus, messages)
    off = [abs(figures.milliseconds(each.num_bytes) / each.milliseconds - 1) for each in messages]
    return MeasuredReduces(figures, messages, float(np.median(off)), max(off))


def fitted_reduce(num_gpus: int, messages: Sequence[TimedMessage]) -> Reduce:
    """Latency and bandwidth with the least sum of squared relative errors.

    Raises SpecError for fewer messages than two.
    """
    positive(len(messages) - 1, "messages")
    sizes = np.array([each.num_bytes for each in messages], dtype=np.float64)
    times = np.array([each.milliseconds for each in messages])
    columns = np.stack([1 / times, sizes / times], axis=-1)
    (latency, slope), *_ = np.linalg.lstsq(columns, np.ones(len(times)), rcond=None)
    if latency < 0 or slope <= 0:
        # Times that fall or that grow faster than the size: the largest message has the bandwidth.
        latency, slope = 0.0, float(times[-1] / sizes[-1])
    passes = 2 * (num_gpus - 1) / num_gpus
    return Reduce(num_gpus, not_negative(float(latency), "latency"), 1e3 * passes / float(slope))


def _rows(text: str) -> list[_Row] | CollectiveFault:
    rows: list[_Row] = []
    for number, line in enumerate(text.splitlines(), start=1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        if not words[0].isdigit():
            # What NCCL, MPI and the shell print among the rows is passed over.
            if not _looks_like_row(words):
                continue
            return _malformed(number, f"size {words[0]!r} is not a number of bytes")
        row = _row(number, words)
        if isinstance(row, CollectiveFault):
            return row
        if row is None:
            continue
        if rows and row.timed.num_bytes <= rows[-1].timed.num_bytes:
            sizes = f"size {row.timed.num_bytes} follows {rows[-1].timed.num_bytes}"
            return _malformed(number, f"{sizes}; sizes must rise: give one run at a time")
        rows.append(row)
    return rows


def _looks_like_row(words: Sequence[str]) -> bool:
    return len(words) in _COLUMNS and "sum" in words


def _row(number: int, words: Sequence[str]) -> _Row | CollectiveFault | None:
    """One size; None for a message of no bytes, which nccl-tests prints where ranks do not divide it."""
    if len(words) not in _COLUMNS:
        wanted = " or ".join(map(str, _COLUMNS))
        return _malformed(number, f"{len(words)} columns, not {wanted} as all_reduce_perf prints")
    if int(words[0]) == 0:
        return None
    if words[3] != "sum":
        message = f"line {number}: the operation is {words[3]}, not sum; run all_reduce_perf with -o sum"
        return CollectiveFault(CollectiveReason.OTHER_OPERATION, message)
    first = len(words) - 8
    wrong = words[first + 3]
    try:
        microseconds, algorithm, bus = (float(word) for word in words[first : first + 3])
    except ValueError:
        return _malformed(number, f"time and bandwidths {' '.join(words[first : first + 3])} are not numbers")
    if not (math.isfinite(microseconds) and microseconds > 0 and algorithm >= 0 and bus >= 0):
        return _malformed(number, f"the time {words[first]} us is not above 0")
    if len(words) == _COLUMNS[0] and wrong not in {"0", "N/A"}:
        message = f"line {number}: {wrong} wrong results; a link that corrupts data is not planned with"
        return CollectiveFault(CollectiveReason.WRONG_RESULTS, message)
    return _Row(TimedMessage(int(words[0]), microseconds / 1e3), algorithm, bus, number)


def _too_few(rows: Sequence[_Row]) -> CollectiveFault | None:
    sizes = [row.timed.num_bytes for row in rows]
    if len(sizes) >= MIN_SIZES and sizes[-1] >= MIN_SPAN * sizes[0]:
        return None
    spanned = f", from {sizes[0]} to {sizes[-1]} bytes" if sizes else ""
    message = (
        f"the table has {len(sizes)} sizes{spanned}; needed are {MIN_SIZES} whose largest is {MIN_SPAN:g}"
        " times the smallest: run all_reduce_perf -b 8K -e 128M -f 2"
    )
    return CollectiveFault(CollectiveReason.TOO_FEW_SIZES, message)


def _other_operation(rows: Sequence[_Row], num_gpus: int) -> CollectiveFault | None:
    """Bus over algorithm bandwidth is 2 (n - 1) / n of an all-reduce, and something else of others."""
    wanted = 2 * (num_gpus - 1) / num_gpus
    for row in rows:
        if row.algorithm_gb_per_s < 1:
            continue
        found = row.bus_gb_per_s / row.algorithm_gb_per_s
        if abs(found - wanted) > _BUS_OFF:
            message = (
                f"line {row.line}: busbw / algbw is {found:.2f}, and of an all-reduce of {num_gpus} GPUs"
                f" {wanted:.2f}; give the table of all_reduce_perf, and the right number with --gpus"
            )
            return CollectiveFault(CollectiveReason.OTHER_OPERATION, message)
    return None


def _malformed(number: int, what: str) -> CollectiveFault:
    return CollectiveFault(CollectiveReason.MALFORMED, f"line {number}: {what}")
