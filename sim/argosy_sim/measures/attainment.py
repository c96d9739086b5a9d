"""Latencies and kept promises, from records.

Owns percentiles and attainment as the design's section 2 defines them. Never selects an
act, a class or a recovery window: the caller passes the records that count. Pure.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from argosy.snapshot import Slo, SloTerm, Term
from argosy_sim.measures.records import Outcome, RequestRecord

_ROUNDING = 1e-9  # 0.95 * 20 must be 19, whatever the float says


@dataclass(frozen=True, slots=True)
class Percentiles:
    """Milliseconds. The smallest observed value that the share of observations does not exceed."""

    p50: float
    p95: float
    p99: float

    @classmethod
    def of(cls, values_ms: Iterable[float]) -> Percentiles | None:
        """None where there is no value: nothing observed is not a latency of 0."""
        ordered = sorted(values_ms)
        if not ordered:
            return None
        return cls(*(_percentile(ordered, share) for share in (0.50, 0.95, 0.99)))


def _percentile(ordered: Sequence[float], share: float) -> float:
    # No interpolation: so "p95 <= bound" and "at least 95 % kept the bound" are the same statement.
    return ordered[max(0, math.ceil(share * len(ordered) - _ROUNDING) - 1)]


@dataclass(frozen=True, slots=True)
class TermAttainment:
    """The share (0-1) of requests that kept one term of an SLO."""

    term: SloTerm
    share: float

    @property
    def is_kept(self) -> bool:
        """At least the term's percentile of the requests kept it."""
        return self.share >= self.term.percentile - _ROUNDING


def latency_ms(record: RequestRecord, term: Term) -> float | None:
    """What the term measures, of this request; None where it was lost."""
    if record.is_lost:
        return None
    match term:
        case Term.TTFT:
            return record.ttft_ms
        case Term.ITL:
            return record.itl_ms
        case Term.E2E:
            return record.e2e_ms


def attainment_by_term(records: Sequence[RequestRecord], slo: Slo) -> tuple[TermAttainment, ...]:
    """For each term of the SLO the share of all records that kept it; empty without a record."""
    if not records:
        return ()
    return tuple(
        TermAttainment(term, sum(_keeps(record, term) for record in records) / len(records))
        for term in slo.terms
    )


def attainment(records: Sequence[RequestRecord], slo: Slo) -> float | None:
    """The smallest share (0-1), over the SLO's terms, of requests that kept the term.

    A lost request keeps no term. None where there is no request, or no term: nothing was
    promised or nothing was asked, and neither is a promise kept.
    """
    return min((term.share for term in attainment_by_term(records, slo)), default=None)


def _keeps(record: RequestRecord, term: SloTerm) -> bool:
    value_ms = latency_ms(record, term.term)
    return value_ms is not None and value_ms <= term.bound_ms


@dataclass(frozen=True, slots=True)
class LatencySummary:
    """Counts of all records, and percentiles of the completed ones (None where there is none).

    `itl_ms` is over requests' mean gaps, which SLOs speak of; `gap_ms` over single gaps.
    """

    num_requests: int
    num_by_outcome: dict[Outcome, int]
    num_retried: int
    ttft_ms: Percentiles | None
    itl_ms: Percentiles | None
    e2e_ms: Percentiles | None
    gap_ms: Percentiles | None

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
        num_retried=sum((record.attempts or 1) > 1 for record in records),
        ttft_ms=_term_percentiles(completed, Term.TTFT),
        itl_ms=_term_percentiles(completed, Term.ITL),
        e2e_ms=_term_percentiles(completed, Term.E2E),
        gap_ms=Percentiles.of(gap for record in completed for gap in record.gaps_ms),
    )


def _term_percentiles(completed: Sequence[RequestRecord], term: Term) -> Percentiles | None:
    values = (latency_ms(record, term) for record in completed)
    return Percentiles.of(value for value in values if value is not None)
