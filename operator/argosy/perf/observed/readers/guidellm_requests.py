"""guidellm's JSON report, whose benchmarks hold their requests (0.2 to 0.8).

Owns the names of a request's fields. Until 0.3 a request has `start_time`, `first_token_time` and
`last_token_time`; from 0.4 on `request_start_time`, with the times of its tokens in `info.timings`. All are
seconds of the wall clock.
"""

from __future__ import annotations

from argosy.perf.measurements.reports import guidellm_report
from argosy.perf.measurements.reports.document import Document
from argosy.perf.measurements.reports.fields import ReportFields, positive
from argosy.perf.observed.readers.parsed import (
    MS_PER_S,
    ParsedRun,
    RefusedRunError,
    first_of,
    incomplete,
    tokens,
)
from argosy.perf.observed.run import Engine, FailedRequest, ObservedRequest, UnreadableRunReason

_START = ("info.timings.request_start", "request_start_time", "start_time")
_FIRST = ("info.timings.first_token_iteration", "first_token_time")
_LAST = ("info.timings.last_token_iteration", "last_token_time")


def recognise(document: Document) -> bool:
    """As its summary is recognised; the requests are part of the same file."""
    return guidellm_report.recognise(document)


def read(document: Document) -> ParsedRun:
    """The one benchmark of the report. Raises RefusedRunError where there are several, or no requests."""
    report = ReportFields(document.only, "the report")
    benchmarks = report.raw("benchmarks")
    found = [one for one in benchmarks if isinstance(one, dict)] if isinstance(benchmarks, list) else []
    if len(found) != 1:
        message = (
            f"the report holds {len(found)} benchmarks, one is needed: a run has one load; benchmark one "
            "rate instead of a sweep, or keep one entry of `benchmarks`"
        )
        raise RefusedRunError(UnreadableRunReason.SEVERAL_RUNS, message)
    benchmark = ReportFields(found[0], "the benchmark")
    successful = benchmark.raw("requests.successful")
    if not isinstance(successful, list):
        raise incomplete("the benchmark: requests.successful is missing; keep the requests in the report")
    requests = [_request(each, index) for index, each in enumerate(successful)]
    failed = [
        _failed(each, kind)
        for kind in ("errored", "incomplete")
        for each in (benchmark.raw(f"requests.{kind}") or ())
    ]
    return ParsedRun(
        tuple(requests),
        tuple(failed),
        Engine(model=benchmark.text("config.backend.model") or benchmark.text("worker.backend_model")),
        report.text("metadata.guidellm_version"),
    )


def _request(values: object, index: int) -> ObservedRequest:
    row = f"successful request {index + 1}"
    entry = ReportFields(values if isinstance(values, dict) else {}, row)
    at_s = {
        name: positive(entry.raw(path := first_of(entry, *paths)), row, path)
        for name, paths in (("start", _START), ("first", _FIRST), ("last", _LAST))
    }
    if not at_s["start"] <= at_s["first"] <= at_s["last"]:
        message = f"{row}: its start, first token and last token must ascend"
        raise RefusedRunError(UnreadableRunReason.BAD_VALUE, message)
    return ObservedRequest(
        id=entry.text("request_id") or row,
        sent_s=at_s["start"],
        prompt_tokens=tokens(entry, "prompt_tokens", "input_metrics.text_tokens"),
        output_tokens=tokens(entry, "output_tokens", "output_metrics.text_tokens"),
        e2e_ms=(at_s["last"] - at_s["start"]) * MS_PER_S,
        ttft_ms=(at_s["first"] - at_s["start"]) * MS_PER_S,
        cached_tokens=entry.some("input_metrics.cached_tokens") or 0,
    )


def _failed(values: object, kind: str) -> FailedRequest:
    entry = ReportFields(values if isinstance(values, dict) else {}, kind)
    cause = entry.text("info.error") or entry.text("error") or kind
    return FailedRequest(entry.text("request_id") or kind, None, cause[:300])
