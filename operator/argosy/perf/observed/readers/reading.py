"""From a file's bytes to an observed run, whichever of the known tools wrote it.

Owns the choice of the reader, by content and never by the file's name. Input: bytes and a name for
messages. Output: `ObservedRun | UnreadableRun`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from argosy.perf.measurements.reports.document import Document, digest, parse
from argosy.perf.measurements.rows import RefusedError
from argosy.perf.observed.readers import (
    aiperf_records,
    argosy_run,
    guidellm_requests,
    inference_perf_requests,
    vllm_detailed,
)
from argosy.perf.observed.readers.parsed import ParsedRun, RefusedRunError
from argosy.perf.observed.run import ObservedRun, UnreadableRun, UnreadableRunReason, in_order


@dataclass(frozen=True, slots=True)
class _Reader:
    tool: str
    understands: str
    recognise: Callable[[Document], bool]
    read: Callable[[Document], ParsedRun]


_READERS = (
    _Reader("argosy perf observe", "a run of `argosy perf observe`", argosy_run.recognise, argosy_run.read),
    _Reader(
        "vllm bench serve",
        "the JSON of `vllm bench serve --save-result --save-detailed`",
        vllm_detailed.recognise,
        vllm_detailed.read,
    ),
    _Reader(
        "guidellm",
        "guidellm's JSON report of one benchmark (0.2 to 0.8)",
        guidellm_requests.recognise,
        guidellm_requests.read,
    ),
    _Reader(
        "aiperf",
        "aiperf's profile_export.jsonl (0.2 to 0.13)",
        aiperf_records.recognise,
        aiperf_records.read,
    ),
    _Reader(
        "inference-perf",
        "inference-perf's per_request_lifecycle_metrics.json",
        inference_perf_requests.recognise,
        inference_perf_requests.read,
    ),
)
UNDERSTOOD = tuple(reader.understands for reader in _READERS)
"""What can be read, in words for users."""


def read_run(content: bytes, name: str) -> ObservedRun | UnreadableRun:
    """The requests of a run, or a sentence that says why there are none."""
    try:
        document = parse(content)
        reader = _reader(document)
        found = reader.read(document)
    except RefusedRunError as refusal:
        return UnreadableRun(refusal.fault.reason, f"{name}: {refusal.fault.message}")
    except RefusedError as refusal:
        reason = UnreadableRunReason(refusal.fault.reason.value)
        return UnreadableRun(reason, f"{name}: {refusal.fault.message}")
    if not found.requests:
        why = f": {found.failed[0].cause}" if found.failed else ""
        message = f"{name}: none of its {len(found.failed)} requests was answered in full{why}"
        return UnreadableRun(UnreadableRunReason.NOTHING_MEASURED, message)
    return ObservedRun(
        name=name,
        sha256=digest(content),
        tool=reader.tool,
        requests=in_order(found.requests),
        failed=found.failed,
        engine=found.engine,
        tool_version=found.tool_version,
        is_partial=found.is_partial,
        notes=found.notes,
    )


def _reader(document: Document) -> _Reader:
    """The first reader that recognises the document. Raises RefusedRunError where none does."""
    for reader in _READERS:
        if reader.recognise(document):
            return reader
    if document.broken:
        raise RefusedRunError(UnreadableRunReason.BROKEN, document.broken[0])
    message = f"no run of single requests that is understood here; those are: {'; '.join(UNDERSTOOD)}"
    raise RefusedRunError(UnreadableRunReason.UNKNOWN_FORMAT, message)
