"""A small fleet whose engines are known to the catalogue, and what is known of their step times.

Owns a settled world with replicas of Llama 3.1 8B on an L40S, and calibrations made by hand for it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from small_fleet import World, a_class, a_fleet, a_model, a_pool, some_nodes

from argosy.control.candidates.calibration import (
    CalibratedVariant,
    VariantKey,
    calibrated_variant,
    running_variants,
)
from argosy.control.candidates.variants import variants_of
from argosy.control.memory import ControlMemory
from argosy.perf.model import LibraryPerfModel
from argosy.perf.profile import Calibration
from argosy.perf.recalibration.features import Row
from argosy.perf.recalibration.fit import Observation, Start, learnt
from argosy.perf.recalibration.health import ResidualStatistics
from argosy.perf.recalibration.memory import CalibrationMemory, CalibrationState
from argosy.perf.shipped import shipped_library
from argosy.snapshot.fleet import FleetSnapshot

LLAMA = "meta-llama/Llama-3.1-8B-Instruct"
PERF = LibraryPerfModel(shipped_library(), {})
ROWS = tuple(Row(silicon_ms, batch) for silicon_ms, batch in ((24.0, 4.0), (32.0, 24.0), (45.0, 60.0)))


def a_world(num_replicas: int = 2, **fleet: Any) -> World:
    """Settled in mode Auto: an L40S carries 4 requests/s of the one class."""
    world = World(
        some_nodes("l40s", 8),
        a_fleet(**fleet),
        a_pool(),
        a_model(model_id=LLAMA),
        a_class(rate_per_s=4.0 * num_replicas - 0.5),
    )
    world.settle()
    assert len(world.pods) == num_replicas
    return world


def subjects_of(snapshot: FleetSnapshot) -> dict[VariantKey, CalibratedVariant]:
    """Of every running variant."""
    running = set(running_variants(snapshot).values())
    return {
        (model_key, variant.name): each
        for model_key, model in sorted(snapshot.models.items())
        for variant in variants_of(snapshot, model)
        if (model_key, variant.name) in running and (each := calibrated_variant(variant, PERF)) is not None
    }


def slower(each: CalibratedVariant, factor: float) -> Calibration:
    """The truth about engines that take `factor` times as long as their profile in all they do."""
    host = each.prior.host
    return Calibration(host.s * factor, host.c0 * factor, host.cb * factor)


def a_memory(each: CalibratedVariant, factor: float = 1.3, num_windows: int = 17) -> CalibrationMemory:
    """After windows of engines that take `factor` times as long."""
    state = CalibrationState(each.prior.digest, Start.of(each.prior.host, each.prior.step_times))
    truth, evidence = slower(each, factor), state.evidence
    for place in range(30):
        row = ROWS[place % len(ROWS)]
        evidence = learnt(evidence, state.start, Observation(row, row.step_ms(truth)))
    known = replace(
        state,
        evidence=evidence,
        rows=ROWS,
        published=truth,
        health=ResidualStatistics(variance=0.03**2, num_windows=num_windows),
    )
    return CalibrationMemory({each.key: known})


def with_health(memory: CalibrationMemory, **changes: Any) -> CalibrationMemory:
    """The memory with something else in the statistics of all its calibrations."""
    changed = {k: replace(s, health=replace(s.health, **changes)) for k, s in memory.states.items()}
    return CalibrationMemory(changed)


def remembering(memory: ControlMemory, calibration: CalibrationMemory) -> ControlMemory:
    """The memory with these calibrations."""
    return memory.with_traffic(replace(memory.traffic, calibration=calibration))
