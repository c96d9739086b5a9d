"""aiperf's `profile_export.jsonl`: one JSON object per request.

Owns its field names (aiperf 0.2 to 0.13, `MetricRecordInfo`). Stamps are nanoseconds of the wall clock;
each metric has a value and its unit. A request of the warm-up is load and so is kept. genai-perf's
`profile_export.json` counts no tokens, so it is refused by name.
"""

from __future__ import annotations

from argosy.perf.measurements.reports.document import Document
from argosy.perf.measurements.reports.fields import ReportFields, positive
from argosy.perf.observed.readers.parsed import ParsedRun, RefusedRunError, incomplete
from argosy.perf.observed.run import FailedRequest, ObservedRequest, UnreadableRunReason

_NS_PER_S = 1e9
_MS = {"ms": 1.0, "s": 1e3, "sec": 1e3, "us": 1e-3, "ns": 1e-6}


def recognise(document: Document) -> bool:
    """By the two parts of a record; genai-perf's file by its experiments."""
    first = document.objects[0] if document.objects else {}
    is_record = isinstance(first.get("metadata"), dict) and "request_start_ns" in first["metadata"]
    return is_record or "experiments" in document.only


def read(document: Document) -> ParsedRun:
    """One request per line. Raises RefusedRunError for genai-perf's file and for a line of no use."""
    if "experiments" in document.only:
        message = (
            "the report: genai-perf's profile_export.json holds no numbers of tokens; run aiperf, whose "
            "profile_export.jsonl does, or argosy perf observe"
        )
        raise incomplete(message)
    requests: list[ObservedRequest] = []
    failed: list[FailedRequest] = []
    for index, found in enumerate(document.objects):
        entry = ReportFields(found, document.row(index, "line"))
        if entry.raw("error") or entry.raw("metadata.was_cancelled") is True:
            failed.append(_failed(entry))
        else:
            requests.append(_request(entry))
    return ParsedRun(tuple(requests), tuple(failed), is_partial=bool(document.broken), notes=document.broken)


def _request(entry: ReportFields) -> ObservedRequest:
    start = _stamp_ns(entry, "metadata.request_start_ns")
    ttft_ms = _milliseconds(entry, "time_to_first_token")
    e2e_ms = _milliseconds(entry, "request_latency")
    if e2e_ms is None:
        raise incomplete(f"{entry.row}: metrics.request_latency is missing")
    return ObservedRequest(
        id=entry.text("metadata.x_request_id") or entry.row,
        sent_s=start / _NS_PER_S,
        prompt_tokens=entry.required_count("metrics.input_sequence_length.value"),
        output_tokens=entry.required_count("metrics.output_sequence_length.value"),
        e2e_ms=e2e_ms,
        ttft_ms=ttft_ms,
    )


def _stamp_ns(entry: ReportFields, path: str) -> float:
    """A stamp in nanoseconds, which is larger than any other number of a report."""
    found = entry.raw(path)
    if isinstance(found, bool) or not isinstance(found, int) or not 0 < found < 1 << 63:
        message = f"{entry.row}: {path} must be a whole number of nanoseconds, got {found!r:.40}"
        raise RefusedRunError(UnreadableRunReason.BAD_VALUE, message)
    return float(found)


def _milliseconds(entry: ReportFields, name: str) -> float | None:
    metric = entry.inside(f"metrics.{name}")
    if metric.raw("value") is None:
        return None
    unit = metric.text("unit")
    if unit is None or unit not in _MS:
        message = f"{entry.row}: metrics.{name}.unit is {unit!r}, one of {', '.join(_MS)} expected"
        raise RefusedRunError(UnreadableRunReason.BAD_VALUE, message)
    return positive(metric.raw("value"), entry.row, f"metrics.{name}.value") * _MS[unit]


def _failed(entry: ReportFields) -> FailedRequest:
    cause = entry.text("error.message") or entry.text("error.type") or "cancelled"
    return FailedRequest(entry.text("metadata.x_request_id") or entry.row, None, cause[:300])
