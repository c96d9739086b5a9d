"""What requests got in the last five minutes: counted, never guessed."""

from __future__ import annotations

import pytest

from argosy.demand.observed import SLOT_S, WINDOW_S, Measured, ObservedHistory, Requests, observe, observed
from argosy.keys import CellName, ClassKey, GroupName
from argosy.snapshot import EngineReading, RouteCounters, Sample, Slo, SloTerm, TelemetryReading, Term
from argosy.snapshot.histogram import Histogram

CHAT, BATCH = ClassKey("default/chat"), ClassKey("default/batch")
CELL = CellName("default/chat")
GROUP = GroupName("default/chat")
ENGINE, OTHER = "10.0.0.1:8000", "10.0.0.2:8000"
START_S = 1_700_000_000.0
BOUNDS_S = (0.1, 0.5, 1.0)
TTFT_P95 = Slo((SloTerm(Term.TTFT, 0.95, 500.0),))


def ttft(*counts: float) -> Histogram:
    """Counts at or below 0.1, 0.5 and 1 s, and all."""
    return Histogram(BOUNDS_S, counts[:3], counts[3])


def reading(
    at_s: float,
    latencies: dict[str, Histogram] | None = None,
    routes: dict[str, tuple[float, ...]] | None = None,
) -> Measured:
    engines = {
        address: Sample(EngineReading(1, 2, 0.1, 0, 0, 0, latencies={Term.TTFT: histogram}), at_s)
        for address, histogram in (latencies or {}).items()
    }
    counters = {
        (node, CELL): Sample(RouteCounters(total, errors, 0.0, *refused), at_s)
        for node, (total, errors, *refused) in (routes or {}).items()
    }
    return Measured(
        TelemetryReading(engines=engines, routes=counters),
        at_s,
        groups={ENGINE: GROUP, OTHER: GROUP},
        classes={CELL: CHAT},
    )


def after(*readings: Measured) -> ObservedHistory:
    history = ObservedHistory()
    for each in readings:
        history = observe(history, each)
    return history


def test_what_was_counted_before_the_first_reading_is_not_of_the_last_minutes() -> None:
    first = reading(START_S, {ENGINE: ttft(900, 900, 900, 900)}, {"edge": (900.0, 100.0)})
    found = observed(after(first), first, CHAT, (GROUP,))
    assert (found.requests, found.latencies) == (None, {})
    assert found.attainment(TTFT_P95) is None
    assert found.requests_per_s is None


def test_counts_of_all_engines_and_envoys_add_up() -> None:
    first = reading(
        START_S, {ENGINE: ttft(0, 0, 0, 0), OTHER: ttft(7, 7, 7, 7)}, {"a": (5.0, 0), "b": (9.0, 1.0)}
    )
    then = reading(
        START_S + 10,
        {ENGINE: ttft(1, 3, 4, 4), OTHER: ttft(8, 9, 10, 11)},
        {"a": (25.0, 1.0), "b": (19.0, 1.0)},
    )
    found = observed(after(first, then), then, CHAT, (GROUP,))
    assert found.latencies[Term.TTFT] == ttft(2, 5, 7, 8)
    assert found.requests_per_s == pytest.approx(3.0)
    assert found.errors_per_s == pytest.approx(0.1)
    assert found.num_waiting == 4


def test_a_restarted_engine_and_envoy_count_from_their_start() -> None:
    first = reading(START_S, {ENGINE: ttft(50, 60, 70, 80)}, {"edge": (80.0, 9.0)})
    then = reading(START_S + 10, {ENGINE: ttft(1, 2, 2, 2)}, {"edge": (2.0, 1.0)})
    found = observed(after(first, then), then, CHAT, (GROUP,))
    assert found.latencies[Term.TTFT] == ttft(1, 2, 2, 2)
    assert (found.requests_per_s, found.errors_per_s) == pytest.approx((0.2, 0.1))


def test_after_five_minutes_a_request_is_forgotten() -> None:
    readings = [reading(START_S, {ENGINE: ttft(0, 0, 0, 0)}, {"edge": (0.0, 0.0)})]
    for k in range(1, int(WINDOW_S / SLOT_S) + 2):
        readings.append(reading(START_S + k * SLOT_S, {ENGINE: ttft(0, 10, 10, 10)}, {"edge": (10.0, 0.0)}))
    early, late = readings[5], readings[-1]
    seen = observed(after(*readings[:6]), early, CHAT, (GROUP,))
    assert seen.latencies[Term.TTFT].total == 10
    gone = observed(after(*readings), late, CHAT, (GROUP,))
    assert gone.latencies == {}
    assert gone.requests_per_s == 0.0
    assert WINDOW_S - SLOT_S <= gone.window_s <= WINDOW_S


def test_a_clock_that_goes_back_claims_nothing_of_the_future() -> None:
    first = reading(START_S, {ENGINE: ttft(0, 0, 0, 0)})
    then = reading(START_S + 600, {ENGINE: ttft(0, 10, 10, 10)})
    back = reading(START_S + 60, {ENGINE: ttft(0, 11, 11, 11)})
    found = observed(after(first, then, back), back, CHAT, (GROUP,))
    assert found.latencies[Term.TTFT] == ttft(0, 1, 1, 1)
    assert found.window_s >= 0


def test_a_class_that_is_gone_is_forgotten() -> None:
    first = reading(START_S, {}, {"edge": (0.0, 0.0)})
    gone = Measured(TelemetryReading(), START_S + 10, groups={}, classes={CellName(BATCH): BATCH})
    history = after(first, reading(START_S + 5, {}, {"edge": (9.0, 0.0)}), gone)
    assert set(history.requests) == {BATCH}
    assert history.latencies == {}


@pytest.mark.parametrize(
    ("counts", "errors", "attainment", "missed"),
    [
        pytest.param((90, 96, 100, 100), 0, 0.96, False, id="kept"),
        pytest.param((0, 94, 100, 100), 0, 0.94, False, id="one request short: chance"),
        pytest.param((0, 60, 100, 100), 0, 0.60, True, id="missed"),
        pytest.param((96, 96, 100, 100), 50, 0.48, True, id="half of the requests failed"),
        pytest.param((0, 0, 1, 1), 0, 0.0, False, id="a single request proves nothing"),
        pytest.param((0, 0, 0, 0), 0, None, False, id="no request"),
    ],
)
def test_attainment_is_the_lower_end_and_a_miss_is_certain(
    counts: tuple[float, ...], errors: int, attainment: float | None, missed: bool
) -> None:
    first = reading(START_S, {ENGINE: ttft(0, 0, 0, 0)}, {"edge": (0.0, 0.0)})
    then = reading(START_S + 10, {ENGINE: ttft(*counts)}, {"edge": (100.0, float(errors))})
    found = observed(after(first, then), then, CHAT, (GROUP,))
    assert found.attainment(TTFT_P95) == (None if attainment is None else pytest.approx(attainment))
    assert found.missed(TTFT_P95) == (TTFT_P95.terms[0] if missed else None)


def test_refused_requests_are_no_errors_and_attained_nothing() -> None:
    first = reading(START_S, {ENGINE: ttft(0, 0, 0, 0)}, {"edge": (0.0, 0.0, 0.0)})
    then = reading(START_S + 10, {ENGINE: ttft(40, 50, 50, 50)}, {"edge": (100.0, 0.0, 50.0)})
    found = observed(after(first, then), then, CHAT, (GROUP,))
    assert (found.requests_per_s, found.errors_per_s, found.refused_per_s) == pytest.approx((10.0, 0.0, 5.0))
    assert found.attainment(TTFT_P95) == pytest.approx(0.5)
    assert found.missed(TTFT_P95) == TTFT_P95.terms[0]


def test_where_all_requests_were_refused_none_attained_anything() -> None:
    first = reading(START_S, routes={"edge": (0.0, 0.0, 0.0)})
    then = reading(START_S + 10, routes={"edge": (100.0, 0.0, 100.0)})
    found = observed(after(first, then), then, CHAT, (GROUP,))
    assert found.attainment(TTFT_P95) == 0.0
    assert found.missed(TTFT_P95) == TTFT_P95.terms[0]


def test_a_restarted_envoy_counts_refused_requests_from_its_start() -> None:
    first = reading(START_S, routes={"edge": (80.0, 9.0, 70.0)})
    then = reading(START_S + 10, routes={"edge": (4.0, 1.0, 2.0)})
    found = observed(after(first, then), then, CHAT, (GROUP,))
    assert found.requests == Requests(4.0, 1.0, 2.0)


def test_between_two_buckets_the_lower_end_is_shown_and_no_miss_is_claimed() -> None:
    slo = Slo((SloTerm(Term.TTFT, 0.95, 700.0),))
    first = reading(START_S, {ENGINE: ttft(0, 0, 0, 0)})
    then = reading(START_S + 10, {ENGINE: ttft(0, 50, 100, 100)})
    found = observed(after(first, then), then, CHAT, (GROUP,))
    assert found.kept(slo.terms[0]) == (0.5, 1.0)
    assert found.attainment(slo) == 0.5
    assert found.missed(slo) is None
