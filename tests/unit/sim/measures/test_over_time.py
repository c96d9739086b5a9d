"""Rates in bins and percentiles in a rolling window."""

from __future__ import annotations

from dataclasses import replace

import pytest
from demo_evidence import slow
from made_records import answered

from argosy.client.records import RequestRecord
from argosy.snapshot import Term
from argosy_sim.measures.over_time import arrival_rate, rolling_percentiles


def sent_at(at_s: float) -> RequestRecord:
    return replace(answered(1, 1), arrival_s=at_s, sent_s=at_s)


def test_the_arrival_rate_counts_what_arrived_within_the_run_in_bins_of_five_seconds() -> None:
    records = [sent_at(at_s) for at_s in (-1.0, 0.0, 4.9, 5.0, 12.0, 99.0)]
    assert arrival_rate(records, 12.0).points == ((0.0, 0.4), (5.0, 0.2), (10.0, 0.2), (15.0, 0.0))


def test_rolling_percentiles_are_of_the_five_seconds_around_a_moment() -> None:
    records = [slow(sent_at(10.0), 400), slow(sent_at(12.0), 800)]
    of = {r.at_s: r.percentiles for r in rolling_percentiles(records, Term.TTFT, 240.0)}
    assert of[2.5] is None
    assert of[8.5] is not None
    assert of[8.5].p95 == pytest.approx(400)
    assert of[9.5] is not None
    assert of[9.5].p50 == pytest.approx(400)
    assert of[9.5].p95 == pytest.approx(800)
    assert of[13.5] is not None
    assert of[13.5].p50 == pytest.approx(800)
