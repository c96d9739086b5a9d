"""The performance model that the operator uses: tabulated step times, simulated capacities.

Owns putting table, memory and engine together behind the `PerfModel` protocol, and the cache
of capacities. Never opens a file and never looks at a clock: table bytes, the cache and a
progress callback come in.

A capacity takes about a second of computing the first time. The cache maps a hash of
everything it depends on (step times, limits, mix, SLO, settings, the engine's version) to a
value that JSON can hold, so whoever owns the process may keep it in a file.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import astuple

from argosy.engine.coefficients import StepCoefficients
from argosy.perf.capacity import CapacitySettings, Engine, measure_capacity, refused_slice
from argosy.perf.catalogue import find_gpu, find_model
from argosy.perf.memory import engine_limits, fits, load_delay_s, shape_fault
from argosy.perf.protocol import Capacity, Fits, OutOfRange, OutOfRangeReason, TooLarge
from argosy.perf.table import parse_tables
from argosy.snapshot import Mix, Slo, Variant

CachedCapacity = Mapping[str, float | str]
# Part of every key: raise it when the scheduler or the search changes what a capacity is.
_METHOD_VERSION = 1


class TablePerfModel:
    """A `PerfModel` over shipped tables."""

    def __init__(
        self,
        tables: bytes,
        cache: MutableMapping[str, CachedCapacity],
        progress: Callable[[str], None] | None = None,
        settings: CapacitySettings | None = None,
    ) -> None:
        """`progress` gets a sentence before each capacity that has to be computed."""
        self._table = parse_tables(tables)
        self._cache = cache
        self._progress = progress
        self._settings = settings or CapacitySettings()

    def step_coefficients(self, variant: Variant) -> StepCoefficients | OutOfRange:
        """Step time of one engine, host overhead included."""
        gpu, model = find_gpu(variant.gpu), find_model(variant.model_id)
        if isinstance(gpu, OutOfRange):
            return gpu
        if isinstance(model, OutOfRange):
            return model
        fault = shape_fault(model, variant)
        if fault is not None:
            return fault
        profile = self._table.profile(gpu, model, variant.tensor_parallel)
        return profile if isinstance(profile, OutOfRange) else self._table.coefficients(profile)

    def fits(self, variant: Variant) -> Fits | TooLarge | OutOfRange:
        """Whether weights and one sequence of full length fit, and what is left for KV."""
        return fits(variant)

    def engine(self, variant: Variant) -> Engine | TooLarge | OutOfRange:
        """Limits and step times: what a simulated engine of this variant is made of."""
        coefficients, room = self.step_coefficients(variant), self.fits(variant)
        if isinstance(coefficients, OutOfRange):
            return coefficients
        if not isinstance(room, Fits):
            return room
        return Engine(engine_limits(variant.engine, room.kv_capacity_tokens), coefficients)

    def load_seconds(self, variant: Variant) -> float | OutOfRange:
        """Seconds from a replica's start to its readiness."""
        model = find_model(variant.model_id)
        return model if isinstance(model, OutOfRange) else load_delay_s(model.weight_bytes)

    def capacity(self, variant: Variant, mix: Mix, slo: Slo) -> Capacity | OutOfRange:
        """Requests/s of `mix` that one replica carries within `slo`, from the cache where known."""
        engine = self.engine(variant)
        if isinstance(engine, TooLarge):
            return OutOfRange(OutOfRangeReason.NO_PROFILE, engine.message)
        if isinstance(engine, OutOfRange):
            return engine
        too_long = refused_slice(mix, engine.limits)
        if too_long is not None:
            return too_long
        key = capacity_key(engine, mix, slo, self._settings)
        known = _from_cache(self._cache.get(key))
        if known is not None:
            return known
        if self._progress is not None:
            self._progress(f"measuring the capacity of {variant.name} (about a second, then cached)")
        answer = measure_capacity(engine, mix, slo, self._settings)
        if isinstance(answer, Capacity):
            self._cache[key] = {"requests_per_s": answer.requests_per_s, "binding": answer.binding}
        return answer


def capacity_key(engine: Engine, mix: Mix, slo: Slo, settings: CapacitySettings) -> str:
    """A hash (64 hexadecimal digits) of all that a capacity depends on."""
    question = [_METHOD_VERSION, astuple(engine), astuple(mix), astuple(slo), astuple(settings)]
    return hashlib.sha256(json.dumps(question).encode()).hexdigest()


def _from_cache(value: object) -> Capacity | None:
    """None where there is nothing usable: a cache file may be old or damaged."""
    if not isinstance(value, Mapping):
        return None
    rate, binding = value.get("requests_per_s"), value.get("binding")
    if not isinstance(rate, int | float) or not rate >= 0 or not isinstance(binding, str):
        return None
    return Capacity(float(rate), binding)
