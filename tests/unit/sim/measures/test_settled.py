"""The stationarity of what a client observed: which records count, and what is printed for it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from judge_stationarity import Queue
from made_records import answered, lost
from rich.console import Console

from argosy.client.open_loop import ReplayResult
from argosy.client.records import Outcome, RequestRecord
from argosy.engine.stationarity import Stationarity
from argosy_sim.measures.percentiles import latency_summary
from argosy_sim.measures.settled import run_verdict
from argosy_sim.replay.job import _print_summary


def observed(load: float, num: int = 5000, backlog: int = 0) -> list[RequestRecord]:
    """What a client of a queue would have seen."""
    arrivals_s, ends_s = Queue("M/M/1", load, num, backlog).run(5)
    usual = answered(100, 10)
    return [
        replace(usual, sent_s=sent, end_s=end)
        for sent, end in zip(arrivals_s.tolist(), ends_s.tolist(), strict=True)
    ]


@pytest.mark.parametrize(
    ("load", "backlog", "state"),
    [
        (0.5, 0, Stationarity.STATIONARY),
        (1.2, 0, Stationarity.OVERLOADED),
        (0.8, 900, Stationarity.BACKLOGGED),
    ],
)
def test_a_run_is_judged_by_its_requests_in_flight(load: float, backlog: int, state: Stationarity) -> None:
    assert run_verdict(observed(load, backlog=backlog)).state is state


def test_requests_that_were_not_sent_were_never_in_flight_and_lost_ones_were() -> None:
    records = observed(0.5)
    unsent = [replace(lost(Outcome.REFUSED), sent_s=None, end_s=0.0)] * 500
    assert run_verdict([*records, *unsent]) == run_verdict(records)
    broken = [replace(record, outcome=Outcome.BROKEN) for record in records]
    assert run_verdict(broken) == run_verdict(records)


def test_few_records_and_none_are_unknown() -> None:
    assert run_verdict([]).state is Stationarity.UNKNOWN
    assert latency_summary([answered(100, 10)]).verdict.state is Stationarity.UNKNOWN


@pytest.mark.parametrize(("load", "word"), [(0.5, ""), (1.2, "overloaded")])
def test_a_summary_of_an_unstable_run_has_the_word_beside_its_percentiles(load: float, word: str) -> None:
    console = Console(width=120)
    with console.capture() as capture:
        _print_summary(console, latency_summary(observed(load)), ReplayResult(5000, {}, 0.0, 0.0))
    printed = capture.get()
    title = next(line for line in printed.splitlines() if "requests, 0 lost" in line)
    assert title.strip() == f"5000 requests, 0 lost{'; ' if word else ''}{word}"
    assert f"the run: {word or 'stationary'}: " in printed


def test_what_is_observed_does_not_depend_on_the_clock_of_the_client() -> None:
    records = observed(1.2)
    later = [replace(r, sent_s=(r.sent_s or 0.0) + 1e6, end_s=r.end_s + 1e6) for r in records]
    assert run_verdict(later).state is Stationarity.OVERLOADED
    assert np.isclose(run_verdict(later).drift_share, run_verdict(records).drift_share, rtol=1e-3)
