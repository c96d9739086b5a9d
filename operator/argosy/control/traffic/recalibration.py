"""Recalibration in the traffic loop: from a reading of engines to memory, measures and events.

Owns what an iteration of recalibration means to users: whether plans are made again, which events are
posted, which figures are shown. How a calibration is learnt is `perf.recalibration`'s. Input: a
snapshot, the traffic loop's memory and the variants that are running. Output: a `Recalibrated`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from argosy.api import ServedModel
from argosy.api import fleet as fleet_api
from argosy.control.candidates.calibration import (
    CalibratedVariants,
    CalibrationUpdate,
    VariantKey,
    learn,
    running_variants,
)
from argosy.control.decision import EventRecord
from argosy.control.memory import TrafficMemory
from argosy.perf.recalibration.health import Straggler, straggler_scores
from argosy.perf.recalibration.memory import CalibrationMemory, CalibrationState
from argosy.perf.recalibration.observe import WindowMemory
from argosy.perf.recalibration.recalibrate import Confidence, Drifted, confidence
from argosy.perf.recalibration.window import CalibrationKey, SkipReason
from argosy.snapshot.fleet import FleetSnapshot

Confidences = Mapping[CalibrationKey, tuple[CalibrationState, Confidence]]


@dataclass(frozen=True, slots=True)
class StepTimeMeasure:
    """A variant's step time as observed, over its profile's, and the relative standard error of it.

    prefill_factor: the same of a prompt's token; None where it is not known
    """

    factor: float
    uncertainty: float
    prefill_factor: float | None = None


@dataclass(frozen=True, slots=True)
class CalibrationMeasures:
    """What is shown of recalibration.

    step_times:        by variant's name
    straggler_ratios:  step time of one engine over the median of its kind, by the engine's address
    skipped:           why windows and readings updated nothing, each occurrence
    """

    step_times: Mapping[str, StepTimeMeasure] = field(default_factory=dict)
    straggler_ratios: Mapping[str, float] = field(default_factory=dict)
    skipped: tuple[SkipReason, ...] = ()


@dataclass(frozen=True, slots=True)
class Recalibrated:
    """The outcome of one iteration.

    changed:    calibrations after which a new plan is due; empty where plans do not use them
    to_keep:    calibrations to write to the state directory; None where the file is up to date
    events:     drifts and stragglers, in each iteration while they last
    """

    memory: TrafficMemory
    changed: tuple[CalibrationKey, ...] = ()
    to_keep: CalibrationMemory | None = None
    events: tuple[EventRecord, ...] = ()
    measures: CalibrationMeasures = field(default_factory=CalibrationMeasures)


def recalibrated(
    snapshot: FleetSnapshot, memory: TrafficMemory, variants: CalibratedVariants
) -> Recalibrated:
    """Update the calibrations with the snapshot's readings of engines."""
    mode = snapshot.fleet_spec.recalibration
    if mode is fleet_api.Recalibration.DISABLED:
        return Recalibrated(replace(memory, windows=WindowMemory(), confidence={}))
    update = learn(memory, snapshot, variants)
    before, after = memory.calibration, update.memory.calibration
    known = _confidences(after, variants, memory.confidence)
    slow = [straggler for _, each in known.values() for straggler in each.stragglers]
    return Recalibrated(
        memory=replace(update.memory, confidence=known),
        changed=_changed(before, after) if mode is fleet_api.Recalibration.APPLY else (),
        to_keep=after if _published(before) != _published(after) else None,
        events=(*_drifts(update, variants), *_stragglers(snapshot, slow)),
        measures=_measures(update, variants, known, _addresses(snapshot)),
    )


def _confidences(
    memory: CalibrationMemory, variants: CalibratedVariants, before: Confidences
) -> dict[CalibrationKey, tuple[CalibrationState, Confidence]]:
    """By key; taken from `before` where the calibration is still the same object."""
    found: dict[CalibrationKey, tuple[CalibrationState, Confidence]] = {}
    for key in sorted({each.key for each in variants.values()} & memory.states.keys(), key=str):
        state, known = memory.states[key], before.get(key)
        each = known[1] if known is not None and known[0] is state else confidence(memory, key)
        if each is not None:
            found[key] = (state, each)
    return found


def _measures(
    update: CalibrationUpdate, variants: CalibratedVariants, known: Confidences, running: frozenset[str]
) -> CalibrationMeasures:
    """What is shown; of an engine that has gone nothing is, though its lag is remembered for a while."""
    step_times: dict[str, StepTimeMeasure] = {}
    for (_, name), variant in variants.items():
        found = known.get(variant.key)
        if found is not None and found[1].num_windows > 0:
            prefill = found[1].prefill_deviation
            step_times[name] = StepTimeMeasure(
                1.0 + found[1].deviation, found[1].uncertainty, None if prefill is None else 1.0 + prefill
            )
    ratios = {
        endpoint: score.ratio
        for state, _ in known.values()
        for endpoint, score in straggler_scores(state.lags).items()
        if endpoint in running
    }
    return CalibrationMeasures(step_times, ratios, update.skips)


def _addresses(snapshot: FleetSnapshot) -> frozenset[str]:
    return frozenset(pod.address for pod in snapshot.engine_pods if pod.address)


def _published(memory: CalibrationMemory) -> dict[CalibrationKey, tuple[object, ...]]:
    return {
        key: (state.prior_digest, state.published, state.health.drifted_at_s)
        for key, state in memory.states.items()
    }


def _changed(before: CalibrationMemory, after: CalibrationMemory) -> tuple[CalibrationKey, ...]:
    """Keys whose published calibration differs now, or is gone."""

    def published(memory: CalibrationMemory, key: CalibrationKey) -> object:
        state = memory.states.get(key)
        return None if state is None else state.published

    keys = {**before.states, **after.states}
    return tuple(key for key in keys if published(before, key) != published(after, key))


def _drifts(update: CalibrationUpdate, variants: CalibratedVariants) -> tuple[EventRecord, ...]:
    found = []
    for report in update.reports:
        if isinstance(report.outcome, Drifted):
            for (model_key, name), each in variants.items():
                if each.key == report.key:
                    message = f"{name} ({each.key}): {report.outcome.message}; it is calibrated anew"
                    found.append(EventRecord(ServedModel.KIND, model_key, "Warning", "ModelDrifted", message))
    return tuple(found)


def _stragglers(snapshot: FleetSnapshot, slow: Iterable[Straggler]) -> tuple[EventRecord, ...]:
    ratios = {straggler.replica: straggler.ratio for straggler in slow}
    variants: Mapping[str, VariantKey] = running_variants(snapshot) if ratios else {}
    found = []
    for pod in snapshot.engine_pods:
        if pod.address in ratios and pod.address in variants:
            message = (
                f"{pod.key} on node {pod.node} takes {ratios[pod.address]:.2f} times as long per step as"
                " engines of its kind; look at its GPU's clocks and at what else runs on the node"
            )
            model_key, _ = variants[pod.address]
            found.append(EventRecord(ServedModel.KIND, model_key, "Warning", "Straggler", message))
    return tuple(found)
