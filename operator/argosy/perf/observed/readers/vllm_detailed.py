"""`vllm bench serve --save-result --save-detailed`: one JSON with a list per quantity.

Owns its field names (vllm/benchmarks/serve.py). Times are seconds; a request that failed has an error and
an output of 0 tokens. `start_times` are those of a monotonic clock; releases without them do not tell when
a request was sent.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from argosy.perf.measurements.reports.document import Document
from argosy.perf.measurements.reports.fields import ReportFields, not_negative, positive
from argosy.perf.observed.readers.parsed import MS_PER_S, ParsedRun, RefusedRunError, incomplete
from argosy.perf.observed.run import Engine, FailedRequest, ObservedRequest, UnreadableRunReason

_LISTS = ("start_times", "input_lens", "output_lens", "ttfts", "itls")


def recognise(document: Document) -> bool:
    """By two of the lists that `--save-detailed` keeps."""
    return {"input_lens", "ttfts"} <= document.only.keys()


def read(document: Document) -> ParsedRun:
    """One request per place in the lists. Raises RefusedRunError where a list is missing or shorter."""
    report = ReportFields(document.only, "the report")
    columns = {name: _list(report, name) for name in _LISTS}
    errors = report.raw("errors")
    causes = errors if isinstance(errors, list) else []
    lengths = {name: len(values) for name, values in columns.items()}
    if len(set(lengths.values())) > 1:
        message = f"the report: its lists are of {lengths} entries; they must have one per request each"
        raise RefusedRunError(UnreadableRunReason.BAD_VALUE, message)
    requests: list[ObservedRequest] = []
    failed: list[FailedRequest] = []
    for index in range(lengths["start_times"]):
        row = f"request {index + 1}"
        values = {name: column[index] for name, column in columns.items()}
        cause = causes[index] if index < len(causes) else ""
        if cause or not values["output_lens"]:
            failed.append(FailedRequest(row, None, str(cause or "no output token")[:300]))
        else:
            requests.append(_request(values, row))
    return ParsedRun(tuple(requests), tuple(failed), Engine(model=report.text("model_id")))


def _list(report: ReportFields, name: str) -> Sequence[Any]:
    found = report.raw(name)
    if not isinstance(found, list):
        remedy = (
            "this release of vllm bench serve does not record when requests were sent: use a newer one, or "
            "argosy perf observe"
            if name == "start_times"
            else "run vllm bench serve with --save-detailed"
        )
        raise incomplete(f"the report: {name} is missing; {remedy}")
    return found


def _request(values: dict[str, Any], row: str) -> ObservedRequest:
    entry, gaps = ReportFields(values, row), values["itls"]
    if not isinstance(gaps, list):
        raise RefusedRunError(UnreadableRunReason.BAD_VALUE, f"{row}: itls must be a list, got {gaps!r:.40}")
    ttft_s = positive(values["ttfts"], row, "ttfts")
    rest_s = sum(not_negative(gap, row, "itls") for gap in gaps)
    return ObservedRequest(
        id=row,
        sent_s=not_negative(values["start_times"], row, "start_times"),
        prompt_tokens=entry.required_count("input_lens"),
        output_tokens=entry.required_count("output_lens"),
        e2e_ms=(ttft_s + rest_s) * MS_PER_S,
        ttft_ms=ttft_s * MS_PER_S,
    )
