"""Bytes of weights and adapters on one GPU.

Owns how a model's matrices divide over tensor-parallel ranks and pipeline stages. Never knows a
GPU. Input: an `Architecture` and its place in the parallel shape; output: bytes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from argosy.perf.catalogue.layout import BYTES_PER_PARAMETER
from argosy.snapshot.architecture import Architecture, Dtype, WeightLayout

__all__ = ["BYTES_PER_PARAMETER", "Ranks", "adapter_bytes", "rank_weight_bytes", "weight_bytes"]

_WIDE = 2
"""Bytes of what is never quantised: tables, routers, adapters."""


@dataclass(frozen=True, slots=True)
class Ranks:
    """One GPU's place: tensor parallelism, and which of the pipeline's stages."""

    tensor_parallel: int
    stages: int = 1
    stage: int = 0

    def layers_of(self, layers: int) -> int:
        """Layers of this stage. vLLM gives what is left over to the stages before the last one."""
        even, left = divmod(layers, self.stages)
        from_the_end = self.stages - 1 - self.stage
        return even + (1 <= from_the_end <= left)

    @property
    def tables(self) -> float:
        """Share of the embedding and the head that is here: one at either end of a pipeline."""
        if self.stages == 1:
            return 1.0
        return 0.5 if self.stage in (0, self.stages - 1) else 0.0


def weight_bytes(architecture: Architecture, quantization: Dtype | None = None) -> float:
    """Bytes of all weights as they are downloaded and spread over a replica of one GPU."""
    layout, dtype = _layout(architecture), quantization or architecture.dtype
    tables = _tables_once(architecture) * _WIDE
    if quantization in (None, architecture.dtype) and layout.stored_split_bytes:
        return tables + layout.stored_split_bytes + layout.stored_whole_bytes
    others = architecture.parameters - _tables_once(architecture) - layout.routers
    return tables + layout.routers * _WIDE + others * BYTES_PER_PARAMETER[dtype]


def rank_weight_bytes(architecture: Architecture, quantization: Dtype | None, place: Ranks) -> float:
    """Bytes of weights on one GPU at that place. `quantization` None: as the checkpoint has them."""
    layout, dtype = _layout(architecture), quantization or architecture.dtype
    number = BYTES_PER_PARAMETER[dtype]
    ranks = place.tensor_parallel
    if quantization in (None, architecture.dtype) and layout.stored_split_bytes:
        layers = layout.stored_split_bytes / ranks + layout.stored_whole_bytes
        repeated = _repeated_kv(architecture, ranks) * _WIDE
    else:
        layers = (layout.split / ranks + layout.whole) * number + layout.routers * _WIDE
        repeated = _repeated_kv(architecture, ranks) * number
    tables = (layout.split_tables / ranks + layout.whole_tables) * _WIDE
    share = place.layers_of(architecture.layers) / architecture.layers
    return (layers + repeated) * share + tables * place.tables


def adapter_bytes(architecture: Architecture, slots: int, lora_rank: int, place: Ranks) -> float:
    """Bytes of the LoRA slots on one GPU.

    Each slot holds both matrices of every projection at the largest rank. vLLM splits the one
    that lies on the projection's split side (unless --fully-sharded-loras).
    """
    if slots == 0:
        return 0.0
    a, ranks = architecture, place.tensor_parallel
    heads, kv = a.attention_heads * a.head_dim, a.kv_heads * a.head_dim
    key_value = (a.mla_kv_dim,) if a.mla_kv_dim else (kv, kv)
    attention = (
        sum(a.hidden_size + out / ranks for out in (heads, *key_value)) + heads / ranks + a.hidden_size
    )
    dense, expert = _mlp_adapter(a, a.intermediate_size, ranks), 0.0
    if a.is_moe:
        expert = a.experts * _mlp_adapter(a, a.expert_intermediate_size, ranks)
        expert += _mlp_adapter(a, a.shared_expert_intermediate_size, ranks)
    dense_layers = a.dense_layers if a.is_moe else a.layers
    per_rank = a.kv_layers * attention + dense_layers * dense + (a.layers - dense_layers) * expert
    share = place.layers_of(a.layers) / a.layers
    num_bytes: float = slots * lora_rank * per_rank * share * _WIDE
    return num_bytes


def _mlp_adapter(a: Architecture, width: int, ranks: int) -> float:
    if width == 0:
        return 0.0
    return 2 * (a.hidden_size + width / ranks) + width / ranks + a.hidden_size


def _layout(a: Architecture) -> WeightLayout:
    """The architecture's own, or an even split of what the dimensions say."""
    if a.layout is not None:
        return a.layout
    tables = 2 * a.vocabulary * a.hidden_size
    routers = (a.layers - a.dense_layers) * a.hidden_size * a.experts
    return WeightLayout(tables, 0, max(0, a.parameters - tables - routers), 0, routers)


def _tables_once(a: Architecture) -> int:
    """Parameters of the embedding, and of the head where it is a table of its own."""
    return min(a.parameters, a.vocabulary * a.hidden_size * (1 if a.tied_embeddings else 2))


def _repeated_kv(a: Architecture, ranks: int) -> float:
    """Parameters on one rank of K and V projections beyond its even share: ranks hold whole heads."""
    if a.mla_kv_dim:
        return 0.0
    windowed = a.sliding_layers * _beyond_even(a.kv_heads, ranks) * a.head_dim
    full_heads, full_dim = a.full_kv_heads or a.kv_heads, a.full_head_dim or a.head_dim
    full = (a.kv_layers - a.sliding_layers) * _beyond_even(full_heads, ranks) * full_dim
    return 2 * a.hidden_size * (windowed + full)


def _beyond_even(heads: int, ranks: int) -> float:
    return math.ceil(heads / ranks) - heads / ranks
