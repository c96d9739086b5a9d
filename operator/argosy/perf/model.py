"""The performance model that the operator uses: profiles of a library, simulated capacities.

Owns putting profiles, memory and engine together behind the `PerfModel` protocol, and the cache of
capacities. The library, the cache and a progress callback come in.

A capacity takes some tens of milliseconds of computing the first time. The cache maps a hash
of everything it depends on (step times, limits, mix, SLO, settings, the method's version) to a
value that JSON can hold, so the process may keep it in a file.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterable, Mapping, MutableMapping
from dataclasses import astuple, replace

from argosy.engine.step_times import StepTimeSource
from argosy.perf.capacity.search import CapacitySettings, EngineModel, measure_capacity, refused_slice
from argosy.perf.catalogue import find_model, gpu_of
from argosy.perf.footprint.memory import engine_limits, fits, is_expert_parallel
from argosy.perf.host import host_of
from argosy.perf.library import ProfileLibrary, WantedProfile
from argosy.perf.profile import Calibration, Origin, Profile, ProfileKey, Shape
from argosy.perf.profiles.adapters import AdaptedStepTimes, Adapters
from argosy.perf.profiles.iterations import within
from argosy.perf.protocol import Capacity, CapacityLimit, Fits, OutOfRange, OutOfRangeReason, TooLarge
from argosy.snapshot import Mix, Slo, SloTerm, Variant

CachedCapacity = Mapping[str, float | str]
# Part of every key: raise it when the scheduler or the search changes what a capacity is.
_METHOD_VERSION = 3


class LibraryPerfModel:
    """A `PerfModel` over a library of profiles."""

    def __init__(
        self,
        library: ProfileLibrary,
        cache: MutableMapping[str, CachedCapacity],
        progress: Callable[[str], None] | None = None,
        settings: CapacitySettings | None = None,
    ) -> None:
        """`progress` gets a sentence before each capacity that has to be computed."""
        self.library = library
        self._cache = cache
        self._progress = progress
        self._settings = settings or CapacitySettings()

    def with_profiles(self, profiles: Iterable[Profile]) -> LibraryPerfModel:
        """The same model, in which these profiles of users win over the shipped ones."""
        return self._over(self.library.with_users(profiles))

    def with_calibrations(self, calibrations: Mapping[ProfileKey, Calibration]) -> LibraryPerfModel:
        """The same model, corrected by what running engines were seen to need."""
        return self._over(self.library.with_calibrations(calibrations))

    def _over(self, library: ProfileLibrary) -> LibraryPerfModel:
        return LibraryPerfModel(library, self._cache, self._progress, self._settings)

    def profile(self, variant: Variant) -> Profile | OutOfRange:
        """Step times of one engine with their provenance, host overhead included."""
        wanted = wanted_profile(variant)
        if isinstance(wanted, OutOfRange):
            return wanted
        found = self.library.find(wanted)
        if isinstance(found, OutOfRange):
            return found
        engine = variant.engine
        beyond = within(found.valid, engine.max_num_batched_tokens, engine.max_num_seqs, 0)
        if beyond is not None:
            return beyond
        # A user's engine was measured as it is; ours are measured without adapters.
        needs_adapters = engine.max_loras > 0 and found.origin is not Origin.USER
        return _adapted(found, wanted, variant) if needs_adapters else found

    def prior(self, variant: Variant) -> Profile | OutOfRange:
        """The profile as it is without any calibration: what recalibration corrects."""
        return self.with_calibrations({}).profile(variant)

    def step_times(self, variant: Variant) -> StepTimeSource | OutOfRange:
        """Step times of one engine, host overhead included."""
        found = self.profile(variant)
        return found if isinstance(found, OutOfRange) else found.step_times

    def fits(self, variant: Variant) -> Fits | TooLarge | OutOfRange:
        """Whether weights and one sequence of full length fit, and what is left for KV."""
        return fits(variant)

    def engine(self, variant: Variant) -> EngineModel | TooLarge | OutOfRange:
        """Limits and step times: what a simulated engine of this variant is made of."""
        found = self.profile(variant)
        return found if isinstance(found, OutOfRange) else self._engine(variant, found)

    def _engine(self, variant: Variant, found: Profile) -> EngineModel | TooLarge | OutOfRange:
        room = self.fits(variant)
        if not isinstance(room, Fits):
            return room
        # One that was fitted as if batches were decided one by one has their lag in its step times.
        is_user = found.origin is Origin.USER
        in_flight = found.batches_in_flight if is_user else host_of(variant).batches_in_flight
        limits = engine_limits(variant.engine, room.kv_capacity_tokens, in_flight)
        return EngineModel(limits, found.step_times, found.front_end_ms)

    def capacity(self, variant: Variant, mix: Mix, slo: Slo) -> Capacity | OutOfRange:
        """Requests/s of `mix` that one replica carries within `slo`, from the cache where known."""
        found = self.profile(variant)
        if isinstance(found, OutOfRange):
            return found
        engine = self._engine(variant, found)
        if isinstance(engine, TooLarge):
            return OutOfRange(OutOfRangeReason.NO_PROFILE, engine.message, engine.nearest)
        if isinstance(engine, OutOfRange):
            return engine
        longest = max(piece.prompt_tokens + piece.output_tokens for piece in mix.slices)
        refused = refused_slice(mix, engine.limits) or within(found.valid, 0, 0, longest)
        if refused is not None:
            return refused
        key = capacity_key(engine, mix, slo, self._settings)
        known = _from_cache(self._cache.get(key), slo)
        if known is not None:
            return known
        if self._progress is not None:
            self._progress(f"measuring the capacity of {variant.name}")
        answer = measure_capacity(engine, mix, slo, self._settings)
        if isinstance(answer, Capacity):
            self._cache[key] = _for_cache(answer, slo)
        return answer


def _adapted(found: Profile, wanted: WantedProfile, variant: Variant) -> Profile:
    """With every LoRA slot in use: the slowest case, which a plan has to assume."""
    slots = variant.engine.max_loras
    adapters = Adapters(wanted.architecture, slots, variant.engine.max_lora_rank)
    times = AdaptedStepTimes(found.step_times, adapters, wanted.gpu, variant.tensor_parallel)
    return replace(found, step_times=times, source=f"{found.source}; {slots} LoRA adapters active")


def wanted_profile(variant: Variant) -> WantedProfile | OutOfRange:
    """What a variant asks of the library: names looked up, number types settled."""
    gpu, model = gpu_of(variant), find_model(variant.model_id)
    if isinstance(gpu, OutOfRange):
        return gpu
    declared = variant.architecture
    if isinstance(model, OutOfRange):
        if declared is None:
            return model
        name, architecture = variant.model_id, declared
    else:
        name, architecture = model.key, declared or model.architecture
    return WantedProfile(
        gpu=gpu,
        model=name,
        architecture=architecture.up_to(variant.engine.max_model_len),
        dtype=variant.engine.quantization or architecture.dtype,
        kv_dtype=variant.engine.kv_cache_dtype or architecture.kv_dtype,
        shape=Shape(variant.tensor_parallel, variant.pipeline_parallel),
        is_expert_parallel=is_expert_parallel(variant),
        host=host_of(variant),
    )


def capacity_key(engine: EngineModel, mix: Mix, slo: Slo, settings: CapacitySettings) -> str:
    """A hash (64 hexadecimal digits) of all that a capacity depends on."""
    asked = [astuple(engine.limits), astuple(mix), astuple(slo), astuple(settings)]
    question = [_METHOD_VERSION, engine.step_times.digest(), engine.front_end_ms, *asked]
    return hashlib.sha256(json.dumps(question).encode()).hexdigest()


def _for_cache(capacity: Capacity, slo: Slo) -> CachedCapacity:
    """A term as its place in the SLO, which is part of the key; another limit as its name."""
    binding = capacity.binding
    named = slo.terms.index(binding) if isinstance(binding, SloTerm) else str(binding)
    return {"requests_per_s": capacity.requests_per_s, "binding": named}


def _from_cache(value: object, slo: Slo) -> Capacity | None:
    """None where there is nothing usable: a cache file may be old or damaged."""
    if not isinstance(value, Mapping):
        return None
    rate, binding = value.get("requests_per_s"), _cached_binding(value.get("binding"), slo)
    if not isinstance(rate, int | float) or binding is None:
        return None
    if not (math.isfinite(rate) and rate >= 0):
        return None
    return Capacity(float(rate), binding)


def _cached_binding(value: object, slo: Slo) -> SloTerm | CapacityLimit | None:
    if isinstance(value, int):
        return slo.terms[value] if 0 <= value < len(slo.terms) else None
    return next((limit for limit in CapacityLimit if limit == value), None)
