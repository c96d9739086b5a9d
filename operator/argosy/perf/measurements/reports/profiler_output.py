"""What Mélange's and AIBrix's profiling scripts write before any table is made of it.

Owns two formats of the same script (`gpu_benchmark.py`): lines of JSON, five per run and each
with one metric, and the readable summary of one run, which opens with its arguments. Times
are seconds in both; TPOT is over single gaps.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from argosy.perf.measurements.reports.document import Document, ParsedReport
from argosy.perf.measurements.reports.fields import ReportFields, each
from argosy.perf.measurements.rows import (
    ClosedLoopLoad,
    Latency,
    Measurement,
    OfferedLoad,
    OpenLoopLoad,
    RefusedError,
    TokenLengths,
    UnreadableReason,
)

_MS_PER_S = 1e3
_LINE = {"mean_ms": "mean"} | {f"p{p}_ms": f"P{p}" for p in (50, 90, 99)}
_RUN = ("input_tokens", "output_tokens", "request_rate", "samples")
_ARGUMENTS = ("input_len", "output_len", "request_rate", "num_prompts")
_SECTIONS = {"e2e": "REQUEST LATENCIES", "ttft": "TTFT", "itl": "TPOT"}
_SUMMARY_LATENCY = {"mean_ms": "Avg", "p50_ms": "50p", "p90_ms": "90p", "p99_ms": "99p"}


def recognise_lines(document: Document) -> bool:
    """Whether every object is one metric of a run."""
    return bool(document.objects) and all({"metric", *_RUN} <= one.keys() for one in document.objects)


def read_lines(document: Document) -> ParsedReport:
    """One row per (prompt, output, rate)."""
    runs: dict[tuple[str, ...], dict[str, ReportFields]] = {}
    for one in document.objects:
        run = _run(one)
        row = f"run with {run[0]} prompt and {run[1]} output tokens at {run[2]} requests/s"
        runs.setdefault(run, {})[str(one["metric"])] = ReportFields(one, row)
    rows, left_out = each(
        (next(iter(metrics.values())) for metrics in runs.values()),
        lambda run: _row_of_lines(run, runs[_run(run.values)]),
    )
    model = ReportFields(document.objects[0], "").text("model")
    return ParsedReport(rows, model=model, left_out=left_out)


def _run(line: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(str(line[name]) for name in _RUN)


def _row_of_lines(run: ReportFields, metrics: Mapping[str, ReportFields]) -> Measurement:
    throughput = metrics.get("TPUT")
    # Without --stream the script writes a TPOT of 0 and, as TTFT, when the header came.
    streamed = "TPOT" in metrics and metrics["TPOT"].raw("mean") != 0

    def latency(name: str) -> Latency | None:
        return metrics[name].latency(_LINE, _MS_PER_S) if name in metrics else None

    return Measurement(
        where=run.row,
        prompt=TokenLengths(run.required("input_tokens"), 0.0),
        output=TokenLengths(run.required("output_tokens"), 0.0),
        load=_load(run, "samples"),
        ttft=latency("TTFT") if streamed else None,
        itl=latency("TPOT") if streamed else None,
        e2e=latency("E2E"),
        output_tokens_per_s=metrics["TT"].optional("mean") if "TT" in metrics else None,
        requests_per_s=throughput.optional("mean") if throughput else None,
        num_requests=run.count("samples"),
    )


def recognise_summary(document: Document) -> bool:
    """Whether it opens with the script's arguments and holds its summary."""
    return document.header.startswith("Namespace(") and "RESULT SUMMARY" in document.text


def read_summary(document: Document) -> ParsedReport:
    """One row: the script writes a file per run. Raises RefusedError where a value cannot be read."""
    found = dict(re.findall(r"(\w+)=([^,()]+)", document.header))
    missing = [name for name in _ARGUMENTS if name not in found]
    if missing:
        message = f"the summary's first line lacks {', '.join(missing)}"
        raise RefusedError(UnreadableReason.INCOMPLETE, message)
    values: dict[str, Any] = {name: _number(found[name]) for name in _ARGUMENTS}
    values |= {name: _section(document.text, title) for name, title in _SECTIONS.items()}
    values["tokens"] = _figure(document.text, "Output Token Throughput")
    values["requests"] = _figure(document.text, "Request Throughput")
    run = ReportFields(values, "the summary")
    row = Measurement(
        where=run.row,
        prompt=TokenLengths(run.required("input_len"), 0.0),
        output=TokenLengths(run.required("output_len"), 0.0),
        load=_load(run, "num_prompts"),
        ttft=run.inside("ttft").latency(_SUMMARY_LATENCY, _MS_PER_S),
        itl=run.inside("itl").latency(_SUMMARY_LATENCY, _MS_PER_S),
        e2e=run.inside("e2e").latency(_SUMMARY_LATENCY, _MS_PER_S),
        output_tokens_per_s=run.optional("tokens"),
        requests_per_s=run.optional("requests"),
        num_requests=run.count("num_prompts"),
    )
    return ParsedReport((row,), model=found.get("model", "").strip("' ") or None)


def _load(run: ReportFields, samples: str) -> OfferedLoad:
    """An infinite rate sends all requests at once."""
    if run.raw("request_rate") == float("inf"):
        return ClosedLoopLoad(run.count(samples) or 1)
    return OpenLoopLoad(run.required("request_rate"))


def _section(text: str, title: str) -> dict[str, Any]:
    """The figures under a title, up to the next empty line or title."""
    _, _, rest = text.partition(f"\n{title}\n")
    figures: dict[str, Any] = {}
    for line in rest.splitlines():
        name, colon, value = line.partition(":")
        if not colon:
            break
        figures[name.strip()] = _number(value.split()[0]) if value.split() else None
    return figures


def _figure(text: str, name: str) -> Any:
    found = re.search(rf"^{name}: (\S+)", text, re.MULTILINE)
    return None if found is None else _number(found[1])


def _number(word: str) -> float | str:
    try:
        return float(word)
    except ValueError:
        return word
