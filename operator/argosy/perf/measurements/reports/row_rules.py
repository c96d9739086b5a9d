"""Which rows of a report are kept, marked or left out.

Owns the rules, the same for every tool; docs/performance-model.md states them. Input: what a reader
found. Output: the rows that are used, those with a limited worth with their marks, and those that are
left out with their reason. What a single field may hold is `fields`' business.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

from argosy.perf.measurements.reports.document import ParsedReport
from argosy.perf.measurements.rows import (
    ClosedLoopLoad,
    Latency,
    LeftOut,
    Measurement,
    OfferedLoad,
    OpenLoopLoad,
    RefusedError,
    UnreadableReason,
    UnreadableReport,
)

# From this share of failed requests on, the figures are of the few that got through.
_MOST = 0.5
# Fewer completed requests than this are a sample: used, and marked.
_FEW = 10
# A run that reached this share of what it was asked for is complete.
_COMPLETE = 0.9
# Below this share of the asked rate, it may not have been kept.
_RATE_KEPT = 0.9
# An engine that cannot keep up makes requests wait: after the last is sent, the run goes on for twice
# the mean latency (a queue that grows evenly). A run that goes on longer was not sent at that rate.
_LATENCIES_AFTER_THE_LAST = 3.0
# A run of the same load with so much fewer requests, before the real one, is its warm-up.
_WARM_UP_SHARE = 0.25


def judged(report: ParsedReport) -> ParsedReport:
    """The report with its rows marked or left out by the rules."""
    rows: list[Measurement] = []
    left_out = list(report.left_out)
    for index, row in enumerate(report.rows):
        try:
            _require_measured(row, report.rows[index + 1 :])
        except RefusedError as refusal:
            left_out.append(LeftOut(refusal.fault.reason, refusal.fault.message))
        else:
            rows.append(_marked(row))
    return replace(report, rows=tuple(rows), left_out=tuple(left_out))


def none_left(report: ParsedReport) -> UnreadableReport:
    """The refusal of a report without a row that can be used: every row with its reason."""
    first = report.left_out[0]
    if len(report.left_out) == 1:
        return UnreadableReport(first.reason, first.message)
    sentences = "; ".join(one.message for one in report.left_out)
    return UnreadableReport(first.reason, f"none of the {len(report.left_out)} rows can be used: {sentences}")


# --- rows that are left out -------------------------------------------------------------------


def _require_measured(row: Measurement, later: Sequence[Measurement]) -> None:
    """Raises RefusedError for a row that measured something other than the engine under its load."""
    if row.course.is_warm_up or any(_is_warm_up_of(row, other) for other in later):
        raise RefusedError(
            UnreadableReason.WARM_UP, f"{row.where}: a warm-up, whose figures are not the load's"
        )
    _require_most_completed(row)
    _require_load(row)
    for name, latency in (("TTFT", row.ttft), ("ITL", row.itl), ("end-to-end latency", row.e2e)):
        if latency is not None:
            _require_order(row.where, name, latency)


def _is_warm_up_of(row: Measurement, other: Measurement) -> bool:
    if row.num_requests is None or other.num_requests is None:
        return False
    is_same = (row.load, row.gpu) == (other.load, other.gpu) and all(
        abs(mine.mean - theirs.mean) <= 0.1 * theirs.mean
        for mine, theirs in ((row.prompt, other.prompt), (row.output, other.output))
    )
    return is_same and row.num_requests < _WARM_UP_SHARE * other.num_requests


def _require_most_completed(row: Measurement) -> None:
    completed = row.num_requests
    if completed is None:
        return
    for lost, what in (
        (row.course.num_failed or 0, "failed"),
        (row.course.num_unfinished or 0, "were cut off"),
    ):
        if lost >= _MOST * (completed + lost):
            message = (
                f"{row.where}: {lost} of {completed + lost} requests {what}: the figures of the {completed} "
                "that completed are not the load's; measure a load that the engine takes"
            )
            raise RefusedError(UnreadableReason.MOST_FAILED, message)


def _require_load(row: Measurement) -> None:
    """A run that ended early had its load only if every place in flight completed a request."""
    completed, why = row.num_requests, _ended_early(row)
    in_flight = row.load.concurrency if isinstance(row.load, ClosedLoopLoad) else 1
    if why is None or completed is None or completed >= max(_FEW, in_flight):
        return
    message = (
        f"{row.where}: {why} after {completed} completed requests, of which a steady load needs at least "
        f"{max(_FEW, in_flight)}; let the run end"
    )
    raise RefusedError(UnreadableReason.CUT_SHORT, message)


def _ended_early(row: Measurement) -> str | None:
    """Why the run is not complete; None for one that is, or of which nothing is known."""
    course = row.course
    if course.is_cancelled:
        return "the run was cancelled"
    reached: list[tuple[bool, str]] = []
    if course.num_asked is not None and row.num_requests is not None:
        ended = row.num_requests + (course.num_failed or 0)
        reached.append(
            (ended >= _COMPLETE * course.num_asked, f"{ended} of {course.num_asked} requests ended")
        )
    if course.asked_s is not None and course.duration_s is not None:
        words = f"the run took {course.duration_s:.3g} of {course.asked_s:.3g} s"
        reached.append((course.duration_s >= _COMPLETE * course.asked_s, words))
    if not reached or any(is_reached for is_reached, _ in reached):
        return None
    return " and ".join(words for _, words in reached)


def _require_order(where: str, name: str, latency: Latency) -> None:
    known = [
        (p, value)
        for p, value in (
            (50, latency.p50_ms),
            (90, latency.p90_ms),
            (95, latency.p95_ms),
            (99, latency.p99_ms),
        )
        if value is not None
    ]
    for (lower, smaller), (higher, larger) in pairwise(known):
        if smaller > larger * (1 + 1e-9):
            message = (
                f"{where}: the p{lower} of {name}, {smaller:.4g} ms, is larger than its p{higher}, "
                f"{larger:.4g} ms: one of them is another figure"
            )
            raise RefusedError(UnreadableReason.CONTRADICTORY, message)


# --- rows that are marked ---------------------------------------------------------------------


def _marked(row: Measurement) -> Measurement:
    load, rate_mark = _real_load(row)
    marks = (*row.marks, *_completion_marks(row), *rate_mark, *_percentile_marks(row))
    return replace(row, load=load, marks=marks)


def _completion_marks(row: Measurement) -> list[str]:
    marks = []
    course, completed = row.course, row.num_requests
    if course.num_failed:
        marks.append(f"{row.where}: {course.num_failed} requests failed and are not in its figures")
    if (
        completed is not None
        and course.num_unfinished
        and course.num_unfinished > (1 - _COMPLETE) * completed
    ):
        marks.append(
            f"{row.where}: {course.num_unfinished} requests were cut off at the end beside {completed} that "
            "completed: its figures are of the shorter ones"
        )
    why = _ended_early(row)
    if why is not None:
        marks.append(f"{row.where}: {why}; what completed until then is used")
    elif completed is not None and completed < _FEW:
        marks.append(f"{row.where}: only {completed} completed, fewer than {_FEW}")
    return marks


def _real_load(row: Measurement) -> tuple[OfferedLoad, tuple[str, ...]]:
    """The load that there was, and a mark where it is not the one that was asked for."""
    load = row.load
    if row.course.capped_rate is not None and isinstance(load, ClosedLoopLoad):
        sentence = (
            f"{row.where}: {row.course.capped_rate:g} requests/s were asked for; the cap of "
            f"{load.concurrency} in flight was reached and is taken for the load"
        )
        return load, (sentence,)
    done, latency_ms = row.completed_per_s, row.mean_latency_ms
    if not isinstance(load, OpenLoopLoad) or done is None or done >= _RATE_KEPT * load.requests_per_s:
        return load, ()
    asked = load.requests_per_s
    facts = f"{row.where}: {asked:g} requests/s were asked for and {done:.4g} completed"
    if latency_ms is None or row.num_requests is None:
        return load, (
            f"{facts}; whether the engine or the client was late cannot be seen: the asked rate is used",
        )
    duration_s = row.course.duration_s or row.num_requests / done
    if duration_s - row.num_requests / asked <= _LATENCIES_AFTER_THE_LAST * latency_ms / 1e3:
        return load, ()
    why = f"{facts}, with a mean latency of {latency_ms / 1e3:.3g} s: the client did not keep the rate"
    return replace(load, requests_per_s=done), (f"{why}, and {done:.4g} requests/s are used",)


def _percentile_marks(row: Measurement) -> list[str]:
    unread = [
        name for latency in (row.ttft, row.itl, row.e2e) if latency is not None for name in latency.unread
    ]
    return [f"{row.where}: {', '.join(unread)} is no number and is left out"] if unread else []
