"""Requests that piled up count where they came: an Envoy whose engines stop, and go on."""

from __future__ import annotations

from itertools import pairwise

import pytest
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from argosy.api.workloadclass import TrafficSource
from argosy.demand.arrivals import Arrivals, Backlog
from argosy.demand.forecast import ClassTraffic, DemandHistory, forecast, observe
from argosy.keys import CellName, ClassKey
from argosy.route.counters import GATEWAY
from argosy.route.table import Gateway
from argosy.snapshot import RouteCounters, Sample, TelemetryReading
from argosy.xds.gateway.listener import listener_of

CHAT, BATCH = ClassKey("default/chat"), ClassKey("default/batch")
CELLS = {CellName.of_class(CHAT): CHAT, CellName.of_class(BATCH): BATCH}
STARTED_S = 1_700_000_000.0


class Envoy:
    """Counts what comes in at once, and what an upstream takes when it takes it."""

    def __init__(self, shows_arrivals: bool = True) -> None:
        self.now_s, self.history, self.shows_arrivals = STARTED_S, DemandHistory(), shows_arrivals
        self.arrived, self.stray = 0.0, 0.0
        self.counted = dict.fromkeys(CELLS, 0.0)
        self.waiting = dict.fromkeys(CELLS, 0.0)
        self.highest = dict.fromkeys(CELLS.values(), 0.0)

    def go_on(self, seconds: float, *, chat: float, batch: float = 0.0, takes: float = 1.0) -> None:
        """`takes`: share of what waits that class chat's engines take within a reading."""
        for _ in range(round(seconds / 2)):
            self.now_s += 2.0
            for cell, rate_per_s in zip(CELLS, (chat, batch), strict=True):
                self.waiting[cell] += 2.0 * rate_per_s
                self.arrived += 2.0 * rate_per_s
                taken = self.waiting[cell] * (takes if CELLS[cell] == CHAT else 1.0)
                self.waiting[cell] -= taken
                self.counted[cell] += taken
            self.arrived += 2.0 * self.stray
            self._read()

    def _read(self) -> None:
        routes = {
            ("a", cell): Sample(RouteCounters(total, 0.0, 0.0), self.now_s)
            for cell, total in self.counted.items()
        }
        arrivals = {"a": Sample(self.arrived, self.now_s)} if self.shows_arrivals else {}
        self.history = observe(
            self.history, TelemetryReading(routes=routes, arrivals=arrivals), CELLS, self.now_s
        )
        for key, rate_per_s in self.rates().items():
            self.highest[key] = max(self.highest[key], rate_per_s)

    def rates(self) -> dict[ClassKey, float]:
        traffic = tuple(ClassTraffic(key, 0.001, TrafficSource.OBSERVED) for key in CELLS.values())
        found = forecast(self.history, traffic, 0.0, self.now_s)
        return {key: each.observed_per_s or 0.0 for key, each in found.items()}


@pytest.mark.parametrize("stop_s", [6.0, 20.0, 40.0])
@pytest.mark.parametrize("takes", [1.0, 0.5, 0.2])
@pytest.mark.parametrize("stray", [0.0, 3.0])
def test_what_piled_up_while_engines_stood_still_is_no_higher_rate(
    stop_s: float, takes: float, stray: float
) -> None:
    envoy = Envoy()
    envoy.stray = stray  # requests of no class come in, too
    envoy.go_on(60, chat=5.0, batch=2.0)
    envoy.highest = dict.fromkeys(envoy.highest, 0.0)
    envoy.go_on(stop_s, chat=5.0, batch=2.0, takes=0.0)
    envoy.go_on(40, chat=5.0, batch=2.0, takes=takes)
    assert envoy.highest[CHAT] <= 5.0 * 1.15
    assert envoy.highest[BATCH] <= 2.0 * 1.15
    assert envoy.rates() == pytest.approx({CHAT: 5.0, BATCH: 2.0}, rel=0.1)


def test_without_what_came_in_the_same_would_be_three_times_the_rate() -> None:
    envoy = Envoy(shows_arrivals=False)
    envoy.go_on(60, chat=5.0)
    envoy.go_on(20, chat=5.0, takes=0.0)
    envoy.go_on(10, chat=5.0)
    assert envoy.highest[CHAT] > 12.0


def test_a_burst_is_no_backlog() -> None:
    seen, blind = Envoy(), Envoy(shows_arrivals=False)
    for envoy in (seen, blind):
        envoy.go_on(60, chat=5.0)
        envoy.go_on(8, chat=20.0)
    assert seen.rates() == blind.rates()
    assert seen.rates()[CHAT] > 15.0


def test_requests_counted_twice_are_counted_once() -> None:
    cell = next(iter(CELLS))
    known = Arrivals(STARTED_S, 100.0, {cell: 100.0}, stray_per_s=0.0)
    known, backlog = known.observed(STARTED_S + 2, 110.0, {cell: 120.0})
    assert backlog == Backlog(extra_share=0.5)


@pytest.mark.parametrize(
    ("at_s", "arrived"),
    [
        pytest.param(STARTED_S + 2, 3.0, id="Envoy was started again"),
        pytest.param(STARTED_S - 60, 130.0, id="the clock went back"),
        pytest.param(STARTED_S, 100.0, id="the same reading once more"),
    ],
)
def test_totals_that_do_not_follow_each_other_tell_nothing(at_s: float, arrived: float) -> None:
    cell = next(iter(CELLS))
    known = Arrivals(STARTED_S, 100.0, {cell: 100.0}, ((STARTED_S, 5.0),))
    assert known.observed(at_s, arrived, {cell: 1.0})[1] == Backlog()


readings = st.lists(
    st.tuples(st.integers(0, 40), st.integers(0, 40), st.integers(0, 10)), min_size=2, max_size=40
)


@settings(max_examples=200, deadline=None)
@given(readings)
def test_every_request_is_counted_once_and_not_before_it_came(counts: list[tuple[int, int, int]]) -> None:
    """Each reading: how many come, how many of those that wait are counted, how many are of no class."""
    cell = next(iter(CELLS))
    history, now_s, arrived, counted, waits = DemandHistory(), STARTED_S, 0.0, 0.0, 0
    came: list[tuple[float, float]] = []
    for num, taken, stray in ((0, 0, 0), *counts):
        now_s += 1.0
        waits += num
        counted += min(waits, taken)
        waits -= min(waits, taken)
        arrived += num + stray
        came.append((now_s, arrived))
        reading = TelemetryReading(
            routes={("a", cell): Sample(RouteCounters(counted, 0.0, 0.0), now_s)},
            arrivals={"a": Sample(arrived, now_s)},
        )
        history = observe(history, reading, {cell: CHAT}, now_s)
    points = history.classes[CHAT].tracks["a"].points
    assert points[-1][1] == pytest.approx(counted)
    assert all(after[1] >= before[1] - 1e-9 for before, after in pairwise(points))
    assert all(num <= by_then + 1e-6 for (_, num), (_, by_then) in zip(points, came, strict=True))


def test_what_came_in_is_counted_at_the_listener_for_users() -> None:
    listener = listener_of(Gateway("0.0.0.0", 8080, 1024))
    manager = HttpConnectionManager.FromString(listener.filter_chains[0].filters[0].typed_config.value)
    assert manager.stat_prefix == GATEWAY
