"""What LoRA adapters cost a step: a little memory traffic, and many small kernels.

Owns the time that unmerged adapters add to an iteration, as a source of step times on top of the
plain one. `footprint.memory` counts their slots. A request whose adapter finds no slot waits in
vLLM, which is not modelled.

Per iteration of n tokens with a distinct adapters among them (at most n), on each GPU:

    launches + max(bytes / bandwidth, FLOPs / peak)
    bytes = a * adapter + n * activations read and written again        FLOPs = 2 * n * parameters

Of an adapter's experts those count that its own share of the tokens, n / a, goes through.
Every projection is adapted (A: inputs x rank, B: rank x outputs), at the engine's
`max_lora_rank`: vLLM pads each adapter to it and computes on the whole slot (vLLM pull request
22782). By default vLLM shards half of it over tensor-parallel ranks (its docs, "LoRA
adapters"): the B of projections that split their outputs, the A of those that split their inputs.

`launches` is 62.5 us a layer: Punica, whose kernels vLLM's descend from, adds 2 ms per token to
a 32-layer model on an A100 (arXiv 2310.18547), almost all of it launches at its batch sizes.
Reported since: 8-24 % less throughput for Llama-3.1-8B (vLLM pull request 15655); here an H100
loses 20 % of its decode rate at batch 8 and 11 % at 128. Take a factor of two as the error.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from argosy.arrays import Floats
from argosy.checks import positive
from argosy.engine.step_times import StepTimes, StepTimeSource, frozen
from argosy.errors import SpecError
from argosy.perf.catalogue import Gpu
from argosy.perf.footprint.weights import adapted_projections
from argosy.snapshot.architecture import Architecture, Dtype

LAUNCHES_MS_PER_LAYER = 2.0 / 32
_BYTES = 2
"""Adapters and activations are in bf16, whatever the weights are (`weights.adapter_bytes`)."""


@dataclass(frozen=True, slots=True)
class Adapters:
    """What is adapted, and by how many adapters a step is shared.

    active: distinct adapters among an iteration's requests (0: none of them asks for one)
    rank:   that the engine was started with (`max_lora_rank`)

    Raises SpecError for a negative number of adapters and for a rank below 1.
    """

    architecture: Architecture
    active: int
    rank: int

    def __post_init__(self) -> None:
        if self.active < 0:
            raise SpecError(f"must be zero or more, got {self.active}", "adapters.active")
        if self.rank < 1:
            raise SpecError(f"must be at least 1, got {self.rank}", "adapters.rank")


@dataclass(frozen=True, slots=True)
class AdaptedStepTimes:
    """Step times with adapters on top (a `StepTimeSource`). Also without an active adapter
    an engine that was started with LoRA launches its kernels."""

    plain: StepTimeSource
    adapters: Adapters
    gpu: Gpu
    tensor_parallel: int = 1

    def step_times(self, max_tokens: int, max_seqs: int) -> StepTimes:
        """The plain arrays, with the adapters' time added to what depends on the tokens."""
        plain = self.plain.step_times(max_tokens, max_seqs)
        added = adapter_ms(self.adapters, self.gpu, self.tensor_parallel, np.arange(1.0, max_tokens + 1))
        matrix = np.array(plain.matrix_ms[: max_tokens + 1])
        # The calibration's factor belongs to the plain step only.
        matrix[1:] += added / plain.s
        return replace(plain, matrix_ms=frozen(matrix))

    def digest(self) -> str:
        """A hash of the plain source and of all that the added time depends on."""
        content = f"{self.plain.digest()} {self.adapters!r} {self.gpu!r} {self.tensor_parallel}"
        return hashlib.sha256(content.encode()).hexdigest()


def adapter_ms(adapters: Adapters, gpu: Gpu, tensor_parallel: int, num_tokens: npt.ArrayLike) -> Floats:
    """Milliseconds that adapters add to iterations of so many tokens, an array of their shape.

    The stages of a pipeline run one after the other: their number makes no difference. Raises SpecError
    for a GPU or a group without positive peaks and ranks.
    """
    architecture, rank = adapters.architecture, adapters.rank
    ranks = int(positive(tensor_parallel, "tensor_parallel"))
    tokens = np.asarray(num_tokens, dtype=np.float64)
    active = np.minimum(adapters.active, tokens)
    num_bytes, flops = np.zeros_like(tokens), np.zeros_like(tokens)
    tokens_of_each = tokens / np.maximum(active, 1)
    for projection in adapted_projections(architecture):
        inputs, outputs = projection.on_rank(ranks)
        per_token = architecture.experts_per_token if projection.is_expert else 1
        read = _experts_read(architecture, tokens_of_each) if projection.is_expert else 1.0
        num_bytes += projection.layers * _BYTES * rank * (inputs + outputs) * active * read
        # In: x once more; out: the projection's result read, added to and written.
        passed = projection.layers * tokens * per_token
        num_bytes += _BYTES * passed * (inputs + 2 * outputs)
        flops += 2 * passed * rank * (inputs + outputs)
    peak = positive(gpu.flops[Dtype.BF16], "gpu.flops")
    bandwidth = positive(gpu.memory_bytes_per_s, "gpu.memory_bytes_per_s")
    traffic: Floats = 1e3 * np.maximum(num_bytes / bandwidth, flops / peak)
    return architecture.layers * LAUNCHES_MS_PER_LAYER + traffic * (adapters.active > 0)


def _experts_read(architecture: Architecture, num_tokens: Floats) -> Floats:
    """Expected experts of a layer that at least one of the tokens goes through."""
    idle = (1.0 - architecture.experts_per_token / architecture.experts) ** num_tokens
    experts: Floats = architecture.experts * (1.0 - idle)
    return experts
