"""From a file's bytes to rows, whichever of the known tools wrote it.

Owns the choice of the reader, by content and never by the file's name. Input: bytes and a name
for messages. Output: `Measurements | UnreadableReport`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from argosy.perf.measurements.reports import (
    aiperf_export,
    csv_table,
    guidellm_report,
    profiler_output,
    throughput_grid,
    vllm_bench,
)
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


@dataclass(frozen=True, slots=True)
class _Reader:
    tool: Tool
    understands: str
    recognise: Callable[[Document], bool]
    read: Callable[[Document], ParsedReport]


_READERS = (
    _Reader(
        Tool.VLLM_BENCH,
        "the JSON of `vllm bench serve --save-result` or of SGLang's bench_serving",
        vllm_bench.recognise,
        vllm_bench.read,
    ),
    _Reader(
        Tool.GUIDELLM, "guidellm's JSON report (0.2 to 0.8)", guidellm_report.recognise, guidellm_report.read
    ),
    _Reader(
        Tool.AIPERF,
        "aiperf's profile_export_aiperf.json or .csv (0.2 to 0.13), "
        "genai-perf's profile_export_genai_perf.json",
        aiperf_export.recognise,
        aiperf_export.read,
    ),
    _Reader(
        Tool.CSV,
        "a CSV with the columns prompt_tokens, output_tokens, concurrency or requests_per_s, ttft_ms, "
        "itl_ms, throughput_tokens_per_s",
        csv_table.recognise,
        csv_table.read,
    ),
    _Reader(
        Tool.MELANGE,
        "Mélange's configuration (gpu_info with tputs)",
        throughput_grid.recognise_melange,
        throughput_grid.read_melange,
    ),
    _Reader(
        Tool.MELANGE,
        "a summary of Mélange's gpu-benchmark.py",
        profiler_output.recognise_summary,
        profiler_output.read_summary,
    ),
    _Reader(
        Tool.AIBRIX,
        "AIBrix's GPU profile (tputs with indexes)",
        throughput_grid.recognise_aibrix,
        throughput_grid.read_aibrix,
    ),
    _Reader(
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
        reader = _reader(document)
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


def _reader(document: Document) -> _Reader:
    """The only reader that recognises the document. Raises RefusedError where it is not one."""
    found = [reader for reader in _READERS if reader.recognise(document)]
    if len(found) == 1:
        return found[0]
    if found:
        both = " and ".join(reader.understands for reader in found)
        raise RefusedError(UnreadableReason.AMBIGUOUS, f"the file could be {both}")
    if document.broken:
        raise RefusedError(UnreadableReason.BROKEN, document.broken[0])
    message = f"no report that is understood here; those are: {'; '.join(UNDERSTOOD)}"
    raise RefusedError(UnreadableReason.UNKNOWN_FORMAT, message)
