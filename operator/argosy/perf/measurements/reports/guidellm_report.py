"""guidellm's JSON report (format 2, as guidellm 0.8 writes it).

Owns its field names. Every metric there is a distribution over requests, by the way they
ended; only those that succeeded are read. Latencies are milliseconds where their name ends so,
and seconds in `request_latency`.
"""

from __future__ import annotations

from argosy.perf.measurements.reports.document import Document, ParsedReport
from argosy.perf.measurements.reports.fields import ReportFields
from argosy.perf.measurements.rows import (
    ClosedLoopLoad,
    Measurement,
    OfferedLoad,
    OpenLoopLoad,
    RefusedError,
    UnreadableReason,
)

_LATENCY = {"mean_ms": "mean", "p50_ms": "median"} | {f"p{p}_ms": f"percentiles.p{p}" for p in (90, 95, 99)}
_MS_PER_S = 1e3


def recognise(document: Document) -> bool:
    """A report names the tool's version, whatever its format."""
    report = document.only
    metadata = report.get("metadata")
    return isinstance(metadata, dict) and "guidellm_version" in metadata and "benchmarks" in report


def read(document: Document) -> ParsedReport:
    """One row per benchmark (a sweep or an override makes several). Raises RefusedError where none
    completed.
    """
    report = ReportFields(document.only, "the report")
    benchmarks = report.raw("benchmarks")
    if not isinstance(benchmarks, list) or not benchmarks:
        raise RefusedError(UnreadableReason.NOTHING_MEASURED, "the report holds no benchmark")
    entries = [
        ReportFields(one if isinstance(one, dict) else {}, f"benchmark {index + 1}")
        for index, one in enumerate(benchmarks)
    ]
    return ParsedReport(
        rows=tuple(_row(entry) for entry in entries),
        tool_version=report.text("metadata.guidellm_version"),
        model=entries[0].text("config.backend.model"),
        notes=tuple(note for entry in entries for note in _notes(entry)),
    )


def _notes(benchmark: ReportFields) -> list[str]:
    notes = []
    errored = benchmark.raw("metrics.request_totals.errored")
    if isinstance(errored, int) and errored > 0:
        notes.append(f"{benchmark.row}: {errored} requests failed and are not in its figures")
    strategy = benchmark.inside("config.strategy")
    workers = strategy.count("worker_count") or 1
    if strategy.text("type_") == "poisson" and workers > 1:
        # Each worker draws from the same seed on a shared clock (seen in 0.8.1's request times).
        notes.append(
            f"{benchmark.row}: {workers} workers drew the same gaps, so that each occurs {workers} times "
            "in a row: burstier than the Poisson process that is assumed; a constant profile is not"
        )
    return notes


def _row(benchmark: ReportFields) -> Measurement:
    if not benchmark.raw("metrics.request_totals.successful"):
        message = f"{benchmark.row}: no request succeeded, or another format than guidellm 0.8's"
        raise RefusedError(UnreadableReason.NOTHING_MEASURED, message)
    return Measurement(
        where=benchmark.row,
        prompt=_metric(benchmark, "prompt_token_count").lengths("mean", "std_dev"),
        output=_metric(benchmark, "output_token_count").lengths("mean", "std_dev"),
        load=_load(benchmark),
        ttft=_metric(benchmark, "time_to_first_token_ms").latency(_LATENCY),
        itl=_metric(benchmark, "inter_token_latency_ms").latency(_LATENCY),
        e2e=_metric(benchmark, "request_latency").latency(_LATENCY, _MS_PER_S),
        output_tokens_per_s=_metric(benchmark, "output_tokens_per_second").optional("mean"),
        requests_per_s=_metric(benchmark, "requests_per_second").optional("mean"),
        num_requests=benchmark.count("metrics.request_totals.successful"),
    )


def _metric(benchmark: ReportFields, name: str) -> ReportFields:
    return benchmark.inside(f"metrics.{name}.successful")


def _load(benchmark: ReportFields) -> OfferedLoad:
    strategy = benchmark.inside("config.strategy")
    kind = strategy.text("type_")
    if kind == "synchronous":
        return ClosedLoopLoad(1)
    if kind == "concurrent":
        return ClosedLoopLoad(strategy.required_count("streams"))
    if kind == "throughput":
        return ClosedLoopLoad(strategy.required_count("max_concurrency"))
    if kind in ("constant", "poisson"):
        return OpenLoopLoad(strategy.required("rate"), 0.0 if kind == "constant" else 1.0)
    known = "synchronous, concurrent, throughput, constant, poisson"
    message = f"{benchmark.row}: its strategy is {kind!r}; understood are {known}"
    raise RefusedError(UnreadableReason.INCOMPLETE, message)
