"""From Envoy's counters to what is planned for."""

from __future__ import annotations

import pickle
from collections.abc import Iterable, Mapping

import pytest

from argosy.api.workloadclass import TrafficSource
from argosy.demand.forecast import (
    Basis,
    ClassForecast,
    ClassTraffic,
    DemandHistory,
    ForecastNote,
    forecast,
    observe,
    triggers,
)
from argosy.keys import CellName, ClassKey
from argosy.snapshot import RouteCounters, Sample, TelemetryReading

CHAT = ClassKey("ns/chat")
CELLS = {CellName.of_class(CHAT): CHAT}
START_S = 1_700_000_000.0
STABILIZATION_S = 60.0


def reading(totals: Mapping[str, tuple[float, float]]) -> TelemetryReading:
    """A reading with one class's total per Envoy: node -> (total, when it was read)."""
    routes = {(node, CHAT): Sample(RouteCounters(num, 0.0, 0.0), at) for node, (num, at) in totals.items()}
    return TelemetryReading(routes=routes)


class Story:
    """Readings every two seconds of Envoys whose counters grow evenly."""

    def __init__(self) -> None:
        self.memory = DemandHistory()
        self.now_s = START_S
        self.totals: dict[str, float] = {}
        self.read_at: dict[str, float] = {}

    def goes_on(self, seconds: float, unread: Iterable[str] = (), **rates_per_s: float) -> Story:
        for _ in range(round(seconds / 2)):
            self.now_s += 2
            for node, rate in rates_per_s.items():
                self.totals[node] = self.totals.get(node, 0.0) + 2 * rate
                if node not in unread or node not in self.read_at:
                    self.read_at[node] = self.now_s
            self.reads({node: (self.totals[node], self.read_at[node]) for node in rates_per_s})
        return self

    def reads(self, totals: Mapping[str, tuple[float, float]]) -> None:
        # What is not read again keeps its old total too, as a source's sample does.
        shown = {
            node: (num if at == self.now_s else self._last_shown.get(node, num), at)
            for node, (num, at) in totals.items()
        }
        self._last_shown = {node: num for node, (num, _) in shown.items()}
        self.memory = observe(self.memory, reading(shown), CELLS, self.now_s)

    _last_shown: Mapping[str, float] = {}

    def forecast(
        self, source: TrafficSource = TrafficSource.OBSERVED, declared_per_s: float = 5.0
    ) -> ClassForecast:
        traffic = (ClassTraffic(CHAT, declared_per_s, source),)
        return forecast(self.memory, traffic, STABILIZATION_S, self.now_s)[CHAT]

    @property
    def mean_per_s(self) -> float:
        observed = self.forecast().observed_per_s
        assert observed is not None
        return observed


def test_a_steady_rate_is_observed_and_planned_for_with_one_standard_error() -> None:
    found = Story().goes_on(120, a=8).forecast()
    assert found.observed_per_s == pytest.approx(8.0)
    # One minute of 8/s is 480 requests: the error is sqrt(480)/60.
    assert found.rate_per_s == pytest.approx(8.0 + 480**0.5 / 60, rel=0.02)
    assert (found.basis, found.note) == (Basis.OBSERVED, None)


def test_several_envoys_add_up() -> None:
    assert Story().goes_on(90, a=8, b=2, c=1).mean_per_s == pytest.approx(11.0)


def test_the_first_total_is_a_base_line_not_a_burst() -> None:
    story = Story()
    story.totals["a"] = 1e9
    assert story.goes_on(60, a=8).mean_per_s == pytest.approx(8.0)


@pytest.mark.parametrize(
    ("source", "declared_per_s", "rate_per_s", "basis"),
    [
        pytest.param(TrafficSource.DECLARED, 3.0, 3.0, Basis.DECLARED, id="declared counts"),
        pytest.param(
            TrafficSource.LARGER_OF_BOTH, 50.0, 50.0, Basis.LARGER_DECLARED, id="declared is larger"
        ),
        pytest.param(TrafficSource.LARGER_OF_BOTH, 3.0, 8.37, Basis.LARGER_OBSERVED, id="observed is larger"),
        pytest.param(TrafficSource.OBSERVED, 50.0, 8.37, Basis.OBSERVED, id="observed counts"),
    ],
)
def test_the_traffic_source_says_whose_word_counts(
    source: TrafficSource, declared_per_s: float, rate_per_s: float, basis: Basis
) -> None:
    found = Story().goes_on(120, a=8).forecast(source, declared_per_s)
    assert found.rate_per_s == pytest.approx(rate_per_s, abs=0.02)
    assert found.basis is basis
    assert found.declared_per_s == declared_per_s


@pytest.mark.parametrize("source", [TrafficSource.OBSERVED, TrafficSource.LARGER_OF_BOTH])
def test_what_was_never_observed_is_planned_as_declared_and_says_so(source: TrafficSource) -> None:
    assert Story().goes_on(10).forecast(source) == ClassForecast(
        5.0, None, 5.0, Basis.DECLARED_UNTIL_OBSERVED, ForecastNote.NEVER_OBSERVED
    )


def test_a_class_without_requests_is_observed_as_idle() -> None:
    found = Story().goes_on(120, a=0).forecast()
    assert found.observed_per_s == 0.0
    assert 0 < found.rate_per_s < 0.02
    assert found.basis is Basis.OBSERVED


def test_without_fresh_counters_the_last_forecast_is_held_and_says_so() -> None:
    story = Story().goes_on(120, a=8)
    before = story.forecast()
    found = story.goes_on(900, unread=["a"], a=8).forecast()
    assert (found.rate_per_s, found.note) == (before.rate_per_s, ForecastNote.HELD)


def test_envoys_that_are_gone_altogether_leave_the_last_forecast() -> None:
    story = Story().goes_on(120, a=8)
    before = story.forecast()
    assert story.goes_on(900).forecast().rate_per_s == before.rate_per_s


def test_an_envoy_that_does_not_answer_keeps_its_part_of_the_rate() -> None:
    story = Story().goes_on(120, a=8, b=8).goes_on(240, unread=["b"], a=8, b=8)
    assert story.mean_per_s == pytest.approx(16.0)
    assert story.goes_on(60, a=8, b=8).mean_per_s == pytest.approx(16.0)


def test_a_restarted_envoy_gives_neither_negative_nor_huge_rates() -> None:
    story = Story().goes_on(120, a=8)
    story.totals["a"] = 0.0
    for _ in range(40):
        story.goes_on(2, a=8)
        assert 7.0 <= story.mean_per_s <= 8.01


@pytest.mark.parametrize("leap_s", [86_400.0, -86_400.0, 45.0, -45.0])
def test_a_leap_of_the_clock_changes_no_rate(leap_s: float) -> None:
    story = Story().goes_on(120, a=8)
    before = story.forecast().rate_per_s
    story.now_s += leap_s
    for _ in range(45):
        story.goes_on(2, a=8)
        assert story.forecast().rate_per_s == pytest.approx(before, rel=0.35)
    assert story.mean_per_s == pytest.approx(8.0)


def test_a_doubling_is_the_estimate_within_eight_seconds() -> None:
    story = Story().goes_on(120, a=8).goes_on(8, a=16)
    assert story.mean_per_s == pytest.approx(16.0, rel=0.05)


def test_demand_stays_in_the_forecast_for_the_stabilisation_window() -> None:
    story = Story().goes_on(120, a=16).goes_on(50, a=8)
    assert story.mean_per_s == pytest.approx(8.0, rel=0.05)
    assert story.forecast().rate_per_s > 16.0
    assert story.goes_on(20, a=8).forecast().rate_per_s < 9.0


def test_a_rise_that_proves_smaller_than_its_first_samples_is_corrected_at_once() -> None:
    story = Story().goes_on(120, a=8).goes_on(6, a=20)
    assert story.forecast().rate_per_s > 20.0
    story.goes_on(30, a=14)
    assert story.forecast().rate_per_s < 17.0


def test_a_doubling_is_named_within_eight_seconds_and_until_it_is_planned_for() -> None:
    story = Story().goes_on(120, a=8)
    planned = {CHAT: story.forecast()}
    named = []
    for _ in range(5):
        story.goes_on(2, a=16)
        named.append(bool(triggers(story.memory, planned, story.now_s)))
    assert named == [False, True, True, True, True]
    assert triggers(story.memory, {CHAT: story.forecast()}, story.now_s) == ()


def test_a_shift_says_which_class_asks_for_how_much() -> None:
    story = Story().goes_on(120, a=8)
    planned = {CHAT: story.forecast()}
    (shift,) = triggers(story.goes_on(10, a=16).memory, planned, story.now_s)
    assert shift.message == "class ns/chat asks for 16 requests/s, above the 8.37 forecast"


def test_a_fall_is_named_once() -> None:
    story = Story().goes_on(120, a=16)
    planned = {CHAT: story.forecast()}
    named = 0
    for _ in range(30):
        story.goes_on(2, a=8)
        named += len(triggers(story.memory, planned, story.now_s))
    assert named == 1


@pytest.mark.parametrize(
    ("source", "declared_per_s"),
    [
        pytest.param(TrafficSource.DECLARED, 8.0, id="only the declared rate counts"),
        pytest.param(TrafficSource.LARGER_OF_BOTH, 16.0, id="the declared rate covers it"),
    ],
)
def test_a_shift_that_changes_no_forecast_is_not_named(source: TrafficSource, declared_per_s: float) -> None:
    story = Story().goes_on(120, a=8)
    planned = {CHAT: story.forecast(source, declared_per_s)}
    for rate in (16, 8):
        for _ in range(10):
            story.goes_on(2, a=rate)
            assert triggers(story.memory, planned, story.now_s) == ()


def test_a_second_envoy_that_takes_half_the_traffic_is_no_shift() -> None:
    story = Story().goes_on(120, a=8)
    planned = {CHAT: story.forecast()}
    for _ in range(30):
        story.goes_on(2, a=4, b=4)
        assert triggers(story.memory, planned, story.now_s) == ()
    assert story.mean_per_s == pytest.approx(8.0, rel=0.1)


def test_a_class_that_is_no_longer_asked_for_is_forgotten() -> None:
    story = Story().goes_on(60, a=8)
    assert observe(story.memory, TelemetryReading(), {}, story.now_s).classes == {}


def test_the_memory_travels_to_the_planning_process() -> None:
    memory = Story().goes_on(60, a=8, b=3).memory
    assert pickle.loads(pickle.dumps(memory)) == memory


@pytest.mark.parametrize("rate", [float("nan"), float("inf"), -1.0])
def test_a_declared_rate_is_a_number_of_zero_or_more(rate: float) -> None:
    with pytest.raises(ValueError, match="declared rate"):
        ClassTraffic(CHAT, rate, TrafficSource.DECLARED)


@pytest.mark.parametrize("num", [2, 3, 5])
def test_a_few_requests_after_a_quiet_time_are_what_the_declared_rate_lets_expect(num: int) -> None:
    declared = (ClassTraffic(CHAT, 0.3, TrafficSource.LARGER_OF_BOTH),)
    story = Story().goes_on(600, a=0.0)
    planned = forecast(story.memory, declared, STABILIZATION_S, story.now_s)
    story.goes_on(2, a=num / 2)
    for _ in range(60):
        story.goes_on(2, a=0.0)
        now = forecast(story.memory, declared, STABILIZATION_S, story.now_s)
        assert now[CHAT].rate_per_s == 0.3
        assert triggers(story.memory, planned, story.now_s) == ()


@pytest.mark.parametrize("before_per_s", [0.0, 4.0, 8.0])
def test_a_rise_above_the_declared_rate_is_named_and_planned_for_within_ten_seconds(
    before_per_s: float,
) -> None:
    declared = (ClassTraffic(CHAT, 8.0, TrafficSource.LARGER_OF_BOTH),)
    story = Story().goes_on(600, a=before_per_s)
    planned = {CHAT: ClassForecast(8.0, before_per_s, 8.0, Basis.LARGER_DECLARED)}
    story.goes_on(10, a=14.0)
    (shift,) = triggers(story.memory, planned, story.now_s)
    assert (shift.observed_per_s, shift.forecast_per_s) == (pytest.approx(14.0), 8.0)
    found = forecast(story.memory, declared, STABILIZATION_S, story.now_s)[CHAT]
    assert found.basis is Basis.LARGER_OBSERVED
    assert 14.0 <= found.rate_per_s <= 16.0


def test_a_small_lasting_rise_above_the_declared_rate_is_planned_for_within_a_minute() -> None:
    declared = (ClassTraffic(CHAT, 8.0, TrafficSource.LARGER_OF_BOTH),)
    story = Story().goes_on(600, a=4.0).goes_on(64, a=9.6)
    assert forecast(story.memory, declared, STABILIZATION_S, story.now_s)[CHAT].rate_per_s >= 9.6
