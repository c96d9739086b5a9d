"""A table of one's own: one run per line, the unit in every column's name.

Owns the columns (any order, any case; comma, semicolon or tab; lines that begin with # are
comments). Those of a line that are empty were not measured.

    prompt_tokens output_tokens           mean lengths, required
    prompt_tokens_std output_tokens_std   their standard deviations
    concurrency | requests_per_s          in flight, or sent per second: one of the two
    ttft_ms itl_ms e2e_ms                 means; itl is also called tpot
    ttft_p50_ms ... itl_p95_ms ...        percentiles 50, 90, 95, 99
    throughput_tokens_per_s               output tokens
    throughput_requests_per_s             completed requests
    num_requests num_failed               completed in the run; those that failed beside them
    gpu                                   where the table compares several
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator

from argosy.perf.measurements.reports.document import Document, ParsedReport, cells
from argosy.perf.measurements.reports.fields import ReportFields, each
from argosy.perf.measurements.rows import (
    ClosedLoopLoad,
    Course,
    Latency,
    Measurement,
    OfferedLoad,
    OpenLoopLoad,
    RefusedError,
    UnreadableReason,
)

_PERCENTILES = ("p50", "p90", "p95", "p99")
_LATENCIES = {
    metric: {"mean_ms": f"{metric}_ms"} | {f"{p}_ms": f"{metric}_{p}_ms" for p in _PERCENTILES}
    for metric in ("ttft", "itl", "e2e")
}
COLUMNS = (
    "prompt_tokens",
    "output_tokens",
    "prompt_tokens_std",
    "output_tokens_std",
    "concurrency",
    "requests_per_s",
    *(column for names in _LATENCIES.values() for column in names.values()),
    "throughput_tokens_per_s",
    "throughput_requests_per_s",
    "num_requests",
    "num_failed",
    "gpu",
)
_NUMBERS = frozenset(COLUMNS) - {"gpu"}
# Not columns: how many cells a line has that has too many, and how many it may have.
_SURPLUS, _CELLS = "(cells)", "(columns)"
_SUSPECT = ("ttft", "itl", "tpot", "e2e", "throughput", "concurrency", "prompt", "output", "request", "rate")


def recognise(document: Document) -> bool:
    """Whether the header names both lengths."""
    return not document.objects and {"prompt_tokens", "output_tokens"} <= set(_columns(document.header))


def read(document: Document) -> ParsedReport:
    """One row per line. Raises RefusedError for columns or values that cannot be read, and for no line."""
    columns = _columns(document.header)
    ignored = _check_columns(columns)
    lines = list(_lines(document.text, columns, _delimiter(document.header)))
    rows, left_out = each(lines, _row)
    if not lines:
        raise RefusedError(UnreadableReason.NOTHING_MEASURED, "the table has a header and no line")
    notes = (f"columns without a meaning here: {', '.join(ignored)}",) if ignored else ()
    return ParsedReport(rows, notes=notes, left_out=left_out)


def _delimiter(header: str) -> str:
    return max(",;\t", key=header.count)


def _columns(header: str) -> list[str]:
    names = [name.strip().strip('"').lower() for name in header.split(_delimiter(header))]
    return [name.replace("tpot", "itl", 1) if name.startswith("tpot") else name for name in names]


def _check_columns(columns: list[str]) -> list[str]:
    """Those that mean nothing; one that was surely meant to is refused with the right name."""
    twice = sorted({name for name in columns if name and columns.count(name) > 1})
    if twice:
        raise RefusedError(UnreadableReason.AMBIGUOUS, f"columns that occur twice: {', '.join(twice)}")
    unknown = [name for name in columns if name and name not in COLUMNS]
    for name in unknown:
        if name.startswith(_SUSPECT):
            near = difflib.get_close_matches(name, COLUMNS, n=1, cutoff=0.0)[0]
            message = f"column {name} is not understood (did you mean {near}?)"
            raise RefusedError(UnreadableReason.INCOMPLETE, f"{message}; columns are {', '.join(COLUMNS)}")
    return unknown


def _lines(text: str, columns: list[str], delimiter: str) -> Iterator[ReportFields]:
    seen_header = False
    for number, line in cells(text, delimiter):
        if not any(cell.strip() for cell in line) or line[0].lstrip().startswith("#"):
            continue
        if not seen_header:
            seen_header = True
            continue
        row = f"line {number}"
        surplus = {_SURPLUS: float(len(line))} if len(line) > len(columns) else {}
        filled = {
            name: cell.strip() for name, cell in zip(columns, line, strict=False) if name and cell.strip()
        }
        values = {name: _value(name, cell) for name, cell in filled.items()}
        yield ReportFields(values | surplus | {_CELLS: len(columns)}, row)


def _value(name: str, cell: str) -> float | str:
    """A cell that is no number stays text, which the check of the field refuses by name."""
    if name not in _NUMBERS:
        return cell
    try:
        return float(cell)
    except ValueError:
        return cell


def _row(fields: ReportFields) -> Measurement:
    if _SURPLUS in fields.values:
        message = f"{fields.row} has {fields.raw(_SURPLUS):g} cells for {fields.raw(_CELLS)} columns"
        raise RefusedError(UnreadableReason.BROKEN, message)
    return Measurement(
        where=fields.row,
        prompt=fields.lengths("prompt_tokens", "prompt_tokens_std"),
        output=fields.lengths("output_tokens", "output_tokens_std"),
        load=_load(fields),
        ttft=_latency(fields, "ttft"),
        itl=_latency(fields, "itl"),
        e2e=_latency(fields, "e2e"),
        output_tokens_per_s=fields.optional("throughput_tokens_per_s"),
        requests_per_s=fields.optional("throughput_requests_per_s"),
        num_requests=fields.count("num_requests"),
        gpu=fields.text("gpu"),
        course=Course(num_failed=fields.some("num_failed")),
    )


def _latency(fields: ReportFields, metric: str) -> Latency | None:
    return fields.latency(_LATENCIES[metric])


def _load(fields: ReportFields) -> OfferedLoad:
    concurrency, rate = fields.count("concurrency"), fields.optional("requests_per_s")
    if concurrency is not None and rate is None:
        return ClosedLoopLoad(concurrency)
    if rate is not None and concurrency is None:
        return OpenLoopLoad(rate)
    message = f"{fields.row}: exactly one of concurrency and requests_per_s says which load it was"
    raise RefusedError(UnreadableReason.INCOMPLETE, message)
