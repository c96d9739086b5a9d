"""Percentiles and the summary of records."""

from __future__ import annotations

import pytest
from made_records import answered, lost

from argosy.client.records import Outcome
from argosy_sim.measures.percentiles import Percentiles, latency_summary, percentile


def test_percentiles_are_observed_values() -> None:
    assert Percentiles.of(range(1, 101)) == Percentiles(50, 95, 99)
    assert percentile(range(1, 101), 0.07) == 7  # 0.07 * 100 is more than 7 in floating point
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
