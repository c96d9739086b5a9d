"""Attainment: the share of requests that kept each term of an SLO."""

from __future__ import annotations

import pytest
from made_records import answered, lost

from argosy.client.records import Outcome, RequestRecord
from argosy.snapshot import Slo, SloTerm, Term
from argosy_sim.measures.attainment import attainment, attainment_by_term, lowest
from argosy_sim.measures.intervals import Interval

SLO = Slo((SloTerm(Term.TTFT, 0.95, 2000.0), SloTerm(Term.ITL, 0.95, 100.0)))


@pytest.mark.parametrize(
    ("records", "expected"),
    [
        pytest.param([], None, id="no request, no attainment"),
        pytest.param([answered(1999, 99)] * 4, 1.0, id="all kept"),
        pytest.param([answered(1, 1)] * 3 + [answered(2500, 1)], 0.75, id="one late first token"),
        pytest.param(
            [answered(1, 1)] * 2 + [answered(2500, 1), answered(1, 150)],
            0.75,
            id="different requests break different terms: the smallest share, not the product",
        ),
        pytest.param(
            [answered(1, 1)] * 2 + [answered(1, 150)] * 2 + [answered(2500, 1)], 0.6, id="worst term"
        ),
        pytest.param([answered(1, 1)] * 3 + [lost()], 0.75, id="a lost request keeps no term"),
        pytest.param([lost(Outcome.TIMED_OUT)], 0.0, id="all lost"),
    ],
)
def test_attainment_is_the_smallest_share_over_terms(
    records: list[RequestRecord], expected: float | None
) -> None:
    assert attainment(records, SLO) == expected


def test_an_slo_without_terms_is_not_attained_either() -> None:
    assert attainment([answered(1, 1)], Slo(())) is None


def test_each_term_is_judged_by_its_own_percentile() -> None:
    slo = Slo((SloTerm(Term.TTFT, 0.5, 100.0), SloTerm(Term.E2E, 0.9, 1000.0)))
    half = attainment_by_term([answered(90, 200), answered(5000, 1)], slo)
    assert [(term.share, term.is_kept) for term in half] == [(0.5, True), (0.0, False)]


def test_exactly_the_percentile_is_kept_whatever_the_float_says() -> None:
    assert 0.1 + 0.2 > 0.3
    slo = Slo((SloTerm(Term.TTFT, 0.1 + 0.2, 100.0),))
    (term,) = attainment_by_term([answered(1, 1)] * 3 + [answered(200, 1)] * 7, slo)
    assert (term.share, term.is_kept) == (0.3, True)


def test_the_lowest_term_is_the_attainment_and_has_its_wilson_interval() -> None:
    terms = attainment_by_term([answered(1, 1)] * 95 + [answered(2500, 1)] * 5, SLO)
    term = lowest(terms)
    assert term is not None
    assert (term.term.term, term.num_kept, term.num_requests) == (Term.TTFT, 95, 100)
    assert isinstance(term.interval, Interval)
    assert (term.interval.low, term.interval.high) == pytest.approx((0.8882, 0.9785), abs=5e-5)
    assert lowest(()) is None
