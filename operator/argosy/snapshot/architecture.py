"""What a model is made of: the figures that decide its memory and its step time.

Owns the noun `Architecture` and the number types of weights and KV cache. Never holds a
catalogue of models (`perf` does) and never computes a byte.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Dtype(StrEnum):
    """How a number is stored. FP4 is NVFP4 and MXFP4; both, and INT4, carry a scale per block."""

    BF16 = "bf16"
    FP8 = "fp8"
    FP4 = "fp4"
    INT8 = "int8"
    INT4 = "int4"


@dataclass(frozen=True, slots=True)
class Architecture:
    """A decoder's dimensions, as its config.json has them.

    parameters:            all weights; active_parameters: those that one token goes through
    intermediate_size:     of a dense layer's MLP; expert_intermediate_size: of one expert
    experts:               routed experts of an MoE layer (0: dense), experts_per_token of them active
    mla_kv_dim:            MLA: width of the compressed KV entry of a token and layer, shared by
                           all heads (kv_lora_rank + qk_rope_head_dim); 0 where KV is per head
    sliding_window:        tokens; `sliding_layers` of the layers keep KV of no more than these
    linear_layers:         layers with a state of constant size (linear attention, Mamba): no KV
    max_context:           positions that the model was trained for, tokens
    dtype, kv_dtype:       of the checkpoint's weights, and of KV unless the engine is told otherwise
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
    experts: int = 0
    experts_per_token: int = 0
    expert_intermediate_size: int = 0
    mla_kv_dim: int = 0
    sliding_window: int = 0
    sliding_layers: int = 0
    linear_layers: int = 0
    dtype: Dtype = Dtype.BF16
    kv_dtype: Dtype = Dtype.BF16

    @property
    def is_moe(self) -> bool:
        """Whether tokens are routed to experts."""
        return self.experts > 0
