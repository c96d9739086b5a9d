"""What an engine takes on a GPU beside weights, adapters and KV.

Owns the three parts that vLLM subtracts before it sizes the KV cache
(`GPUWorker.determine_available_memory`): the peak of activations in a run with a full budget of tokens, what
CUDA and NCCL take, and, since 0.21, an estimate of CUDA graphs. Input: an architecture, the GPU and a
variant. Output: a `WorkingMemory`, in bytes.

The peak is that of the sampler or of a layer, whichever is larger, with the buffers of experts beside it.
The sampler sorts float32 logits of every sequence; until 0.16 it held several copies more (5.64 GiB for
Qwen3-14B at 1,024 sequences, 2.23 GiB from 0.17 on).

Each constant was fitted by hack/fit_working_memory.py to the even lines of start-up logs in
tests/data/perf/kv_lines.csv; the odd ones judge it (tests/unit/perf/footprint/test_working_memory.py).
"""

from __future__ import annotations

from dataclasses import dataclass

from packaging.version import Version

from argosy.api.engine.arguments import switch
from argosy.engine_version import assumed
from argosy.snapshot.architecture import Architecture
from argosy.snapshot.variant import EngineSettings, Gpu, Variant

_GIB = 2**30
_WIDE = 2
"""Bytes of an activation."""

_DRIVER_BYTES, _DRIVER_SHARE = 0.43 * _GIB, 0.002

LOGIT_BYTES = {Version("0.17"): 14.8, Version("0"): 38.0}
"""Bytes per logit at the sampler's peak, by the first version that has it."""
_HIDDEN_AT_SAMPLER = 1.47
"""Hidden states alive beside the logits."""
_LAYER_WIDTHS = (3.0, 4.0)
"""Alive at once in a dense layer: the MLP's columns, and hidden states."""
_OF_EXPERTS = 0.85
"""Of both matrices' outputs for each token and chosen expert: how much is alive beside the peak."""

_CUDA_BYTES = 0.25 * _GIB
_LINKED_BYTES = 1.85 * _GIB
"""More of a group over NVLink: buffers of vLLM's own all-reduce, and NCCL's."""
_UNLINKED_BYTES = 0.1 * _GIB
"""The same without NVLink, where only NCCL reduces (one log of eight L40S: 0.21 GiB in all)."""

GRAPHS_SINCE = Version("0.21")
"""From here on the estimate of CUDA graphs is subtracted (VLLM_MEMORY_PROFILER_ESTIMATE_CUDAGRAPHS)."""
_GRAPH_BYTES_PER_LAYER_AND_SIZE = 0.022 * _GIB / 51
_MOST_CAPTURED = 512
_EAGER = "--enforce-eager"


@dataclass(frozen=True, slots=True)
class WorkingMemory:
    """Bytes on one GPU of each part."""

    activations: float
    cuda: float
    graphs: float

    @property
    def total(self) -> float:
        """All of it."""
        return self.activations + self.cuda + self.graphs


def usable_bytes(gpu: Gpu) -> float:
    """A GPU's memory as CUDA gives it, which vLLM takes its share of.

    NVIDIA's driver keeps a little of what it reports: 0.43 to 0.75 GiB on the nine cards whose logs show both
    (22.07 of 22.49 on an A10G, 79.19 of 79.65 on an H100, 94.97 of 95.59 on an RTX PRO 6000).
    """
    if gpu.vendor != "nvidia":
        return gpu.memory_bytes
    return gpu.memory_bytes - _DRIVER_BYTES - _DRIVER_SHARE * gpu.memory_bytes


def working_memory(architecture: Architecture, gpu: Gpu, variant: Variant) -> WorkingMemory:
    """Of the fullest GPU of a variant."""
    version = assumed(variant.engine_version)
    has_logits = variant.pipeline_parallel == 1
    return WorkingMemory(
        activation_bytes(
            architecture, variant.engine, variant.tensor_parallel, version, has_logits=has_logits
        ),
        _cuda_bytes(gpu, variant.tensor_parallel),
        _graph_bytes(architecture, variant, version),
    )


def activation_bytes(
    architecture: Architecture,
    engine: EngineSettings,
    tensor_parallel: int,
    version: Version,
    *,
    has_logits: bool = True,
) -> float:
    """The peak of activations; has_logits: whether this stage of a pipeline samples."""
    a, tokens = architecture, engine.max_num_batched_tokens
    hidden = tokens * a.hidden_size * _WIDE
    of_mlp, of_hidden = _LAYER_WIDTHS
    columns = 0 if a.is_moe and not a.dense_layers else a.intermediate_size / tensor_parallel
    layer = of_mlp * tokens * columns * _WIDE + of_hidden * hidden
    sampler = 0.0
    if has_logits:
        rows = min(engine.max_num_seqs, tokens)
        sampler = _HIDDEN_AT_SAMPLER * hidden + rows * a.vocabulary * _logit_bytes(version)
    return max(layer, sampler) + _expert_bytes(a, tokens, tensor_parallel)


def _expert_bytes(a: Architecture, tokens: int, tensor_parallel: int) -> float:
    """Outputs of gate, up and down projections of every chosen expert."""
    if not a.is_moe:
        return 0.0
    columns = 3 * a.expert_intermediate_size / tensor_parallel + a.hidden_size
    return _OF_EXPERTS * tokens * a.experts_per_token * columns * _WIDE


def _logit_bytes(version: Version) -> float:
    return next(each for since, each in LOGIT_BYTES.items() if version.release >= since.release)


def _cuda_bytes(gpu: Gpu, tensor_parallel: int) -> float:
    if tensor_parallel == 1:
        return _CUDA_BYTES
    return _CUDA_BYTES + (_LINKED_BYTES if gpu.nvlink_bytes_per_s else _UNLINKED_BYTES)


def _graph_bytes(a: Architecture, variant: Variant, version: Version) -> float:
    if version.release < GRAPHS_SINCE.release or switch(variant.engine.args, _EAGER):
        return 0.0
    layers = a.layers / variant.pipeline_parallel
    return _GRAPH_BYTES_PER_LAYER_AND_SIZE * layers * num_capture_sizes(variant.engine.max_num_seqs)


def num_capture_sizes(max_num_seqs: int) -> int:
    """Batches that vLLM captures graphs of: 1, 2, 4, every 8 below 256, every 16 up to the largest."""
    largest = min(2 * max_num_seqs, _MOST_CAPTURED)
    few = sum(size <= largest for size in (1, 2, 4))
    return few + min(largest, 255) // 8 + max(0, (largest - 240) // 16)
