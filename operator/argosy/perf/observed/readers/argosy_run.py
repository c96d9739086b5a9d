"""Argosy's own runs. `observed.file` owns the format."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from argosy.perf.measurements.reports.document import Document
from argosy.perf.measurements.reports.fields import ReportFields, not_negative
from argosy.perf.observed.file import COMPLETED, VERSION, is_header
from argosy.perf.observed.readers.parsed import MS_PER_S, ParsedRun, RefusedRunError
from argosy.perf.observed.run import Engine, FailedRequest, ObservedRequest, UnreadableRunReason

_WORDS = ("model", "gpu", "dtype", "version")


def recognise(document: Document) -> bool:
    """By the kind in its first line."""
    return bool(document.objects) and is_header(document.objects[0])


def read(document: Document) -> ParsedRun:
    """Every line that is whole. Raises RefusedRunError for another version of the format."""
    header = ReportFields(document.objects[0], "the header")
    if header.raw("version") != VERSION:
        found = header.raw("version")
        message = f"version {found!r} of the format; this Argosy reads {VERSION}"
        raise RefusedRunError(UnreadableRunReason.UNKNOWN_VERSION, message)
    requests: list[ObservedRequest] = []
    failed: list[FailedRequest] = []
    end: dict[str, Any] = {}
    for number, found in enumerate(document.objects[1:], start=2):
        if "end" in found:
            end = dict(ReportFields(found, "the last line").inside("end").values)
            continue
        line = ReportFields(found, f"line {number}")
        if line.raw("outcome") == COMPLETED:
            requests.append(_request(line))
        else:
            failed.append(_failed(line))
    return ParsedRun(
        tuple(requests),
        tuple(failed),
        _engine(header.inside("engine")),
        is_partial=end.get("is_complete") is not True,
        notes=document.broken,
    )


def _request(line: ReportFields) -> ObservedRequest:
    sent_s, first_s, last_s = (
        not_negative(line.raw(name), line.row, name) for name in ("sent_s", "first_token_s", "last_token_s")
    )
    if not sent_s <= first_s <= last_s:
        message = f"{line.row}: sent_s, first_token_s and last_token_s must ascend"
        raise RefusedRunError(UnreadableRunReason.BAD_VALUE, message)
    return ObservedRequest(
        id=line.text("id") or line.row,
        sent_s=sent_s,
        prompt_tokens=line.required_count("prompt_tokens"),
        output_tokens=line.required_count("output_tokens"),
        e2e_ms=(last_s - sent_s) * MS_PER_S,
        ttft_ms=(first_s - sent_s) * MS_PER_S,
        cached_tokens=line.some("cached_tokens") or 0,
    )


def _failed(line: ReportFields) -> FailedRequest:
    sent = line.raw("sent_s")
    sent_s = None if sent is None else not_negative(sent, line.row, "sent_s")
    cause = f"{line.text('outcome') or 'no outcome'}: {line.text('error') or 'no cause'}"
    return FailedRequest(line.text("id") or line.row, sent_s, cause)


def _engine(known: ReportFields) -> Engine:
    values: dict[str, Any] = {name: known.text(name) for name in _WORDS}
    numbers = (field.name for field in fields(Engine) if field.name not in _WORDS)
    return Engine(**values | {name: known.count(name) for name in numbers})
