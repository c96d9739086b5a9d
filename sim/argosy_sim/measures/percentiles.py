"""Latencies from records: percentiles and a summary of counts.

Owns the definition of a percentile and which latency an SLO's term measures. Input: the records
that count (the caller selects class and time). Output: milliseconds, counts. Pure.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from argosy.client.records import Outcome, RequestRecord
from argosy.engine.stationarity import RunVerdict
from argosy.snapshot import Term
from argosy_sim.measures.settled import run_verdict

ROUNDING = 1e-9
"""Slack of a comparison of shares: 0.07 * 100 must be 7 in floating point too."""


@dataclass(frozen=True, slots=True)
class Percentiles:
    """Milliseconds. Each is the smallest observed value that its share of observations does not exceed."""

    p50: float
    p95: float
    p99: float

    @classmethod
    def of(cls, values_ms: Iterable[float]) -> Percentiles | None:
        """None where there is no value: nothing observed is not a latency of 0."""
        ordered = sorted(values_ms)
        if not ordered:
            return None
        return cls(*(percentile(ordered, share) for share in (0.50, 0.95, 0.99)))


def percentile(ordered: Sequence[float], share: float) -> float:
    """The smallest of the ascending values that at least `share` (0-1) of them do not exceed.

    There is no interpolation, so "p95 <= bound" and "at least 95 % kept the bound" are the same
    statement. Raises IndexError where there is no value.
    """
    return ordered[max(0, math.ceil(share * len(ordered) - ROUNDING) - 1)]


def latency_ms(record: RequestRecord, term: Term) -> float | None:
    """The latency that the term measures; None for a lost request."""
    if record.is_lost:
        return None
    match term:
        case Term.TTFT:
            return record.ttft_ms
        case Term.ITL:
            return record.itl_ms
        case Term.E2E:
            return record.e2e_ms


@dataclass(frozen=True, slots=True)
class LatencySummary:
    """Counts of all records, and percentiles of the completed ones (None where there is none).

    `itl_ms` is over requests' mean gaps, which SLOs are about; `gap_ms` over single gaps.
    `verdict`: whether the run was stationary; percentiles of another one depend on how long it was.
    """

    num_requests: int
    num_by_outcome: dict[Outcome, int]
    num_retried: int
    ttft_ms: Percentiles | None
    itl_ms: Percentiles | None
    e2e_ms: Percentiles | None
    gap_ms: Percentiles | None
    verdict: RunVerdict

    @property
    def num_lost(self) -> int:
        """Requests without a complete answer."""
        return self.num_requests - self.num_by_outcome.get(Outcome.COMPLETED, 0)


def latency_summary(records: Sequence[RequestRecord]) -> LatencySummary:
    """Counts and percentiles of these records."""
    completed = [record for record in records if not record.is_lost]
    return LatencySummary(
        num_requests=len(records),
        num_by_outcome=dict(Counter(record.outcome for record in records)),
        num_retried=sum(record.was_retried for record in records),
        ttft_ms=_term_percentiles(completed, Term.TTFT),
        itl_ms=_term_percentiles(completed, Term.ITL),
        e2e_ms=_term_percentiles(completed, Term.E2E),
        gap_ms=Percentiles.of(gap for record in completed for gap in record.gaps_ms),
        verdict=run_verdict(records),
    )


def _term_percentiles(completed: Sequence[RequestRecord], term: Term) -> Percentiles | None:
    values = (latency_ms(record, term) for record in completed)
    return Percentiles.of(value for value in values if value is not None)
