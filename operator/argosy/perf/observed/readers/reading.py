"""From a file's bytes to an observed run, whichever of the known tools wrote it.

Owns the choice of the reader, by content and never by the file's name. Input: bytes and a name for
messages. Output: `ObservedRun | UnreadableRun`.
"""

from __future__ import annotations

from argosy.perf.measurements.reports.choice import Reader, only_reader
from argosy.perf.measurements.reports.document import digest, parse
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

_READERS: tuple[Reader[str, ParsedRun], ...] = (
    Reader("argosy perf observe", "a run of `argosy perf observe`", argosy_run.recognise, argosy_run.read),
    Reader(
        "vllm bench serve",
        "the JSON of `vllm bench serve --save-result --save-detailed`",
        vllm_detailed.recognise,
        vllm_detailed.read,
    ),
    Reader(
        "guidellm",
        "guidellm's JSON report of one benchmark (0.2 to 0.8)",
        guidellm_requests.recognise,
        guidellm_requests.read,
    ),
    Reader(
        "aiperf",
        "aiperf's profile_export.jsonl (0.2 to 0.13)",
        aiperf_records.recognise,
        aiperf_records.read,
    ),
    Reader(
        "inference-perf",
        "inference-perf's per_request_lifecycle_metrics.json",
        inference_perf_requests.recognise,
        inference_perf_requests.read,
    ),
)


def read_run(content: bytes, name: str) -> ObservedRun | UnreadableRun:
    """The requests of a run, or a sentence that says why there are none."""
    try:
        document = parse(content)
        reader = only_reader(_READERS, document, "run of single requests")
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
