"""A performance model small enough for tables: capacities by GPU, and models that do not fit."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from argosy.engine.step_times import StepTimeSource
from argosy.perf.model import LibraryPerfModel
from argosy.perf.profile import Calibration, Profile, ProfileKey
from argosy.perf.protocol import Capacity, Fits, OutOfRange, OutOfRangeReason, TooLarge, TooLargeReason
from argosy.perf.shipped import shipped_library
from argosy.snapshot import Mix, Slo, SloTerm, Term, Variant

TTFT_P95 = SloTerm(Term.TTFT, 0.95, 500.0)


@dataclass(frozen=True)
class FakePerf:
    """Capacities by GPU, per GPU of the replica; model ids that contain a word get that answer.

    A user's profile divides the capacity of its GPU and shape by the profile's factor `s`, and so
    does a calibration that of its profile.
    """

    per_gpu: Mapping[str, float] = field(default_factory=lambda: {"L40S": 4.0, "H100": 16.0})
    slowness: Mapping[tuple[str, int], float] = field(default_factory=dict)

    def with_profiles(self, profiles: Iterable[Profile]) -> FakePerf:
        slowness = {(p.key.gpu, p.key.shape.gpus): p.step_times.step_times(1, 1).s for p in profiles}
        return replace(self, slowness=slowness)

    def with_calibrations(self, calibrations: Mapping[ProfileKey, Calibration]) -> FakePerf:
        seen = {(key.gpu, key.shape.gpus): each.s for key, each in calibrations.items()}
        return replace(self, slowness={**self.slowness, **seen})

    def prior(self, variant: Variant) -> Profile | OutOfRange:
        """The shipped one, whatever profiles were given."""
        return LibraryPerfModel(shipped_library(), {}).prior(variant)

    def step_times(self, variant: Variant) -> StepTimeSource | OutOfRange:
        raise AssertionError("decisions do not ask for step times")

    def fits(self, variant: Variant) -> Fits | TooLarge | OutOfRange:
        if variant.gpu not in ("L40S", "H100"):
            return OutOfRange(OutOfRangeReason.UNKNOWN_GPU, f"GPU {variant.gpu} is not in the catalogue")
        if "unknown" in variant.model_id:
            return OutOfRange(OutOfRangeReason.UNKNOWN_MODEL, f"{variant.model_id} is not in the catalogue")
        if "huge" in variant.model_id:
            return TooLarge(
                TooLargeReason.TOO_LARGE,
                f"{variant.model_id} needs 100 GB on each {variant.gpu}",
                needed_bytes_per_gpu=100,
                available_bytes_per_gpu=40,
            )
        return Fits(16_000_000_000, 16_000_000_000, 100_000)

    def capacity(self, variant: Variant, mix: Mix, slo: Slo) -> Capacity | OutOfRange:
        strictest = min(slo.terms, key=lambda term: term.bound_ms)
        if strictest.bound_ms < 5:
            return Capacity(0.0, strictest)
        if mix.mean_prompt_tokens > 100_000:
            return OutOfRange(OutOfRangeReason.CONTEXT_TOO_LONG, "prompts of more than 100,000 tokens")
        slowness = self.slowness.get((variant.gpu, variant.gpus), 1.0)
        return Capacity(self.per_gpu[variant.gpu] * variant.tensor_parallel / slowness, TTFT_P95)


class StrictPerf(FakePerf):
    """Under a bound of 500 ms a replica carries a third; under 100 ms one on an L40S carries nothing."""

    def capacity(self, variant: Variant, mix: Mix, slo: Slo) -> Capacity | OutOfRange:
        found = super().capacity(variant, mix, slo)
        strictest = min(slo.terms, key=lambda term: term.bound_ms)
        if isinstance(found, OutOfRange) or strictest.bound_ms >= 500:
            return found
        if strictest.bound_ms < 100 and variant.gpu == "L40S":
            return Capacity(0.0, strictest)
        return replace(found, requests_per_s=found.requests_per_s / 3)
