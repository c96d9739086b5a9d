"""`vllm bench serve --save-result` (also `--save-detailed`, `--append-result`).

Owns the field names of vLLM's result files (0.32; the older benchmark_serving.py wrote the
same ones, without `failed`; SGLang's bench_serving the same but for the end-to-end latency).
Times are milliseconds there but for `latencies`, which are seconds. The spread of lengths is in
`input_lens` and `output_lens`, which only `--save-detailed` writes; else that of the outputs is
inferred from the spread of latencies.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np

from argosy.perf.measurements.reports.document import Document, ParsedReport
from argosy.perf.measurements.reports.fields import TOO_LARGE, ReportFields, each, positive
from argosy.perf.measurements.rows import (
    ClosedLoopLoad,
    Course,
    Measurement,
    OpenLoopLoad,
    RefusedError,
    TokenLengths,
    UnreadableReason,
)

_MARKS = {"total_input_tokens", "total_output_tokens", "request_throughput", "request_rate", "backend"}
# Below this share of the asked rate, a cap on concurrency that was reached made the load.
_RATE_KEPT = 0.9
_CAP_REACHED = 0.5
_OTHER_ENGINES = (
    "sglang",
    "tgi",
    "trt",
    "tensorrt",
    "lmdeploy",
    "truss",
    "gserver",
    "deepspeed",
    "llama.cpp",
)


def recognise(document: Document) -> bool:
    """Whether some object of the file is a result: the others are what is left of runs that broke off."""
    return any(one.keys() >= _MARKS for one in document.objects)


def read(document: Document) -> ParsedReport:
    """One row per result. Raises RefusedError for results of several models."""
    entries = [ReportFields(one, document.row(index, "result")) for index, one in enumerate(document.objects)]
    rows, left_out = each(entries, _row)
    models = list(dict.fromkeys(name for entry in entries if (name := entry.text("model_id"))))
    if len(models) > 1:
        message = f"model_id: the results are of several models ({', '.join(models)}); give a file of each"
        raise RefusedError(UnreadableReason.AMBIGUOUS, message)
    return ParsedReport(rows, model=next(iter(models), None), left_out=left_out)


def _row(fields: ReportFields) -> Measurement:
    missing = sorted(_MARKS - fields.values.keys())
    if missing:
        message = f"{fields.row}: {', '.join(missing)} missing: no result of a run"
        raise RefusedError(UnreadableReason.INCOMPLETE, message)
    if not fields.raw("completed"):
        raise RefusedError(UnreadableReason.NOTHING_MEASURED, f"{fields.row}: no request completed")
    completed = fields.required_count("completed")
    output_mean = fields.required("total_output_tokens") / completed
    # An answer of one token has no gap, and vLLM then writes a TPOT of zero.
    has_gaps = output_mean > 1
    row = Measurement(
        where=fields.row,
        prompt=_lengths(fields, "input_lens", fields.required("total_input_tokens") / completed, None),
        output=_lengths(fields, "output_lens", output_mean, _inferred_std(fields) if has_gaps else 0.0),
        load=ClosedLoopLoad(1),
        ttft=fields.latency(_names("ttft")),
        itl=fields.latency(_names("tpot")) if has_gaps else None,
        e2e=fields.latency(_names("e2el")) or fields.latency(_names("e2e_latency")),
        output_tokens_per_s=fields.optional("output_throughput"),
        requests_per_s=fields.optional("request_throughput"),
        num_requests=completed,
        course=_course(fields, completed),
        marks=_engine_mark(fields),
    )
    return _with_load(row, fields)


def _course(fields: ReportFields, completed: int) -> Course:
    """Releases without `failed` still write how many were to be sent."""
    asked, failed = fields.some("num_prompts"), fields.some("failed")
    if failed is None and asked is not None:
        failed = max(0, asked - completed)
    label = fields.text("label") or ""
    return Course(
        num_asked=asked,
        num_failed=failed,
        duration_s=fields.seconds("duration"),
        is_warm_up="warmup" in label.lower().replace("-", "").replace("_", "").replace(" ", ""),
    )


def _engine_mark(fields: ReportFields) -> tuple[str, ...]:
    backend = fields.text("backend") or ""
    if not backend.lower().startswith(_OTHER_ENGINES):
        return ()
    return (
        f"{fields.row}: its backend is {backend}, and Argosy runs vLLM: another engine has other step times",
    )


def _names(metric: str) -> dict[str, str]:
    names = {f"p{p}_ms": f"p{p}_{metric}_ms" for p in (90, 95, 99)}
    return {"mean_ms": f"mean_{metric}_ms", "p50_ms": f"median_{metric}_ms", **names}


def _lengths(fields: ReportFields, every: str, mean: float, std: float | None) -> TokenLengths:
    """From the list of all lengths where there is one (failed requests count 0 there)."""
    found = fields.raw(every)
    numbers = found if isinstance(found, list) else []
    known = [positive(tokens, fields.row, every) for tokens in numbers if tokens != 0]
    return TokenLengths.of(known) if known else TokenLengths(mean, std)


def _inferred_std(fields: ReportFields) -> float | None:
    """Latency = TTFT + TPOT * (tokens - 1): what TTFT does not explain of its spread is length's."""
    std_e2e_ms = fields.spread("std_e2el_ms")
    if std_e2e_ms is None:
        std_e2e_ms = _std_ms(fields.raw("latencies"))
    std_ttft_ms, tpot_ms = fields.spread("std_ttft_ms"), fields.optional("mean_tpot_ms")
    if std_e2e_ms is None or std_ttft_ms is None or tpot_ms is None:
        return None
    return math.sqrt(max(0.0, std_e2e_ms**2 - std_ttft_ms**2)) / tpot_ms


def _std_ms(latencies_s: Any) -> float | None:
    numbers = latencies_s if isinstance(latencies_s, list) else []
    kept = [float(one) for one in numbers if isinstance(one, int | float) and 0 < one < TOO_LARGE]
    return 1e3 * float(np.std(kept)) if len(kept) > 1 else None


def _with_load(row: Measurement, fields: ReportFields) -> Measurement:
    """`request_rate` is "inf" where all requests are sent at once or kept at `max_concurrency`."""
    rate, cap = fields.raw("request_rate"), fields.count("max_concurrency")
    if rate in ("inf", math.inf):
        return replace(row, load=ClosedLoopLoad(cap or fields.count("num_prompts") or row.num_requests or 1))
    asked = fields.required("request_rate")
    done = fields.required("request_throughput")
    if cap is not None and done < _RATE_KEPT * asked and _reaches(cap, done, row.mean_latency_ms):
        course = replace(row.course, capped_rate=asked)
        return replace(row, load=ClosedLoopLoad(cap), course=course)
    # The shape of a gamma distribution of gaps.
    burstiness = fields.optional("burstiness") or 1.0
    return replace(row, load=OpenLoopLoad(asked, burstiness**-0.5))


def _reaches(cap: int, done_per_s: float, latency_ms: float | None) -> bool:
    """Little's law: as many in flight as the cap lets, on average over a run with its start and end."""
    return latency_ms is None or done_per_s * latency_ms / 1e3 >= _CAP_REACHED * cap
