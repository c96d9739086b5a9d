"""From a file's bytes to rows, whichever of the known tools wrote it.

Owns the choice of the reader, by content and never by the file's name. Input: bytes and a name
for messages. Output: `Measurements | UnreadableReport`.
"""

from __future__ import annotations

from dataclasses import replace

from argosy.perf.measurements.reports import (
    aiperf_export,
    csv_table,
    guidellm_report,
    profiler_output,
    throughput_grid,
    vllm_bench,
)
from argosy.perf.measurements.reports.choice import Reader, only_reader
from argosy.perf.measurements.reports.document import Document, ParsedReport, digest, parse
from argosy.perf.measurements.reports.row_rules import judged, none_left
from argosy.perf.measurements.rows import (
    LeftOut,
    Measurements,
    RefusedError,
    Tool,
    UnreadableReason,
    UnreadableReport,
)

_READERS: tuple[Reader[Tool, ParsedReport], ...] = (
    Reader(
        Tool.VLLM_BENCH,
        "the JSON of `vllm bench serve --save-result` or of SGLang's bench_serving",
        vllm_bench.recognise,
        vllm_bench.read,
    ),
    Reader(
        Tool.GUIDELLM, "guidellm's JSON report (0.2 to 0.8)", guidellm_report.recognise, guidellm_report.read
    ),
    Reader(
        Tool.AIPERF,
        "aiperf's profile_export_aiperf.json or .csv (0.2 to 0.13), "
        "genai-perf's profile_export_genai_perf.json",
        aiperf_export.recognise,
        aiperf_export.read,
    ),
    Reader(
        Tool.CSV,
        "a CSV with the columns prompt_tokens, output_tokens, concurrency or requests_per_s, ttft_ms, "
        "itl_ms, throughput_tokens_per_s",
        csv_table.recognise,
        csv_table.read,
    ),
    Reader(
        Tool.MELANGE,
        "Mélange's configuration (gpu_info with tputs)",
        throughput_grid.recognise_melange,
        throughput_grid.read_melange,
    ),
    Reader(
        Tool.MELANGE,
        "a summary of Mélange's gpu-benchmark.py",
        profiler_output.recognise_summary,
        profiler_output.read_summary,
    ),
    Reader(
        Tool.AIBRIX,
        "AIBrix's GPU profile (tputs with indexes)",
        throughput_grid.recognise_aibrix,
        throughput_grid.read_aibrix,
    ),
    Reader(
        Tool.AIBRIX,
        "the lines of JSON of AIBrix's benchmark",
        profiler_output.recognise_lines,
        profiler_output.read_lines,
    ),
)
UNDERSTOOD = tuple(reader.understands for reader in _READERS)
"""What can be read, in words for users."""


def read_measurements(content: bytes, name: str) -> Measurements | UnreadableReport:
    """The rows of a report, or a sentence that says why there are none."""
    try:
        document = parse(content)
        reader = only_reader(_READERS, document, "report")
        report = judged(_with_broken_lines(reader.read(document), document))
    except RefusedError as refusal:
        return replace(refusal.fault, name=name)
    if not report.rows:
        return replace(none_left(report), name=name)
    return Measurements(
        name=name,
        sha256=digest(content),
        tool=reader.tool,
        rows=report.rows,
        tool_version=report.tool_version,
        model=report.model,
        gpu=report.gpu,
        notes=report.notes,
        left_out=report.left_out,
    )


def _with_broken_lines(report: ParsedReport, document: Document) -> ParsedReport:
    broken = tuple(LeftOut(UnreadableReason.BROKEN, message) for message in document.broken)
    return replace(report, left_out=(*report.left_out, *broken))
