"""guidellm's JSON report, as 0.2 to 0.8 write it.

Owns its field names. Every metric there is a distribution over requests, by the way they
ended; only those that succeeded are read. Latencies are milliseconds where their name ends so,
and seconds in `request_latency`.
"""

from __future__ import annotations

from argosy.perf.measurements.reports.document import Document, ParsedReport
from argosy.perf.measurements.reports.fields import ReportFields, each
from argosy.perf.measurements.rows import (
    ClosedLoopLoad,
    Course,
    Measurement,
    OfferedLoad,
    OpenLoopLoad,
    RefusedError,
    UnreadableReason,
)

_LATENCY = {"mean_ms": "mean", "p50_ms": "median"} | {f"p{p}_ms": f"percentiles.p{p}" for p in (90, 95, 99)}
_MS_PER_S = 1e3
# What an entry of `benchmarks` has since 0.2; one of these is enough.
_OWN = frozenset({"type_", "request_totals", "run_stats", "metrics"})
_MOST_REQUESTS = ("max_number", "constraints.max_requests", "constraints.max_requests.max_num")
_MOST_SECONDS = ("max_duration", "constraints.max_seconds", "constraints.max_duration.max_duration")


def recognise(document: Document) -> bool:
    """From 0.7 on a report names the tool's version; before, its benchmarks have guidellm's fields."""
    report = document.only
    metadata, benchmarks = report.get("metadata"), report.get("benchmarks")
    if isinstance(metadata, dict) and "guidellm_version" in metadata:
        return "benchmarks" in report
    entries = benchmarks if isinstance(benchmarks, list) else []
    return any(isinstance(one, dict) and not _OWN.isdisjoint(one) for one in entries)


def read(document: Document) -> ParsedReport:
    """One row per benchmark (a sweep makes several). Raises RefusedError where there is none."""
    report = ReportFields(document.only, "the report")
    benchmarks = report.raw("benchmarks")
    if not isinstance(benchmarks, list) or not benchmarks:
        raise RefusedError(UnreadableReason.NOTHING_MEASURED, "the report holds no benchmark")
    entries = [
        ReportFields(one if isinstance(one, dict) else {}, f"benchmark {index + 1}")
        for index, one in enumerate(benchmarks)
    ]
    rows, left_out = each(entries, _row)
    first = entries[0]
    return ParsedReport(
        rows=rows,
        tool_version=report.text("metadata.guidellm_version"),
        model=first.text("config.backend.model") or first.text("worker.backend_model"),
        left_out=left_out,
    )


def _marks(benchmark: ReportFields, strategy: ReportFields) -> tuple[str, ...]:
    workers = strategy.count("worker_count") or 1
    if strategy.text("type_") != "poisson" or workers <= 1:
        return ()
    # Each worker draws from the same seed on a shared clock (seen in 0.8.1's request times).
    sentence = (
        f"{benchmark.row}: {workers} workers drew the same gaps, so that each occurs {workers} times "
        "in a row: burstier than the Poisson process that is assumed; a constant profile is not"
    )
    return (sentence,)


def _row(benchmark: ReportFields) -> Measurement:
    totals = benchmark.inside("metrics.request_totals")
    if not totals.values:
        totals = benchmark.inside("request_totals")
    if not totals.values:
        message = f"{benchmark.row}: request_totals is missing: another format than guidellm 0.2's to 0.8's"
        raise RefusedError(UnreadableReason.INCOMPLETE, message)
    if not totals.raw("successful"):
        raise RefusedError(UnreadableReason.NOTHING_MEASURED, f"{benchmark.row}: no request succeeded")
    # guidellm before 0.4 has `args` in place of `config`.
    config = next((name for name in ("config", "args") if benchmark.inside(name).raw("strategy")), "config")
    strategy = benchmark.inside(f"{config}.strategy")
    return Measurement(
        where=benchmark.row,
        prompt=_metric(benchmark, "prompt_token_count").lengths("mean", "std_dev"),
        output=_metric(benchmark, "output_token_count").lengths("mean", "std_dev"),
        load=_load(benchmark, strategy),
        ttft=_metric(benchmark, "time_to_first_token_ms").latency(_LATENCY),
        itl=_metric(benchmark, "inter_token_latency_ms").latency(_LATENCY),
        e2e=_metric(benchmark, "request_latency").latency(_LATENCY, _MS_PER_S),
        output_tokens_per_s=_metric(benchmark, "output_tokens_per_second").optional("mean"),
        requests_per_s=_metric(benchmark, "requests_per_second").optional("mean"),
        num_requests=totals.count("successful"),
        course=_course(benchmark, benchmark.inside(config), totals),
        marks=_marks(benchmark, strategy),
    )


def _course(benchmark: ReportFields, config: ReportFields, totals: ReportFields) -> Course:
    """The limits of the run, where its configuration holds them; whichever was reached ended it."""
    return Course(
        num_asked=next((n for n in (config.some(name) for name in _MOST_REQUESTS) if n), None),
        asked_s=next((s for s in (config.seconds(name) for name in _MOST_SECONDS) if s), None),
        num_failed=totals.some("errored"),
        num_unfinished=totals.some("incomplete"),
        duration_s=benchmark.seconds("duration"),
    )


def _metric(benchmark: ReportFields, name: str) -> ReportFields:
    return benchmark.inside(f"metrics.{name}.successful")


def _load(benchmark: ReportFields, strategy: ReportFields) -> OfferedLoad:
    kind = strategy.text("type_")
    if kind == "synchronous":
        return ClosedLoopLoad(1)
    if kind == "concurrent":
        return ClosedLoopLoad(strategy.required_count("streams"))
    if kind == "throughput":
        cap = strategy.count("max_concurrency")
        if cap is None:
            message = (
                f"{benchmark.row}: a throughput level without max_concurrency does not say how many requests "
                "were in flight; set a maximum (--rate of that profile), or measure a concurrent level"
            )
            raise RefusedError(UnreadableReason.INCOMPLETE, message)
        return ClosedLoopLoad(cap)
    if kind in ("constant", "poisson"):
        return OpenLoopLoad(strategy.required("rate"), 0.0 if kind == "constant" else 1.0)
    known = "synchronous, concurrent, throughput, constant, poisson"
    message = f"{benchmark.row}: its strategy is {kind!r}; understood are {known}"
    raise RefusedError(UnreadableReason.INCOMPLETE, message)
