"""`vllm bench serve --save-result` (also `--save-detailed`, `--append-result`).

Owns the field names of vLLM's result files (0.32; the older benchmark_serving.py wrote the
same ones). Times are milliseconds there but for `latencies`, which are seconds. The spread of
lengths is in `input_lens` and `output_lens`, which only `--save-detailed` writes; else that of
the outputs is inferred from the spread of latencies.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from argosy.perf.measurements.reports.document import Document, ParsedReport
from argosy.perf.measurements.reports.fields import TOO_LARGE, ReportFields, positive
from argosy.perf.measurements.rows import (
    ClosedLoopLoad,
    Measurement,
    OfferedLoad,
    OpenLoopLoad,
    RefusedError,
    TokenLengths,
    UnreadableReason,
)

_MARKS = {"total_input_tokens", "total_output_tokens", "request_throughput", "request_rate", "backend"}
# Below this share of the asked rate, not the rate but the cap on concurrency made the load.
_RATE_KEPT = 0.9


def recognise(document: Document) -> bool:
    """Whether every object of the file is one result."""
    return bool(document.objects) and all(one.keys() >= _MARKS for one in document.objects)


def read(document: Document) -> ParsedReport:
    """One row per result."""
    notes: list[str] = []
    rows = []
    for index, one in enumerate(document.objects):
        fields = ReportFields(one, document.row(index, "result"))
        rows.append(_row(fields))
        failed = fields.raw("failed")
        if isinstance(failed, int) and failed > 0:
            notes.append(f"{fields.row}: {failed} requests failed and are not in its figures")
    return ParsedReport(
        tuple(rows), model=ReportFields(document.objects[0], "").text("model_id"), notes=tuple(notes)
    )


def _row(fields: ReportFields) -> Measurement:
    if not fields.raw("completed"):
        raise RefusedError(UnreadableReason.NOTHING_MEASURED, f"{fields.row}: no request completed")
    completed = fields.required_count("completed")
    output_mean = fields.required("total_output_tokens") / completed
    # An answer of one token has no gap, and vLLM then writes a TPOT of zero.
    has_gaps = output_mean > 1
    return Measurement(
        where=fields.row,
        prompt=_lengths(fields, "input_lens", fields.required("total_input_tokens") / completed, None),
        output=_lengths(fields, "output_lens", output_mean, _inferred_std(fields) if has_gaps else 0.0),
        load=_load(fields),
        ttft=fields.latency(_names("ttft")),
        itl=fields.latency(_names("tpot")) if has_gaps else None,
        e2e=fields.latency(_names("e2el")),
        output_tokens_per_s=fields.optional("output_throughput"),
        requests_per_s=fields.optional("request_throughput"),
        num_requests=completed,
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


def _load(fields: ReportFields) -> OfferedLoad:
    """`request_rate` is "inf" where all requests are sent at once or kept at `max_concurrency`."""
    rate, concurrency = fields.raw("request_rate"), fields.count("max_concurrency")
    if rate in ("inf", math.inf):
        return ClosedLoopLoad(concurrency or fields.count("num_prompts") or 1)
    asked = fields.required("request_rate")
    if concurrency is not None and fields.required("request_throughput") < _RATE_KEPT * asked:
        return ClosedLoopLoad(concurrency)
    # The shape of a gamma distribution of gaps.
    burstiness = fields.optional("burstiness") or 1.0
    return OpenLoopLoad(asked, burstiness**-0.5)
