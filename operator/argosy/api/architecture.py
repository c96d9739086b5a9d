"""The dimensions of a model that is not in the catalogue.

Owns the fields and rules of `spec.architecture`, each named as in a checkpoint's config.json
where it occurs there. `perf` computes memory and step times from them.
"""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from argosy.api.schema.rule import Rule
from argosy.api.schema.value import Value
from argosy.dtype import Dtype


class DeclaredArchitecture(Value):
    """A decoder's dimensions."""

    layers: int = Field(ge=1, le=1024, description="Layers (num_hidden_layers).")
    hidden_size: int = Field(ge=1, le=131072, description="Width of the model (hidden_size).")
    intermediate_size: int = Field(
        ge=1, le=1048576, description="Width of a dense layer's MLP (intermediate_size)."
    )
    attention_heads: int = Field(ge=1, le=1024, description="Query heads (num_attention_heads).")
    kv_heads: int = Field(ge=1, le=1024, description="Key and value heads (num_key_value_heads).")
    head_dim: int = Field(ge=1, le=4096, description="Width of a head (head_dim).")
    vocabulary: int = Field(ge=1, le=4194304, description="Tokens of the vocabulary (vocab_size).")
    parameters: int = Field(ge=1, description="Number of weights in total.")
    active_parameters: int | None = Field(
        None, ge=1, description="Number of weights that one token uses. Absent: all of them."
    )
    max_context: int = Field(
        ge=256,
        le=16777216,
        description="Longest sequence that the model was trained for, in tokens (max_position_embeddings).",
    )
    experts: int = Field(0, ge=0, le=4096, description="Routed experts per layer. 0: a dense model.")
    experts_per_token: int = Field(0, ge=0, le=256, description="Routed experts that each token uses.")
    expert_intermediate_size: int = Field(
        0, ge=0, le=1048576, description="Width of one expert (moe_intermediate_size)."
    )
    mla_kv_dim: int = Field(
        0,
        ge=0,
        le=65536,
        description="Width of MLA's KV entry (kv_lora_rank + qk_rope_head_dim). 0: KV is per head.",
    )
    sliding_window: int = Field(
        0,
        ge=0,
        le=16777216,
        description="Tokens in the window of sliding-window attention. 0: no layer has one.",
    )
    sliding_layers: int = Field(0, ge=0, le=1024, description="Layers with sliding-window attention.")
    linear_layers: int = Field(
        0,
        ge=0,
        le=1024,
        description="Layers without a KV cache (linear attention, Mamba): their state has a fixed size.",
    )
    dtype: Dtype = Field(Dtype.BF16, description="Number type of the checkpoint's weights.")
    kv_dtype: Dtype = Field(Dtype.BF16, description="Number type of the checkpoint's KV cache.")

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            name="servedmodel-architecture-experts",
            cel=(
                "self.experts == 0 ? self.expertsPerToken == 0"
                " : (self.expertsPerToken > 0 && self.expertsPerToken <= self.experts"
                " && self.expertIntermediateSize > 0)"
            ),
            message=(
                "spec.architecture: experts, expertsPerToken (at most experts) and expertIntermediateSize"
                " must be set together; set all three, or none of them for a dense model"
            ),
            holds=lambda a: (
                a.experts_per_token == 0
                if a.experts == 0
                else 0 < a.experts_per_token <= a.experts and a.expert_intermediate_size > 0
            ),
            field="experts",
        ),
        Rule(
            name="servedmodel-architecture-active",
            cel="!has(self.activeParameters) || self.activeParameters <= self.parameters",
            message="spec.architecture.activeParameters must be at most spec.architecture.parameters",
            holds=lambda a: a.active_parameters is None or a.active_parameters <= a.parameters,
            field="activeParameters",
        ),
        Rule(
            name="servedmodel-architecture-heads",
            cel="self.attentionHeads % self.kvHeads == 0",
            message="spec.architecture.attentionHeads must be a multiple of spec.architecture.kvHeads",
            holds=lambda a: a.attention_heads % a.kv_heads == 0,
            field="attentionHeads",
        ),
        Rule(
            name="servedmodel-architecture-layers",
            cel=(
                "self.slidingLayers + self.linearLayers <= self.layers"
                " && (self.slidingLayers == 0 || self.slidingWindow > 0)"
            ),
            message=(
                "spec.architecture: slidingLayers plus linearLayers must be at most layers, and"
                " slidingLayers needs slidingWindow; correct them"
            ),
            holds=lambda a: (
                a.sliding_layers + a.linear_layers <= a.layers
                and (a.sliding_layers == 0 or a.sliding_window > 0)
            ),
            field="slidingLayers",
        ),
    )
