"""The dimensions of a model that is not in the catalogue.

Owns the fields and rules of `spec.architecture`, each named as in a checkpoint's config.json
where it occurs there. `perf` computes memory and step times from them.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from argosy.api.schema.rule import Rule
from argosy.api.schema.value import Value
from argosy.dtype import Dtype


class DeclaredLayout(Value):
    """How an engine spreads the weights over the GPUs of a replica, in parameters."""

    split_tables: int = Field(
        ge=0, description="Embedding and output head, divided over the GPUs; never quantised."
    )
    whole_tables: int = Field(ge=0, description="Of these, the same on every GPU.")
    split: int = Field(ge=0, description="All other matrices, divided over the GPUs.")
    whole: int = Field(ge=0, description="Of these, the same on every GPU.")
    routers: int = Field(0, ge=0, description="Routers of experts; never quantised.")
    stored_split_bytes: int = Field(
        0,
        ge=0,
        description="Bytes of the divided matrices, of a checkpoint that mixes number types. 0: as dtype.",
    )
    stored_whole_bytes: int = Field(0, ge=0, description="Bytes of the others, of such a checkpoint.")


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
    dense_layers: int = Field(
        0, ge=0, le=1024, description="Layers with an MLP instead of experts, of a mixture of experts."
    )
    shared_expert_intermediate_size: int = Field(
        0, ge=0, le=1048576, description="Width of the experts that every token uses, together."
    )
    tied_embeddings: bool = Field(
        False, description="Whether the output head is the embedding (tie_word_embeddings)."
    )
    query_key_norm: bool = Field(
        False, description="Whether every layer normalises queries and keys (Qwen3, Gemma 3, MiniMax)."
    )
    mla_kv_dim: int = Field(
        0,
        ge=0,
        le=65536,
        description="Width of MLA's KV entry (kv_lora_rank + qk_rope_head_dim). 0: KV is per head.",
    )
    mla_rope_dim: int = Field(
        0, ge=0, le=65536, description="The part of MLA's KV entry with the position (qk_rope_head_dim)."
    )
    index_dim: int = Field(
        0, ge=0, le=65536, description="Sparse attention: width of the index entry (index_head_dim). 0: none."
    )
    full_kv_heads: int = Field(
        0, ge=0, le=1024, description="KV heads of layers without a window. 0: as kvHeads."
    )
    full_head_dim: int = Field(
        0, ge=0, le=4096, description="Width of a head of layers without a window. 0: as headDim."
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
    state_bytes: int = Field(
        0, ge=0, description="Bytes of one sequence's state in all layers that keep one."
    )
    weight_block: int = Field(
        0, ge=0, le=65536, description="Block of a block-quantised checkpoint (weight_block_size). 0: none."
    )
    family: Literal["dense", "moe", "mla", "windowed", "hybrid"] | None = Field(
        None,
        description="Which of vLLM's implementations runs it: decides the peak of activations."
        " Absent: by the dimensions.",
    )
    layout: DeclaredLayout | None = Field(
        None,
        description="How weights are spread, as `argosy perf show --config FILE --yaml` prints it."
        " Absent: all are divided evenly.",
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
                "self.slidingLayers + self.linearLayers <= self.layers && self.denseLayers <= self.layers"
                " && (self.slidingLayers == 0 || self.slidingWindow > 0)"
            ),
            message=(
                "spec.architecture: slidingLayers plus linearLayers must be at most layers, so must"
                " denseLayers, and slidingLayers needs slidingWindow; correct them"
            ),
            holds=lambda a: (
                a.sliding_layers + a.linear_layers <= a.layers
                and a.dense_layers <= a.layers
                and (a.sliding_layers == 0 or a.sliding_window > 0)
            ),
            field="slidingLayers",
        ),
    )
