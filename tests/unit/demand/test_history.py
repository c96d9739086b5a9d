"""A class's rate, however many route cells its requests are counted in."""

from __future__ import annotations

import math
from collections.abc import Mapping

import pytest

from argosy.api.workloadclass import TrafficSource
from argosy.demand.forecast import ClassForecast, ClassTraffic, DemandHistory, forecast, observe, triggers
from argosy.keys import CellName, ClassKey
from argosy.snapshot import RouteCounters, Sample, TelemetryReading

CHAT, BATCH = ClassKey("default/chat"), ClassKey("default/batch")
WHOLE = CellName.of_class(CHAT)
SHORT, LONG = CellName.of_class(CHAT, "short"), CellName.of_class(CHAT, "long")
CLASS_BY_CELL = {WHOLE: CHAT, SHORT: CHAT, LONG: CHAT, CellName.of_class(BATCH): BATCH}
RATE_PER_S = 8.0


class Envoys:
    """Envoys that count 8 requests/s of class chat each, in the cells of the routes that they have."""

    def __init__(self, *nodes: str, cells: dict[CellName, float] | None = None) -> None:
        self.now_s = 1_700_000_000.0
        self.history = DemandHistory()
        self.cells = {node: cells or {WHOLE: 1.0} for node in nodes}
        self.totals: dict[tuple[str, CellName], float] = {}
        self.lowest_per_s, self.highest_per_s = math.inf, 0.0
        self.shifts: list[str] = []

    def get_routes(self, node: str, cells: dict[CellName, float]) -> None:
        """Counters of routes that go are gone; those of new routes begin at zero."""
        self.cells[node] = cells
        self.totals = {(at, cell): n for (at, cell), n in self.totals.items() if at != node or cell in cells}

    def go_on(self, seconds: float, class_by_cell: dict[CellName, ClassKey] | None = None) -> None:
        planned = self.forecasts()
        for _ in range(round(seconds / 2)):
            self.now_s += 2
            for node, cells in self.cells.items():
                for cell, share in cells.items():
                    counted = self.totals.get((node, cell), 0.0)
                    self.totals[node, cell] = counted + 2 * RATE_PER_S * share
            routes = {
                key: Sample(RouteCounters(total, 0.0, 0.0), self.now_s) for key, total in self.totals.items()
            }
            reading = TelemetryReading(routes=routes)
            self.history = observe(self.history, reading, class_by_cell or CLASS_BY_CELL, self.now_s)
            self.shifts += [s.message for s in triggers(self.history, planned, self.now_s)]
            if (rate_per_s := self.mean_per_s) is not None:
                self.lowest_per_s = min(self.lowest_per_s, rate_per_s)
                self.highest_per_s = max(self.highest_per_s, rate_per_s)

    def forecasts(self) -> Mapping[ClassKey, ClassForecast]:
        traffic = (ClassTraffic(CHAT, 1.0, TrafficSource.OBSERVED),)
        return forecast(self.history, traffic, 60.0, self.now_s)

    @property
    def mean_per_s(self) -> float | None:
        return self.forecasts()[CHAT].observed_per_s


def test_a_classs_rate_is_the_sum_over_its_cells_at_all_envoys() -> None:
    envoys = Envoys("a", "b", cells={SHORT: 0.75, LONG: 0.25, CellName.of_class(BATCH): 3.0})
    envoys.go_on(60)
    assert envoys.mean_per_s == pytest.approx(2 * RATE_PER_S)


def test_a_class_whose_cells_follow_one_after_another_is_as_sure_of_its_rate_as_with_one_cell() -> None:
    whole, cut = Envoys("a"), Envoys("a", cells={SHORT: 0.75, LONG: 0.25})
    for envoys in (whole, cut):
        envoys.go_on(60)
    assert cut.forecasts()[CHAT].rate_per_s == pytest.approx(whole.forecasts()[CHAT].rate_per_s)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param({WHOLE: 1.0}, {SHORT: 0.75, LONG: 0.25}, id="a class is cut into bands"),
        pytest.param({SHORT: 0.75, LONG: 0.25}, {WHOLE: 1.0}, id="bands become one cell"),
        pytest.param({SHORT: 0.75, LONG: 0.25}, {SHORT: 1.0}, id="a band is dropped"),
    ],
)
def test_a_plan_with_other_cells_makes_the_rate_neither_jump_nor_fall(
    before: dict[CellName, float], after: dict[CellName, float]
) -> None:
    envoys = Envoys("a", "b", cells=before)
    envoys.go_on(60)
    envoys.shifts.clear()
    for node in ("a", "b"):
        # Envoys get their routes one after another.
        envoys.get_routes(node, after)
        envoys.go_on(8)
    envoys.go_on(60)
    found = (envoys.lowest_per_s, envoys.highest_per_s)
    assert found == (pytest.approx(2 * RATE_PER_S), pytest.approx(2 * RATE_PER_S))
    assert envoys.shifts == []


def test_a_cell_that_gets_its_first_request_late_is_no_burst_and_nothing_of_it_is_lost() -> None:
    envoys = Envoys("a", cells={SHORT: 1.0})
    envoys.go_on(60)
    envoys.get_routes("a", {SHORT: 0.5, LONG: 0.5})
    envoys.go_on(60)
    assert (envoys.lowest_per_s, envoys.highest_per_s) == (pytest.approx(8.0), pytest.approx(8.0))


def test_a_restarted_envoy_counts_each_cell_from_zero() -> None:
    envoys = Envoys("a", cells={SHORT: 0.75, LONG: 0.25})
    envoys.go_on(60)
    envoys.totals.clear()
    envoys.go_on(60)
    assert (envoys.lowest_per_s, envoys.highest_per_s) == (pytest.approx(8.0), pytest.approx(8.0))


def test_the_requests_of_a_class_that_is_gone_count_for_no_other_class() -> None:
    envoys = Envoys("a", cells={SHORT: 1.0, CellName.of_class(BATCH): 1.0})
    envoys.go_on(20)
    envoys.go_on(20, class_by_cell={SHORT: CHAT})
    assert set(envoys.history.classes) == {CHAT}
    assert envoys.mean_per_s == pytest.approx(RATE_PER_S)


def test_a_total_that_cannot_be_read_at_first_is_a_base_line_once_it_can() -> None:
    envoys = Envoys("a", cells={SHORT: 1.0})
    envoys.totals["a", SHORT] = math.nan
    envoys.go_on(4)
    envoys.totals["a", SHORT] = 1e6
    envoys.go_on(20)
    assert envoys.mean_per_s == pytest.approx(RATE_PER_S)
