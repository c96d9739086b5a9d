"""Records, percentiles and attainment."""

from __future__ import annotations

import pytest

from argosy.snapshot import Slo, SloTerm, Term
from argosy_sim.measures.attainment import Percentiles, attainment, attainment_by_term, latency_summary
from argosy_sim.measures.records import Outcome, RequestRecord, read_records

SLO = Slo((SloTerm(Term.TTFT, 0.95, 2000.0), SloTerm(Term.ITL, 0.95, 100.0)))


def answered(ttft_ms: float, itl_ms: float, num_tokens: int = 11) -> RequestRecord:
    last_s = 10 + (ttft_ms + itl_ms * (num_tokens - 1)) / 1000
    return RequestRecord(
        id="chat-000000",
        class_name="chat",
        outcome=Outcome.COMPLETED,
        arrival_s=9.5,
        prompt_tokens=100,
        expected_tokens=num_tokens,
        end_s=last_s + 0.25,
        sent_s=10.0,
        header_s=10.1,
        first_token_s=10 + ttft_ms / 1000,
        last_token_s=last_s,
        dispatch_lag_s=0.5,
        num_tokens=num_tokens,
        status=200,
        attempts=2,
        endpoint="127.1.0.3:8000",
        max_gap_s=itl_ms / 1000,
        gaps_ms=(itl_ms,) * (num_tokens - 1),
    )


def lost(outcome: Outcome = Outcome.BROKEN) -> RequestRecord:
    return RequestRecord(
        "chat-000001", "chat", outcome, 1.0, 100, 11, 3.0, 1.0, header_s=1.1, first_token_s=1.2
    )


def test_latencies_count_from_sending_and_itl_is_the_mean_gap() -> None:
    record = answered(ttft_ms=500, itl_ms=40)
    assert record.ttft_ms == pytest.approx(500)
    assert record.itl_ms == pytest.approx(40)
    assert record.e2e_ms == pytest.approx(1150)


def test_a_single_token_has_no_gap_and_a_lost_request_no_end() -> None:
    assert answered(500, 40, num_tokens=1).itl_ms == 0
    assert lost().e2e_ms is None
    assert lost().itl_ms is None
    assert lost(Outcome.REFUSED).is_lost


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
    slo = Slo((SloTerm(Term.TTFT, 0.95, 100.0),))
    (term,) = attainment_by_term([answered(1, 1)] * 19 + [answered(200, 1)], slo)
    assert (term.share, term.is_kept) == (0.95, True)


def test_percentiles_are_observed_values() -> None:
    assert Percentiles.of(range(1, 101)) == Percentiles(50, 95, 99)
    assert Percentiles.of([7.0]) == Percentiles(7.0, 7.0, 7.0)
    assert Percentiles.of([]) is None


def test_a_summary_counts_everything_and_measures_what_was_completed() -> None:
    summary = latency_summary([answered(100, 10), answered(300, 30), lost(), lost(Outcome.REFUSED)])
    assert (summary.num_requests, summary.num_lost, summary.num_retried) == (4, 2, 2)
    assert summary.num_by_outcome == {Outcome.COMPLETED: 2, Outcome.BROKEN: 1, Outcome.REFUSED: 1}
    assert summary.ttft_ms is not None
    assert summary.ttft_ms.p50 == pytest.approx(100)
    assert summary.gap_ms == Percentiles(10, 30, 30)
    nothing = latency_summary([])
    assert (nothing.num_requests, nothing.ttft_ms, nothing.gap_ms) == (0, None, None)


def test_a_record_survives_its_file_and_a_torn_last_line_is_passed_over() -> None:
    records = [answered(100, 10), lost()]
    lines = [record.to_json() + "\n" for record in records]
    assert list(read_records([*lines, lines[0][:50]])) == records
