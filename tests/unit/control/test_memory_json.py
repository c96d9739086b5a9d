"""The control memory as JSON: its size for a large fleet, and what is discarded of a damaged one."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
from recalibration_windows import KEY, learn, some

from argosy.control.memory import (
    ControlMemory,
    EventKey,
    PlanningMemory,
    Quarantine,
    TrafficMemory,
    WeightMemory,
)
from argosy.control.memory_json import FORMAT_VERSION, memory_from_json, memory_to_json
from argosy.demand.forecast import Basis, ClassForecast, DemandHistory, observe
from argosy.demand.history import ClassHistory
from argosy.keys import CellName, ClassKey, DeploymentKey, NamespacedName
from argosy.perf.recalibration.memory import CalibrationMemory
from argosy.route.weights import CellWeights, WeightReason
from argosy.snapshot import RouteCounters, Sample, TelemetryReading
from argosy.snapshot.admission.words import ClusterRefusal, Refuser

START_S = 1_700_000_000.123
NUM_CLASSES = 100
LIMIT_BYTES = 256 * 1024

CLASSES = [ClassKey(f"team-{i:02}/chat-assistant-{i:02}") for i in range(NUM_CLASSES)]
CLUSTERS = ("h100-tp2", "l40s-tp4", "b200-tp1")


def cluster(key: ClassKey, variant: str) -> DeploymentKey:
    """As a long Deployment is called: variant, group and eight digits of a hash."""
    return DeploymentKey(f"{key.namespace}/llama-3-3-70b-{variant}-{key.name}-1a2b3c4d")


def an_hour_of(key: ClassKey, rates_per_s: Iterable[float]) -> ClassHistory:
    """Two Envoys that count these rates, read for an hour every 2 s and a little."""
    cell, history, now_s, total = CellName.of_class(key), DemandHistory(), START_S, 500_000.0
    for rate in rates_per_s:
        now_s, total = round(now_s + 2.003, 3), total + 2 * rate
        sample = Sample(RouteCounters(math.floor(total), 0.0, 0.0), now_s)
        reading = TelemetryReading(routes={("edge-envoy-0", cell): sample, ("edge-envoy-1", cell): sample})
        history = observe(history, reading, {cell: key}, now_s)
    return history.classes[key]


NUM_READINGS = 1830
CHANCE = np.random.default_rng(7)
HOURS: dict[str, list[float]] = {
    "noisy": [float(CHANCE.poisson(2 * (20 - 7 * i / NUM_READINGS))) / 2 for i in range(NUM_READINGS)],
    # Every reading settles lower than the one before: no hour has more peaks.
    "falling all the time": [200 - 125 * i / NUM_READINGS for i in range(NUM_READINGS)],
}


def weights_of(key: ClassKey) -> CellWeights:
    clusters = [cluster(key, variant) for variant in CLUSTERS]
    return CellWeights(
        dict(zip(clusters, (0.5123456789012345, 0.2876543210987654, 0.2000000000000001), strict=True)),
        dict.fromkeys(clusters, WeightReason.NO_USABLE_ENDPOINT),
        dict.fromkeys(clusters, -0.12345678901234567),
    )


def a_large_memory(known: ClassHistory) -> ControlMemory:
    """100 classes of such a history with a cell of three clusters each, and ten calibrations."""
    classes = {
        key: replace(
            known,
            tracks={
                node: replace(t, totals={CellName(key): total for total in t.totals.values()})
                for node, t in known.tracks.items()
            },
        )
        for key in CLASSES
    }
    state = replace(learn(some(20)).memory.states[KEY], lags={})
    traffic = TrafficMemory(
        demand=DemandHistory(classes, START_S + 3600),
        started_s=START_S,
        calibration=CalibrationMemory({replace(KEY, engine_version=f"v{i}"): state for i in range(10)}),
        silent=frozenset(f"{cluster(CLASSES[0], 'h100-tp2')}-{i}" for i in range(10)),
        weights=WeightMemory("fleet-17", {CellName(key): weights_of(key) for key in CLASSES}),
        posted_at_s={EventKey("Straggler", "team-00/llama", f"10.0.0.{i}:8000"): START_S for i in range(10)},
    )
    forecast = ClassForecast(25.123456789012345, 24.123456789012345, 20.0, Basis.LARGER_OBSERVED)
    capacities = {
        (CellName(key), cluster(key, variant)): 3.1234567890123456 for key in CLASSES for variant in CLUSTERS
    }
    return ControlMemory(traffic, PlanningMemory(dict.fromkeys(CLASSES, forecast), capacities))


@pytest.mark.parametrize("rates_per_s", HOURS.values(), ids=HOURS)
def test_the_memory_of_a_hundred_classes_fits_256_kib(rates_per_s: list[float]) -> None:
    known = an_hour_of(CLASSES[0], rates_per_s)
    memory = a_large_memory(known)
    document = memory_to_json(memory)
    size = len(json.dumps(document, separators=(",", ":"), allow_nan=False).encode())
    parts = {
        name: len(json.dumps(value, separators=(",", ":")))
        for part in ("traffic", "planning")
        for name, value in document[part].items()
    }
    found = f"{size} bytes, {len(known.peaks)} peaks for each class; {parts}"
    assert size <= LIMIT_BYTES, found
    assert len(known.peaks) > 30, found
    assert memory_from_json(json.loads(json.dumps(document))) == (memory, ())


@cache
def a_document() -> dict[str, Any]:
    """A memory of two classes, written."""
    memory = a_large_memory(an_hour_of(CLASSES[0], HOURS["noisy"]))
    two = CLASSES[:2]
    traffic = replace(
        memory.traffic,
        demand=replace(
            memory.traffic.demand, classes={key: memory.traffic.demand.classes[key] for key in two}
        ),
        weights=WeightMemory("fleet-17", {CellName(key): weights_of(key) for key in two}),
    )
    forecasts = {key: memory.planning.forecasts[key] for key in two}
    return memory_to_json(ControlMemory(traffic, replace(memory.planning, forecasts=forecasts)))


def damaged(path: str, value: object) -> Any:
    """The document with another value at this path; a number is a place in an array."""
    document = json.loads(json.dumps(a_document()))
    *parents, last = path.split(".")
    at = document
    for name in parents:
        at = at[int(name) if isinstance(at, list) else name]
    at[int(last) if isinstance(at, list) else last] = value
    return document


A, B = CLASSES[:2]
DEMAND, CELLS = f"traffic.demand.classes.{A}", f"traffic.weights.cells.{A}"
WHOLE: dict[str, object] = {
    "no object": [],
    "null": None,
    "of a later version": {"version": FORMAT_VERSION + 1, "traffic": {}, "planning": {}},
    "without a version": {"traffic": {}, "planning": {}},
}


@pytest.mark.parametrize("document", WHOLE.values(), ids=WHOLE)
def test_a_document_of_another_format_is_discarded_as_a_whole(document: object) -> None:
    memory, (discarded,) = memory_from_json(document)
    assert memory == ControlMemory()
    assert discarded.what == "all control memory"
    assert discarded.message


DAMAGE = [
    ("traffic", None, "the traffic loop's memory", "not a JSON object: None"),
    ("planning", [], "the planning loop's memory", "not a JSON object: []"),
    ("traffic.startedMs", 0.5, "the start of demand's history", "not a whole number: 0.5"),
    ("traffic.demand", None, "every demand history of class", "not a JSON object: None"),
    (
        f"{DEMAND}.tracks.edge-envoy-0.at",
        7,
        f"demand history of class {A}",
        "points at the instants 7 of 1",
    ),
    (
        f"{DEMAND}.tracks.edge-envoy-0.requests",
        [1],
        f"demand history of class {A}",
        "32 instants and 1 count",
    ),
    (
        f"{DEMAND}.tracks.edge-envoy-0.totals.{A}",
        -1,
        f"demand history of class {A}",
        "not a finite number from 0",
    ),
    (f"{DEMAND}.peaks.ms", [], f"demand history of class {A}", "0 instants and "),
    (
        f"{DEMAND}.peaks.perThousandSeconds.3",
        9,
        f"demand history of class {A}",
        "the rates of the peaks do not",
    ),
    (f"{DEMAND}.estimate.1", 0, f"demand history of class {A}", "not a finite number from"),
    ("traffic.calibration", 3, "all calibrations", "not a JSON object"),
    ("traffic.calibration.calibrations.0.prior", [], "calibration 0", "0 entries, not 4"),
    ("traffic.silent.1", 5, "silent pod 1", "not a text: 5"),
    ("traffic.posted.0", ["a", "b", 3], "posted event 0", "3 entries, not 4"),
    ("traffic.weights", {}, "the weights' plan", "plan is missing"),
    (f"{CELLS}.{cluster(A, 'h100-tp2')}.1", "BEST", f"traffic split of cell {A}", "no WeightReason: 'BEST'"),
    (f"planning.forecasts.{A}.3", "GUESSED", f"forecast of class {A}", "no Basis: 'GUESSED'"),
    (f"planning.capacityPerSecond.{A}", 4.0, f"capacity of cell {A}", "not a JSON object: 4.0"),
]


@pytest.mark.parametrize(("path", "value", "what", "message"), DAMAGE, ids=[path for path, *_ in DAMAGE])
def test_what_is_damaged_is_discarded_by_name_with_what_was_found(
    path: str, value: object, what: str, message: str
) -> None:
    _, discarded = memory_from_json(damaged(path, value))
    named = [each for each in discarded if each.what == what]
    assert [each.message.startswith(message) for each in named] == [True], discarded


def test_a_damaged_class_takes_neither_its_neighbour_nor_anything_else_with_it() -> None:
    good, _ = memory_from_json(a_document())
    found, _ = memory_from_json(damaged(f"{DEMAND}.estimate", "?"))
    demand = DemandHistory({B: good.traffic.demand.classes[B]}, good.traffic.demand.observed_at_s)
    assert found == good.with_traffic(replace(good.traffic, demand=demand))


def test_weights_whose_plan_is_unknown_are_discarded_with_it() -> None:
    found, _ = memory_from_json(damaged("traffic.weights.plan", None))
    assert found.traffic.weights == WeightMemory()


def test_demand_that_was_read_again_goes_on_as_if_nothing_had_happened() -> None:
    known = DemandHistory({A: an_hour_of(A, HOURS["noisy"])}, START_S + 3666)
    document = memory_to_json(ControlMemory(TrafficMemory(demand=known)))
    again = memory_from_json(json.loads(json.dumps(document)))[0].traffic.demand
    cell = CellName.of_class(A)
    for i in range(60):
        now_s = round(START_S + 3668 + 2.003 * i, 3)
        sample = Sample(RouteCounters(600_000.0 + 30 * i, 0.0, 0.0), now_s)
        reading = TelemetryReading(routes={("edge-envoy-0", cell): sample, ("edge-envoy-1", cell): sample})
        known, again = (observe(each, reading, {cell: A}, now_s) for each in (known, again))
    assert again == known


def test_what_the_cluster_refused_is_kept_and_a_damaged_entry_alone_is_discarded() -> None:
    refusal = ClusterRefusal(Refuser.LIMIT_RANGE, "LimitRange n/small", "too much", "Widen it", "n/small", "")
    kept = Quarantine(refusal, START_S + 60.0, 3, "abc", START_S)
    option = NamespacedName("n/llama-l40s")
    memory = ControlMemory(planning=PlanningMemory(quarantines={option: kept}))
    document = json.loads(json.dumps(memory_to_json(memory)))
    found, discarded = memory_from_json(document)
    assert found.planning.quarantines == {option: kept}
    assert discarded == ()
    document["planning"]["refused"]["n/other"] = ["soon"]
    found, discarded = memory_from_json(document)
    assert found.planning.quarantines == {option: kept}
    assert len(discarded) == 1
