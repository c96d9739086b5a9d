"""aiperf's exports: `profile_export_aiperf.json`, and the CSV beside it.

Owns their field names (aiperf 0.2 to 0.13; genai-perf's JSON, from which they came). The JSON holds
the configuration and so the load; the CSV does not, and the requests found in flight stand in for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from argosy.perf.measurements.reports.document import Document, ParsedReport, cells
from argosy.perf.measurements.reports.fields import ReportFields
from argosy.perf.measurements.rows import (
    ClosedLoopLoad,
    Course,
    Measurement,
    OfferedLoad,
    OpenLoopLoad,
    RefusedError,
    UnreadableReason,
)

_ROW = "the report"
_CONFIG = "input_config"
_MODELS = (
    "input_config.models.items",
    "input_config.endpoint.model_names",
    "input_config.model_names",
    "input_config.model",
)
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
    "error_request_count": "Error Request Count",
    "effective_concurrency": "Effective Concurrency",
}


def recognise(document: Document) -> bool:
    """By the version in the JSON, or by the metrics and the configuration of older releases; the CSV by its
    header.
    """
    if document.objects:
        report = document.only
        return "aiperf_version" in report or {"input_config", "request_throughput"} <= report.keys()
    return document.header.startswith(_CSV_HEADER)


def read(document: Document) -> ParsedReport:
    """One row: aiperf and genai-perf write a file per run."""
    if document.objects:
        return _from_json(ReportFields(document.only, _ROW))
    return _from_csv(document.text)


def _from_json(report: ReportFields) -> ParsedReport:
    return ParsedReport(
        rows=(_row(report, _load(report), _course(report)),),
        tool_version=report.text("aiperf_version"),
        model=_model(report),
    )


def _model(report: ReportFields) -> str | None:
    """The first of the names, wherever the release keeps them."""
    for path in _MODELS:
        found = report.raw(path)
        first = found[0] if isinstance(found, list) and found else found
        if isinstance(first, dict):
            first = first.get("name")
        if isinstance(first, str) and first:
            return first
    return None


def _row(report: ReportFields, load: OfferedLoad, course: Course) -> Measurement:
    # Early releases of genai-perf do not count; their latencies are of the requests that completed.
    for name in ("time_to_first_token", "inter_token_latency", "request_latency"):
        _require_milliseconds(report, name)
    completed = "request_count.avg" if "request_count" in report.values else "request_latency.avg"
    if not report.raw(completed):
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
        course=course,
    )


def _require_milliseconds(report: ReportFields, name: str) -> None:
    """Raises RefusedError for latencies in another unit."""
    unit = report.text(f"{name}.unit")
    if unit not in (None, "ms", "milliseconds"):
        message = f"{_ROW}: {name}.unit is {unit!r}; give its figures in ms"
        raise RefusedError(UnreadableReason.BAD_VALUE, message)


def _course(report: ReportFields) -> Course:
    """From the counts, the list of errors of releases without one, and the limits that were asked for."""
    failed = report.some("error_request_count.avg")
    errors = report.raw("error_summary")
    if failed is None and isinstance(errors, list):
        failed = sum(ReportFields(one, _ROW).some("count") or 0 for one in errors if isinstance(one, dict))
    asked = report.inside(f"{_CONFIG}.loadgen")
    return Course(
        num_asked=asked.some("request_count"),
        asked_s=asked.seconds("benchmark_duration"),
        num_failed=failed,
        duration_s=report.seconds("benchmark_duration.avg"),
        is_cancelled=report.raw("was_cancelled") is True,
    )


def _load(report: ReportFields) -> OfferedLoad:
    """From the configuration: phases, aiperf's older `loadgen`, genai-perf's stimulus or its arguments."""
    if isinstance(report.raw(f"{_CONFIG}.phases"), list):
        return _of_phase(report)
    for path in ("loadgen", "perf_analyzer.stimulus", ""):
        place = f"{_CONFIG}.{path}".rstrip(".")
        found = report.inside(place)
        rate = found.optional("request_rate") if found.raw("request_rate") else None
        if rate is not None:
            return OpenLoopLoad(rate, 0.0 if found.text("request_rate_mode") == "constant" else 1.0)
        if found.raw("concurrency"):
            return ClosedLoopLoad(found.required_count("concurrency"))
    message = (
        f"{_ROW}: {_CONFIG} names 0 measured phases, no loadgen.concurrency or loadgen.request_rate (aiperf "
        "0.2) and no perf_analyzer.stimulus (genai-perf): the load is not known"
    )
    raise RefusedError(UnreadableReason.INCOMPLETE, message)


def _of_phase(report: ReportFields) -> OfferedLoad:
    """From the phase that was measured; a warm-up phase is not."""
    measured = [
        phase
        for phase in report.raw(f"{_CONFIG}.phases")
        if isinstance(phase, dict) and phase.get("kind", "profiling") == "profiling"
    ]
    if len(measured) != 1:
        message = f"{_ROW}: {_CONFIG}.phases names {len(measured)} measured phases instead of one"
        raise RefusedError(UnreadableReason.INCOMPLETE, message)
    phase = ReportFields(measured[0], f"{_ROW}, {_CONFIG}.phases")
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
    return ParsedReport(
        rows=(_row(report, ClosedLoopLoad(max(1, round(in_flight))), _course(report)),), notes=(note,)
    )


def _number(cell: str) -> float | str:
    try:
        return float(cell)
    except ValueError:
        return cell
