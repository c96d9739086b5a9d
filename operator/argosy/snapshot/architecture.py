"""What a model is made of: the figures that decide its memory and its step time.

Owns the nouns `Architecture` and `WeightLayout`; `perf` holds the catalogue of models and computes
memory and time from these.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from enum import StrEnum

from argosy.dtype import Dtype
from argosy.errors import SpecError

__all__ = ["Architecture", "Dtype", "Family", "WeightLayout"]


class Family(StrEnum):
    """Which of an engine's implementations runs a model: it decides the activations' peak."""

    DENSE = "dense"
    MOE = "moe"
    MLA = "mla"
    """Multi-head latent attention (DeepSeek, Kimi, GLM-5); mixture of experts."""
    WINDOWED = "windowed"
    """Sliding windows beside full attention in a model of its own (Gemma, Step)."""
    HYBRID = "hybrid"
    """Linear attention, Mamba, chunked attention, or a language model behind a vision tower."""


@dataclass(frozen=True, slots=True)
class WeightLayout:
    """How an engine lays a model's weights over tensor-parallel ranks, in parameters.

    split_tables, whole_tables: embedding and output head, split over the ranks and whole on each;
                                never quantised
    split, whole:               all other matrices, in the checkpoint's number type
    routers:                    of experts, whole on each rank, never quantised
    stored_split_bytes, stored_whole_bytes: of all but the tables, where a checkpoint mixes number
                                types; 0: they follow from the parameters
    """

    split_tables: int
    whole_tables: int
    split: int
    whole: int
    routers: int = 0
    stored_split_bytes: int = 0
    stored_whole_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Architecture:
    """A decoder's dimensions, as its config.json has them.

    parameters:            all weights; active_parameters: those that one token is multiplied with
                           (all but idle experts and the input table, of which it reads one row)
    intermediate_size:     of a dense layer's MLP; expert_intermediate_size: of one expert
    head_dim:              per head, or where nothing names it hidden_size / attention_heads
    experts:               routed experts of an MoE layer (0: dense), experts_per_token of them active
    dense_layers:          of an MoE, the layers with an MLP instead of experts
    shared_expert_intermediate_size: of the experts that every token goes through, together
    mla_kv_dim:            MLA: width of the compressed KV entry of a token and layer, shared by
                           all heads (kv_lora_rank + qk_rope_head_dim); 0 where KV is per head
    mla_rope_dim:          the part of it that carries the position
    index_dim:             sparse attention: width of the index entry beside it; 0: attention is full
    sliding_window:        tokens; `sliding_layers` of the layers keep KV of no more than these
    full_kv_heads, full_head_dim: of the layers without a window, where they differ (0: they do not)
    linear_layers:         layers without KV: linear attention, Mamba, and bare MLPs of a hybrid
    state_bytes:           that a sequence's state takes in all linear layers, whatever its length
    query_key_norm:        whether queries and keys are normalised in every layer (Qwen3, Gemma 3, MiniMax)
    tied_embeddings:       whether the output head is the embedding's table
    max_context:           positions that the model was trained for, tokens
    dtype, kv_dtype:       of the checkpoint's weights, and of KV unless the engine is set otherwise
    weight_block:          block-quantised: a rank's share of an expert must be a multiple of it; or 0
    layout:                None: everything is split evenly
    """

    layers: int
    hidden_size: int
    intermediate_size: int
    attention_heads: int
    kv_heads: int
    head_dim: int
    vocabulary: int
    parameters: int
    active_parameters: int
    max_context: int
    tied_embeddings: bool = False
    query_key_norm: bool = False
    experts: int = 0
    experts_per_token: int = 0
    expert_intermediate_size: int = 0
    dense_layers: int = 0
    shared_expert_intermediate_size: int = 0
    mla_kv_dim: int = 0
    mla_rope_dim: int = 0
    index_dim: int = 0
    sliding_window: int = 0
    sliding_layers: int = 0
    full_kv_heads: int = 0
    full_head_dim: int = 0
    linear_layers: int = 0
    state_bytes: int = 0
    dtype: Dtype = Dtype.BF16
    kv_dtype: Dtype = Dtype.BF16
    weight_block: int = 0
    family: Family | None = None
    layout: WeightLayout | None = None

    def __post_init__(self) -> None:
        """Raises SpecError naming the field of a figure that is not finite or too small."""
        for entry in fields(self):
            value = getattr(self, entry.name)
            if isinstance(value, int | float) and not isinstance(value, bool):
                _require(value, entry.name, minimum=1 if entry.name in _AT_LEAST_ONE else 0)
        if self.is_moe:
            _require(self.experts_per_token, "experts_per_token", minimum=1)
            _require(self.expert_intermediate_size, "expert_intermediate_size", minimum=1)
        if self.active_parameters > self.parameters:
            raise SpecError(
                f"{self.active_parameters} is more than all {self.parameters} parameters",
                "architecture.active_parameters",
            )

    @property
    def is_moe(self) -> bool:
        """Whether tokens are routed to experts."""
        return self.experts > 0

    @property
    def kv_layers(self) -> int:
        """Layers that keep KV of a sequence."""
        return self.layers - self.linear_layers

    @property
    def full_layers(self) -> int:
        """Layers that keep KV of the whole sequence, without a window."""
        return self.kv_layers - self.sliding_layers

    @property
    def full_layer_kv_heads(self) -> int:
        """KV heads of a layer without a window."""
        return self.full_kv_heads or self.kv_heads

    @property
    def full_layer_head_dim(self) -> int:
        """Width of a head of a layer without a window."""
        return self.full_head_dim or self.head_dim

    def up_to(self, longest_tokens: int) -> Architecture:
        """As sequences of no more than so many tokens are computed: a window that holds them is none.

        Layers with a window whose heads are not those of the others stay as they are.
        """
        heads = (self.full_layer_kv_heads, self.full_layer_head_dim)
        if self.sliding_window < longest_tokens or heads != (self.kv_heads, self.head_dim):
            return self
        return replace(self, sliding_window=0, sliding_layers=0)


_AT_LEAST_ONE = frozenset({
    "layers", "hidden_size", "attention_heads", "kv_heads", "head_dim", "vocabulary",
    "parameters", "active_parameters", "max_context",
})  # fmt: skip


def _require(value: float, name: str, minimum: int) -> None:
    if not (math.isfinite(value) and value >= minimum):
        wanted = "a positive number" if minimum else "zero or more"
        raise SpecError(f"must be {wanted}, got {value}", f"architecture.{name}")
