"""The work of the `replay` command: a trace or an archetype against a running endpoint.

Owns the order of the work and the summary table; the checks are `flags`, the measuring is `client`.
Exit codes (`argosy.exit_codes`): 0 every request was completed, 2 the input cannot be used, 3 some were lost.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from argosy.client.event_loop import awaited
from argosy.client.flags import checked_path, checked_url, header_pairs, new_file
from argosy.client.open_loop import RecordFile, ReplayResult, ReplayTarget, replay
from argosy.client.planned import PlannedRequest
from argosy.client.records import RequestRecord
from argosy.errors import SpecError
from argosy.exit_codes import ExitCode, exit_code
from argosy.traces.trace import Trace
from argosy_sim.measures.percentiles import LatencySummary, Percentiles, latency_summary
from argosy_sim.replay import flags
from argosy_sim.replay.load import ClassLoad, plan_load
from argosy_sim.replay.options import Pace, RequestFlags, Source

START_DELAY_S = 0.5
"""From planning to the origin: the first request must not be late."""


@dataclass(frozen=True, slots=True)
class _Job:
    """What to replay, against which endpoint, and the file for its records."""

    load: ClassLoad
    requests: tuple[PlannedRequest, ...]
    target: ReplayTarget
    out: Path


def run(source: Source, pace: Pace, wanted: RequestFlags) -> ExitCode:
    """Check the flags, replay, print the summary; the exit code."""
    try:
        job = _job(source, pace, wanted)
    except SpecError as error:
        _warn(str(error), "red")
        return ExitCode.BAD_INPUT
    return _replayed(job, Console())


def _job(source: Source, pace: Pace, wanted: RequestFlags) -> _Job:
    lengths, schedule = flags.paced(flags.lengths_of(source), pace)
    headers, path = header_pairs(wanted.headers), checked_path(wanted.path)
    load = ClassLoad(wanted.class_name, wanted.model, lengths, schedule, wanted.seed, path, headers)
    requests = plan_load([load])
    if not requests:
        raise SpecError("the load holds no request")
    url, timeout_s = checked_url(wanted.target, "--target"), wanted.timeout_s
    target = ReplayTarget(url, request_timeout_s=timeout_s, drain_timeout_s=timeout_s)
    return _Job(load, requests, target, new_file(wanted.out))


def _replayed(job: _Job, console: Console) -> ExitCode:
    """Replay and print the summary; the exit code."""
    lengths = job.load.lengths
    if isinstance(lengths, Trace) and lengths.skipped.num_lines:
        _warn(f"skipped {lengths.skipped.num_lines} lines of {lengths.name}: {lengths.skipped}", "yellow")
    last_s = job.requests[-1].arrival_s
    console.print(f"{len(job.requests)} requests over {last_s:.1f} s to {job.target.base_url}", markup=False)
    kept = _KeptRecordFile(job.out)
    with kept as file:
        result = awaited(replay(job.requests, job.target, file, time.time() + START_DELAY_S))
    summary = latency_summary(kept.records)
    _print_summary(console, summary, result)
    return exit_code(not summary.num_lost)


def _warn(text: str, style: str) -> None:
    Console(stderr=True).print(text, style=style, highlight=False, markup=False, soft_wrap=True)


class _KeptRecordFile(RecordFile):
    """A file of records that also keeps them in memory, for the summary."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.records: list[RequestRecord] = []

    def write(self, record: RequestRecord) -> None:
        super().write(record)
        self.records.append(record)


def _print_summary(console: Console, summary: LatencySummary, result: ReplayResult) -> None:
    word = "" if summary.verdict.is_stationary else f"; {summary.verdict.word}"
    table = Table(title=f"{summary.num_requests} requests, {summary.num_lost} lost{word}")
    for heading in ("ms", "p50", "p95", "p99"):
        table.add_column(heading, justify="left" if heading == "ms" else "right")
    for name, percentiles in (
        ("TTFT", summary.ttft_ms),
        ("ITL (mean gap)", summary.itl_ms),
        ("single gap", summary.gap_ms),
        ("E2E", summary.e2e_ms),
    ):
        table.add_row(name, *_cells(percentiles))
    console.print(table)
    counts = ", ".join(f"{outcome} {num}" for outcome, num in sorted(summary.num_by_outcome.items()))
    lag_ms = result.dispatch_lag_p99_s * 1000
    console.print(f"the run: {summary.verdict.message}", highlight=False, soft_wrap=True)
    console.print(
        f"{counts}; retried {summary.num_retried}; dispatch lag p99 {lag_ms:.1f} ms", highlight=False
    )


def _cells(percentiles: Percentiles | None) -> tuple[str, ...]:
    if percentiles is None:
        return ("-", "-", "-")
    return tuple(f"{value:.1f}" for value in (percentiles.p50, percentiles.p95, percentiles.p99))
