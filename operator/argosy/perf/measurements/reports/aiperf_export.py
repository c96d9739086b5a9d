"""aiperf's exports: `profile_export_aiperf.json`, and the CSV beside it.

Owns their field names (schema 1.4, aiperf 0.13). The JSON holds the configuration and so the
load; the CSV does not, and the requests found in flight stand in for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from argosy.perf.measurements.reports.document import Document, ParsedReport, cells
from argosy.perf.measurements.reports.fields import ReportFields
from argosy.perf.measurements.rows import (
    ClosedLoopLoad,
    Measurement,
    OfferedLoad,
    OpenLoopLoad,
    RefusedError,
    UnreadableReason,
)

_ROW = "the report"
_LATENCY = {"mean_ms": "avg"} | {f"p{p}_ms": f"p{p}" for p in (50, 90, 95, 99)}
_CSV_HEADER = "Metric,avg,min,max"
_CSV_NAMES = {
    "input_sequence_length": "Input Sequence Length (tokens)",
    "output_sequence_length": "Output Sequence Length (tokens)",
    "time_to_first_token": "Time to First Token (ms)",
    "inter_token_latency": "Inter Token Latency (ms)",
    "request_latency": "Request Latency (ms)",
    "output_token_throughput": "Output Token Throughput (tokens/sec)",
    "request_throughput": "Request Throughput (requests/sec)",
    "request_count": "Request Count",
    "effective_concurrency": "Effective Concurrency",
}


def recognise(document: Document) -> bool:
    """By the version in the JSON, by the header of the CSV."""
    if document.objects:
        return "aiperf_version" in document.only
    return document.header.startswith(_CSV_HEADER)


def read(document: Document) -> ParsedReport:
    """One row: aiperf writes a file per run."""
    if document.objects:
        return _from_json(ReportFields(document.only, _ROW))
    return _from_csv(document.text)


def _from_json(report: ReportFields) -> ParsedReport:
    models = report.raw("input_config.models.items")
    first = models[0] if isinstance(models, list) and models else {}
    return ParsedReport(
        rows=(_row(report, _load(report)),),
        tool_version=report.text("aiperf_version"),
        model=ReportFields(first if isinstance(first, dict) else {}, _ROW).text("name"),
    )


def _row(report: ReportFields, load: OfferedLoad) -> Measurement:
    if not report.raw("request_count.avg"):
        raise RefusedError(UnreadableReason.NOTHING_MEASURED, f"{_ROW}: no request completed")
    return Measurement(
        where=_ROW,
        prompt=report.inside("input_sequence_length").lengths("avg", "std"),
        output=report.inside("output_sequence_length").lengths("avg", "std"),
        load=load,
        ttft=report.inside("time_to_first_token").latency(_LATENCY),
        itl=report.inside("inter_token_latency").latency(_LATENCY),
        e2e=report.inside("request_latency").latency(_LATENCY),
        output_tokens_per_s=report.optional("output_token_throughput.avg"),
        requests_per_s=report.optional("request_throughput.avg"),
        num_requests=report.count("request_count.avg"),
    )


def _load(report: ReportFields) -> OfferedLoad:
    """From the phase that was measured; a warm-up phase is not."""
    phases = report.raw("input_config.phases")
    measured = [
        phase
        for phase in (phases if isinstance(phases, list) else [])
        if isinstance(phase, dict) and phase.get("kind", "profiling") == "profiling"
    ]
    if len(measured) != 1:
        message = f"{_ROW}: input_config.phases names {len(measured)} measured phases instead of one"
        raise RefusedError(UnreadableReason.INCOMPLETE, message)
    phase = ReportFields(measured[0], f"{_ROW}, input_config.phases")
    rate = phase.optional("rate")
    if rate is not None:
        return OpenLoopLoad(rate, _gap_cv(phase))
    return ClosedLoopLoad(phase.required_count("concurrency"))


def _gap_cv(phase: ReportFields) -> float:
    """Poisson unless the phase says otherwise; `smoothness` is the shape of gamma's gaps."""
    kind = phase.text("type")
    if kind == "constant":
        return 0.0
    return (phase.optional("smoothness") or 1.0) ** -0.5 if kind == "gamma" else 1.0


def _from_csv(text: str) -> ParsedReport:
    """Two tables, one below the other: distributions, then single values under `Metric,Value`."""
    metrics: dict[str, Mapping[str, Any]] = {}
    header: list[str] = []
    for _, line in cells(text):
        if line[:1] == ["Metric"]:
            header = ["avg" if name == "Value" else name for name in line]
        else:
            metrics[line[0]] = {
                name: _number(cell) for name, cell in zip(header[1:], line[1:], strict=False) if cell
            }
    named = {ours: metrics[theirs] for ours, theirs in _CSV_NAMES.items() if theirs in metrics}
    report = ReportFields(named, _ROW)
    in_flight = report.required("effective_concurrency.p50")
    note = (
        f"the CSV does not say which load was asked for: taken as {in_flight:g} requests in flight, "
        "its median; profile_export_aiperf.json of the same run says it"
    )
    return ParsedReport(rows=(_row(report, ClosedLoopLoad(max(1, round(in_flight)))),), notes=(note,))


def _number(cell: str) -> float | str:
    try:
        return float(cell)
    except ValueError:
        return cell
