"""Recalibration in the fast loop: from a reading to what is remembered, written and shown.

Owns the profiles of running variants (worked out once per change of an object), the metrics, the
events and the file. Never fits (`perf.recalibration`) and never decides who teaches what
(`control.calibration`). Input: a snapshot and the memory. Output: a `Round`.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from argosy.api import ServedModel
from argosy.api.fleet import Recalibration
from argosy.control.calibration import Lesson, Subject, VariantKey, learn, running_variants, subject
from argosy.control.decision import ControlMemory, EventRecord
from argosy.control.profiles import model_profiles
from argosy.control.resolve import variants_of
from argosy.files.calibrations import write_calibrations
from argosy.perf.protocol import PerfModel
from argosy.perf.recalibration.fit import Calibration
from argosy.perf.recalibration.health import Straggler, straggler_scores
from argosy.perf.recalibration.memory import CalibrationMemory, CalibrationState
from argosy.perf.recalibration.observe import WindowMemory
from argosy.perf.recalibration.recalibrate import Confidence, Drifted, confidence
from argosy.perf.recalibration.window import CalibrationKey
from argosy.reconcile.gauges import Gauges
from argosy.snapshot.fleet import FleetSnapshot

log = logging.getLogger(__name__)

EVENT_GAP_S = 3600.0
"""The same thing about the same object is not said again for so long."""

Subjects = Mapping[VariantKey, Subject]


@dataclass(frozen=True, slots=True)
class Round:
    """What one reading brought.

    changed: the calibrations that plans are to be made with anew, where plans use them
    events:  what could be said of it, again each time while it lasts (see `not_said_lately`)
    """

    memory: ControlMemory
    changed: tuple[CalibrationKey, ...] = ()
    events: tuple[EventRecord, ...] = ()


class Calibrations:
    """One process's recalibration. `perf` has neither users' profiles nor calibrations."""

    def __init__(self, perf: PerfModel, path: Path, gauges: Gauges) -> None:
        self._perf, self._path, self._gauges = perf, path, gauges
        self._by_model: dict[str, tuple[object, dict[str, Subject]]] = {}
        self._said_at_s: dict[tuple[str, str, str], float] = {}
        self._trusted: dict[CalibrationKey, tuple[CalibrationState, Confidence]] = {}

    def take(self, snapshot: FleetSnapshot, memory: ControlMemory) -> Round:
        """Learn from the snapshot's readings; shows, writes and counts what came of it."""
        wanted = snapshot.fleet_spec.recalibration
        if wanted is Recalibration.DISABLED:
            self._show(CalibrationMemory(), {}, {})
            return Round(replace(memory, windows=WindowMemory()))
        subjects = self._subjects(snapshot)
        lesson = learn(memory, snapshot, subjects)
        for reason in lesson.skips:
            self._gauges.calibration_skipped.labels(reason.value).inc()
        before, after = memory.calibration, lesson.memory.calibration
        trusted, variants = self._confidences(after, subjects), running_variants(snapshot)
        self._show(after, subjects, trusted)
        if _published(before) != _published(after):
            self._write(after)
        changed = _changed(before, after) if wanted is Recalibration.APPLY else ()
        slow = [straggler for each in trusted.values() for straggler in each.stragglers]
        events = (*_drifts(lesson, subjects), *_stragglers(snapshot, variants, slow))
        return Round(lesson.memory, changed, events)

    def not_said_lately(self, events: Iterable[EventRecord], now_s: float) -> tuple[EventRecord, ...]:
        """The events to post: each at most once in `EVENT_GAP_S`."""
        said = {what: at_s for what, at_s in self._said_at_s.items() if 0.0 <= now_s - at_s < EVENT_GAP_S}
        new = []
        for event in events:
            # The first word is what it is about: a variant, or a pod. The rest holds figures.
            what = (event.reason, event.key, event.message.split()[0])
            if what not in said:
                said[what] = now_s
                new.append(event)
        self._said_at_s = said
        return tuple(new)

    def _subjects(self, snapshot: FleetSnapshot) -> Subjects:
        """The variants that are running and whose profile is known."""
        running: dict[str, set[str]] = {}
        for model_key, name in running_variants(snapshot).values():
            running.setdefault(model_key, set()).add(name)
        for gone in self._by_model.keys() - running.keys():
            del self._by_model[gone]
        return {
            (model_key, name): each
            for model_key, names in sorted(running.items())
            for name, each in self._of_model(snapshot, snapshot.models[model_key], names).items()
        }

    def _of_model(self, snapshot: FleetSnapshot, model: ServedModel, names: set[str]) -> dict[str, Subject]:
        profiles = model_profiles(snapshot, model).profiles
        gpus = {name: pool.spec.gpu for name, pool in snapshot.pools.items()}
        asked = (model.spec, gpus, profiles, names)
        known = self._by_model.get(model.key)
        if known is not None and known[0] == asked:
            return known[1]
        perf = self._perf.with_profiles(profiles) if profiles else self._perf
        variants = [variant for variant, _ in variants_of(snapshot, model) if variant.name in names]
        found = {v.name: each for v in variants if (each := subject(v, perf)) is not None}
        self._by_model[model.key] = (asked, found)
        return found

    def _confidences(self, memory: CalibrationMemory, subjects: Subjects) -> dict[CalibrationKey, Confidence]:
        """By key, worked out once per window (a third of a millisecond each) and not per reading."""
        found: dict[CalibrationKey, tuple[CalibrationState, Confidence]] = {}
        for key in {each.key for each in subjects.values()} & memory.states.keys():
            state, known = memory.states[key], self._trusted.get(key)
            trusted = known[1] if known is not None and known[0] is state else confidence(memory, key)
            if trusted is not None:
                found[key] = (state, trusted)
        self._trusted = found
        return {key: trusted for key, (_, trusted) in found.items()}

    def _show(
        self,
        memory: CalibrationMemory,
        subjects: Subjects,
        trusted: Mapping[CalibrationKey, Confidence],
    ) -> None:
        """Metrics of what is running; what has gone is no longer shown."""
        gauges = self._gauges
        for gauge in (gauges.calibration_factor, gauges.calibration_uncertainty, gauges.straggler_ratio):
            gauge.clear()
        for (_, name), each in subjects.items():
            known = trusted.get(each.key)
            if known is not None and known.num_windows > 0:
                gauges.calibration_factor.labels(name).set(1.0 + known.deviation)
                gauges.calibration_uncertainty.labels(name).set(known.uncertainty)
        for key in trusted:
            for endpoint, score in straggler_scores(memory.states[key].lags).items():
                gauges.straggler_ratio.labels(endpoint).set(score.ratio)

    def _write(self, memory: CalibrationMemory) -> None:
        try:
            write_calibrations(memory, self._path)
        except OSError as error:
            # Only a restart would miss it.
            log.warning("the calibrations were not written to %s: %s", self._path, error)


def _published(
    memory: CalibrationMemory,
) -> dict[CalibrationKey, tuple[str, Calibration | None, float | None]]:
    return {
        key: (state.prior_digest, state.published, state.health.drifted_at_s)
        for key, state in memory.states.items()
    }


def _changed(before: CalibrationMemory, after: CalibrationMemory) -> tuple[CalibrationKey, ...]:
    """Keys whose published calibration is another one now, or gone."""

    def of(memory: CalibrationMemory, key: CalibrationKey) -> Calibration | None:
        state = memory.states.get(key)
        return None if state is None else state.published

    keys = {**before.states, **after.states}
    return tuple(key for key in keys if of(before, key) != of(after, key))


def _drifts(lesson: Lesson, subjects: Subjects) -> tuple[EventRecord, ...]:
    found = []
    for report in lesson.reports:
        if isinstance(report.outcome, Drifted):
            for (model_key, name), each in subjects.items():
                if each.key == report.key:
                    message = f"{name} ({each.key}): {report.outcome.message}; it is learnt anew"
                    found.append(EventRecord("ServedModel", model_key, "Warning", "ModelDrifted", message))
    return tuple(found)


def _stragglers(
    snapshot: FleetSnapshot, variants: Mapping[str, VariantKey], slow: Iterable[Straggler]
) -> tuple[EventRecord, ...]:
    ratios = {straggler.replica: straggler.ratio for straggler in slow}
    found = []
    for pod in snapshot.engine_pods:
        if pod.address in ratios and pod.address in variants:
            message = (
                f"{pod.key} on node {pod.node} takes {ratios[pod.address]:.2f} times as long per step as"
                " engines of its kind; look at its GPU's clocks and at what else runs on the node"
            )
            model_key, _ = variants[pod.address]
            found.append(EventRecord("ServedModel", model_key, "Warning", "Straggler", message))
    return tuple(found)
