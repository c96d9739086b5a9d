"""Any control memory is read as it was written, and no damage to a document does more than lose a part."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import replace
from itertools import accumulate
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy
from recalibration_windows import KEY, NOW_S
from strategies import json_values

from argosy.api.workloadclass import TrafficSource
from argosy.control.memory import ControlMemory, EventKey, PlanningMemory, TrafficMemory, WeightMemory
from argosy.control.memory_json import memory_from_json, memory_to_json
from argosy.demand.counters import Count, Track
from argosy.demand.forecast import (
    Basis,
    ClassForecast,
    ClassTraffic,
    ForecastNote,
    fallen,
    forecast,
    observe,
    triggers,
)
from argosy.demand.history import ClassHistory, DemandHistory, Estimate
from argosy.keys import CellName, ClassKey, DeploymentKey
from argosy.perf.profile import Calibration, ProfileKey, Shape
from argosy.perf.recalibration.features import Row
from argosy.perf.recalibration.fit import HIGHEST, LOWEST, Evidence, Observation, Start, learnt
from argosy.perf.recalibration.health import Lag, ResidualStatistics
from argosy.perf.recalibration.memory import CalibrationMemory, CalibrationState
from argosy.perf.recalibration.observe import WindowMemory
from argosy.perf.recalibration.window import CalibrationKey
from argosy.route.weights import CellWeights, WeightReason
from argosy.snapshot import RouteCounters, Sample, TelemetryReading
from argosy.snapshot.architecture import Dtype

instants_s = st.integers(0, 4_000_000_000_000).map(lambda ms: ms / 1000)
rates = st.floats(0, 1e9)
whole = st.integers(0, 2**40).map(float)
texts = st.text(max_size=6)
names = st.text(min_size=1, max_size=6)
classes = st.builds(ClassKey.of, texts, names)
cells = st.builds(CellName, names)
deployments = st.builds(DeploymentKey.of, texts, names)


def columns(start: SearchStrategy[int], step: SearchStrategy[int]) -> SearchStrategy[list[int]]:
    """A whole number, and others that follow by steps."""
    return st.builds(lambda first, steps: [*accumulate([first, *steps])], start, st.lists(step, max_size=6))


@st.composite
def tracks(draw: st.DrawFn) -> Track:
    at_ms = draw(columns(st.integers(0, 2**42), st.integers(1, 30_000)))
    counts = accumulate(draw(st.lists(whole, min_size=len(at_ms), max_size=len(at_ms))))
    before = st.builds(Count, rates, st.floats(0.001, 120))
    points = tuple((ms / 1000, num) for ms, num in zip(at_ms, counts, strict=True))
    return Track(points, draw(st.dictionaries(cells, whole, max_size=3)), draw(st.none() | before))


@st.composite
def peaks(draw: st.DrawFn) -> tuple[tuple[float, float], ...]:
    falling = reversed(draw(columns(st.integers(0, 2**40), st.integers(1, 2**30))))
    return tuple((draw(instants_s), thousandths / 1000) for thousandths in falling)


estimates = st.builds(
    lambda mean, error, at_s, duration_s: Estimate(mean, mean + error, at_s, duration_s),
    rates,
    rates,
    instants_s,
    st.floats(0.001, 120),
)
histories = st.builds(
    ClassHistory,
    tracks=st.dictionaries(texts, tracks(), max_size=3),
    change_s=st.just(-math.inf) | instants_s,
    changed_at_s=st.none() | instants_s,
    peaks=peaks(),
    estimate=st.none() | estimates,
)
demands = st.builds(
    DemandHistory, st.dictionaries(classes, histories, max_size=3), st.just(-math.inf) | instants_s
)

calibrations = st.builds(
    Calibration,
    *(st.floats(low, high) for low, high in zip(LOWEST.values(), HIGHEST.values(), strict=True)),
)
START = Start(prefill_spread=0.004)
rows = st.builds(Row, st.floats(0.1, 2000), st.floats(0.001, 2000), st.floats(0, 8192))
evidence = st.builds(
    lambda row, ms: learnt(Evidence(), START, Observation(row, ms)), rows, st.floats(0.1, 5000)
)
states = st.builds(
    CalibrationState,
    prior_digest=names,
    start=st.builds(Start, calibrations, st.floats(0, 1), st.booleans()),
    evidence=evidence,
    health=st.builds(
        ResidualStatistics,
        st.floats(1e-9, 1),
        st.integers(0, 10_000),
        st.floats(0, 10),
        st.floats(0, 10),
        st.none() | instants_s,
    ),
    published=st.none() | calibrations,
    rows=st.lists(rows, max_size=16).map(tuple),
    updated_at_s=instants_s,
    lags=st.dictionaries(names, st.builds(Lag, st.floats(-1, 1), st.integers(0, 9), instants_s), max_size=2),
)
calibration_keys = st.builds(
    CalibrationKey,
    st.builds(
        ProfileKey,
        names,
        names,
        st.sampled_from(Dtype),
        st.builds(Shape, st.integers(1, 8), st.integers(1, 4)),
    ),
    names,
)
calibration_memories = st.builds(CalibrationMemory, st.dictionaries(calibration_keys, states, max_size=2))

cell_weights = st.builds(
    CellWeights,
    st.dictionaries(deployments, st.floats(0, 1), max_size=3),
    st.dictionaries(deployments, st.sampled_from(WeightReason), max_size=3),
    st.dictionaries(deployments, st.floats(-0.3, 0.3), max_size=3),
)
traffic_memories = st.builds(
    TrafficMemory,
    demand=demands,
    started_s=instants_s,
    windows=st.just(WindowMemory()),
    calibration=calibration_memories,
    silent=st.frozensets(texts, max_size=3),
    weights=st.builds(WeightMemory, texts, st.dictionaries(cells, cell_weights, max_size=3)),
    posted_at_s=st.dictionaries(st.builds(EventKey, texts, texts, texts), instants_s, max_size=3),
)
forecasts = st.builds(
    ClassForecast,
    rates,
    st.none() | rates,
    rates,
    st.sampled_from(Basis),
    st.none() | st.sampled_from(ForecastNote),
)
planning_memories = st.builds(
    PlanningMemory,
    st.dictionaries(classes, forecasts, max_size=3),
    st.dictionaries(st.tuples(cells, deployments), rates, max_size=4),
)
memories = st.builds(ControlMemory, traffic_memories, planning_memories)


def durable(memory: ControlMemory) -> ControlMemory:
    """The memory without what is not written."""
    traffic = memory.traffic
    kept = {key: replace(state, lags={}) for key, state in traffic.calibration.states.items()}
    return memory.with_traffic(
        replace(traffic, windows=WindowMemory(), calibration=CalibrationMemory(kept), confidence={})
    )


@settings(max_examples=300, deadline=None)
@given(memories)
def test_a_memory_is_read_as_it_was_written(memory: ControlMemory) -> None:
    text = json.dumps(memory_to_json(memory), allow_nan=False)
    assert memory_from_json(json.loads(text)) == (durable(memory), ())


A, B = ClassKey("ns/a"), ClassKey("ns/b")
POINTS = ((NOW_S - 2, 0.0), (NOW_S, 9.0))


def a_history(key: ClassKey) -> ClassHistory:
    estimate = Estimate(4.5, 5.25, NOW_S, 4.0)
    tracks = {node: Track(POINTS, {CellName(key): 50.0}, Count(8.0, 4.0)) for node in ("edge", "other")}
    return ClassHistory(tracks, NOW_S - 60, NOW_S - 58, ((NOW_S - 90, 7.5), (NOW_S - 2, 6.125)), estimate)


WEIGHTS = CellWeights(
    {DeploymentKey("ns/d"): 1.0}, {DeploymentKey("ns/d"): WeightReason.PLANNED}, {DeploymentKey("ns/d"): 0.0}
)
GOOD = ControlMemory(
    TrafficMemory(
        demand=DemandHistory({key: a_history(key) for key in (A, B)}, NOW_S),
        started_s=NOW_S - 600,
        calibration=CalibrationMemory({KEY: CalibrationState("digest", rows=(Row(9.0, 20.0),))}),
        silent=frozenset({"ns/pod"}),
        weights=WeightMemory("fleet-1", {CellName(A): WEIGHTS, CellName(B): WEIGHTS}),
        posted_at_s={EventKey("Straggler", "ns/m", "10.0.0.1:8000"): NOW_S},
    ),
    PlanningMemory(
        {A: ClassForecast(5.0, None, 5.0, Basis.DECLARED), B: ClassForecast(5.0, 5.0, 5.0, Basis.OBSERVED)},
        {(CellName(A), DeploymentKey("ns/d")): 4.0, (CellName(B), DeploymentKey("ns/d")): 4.0},
    ),
)


def places(document: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Every value of a document, at whatever depth."""
    yield path
    inner = document.items() if isinstance(document, dict) else ()
    for key, value in enumerate(document) if isinstance(document, list) else inner:
        yield from places(value, (*path, key))


def changed(document: Any, path: tuple[str | int, ...], value: Any) -> Any:
    """The document with another value at one place."""
    if not path:
        return value
    copy = document.copy()
    copy[path[0]] = changed(document[path[0]], path[1:], value)
    return copy


TRAFFIC = tuple(ClassTraffic(key, 1.0, TrafficSource.OBSERVED) for key in (A, B))
PLACES = [*places(memory_to_json(GOOD))]


@settings(max_examples=600, deadline=None)
@given(st.sampled_from(PLACES), json_values())
def test_no_value_at_any_place_raises_then_or_later(path: tuple[str | int, ...], value: Any) -> None:
    found, _ = memory_from_json(changed(memory_to_json(GOOD), path, value))
    json.dumps(memory_to_json(found), allow_nan=False)
    demand = found.traffic.demand
    for passed_s in (2.0, 4.0, 6.0):
        sample = Sample(RouteCounters(50.0 + 4 * passed_s, 0.0, 0.0), NOW_S + passed_s)
        reading = TelemetryReading(routes={("edge", CellName(key)): sample for key in (A, B)})
        demand = observe(demand, reading, {CellName(A): A, CellName(B): B}, NOW_S + passed_s)
        planned = forecast(demand, TRAFFIC, 300.0, NOW_S + passed_s)
        triggers(demand, found.planning.forecasts, NOW_S + passed_s)
        fallen(found.planning.forecasts, planned)


@given(st.sampled_from(PLACES))
def test_what_is_damaged_is_discarded(path: tuple[str | int, ...]) -> None:
    _, discarded = memory_from_json(changed(memory_to_json(GOOD), path, {"no": "part"}))
    assert discarded


@given(st.sampled_from([path for path in PLACES if A in path]))
def test_damage_to_one_class_or_cell_takes_no_other_with_it(path: tuple[str | int, ...]) -> None:
    found, discarded = memory_from_json(changed(memory_to_json(GOOD), path, {"no": "part"}))
    assert len(discarded) == 1
    assert str(A) in discarded[0].what
    assert without(found, A) == without(GOOD, A)


def without(memory: ControlMemory, key: ClassKey) -> ControlMemory:
    """The memory without a class and its cell."""
    traffic, planning = memory.traffic, memory.planning
    demand = {name: each for name, each in traffic.demand.classes.items() if name != key}
    weights = {cell: each for cell, each in traffic.weights.by_cell.items() if str(cell) != key}
    return ControlMemory(
        replace(
            traffic,
            demand=replace(traffic.demand, classes=demand),
            weights=replace(traffic.weights, by_cell=weights),
        ),
        PlanningMemory(
            {name: each for name, each in planning.forecasts.items() if name != key},
            {where: each for where, each in planning.capacity_per_s.items() if str(where[0]) != key},
        ),
    )
