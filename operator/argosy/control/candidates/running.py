"""The profiles of the variants that are running, computed once per change of an object.

Owns a cache only: the answer is a function of the snapshot and the performance model. Computing a
variant's step times takes milliseconds, and the traffic loop asks every two seconds.
"""

from __future__ import annotations

from argosy.api import ServedModel
from argosy.control.candidates.calibration import (
    CalibratedVariant,
    CalibratedVariants,
    calibrated_variant,
    running_variants,
)
from argosy.control.candidates.profiles import model_profiles
from argosy.control.candidates.variants import variants_of
from argosy.keys import ModelKey
from argosy.perf.protocol import PerfModel
from argosy.snapshot.fleet import FleetSnapshot


class RunningVariants:
    """`perf` holds neither users' profiles nor calibrations."""

    def __init__(self, perf: PerfModel) -> None:
        self._perf = perf
        self._by_model: dict[ModelKey, tuple[object, dict[str, CalibratedVariant]]] = {}

    def of(self, snapshot: FleetSnapshot) -> CalibratedVariants:
        """The variants that are running and whose profile is known."""
        running: dict[ModelKey, set[str]] = {}
        for model_key, name in running_variants(snapshot).values():
            running.setdefault(model_key, set()).add(name)
        for gone in self._by_model.keys() - running.keys():
            del self._by_model[gone]
        return {
            (model_key, name): each
            for model_key, names in sorted(running.items())
            for name, each in self._of_model(snapshot, snapshot.models[model_key], names).items()
        }

    def _of_model(
        self, snapshot: FleetSnapshot, model: ServedModel, names: set[str]
    ) -> dict[str, CalibratedVariant]:
        profiles = model_profiles(snapshot, model).profiles
        gpus = {name: pool.spec for name, pool in snapshot.pools.items()}
        asked = (model.spec, gpus, profiles, names)
        known = self._by_model.get(model.key)
        if known is not None and known[0] == asked:
            return known[1]
        perf = self._perf.with_profiles(profiles) if profiles else self._perf
        variants = [v for v in variants_of(snapshot, model) if v.name in names]
        found = {v.name: each for v in variants if (each := calibrated_variant(v, perf)) is not None}
        self._by_model[model.key] = (asked, found)
        return found
