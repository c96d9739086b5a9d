"""Step times with a KV cache of another number type.

Owns one transformation, and how much each GPU gains by it. A cache of FP8 has half the bytes to
read, but attention kernels convert what they read: Hopper's lose half of the gain and slow down
prefill, Blackwell's do not.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from argosy.engine.step_times import StepTimes, StepTimeSource, frozen
from argosy.snapshot.architecture import Dtype


@dataclass(frozen=True, slots=True)
class Fp8Cache:
    """What FP8 makes of bfloat16's attention.

    growth:  factor on the part of decode attention that grows with the context
    prefill: factor on prefill attention
    """

    growth: float
    prefill: float


_BLACKWELL = Fp8Cache(growth=0.52, prefill=1.03)
FP8_CACHE: Mapping[str, Fp8Cache] = MappingProxyType(
    {
        "H100": Fp8Cache(growth=0.59, prefill=1.21),
        "H200": Fp8Cache(growth=0.73, prefill=1.23),
        "B200": _BLACKWELL,
        "B300": _BLACKWELL,
        "GB200": _BLACKWELL,
        "GB300": _BLACKWELL,
        "L40S": Fp8Cache(growth=0.49, prefill=2.0),
        "RTX-PRO-6000": Fp8Cache(growth=0.48, prefill=1.7),
    }
)
"""By GPU: medians over batch, context and TP of Llama-70B's tables for both types in
aiconfigurator-core 0.12.0 (vLLM 0.24 kernels). B200's for the Blackwells beside it."""

BYTES_ALONE = Fp8Cache(growth=0.5, prefill=1.0)
"""Where no kernels were measured: half of the bytes."""


@dataclass(frozen=True, slots=True, eq=False)
class KvTypedTimes:
    """The step times of `base` with attention changed by `factors`."""

    base: StepTimeSource
    factors: Fp8Cache

    def step_times(self, max_tokens: int, max_seqs: int) -> StepTimes:
        """Decode attention: what it takes at the shortest context, and a share of what grows."""
        times = self.base.step_times(max_tokens, max_seqs)
        shortest = times.decode_ms[:, :1]
        return replace(
            times,
            decode_ms=frozen(shortest + self.factors.growth * (times.decode_ms - shortest)),
            chunk_ms_per_token=frozen(self.factors.prefill * times.chunk_ms_per_token),
        )

    def digest(self) -> str:
        """Of the base and the factors."""
        return hashlib.sha256(f"kv {self.factors} {self.base.digest()}".encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class KvTypes:
    """The type that a source was measured with, and the one that is wanted."""

    measured: Dtype
    wanted: Dtype


def with_kv_dtype(base: StepTimeSource, gpu: str, types: KvTypes) -> StepTimeSource:
    """`base` for an engine whose KV cache has the wanted type."""
    if (types.measured is Dtype.FP8) == (types.wanted is Dtype.FP8):
        return base
    factors = FP8_CACHE.get(gpu, BYTES_ALONE)
    if types.measured is Dtype.FP8:
        factors = Fp8Cache(1 / factors.growth, 1 / factors.prefill)
    return KvTypedTimes(base, factors)
