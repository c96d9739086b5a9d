"""SLO attainment from records: the share of requests that kept each term.

Owns the definition that `docs/glossary.md` gives. Input: the records that count (the caller selects
class, act and recovery windows) and the SLO. Output: counts and shares per term. Pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from argosy.client.records import RequestRecord
from argosy.snapshot import Slo, SloTerm
from argosy_sim.measures.intervals import Interval, TooFew, share_interval
from argosy_sim.measures.percentiles import ROUNDING, latency_ms


@dataclass(frozen=True, slots=True)
class TermAttainment:
    """How many of `num_requests` (at least 1) kept one term of an SLO."""

    term: SloTerm
    num_kept: int
    num_requests: int

    @property
    def share(self) -> float:
        """The share (0-1) of requests that kept the term."""
        return self.num_kept / self.num_requests

    @property
    def is_kept(self) -> bool:
        """At least the term's percentile of the requests kept it."""
        return self.share >= self.term.percentile - ROUNDING

    @property
    def interval(self) -> Interval | TooFew:
        """The Wilson 95 % interval of the share, as if requests were independent of each other."""
        return share_interval(self.num_kept, self.num_requests)


def attainment_by_term(records: Sequence[RequestRecord], slo: Slo) -> tuple[TermAttainment, ...]:
    """Each term's attainment over all records, in the SLO's order; empty without a record.

    A lost request keeps no term.
    """
    if not records:
        return ()
    return tuple(
        TermAttainment(term, sum(_keeps(record, term) for record in records), len(records))
        for term in slo.terms
    )


def lowest(terms: Sequence[TermAttainment]) -> TermAttainment | None:
    """The term with the smallest share; the first of equals, None without a term."""
    return min(terms, key=lambda term: term.share, default=None)


def attainment(records: Sequence[RequestRecord], slo: Slo) -> float | None:
    """The smallest share (0-1), over the SLO's terms, of requests that kept the term.

    None where there is no request or no term: neither is a promise that was kept.
    """
    worst = lowest(attainment_by_term(records, slo))
    return None if worst is None else worst.share


def _keeps(record: RequestRecord, term: SloTerm) -> bool:
    value_ms = latency_ms(record, term.term)
    return value_ms is not None and value_ms <= term.bound_ms
