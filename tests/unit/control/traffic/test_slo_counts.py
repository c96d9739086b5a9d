"""What a reading adds to the counters of a class's SLO."""

from __future__ import annotations

import pytest
from builders import a_class, a_fleet, a_model, a_pool, some_nodes
from small_fleet import World

from argosy.control.candidates.workload import slo_of
from argosy.control.traffic.slo_counts import TermCounts, slo_counts
from argosy.demand.observed import Measured, ObservedHistory, Requests, observe, observed
from argosy.keys import CellName, ClassKey, GroupName
from argosy.snapshot import EngineReading, RouteCounters, Sample, TelemetryReading, Term
from argosy.snapshot.fleet import FleetSnapshot
from argosy.snapshot.histogram import Histogram

CHAT = ClassKey("default/chat")
CELL, GROUP, ENGINE = CellName(CHAT), GroupName(CHAT), "10.0.0.1:8000"


def served() -> FleetSnapshot:
    world = World(some_nodes("l40s", 3), a_fleet(), a_pool(), a_model(), a_class())
    world.settle()
    return world.snapshot()


def reading(
    at_s: float, bound_s: float, answers: tuple[float, float, float], routes: RouteCounters
) -> Measured:
    """Answers within half the bound, within twice the bound, and all."""
    histogram = Histogram((bound_s / 2, bound_s * 2), answers[:2], answers[2])
    latencies = dict.fromkeys(Term, histogram)
    engine = Sample(EngineReading(0, 0, 0.0, 0, 0, 0, latencies=latencies), at_s)
    telemetry = TelemetryReading(engines={ENGINE: engine}, routes={("edge", CELL): Sample(routes, at_s)})
    return Measured(telemetry, at_s, groups={ENGINE: GROUP}, classes={CELL: CHAT})


def test_the_first_reading_adds_nothing_and_the_second_what_came_since() -> None:
    snapshot = served()
    (term, *_) = slo_of(snapshot.classes[CHAT]).terms
    bound_s = term.bound_ms / 1000
    first = reading(snapshot.now_s, bound_s, (90.0, 95.0, 100.0), RouteCounters(100.0, 5.0, 0.0))
    (counts,) = slo_counts(snapshot, ObservedHistory(), first).values()
    assert counts.requests == Requests()
    assert counts.terms[term] == TermCounts()
    second = reading(snapshot.now_s + 2, bound_s, (94.0, 101.0, 110.0), RouteCounters(112.0, 7.0, 0.0, 1.0))
    (counts,) = slo_counts(snapshot, observe(ObservedHistory(), first), second).values()
    assert counts.requests == Requests(12.0, 2.0, 1.0)
    # Of ten answers four were above twice the bound, and two may have been on either side of it.
    assert counts.terms[term] == TermCounts(10.0, pytest.approx(4.0))


def test_the_counters_give_the_share_that_the_status_shows() -> None:
    snapshot = served()
    (term, *_) = slo_of(snapshot.classes[CHAT]).terms
    bound_s = term.bound_ms / 1000
    readings = [
        reading(
            snapshot.now_s + 2 * i, bound_s, (4.0 * i, 7.0 * i, 8.0 * i), RouteCounters(10.0 * i, 2.0 * i, 0)
        )
        for i in range(1, 6)
    ]
    history, requests, failed, answers, late = ObservedHistory(), 0.0, 0.0, 0.0, 0.0
    for each in readings:
        counts = slo_counts(snapshot, history, each)[CHAT]
        requests, failed = requests + counts.requests.num, failed + counts.requests.errors
        answers, late = answers + counts.terms[term].answers, late + counts.terms[term].late
        history = observe(history, each)
    kept = observed(history, readings[-1], CHAT, (GROUP,)).kept(term)
    assert kept is not None
    assert (1 - late / answers) * (1 - failed / requests) == pytest.approx(kept[1])


def test_every_class_is_counted_from_the_start() -> None:
    snapshot = served()
    nothing = Measured(TelemetryReading(), snapshot.now_s, groups={}, classes={})
    counts = slo_counts(snapshot, ObservedHistory(), nothing)
    assert counts.keys() == {CHAT}
    assert set(counts[CHAT].terms) == set(slo_of(snapshot.classes[CHAT]).terms)
