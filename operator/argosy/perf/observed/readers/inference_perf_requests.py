"""inference-perf's `per_request_lifecycle_metrics.json`: a list with one object per request.

Owns its field names (`reportgen/base.py`). Times are seconds of a monotonic clock. `output_token_times`
are those of the stream's chunks; from 0.3 on they are inside `response_metrics`, beside the usage that the
server reported, which counts tokens more exactly than the tool's own tokenizer.
"""

from __future__ import annotations

from argosy.perf.measurements.reports.document import Document
from argosy.perf.measurements.reports.fields import ReportFields, not_negative
from argosy.perf.observed.readers.parsed import MS_PER_S, ParsedRun, RefusedRunError, first_of, tokens
from argosy.perf.observed.run import FailedRequest, ObservedRequest, UnreadableRunReason

_TIMES = ("info.response_metrics.output_token_times", "info.output_token_times")
_USAGE = "info.response_metrics.server_usage"
_OUTPUT = (f"{_USAGE}.completion_tokens", "info.response_metrics.output_tokens", "info.output_tokens")
_PROMPT = (f"{_USAGE}.prompt_tokens", "info.request_metrics.text.input_tokens", "info.input_tokens")


def recognise(document: Document) -> bool:
    """By the parts of an entry."""
    return bool(document.objects) and {"start_time", "end_time", "info"} <= document.objects[0].keys()


def read(document: Document) -> ParsedRun:
    """One request per entry. Raises RefusedRunError for an entry that cannot be used."""
    requests: list[ObservedRequest] = []
    failed: list[FailedRequest] = []
    for index, found in enumerate(document.objects):
        entry = ReportFields(found, document.row(index, "request"))
        if entry.raw("error"):
            cause = entry.text("error.error_msg") or entry.text("error.error_type") or "an error"
            failed.append(FailedRequest(entry.row, None, cause[:300]))
        else:
            requests.append(_request(entry))
    return ParsedRun(tuple(requests), tuple(failed), is_partial=bool(document.broken), notes=document.broken)


def _request(entry: ReportFields) -> ObservedRequest:
    start_s = not_negative(entry.raw("start_time"), entry.row, "start_time")
    path = first_of(entry, *_TIMES)
    times = entry.raw(path)
    if not isinstance(times, list) or not times:
        message = f"{entry.row}: {path} must be a list of times; stream the answers (api.streaming: true)"
        raise RefusedRunError(UnreadableRunReason.INCOMPLETE, message)
    first_s, last_s = (not_negative(times[place], entry.row, path) for place in (0, -1))
    if not start_s <= first_s <= last_s:
        message = f"{entry.row}: start_time and the first and last of {path} must ascend"
        raise RefusedRunError(UnreadableRunReason.BAD_VALUE, message)
    return ObservedRequest(
        id=entry.row,
        sent_s=start_s,
        prompt_tokens=tokens(entry, *_PROMPT),
        output_tokens=tokens(entry, *_OUTPUT),
        e2e_ms=(last_s - start_s) * MS_PER_S,
        ttft_ms=(first_s - start_s) * MS_PER_S,
        cached_tokens=entry.some(f"{_USAGE}.prompt_tokens_details.cached_tokens") or 0,
    )
