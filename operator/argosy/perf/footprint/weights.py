"""Bytes of weights and adapters on one GPU.

Owns how a model's matrices divide over tensor-parallel ranks and pipeline stages, and which of them
adapters adapt. Input: an `Architecture` and its place in the parallel shape; output: bytes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from argosy.perf.catalogue.layout import BYTES_PER_PARAMETER
from argosy.snapshot.architecture import Architecture, Dtype, WeightLayout

__all__ = [
    "BYTES_PER_PARAMETER",
    "Projection",
    "Ranks",
    "adapted_projections",
    "adapter_bytes",
    "rank_weight_bytes",
    "weight_bytes",
]

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
    share = place.layers_of(architecture.layers) / architecture.layers
    return (layers + repeated) * share + _table_bytes(architecture, place)


def _table_bytes(a: Architecture, place: Ranks) -> float:
    """Of the embedding and the head, which ranks share out; a pipeline needs both even where they are one."""
    num = 1 if a.tied_embeddings and place.stages == 1 else 2
    return num * a.vocabulary * a.hidden_size / place.tensor_parallel * place.tables * _WIDE


def adapter_bytes(architecture: Architecture, slots: int, lora_rank: int, place: Ranks) -> float:
    """Bytes of the LoRA slots on one GPU.

    Each slot holds both matrices of every projection at the largest rank, in each expert too.
    """
    numbers = math.fsum(
        projection.layers
        * (architecture.experts if projection.is_expert else 1)
        * sum(projection.on_rank(place.tensor_parallel))
        for projection in adapted_projections(architecture)
    )
    share = place.layers_of(architecture.layers) / architecture.layers
    return slots * lora_rank * numbers * share * _WIDE


class Projection(NamedTuple):
    """One adapted matrix of so many layers; `splits_inputs` where ranks divide its rows."""

    layers: int
    inputs: int
    outputs: int
    splits_inputs: bool = False
    is_expert: bool = False

    def on_rank(self, ranks: int) -> tuple[float, float]:
        """Inputs of the adapter's A and outputs of its B on one tensor-parallel rank.

        vLLM splits the one that lies on the projection's split side (unless --fully-sharded-loras).
        """
        if self.splits_inputs:
            return self.inputs / ranks, self.outputs
        return self.inputs, self.outputs / ranks


def adapted_projections(architecture: Architecture) -> Iterator[Projection]:
    """The matrices that adapters adapt, which is all of them; of a layer's experts one stands for each."""
    a = architecture
    heads, kv = a.attention_heads * a.head_dim, a.kv_heads * a.head_dim
    for outputs in (heads, a.mla_kv_dim) if a.mla_kv_dim else (heads, kv, kv):
        yield Projection(a.kv_layers, a.hidden_size, outputs)
    yield Projection(a.kv_layers, heads, a.hidden_size, splits_inputs=True)
    dense_layers = a.dense_layers if a.is_moe else a.layers
    yield from _adapted_mlp(a, dense_layers, a.intermediate_size, is_expert=False)
    yield from _adapted_mlp(a, a.layers - dense_layers, a.expert_intermediate_size, is_expert=True)
    yield from _adapted_mlp(a, a.layers - dense_layers, a.shared_expert_intermediate_size, is_expert=False)


def _adapted_mlp(a: Architecture, layers: int, width: int, is_expert: bool) -> Iterator[Projection]:
    if layers and width:
        yield Projection(layers, a.hidden_size, width, is_expert=is_expert)
        yield Projection(layers, a.hidden_size, width, is_expert=is_expert)
        yield Projection(layers, width, a.hidden_size, splits_inputs=True, is_expert=is_expert)


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
    full = a.full_layers * _beyond_even(a.full_layer_kv_heads, ranks) * a.full_layer_head_dim
    return 2 * a.hidden_size * (windowed + full)


def _beyond_even(heads: int, ranks: int) -> float:
    return math.ceil(heads / ranks) - heads / ranks
