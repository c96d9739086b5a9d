"""What every reader of runs gives back, and how it refuses.

Owns `ParsedRun`, the refusal that leaves a reader, and the reading of one entry after another: an entry
that cannot be used refuses the file, for a replay without it would be another load.
"""

from __future__ import annotations

from dataclasses import dataclass

from argosy.perf.measurements.reports.fields import ReportFields
from argosy.perf.observed.run import (
    UNKNOWN,
    Engine,
    FailedRequest,
    ObservedRequest,
    UnreadableRun,
    UnreadableRunReason,
)

MS_PER_S = 1e3


@dataclass(frozen=True, slots=True)
class ParsedRun:
    """A run as a reader found it: in any order, sent at any zero of time."""

    requests: tuple[ObservedRequest, ...]
    failed: tuple[FailedRequest, ...] = ()
    engine: Engine = UNKNOWN
    tool_version: str | None = None
    is_partial: bool = False
    notes: tuple[str, ...] = ()


class RefusedRunError(Exception):
    """Carries an `UnreadableRun` out of a reader to `read_run`, nowhere further."""

    def __init__(self, reason: UnreadableRunReason, message: str) -> None:
        super().__init__(message)
        self.fault = UnreadableRun(reason, message)


def incomplete(message: str) -> RefusedRunError:
    """Something that a replay cannot do without is missing."""
    return RefusedRunError(UnreadableRunReason.INCOMPLETE, message)


def first_of(entry: ReportFields, *paths: str) -> str:
    """The first of these fields that the entry has: releases of a tool name one thing differently.

    Raises RefusedRunError where it has none.
    """
    for path in paths:
        if entry.raw(path) is not None:
            return path
    raise incomplete(f"{entry.row}: {' or '.join(paths)} is missing")


def tokens(entry: ReportFields, *paths: str) -> int:
    """A number of tokens, in the first of these fields that the entry has."""
    return entry.required_count(first_of(entry, *paths))
