"""The model beside published figures: step times, KV capacity, power, energy.

Owns the figures of the project's references and the comparison. The bounds stand in the tests. ITL
was read from aiconfigurator-core 0.12.0 (step engine, without host overhead), KV from start-up logs of vLLM;
power curves are those published with the fits.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from dataclasses import dataclass

from argosy.engine.step_times import step_ms
from argosy.keys import ModelKey
from argosy.perf.catalogue import find_gpu, find_model
from argosy.perf.footprint.memory import fits
from argosy.perf.library import ProfileLibrary
from argosy.perf.power.energy import EnergyFigure, EnergyRow, energy_comparison
from argosy.perf.power.power import Utilisation, working_power
from argosy.perf.profile import HOST_OVERHEAD, Profile, ProfileKey, Shape
from argosy.perf.profiles.forms import Forms
from argosy.perf.protocol import Fits, OutOfRange
from argosy.snapshot.architecture import Dtype
from argosy.snapshot.variant import EngineSettings, Variant

BATCHES = (1, 8, 32, 64, 128, 256)
ITL_MS = {
    ("H100", "llama-3.1-8b", 1): (6.2, 6.6, 8.3, 10.4, 12.8, 19.6),
    ("H100", "llama-3.1-70b", 4): (14.9, 16.1, 16.9, 19.1, 22.8, 30.5),
    ("A100", "llama-3.1-8b", 1): (11.9, 12.6, 15.6, 17.8, 24.8, 43.7),
    ("L40S", "llama-3.1-8b", 1): (22.0, 23.5, 31.4, 38.3, 53.3, 78.5),
    ("B200", "llama-3.1-8b", 1): (3.5, 3.4, 4.2, 4.9, 6.2, 9.2),
}
"""By GPU, model and TP: milliseconds of a decode step at context 1,024, bfloat16, by batch."""
ITL_CONTEXT = 1024

KV_TOKENS = {
    ("H100", "meta-llama/Llama-3.1-8B", 1, "0.19.0", 0.95): 476_016,
    ("H100", "meta-llama/Llama-3.1-8B", 4, "0.19.0", 0.95): 2_209_792,
    ("H100", "Qwen/Qwen3-8B", 1, "0.19.0", 0.95): 418_688,
    ("H100", "Qwen/Qwen3-30B-A3B", 1, "0.19.0", 0.95): 168_288,
    ("A100-40GB", "meta-llama/Llama-3.1-8B", 1, "0.10.1", 0.9): 157_648,
    ("A100-40GB", "Qwen/Qwen3-8B", 1, "0.9.1", 0.9): 136_080,
    ("RTX-A6000", "meta-llama/Llama-3.1-8B", 1, "0.15.1", 0.9): 217_376,
}
"""By GPU, model, TP, release and utilisation: "GPU KV cache size" of start-up logs, some of those in
tests/data/perf/kv_lines*.csv, whose settings are the release's defaults for the card."""

POWER_W = {
    ("H100", "llama-3.1-8b", 1): (475.5, 488.6, 557.5, 617.6, 663.2, 685.7),
    ("H100", "llama-3.1-70b", 4): (439.0, 440.9, 459.3, 493.6, 546.4, 588.1),
    ("B200", "llama-3.1-70b", 2): (857.0, 857.2, 866.9, 907.0, 955.0, 967.9),
}
"""Watts per GPU by batch: the published logistic curves, worked out at `BATCHES`."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """One published figure and ours."""

    what: str
    published: float
    ours: float

    @property
    def difference(self) -> float:
        """Relative; positive where ours is larger."""
        return self.ours / self.published - 1


@dataclass(frozen=True, slots=True)
class FormMedians:
    """Median over profiles of the closed form's mean absolute error against its table (0-1)."""

    num_profiles: int
    decode: float
    mixed: float
    prefill: float


def form_medians(forms: Forms) -> FormMedians:
    """Of all shipped forms."""
    found = [form.errors for form in forms.by_key.values()]
    return FormMedians(
        len(found),
        statistics.median(errors.decode for errors in found),
        statistics.median(errors.mixed for errors in found),
        statistics.median(errors.prefill for errors in found),
    )


def itl_comparisons(library: ProfileLibrary) -> Iterator[Comparison]:
    """Silicon step times of the shipped tables."""
    for (gpu, model, tp), published in ITL_MS.items():
        profile = _table(library, gpu, model, tp)
        for batch, milliseconds in zip(BATCHES, published, strict=True):
            ours = float(step_ms(profile.step_times, batch, batch * ITL_CONTEXT))
            yield Comparison(f"decode step ms, {profile.key}, batch {batch}", milliseconds, ours)


def kv_comparisons() -> Iterator[Comparison]:
    """KV capacity in tokens."""
    for (gpu, model, tp, release, utilization), tokens in KV_TOKENS.items():
        is_large = gpu == "H100"
        engine = EngineSettings(
            image=f"vllm/vllm-openai:v{release}",
            max_num_seqs=1024 if is_large else 256,
            max_num_batched_tokens=8192 if is_large else 2048,
            gpu_memory_utilization=utilization,
        )
        found = fits(Variant(ModelKey(), model, (), "", gpu, tp, engine))
        assert isinstance(found, Fits)
        what = f"KV tokens, {model} on {gpu} TP{tp}, vLLM {release}"
        yield Comparison(what, tokens, found.kv_capacity_tokens)


def power_comparisons() -> Iterator[Comparison]:
    """Watts per GPU of the fitted curves."""
    for (gpu_name, model, tp), published in POWER_W.items():
        gpu = find_gpu(gpu_name)
        assert not isinstance(gpu, OutOfRange)
        key = ProfileKey(gpu_name, model, Dtype.BF16, Shape(tp))
        for batch, watts in zip(BATCHES, published, strict=True):
            ours = working_power(gpu, key, batch, Utilisation(0.0, 0.0)).watts / tp
            yield Comparison(f"W per GPU, {key}, batch {batch}", watts, ours)


def energy_rows(library: ProfileLibrary) -> tuple[EnergyRow, ...]:
    """Published J/token beside ours, at the context of the ITL table, host overhead included."""

    def step(figure: EnergyFigure) -> float:
        profile = _table(library, figure.gpu, figure.model, figure.tensor_parallel)
        source = HOST_OVERHEAD.applied_to(profile.step_times)
        return float(step_ms(source, figure.batch, figure.batch * ITL_CONTEXT))

    return energy_comparison(step)


def _table(library: ProfileLibrary, gpu: str, model: str, tp: int) -> Profile:
    found_model = find_model(model)
    assert not isinstance(found_model, OutOfRange)
    key = ProfileKey(gpu, found_model.key, Dtype.BF16, Shape(tp))
    found = library.measured(key)
    if isinstance(found, OutOfRange):
        raise AssertionError(found.message)
    return found
