"""What a model type decides that its config.json does not write down.

Owns a table of the model types that are understood: whether an MLP has a gate, how many norms a layer
has, where biases are, which layers have windows when no list names them. Source: the modelling code of
transformers 5.24.0, and of the checkpoints' own repositories (Baichuan, InternLM2, ChatGLM, MiMo, Step).
Input: a `model_type`. Output: a `Shape`, or None for a type that is not in the table.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import Enum, auto

from argosy.perf.catalogue.modules import Names

_NAMES = Names()


class QkNorm(Enum):
    """What the norm of queries and keys spans."""

    NONE = auto()
    HEAD = auto()
    """One head, the same weights for all."""
    ALL = auto()
    """All heads, each with weights of its own."""


@dataclass(frozen=True, slots=True)
class Shape:
    """A model type's conventions.

    is_gated:       three matrices in an MLP instead of two
    norms:          of a layer; norm_width: 2 with a bias, 0 without weights
    qkv_bias, output_bias, mlp_bias, head_bias: where the configuration has no say
    window_period:  without a list of layers, every so many-th layer attends to all (0: none does)
    positions:      rows of a learned table of positions beyond those of the context (None: no table)
    """

    is_gated: bool = True
    norms: int = 2
    norm_width: int = 1
    qkv_bias: bool = False
    output_bias: bool = False
    mlp_bias: bool = False
    head_bias: bool = False
    qk_norm: QkNorm = QkNorm.NONE
    window_period: int = 0
    positions: int | None = None
    embedding_norm: bool = False
    shared_is_gated: bool = False
    is_tied: bool = False
    has_windows: bool = True
    names: Names = _NAMES


_LLAMA = Shape()
_QWEN2 = Shape(qkv_bias=True, names=Names(shared="mlp.shared_expert"), shared_is_gated=True)
_QWEN3 = replace(_QWEN2, qkv_bias=False, qk_norm=QkNorm.HEAD)
_GEMMA = Shape(is_tied=True, names=Names(experts="moe.experts"))
_GEMMA2 = replace(_GEMMA, norms=4, window_period=2)
_GEMMA3 = replace(_GEMMA2, window_period=6, qk_norm=QkNorm.HEAD)
_GPT2 = Shape(
    is_gated=False, norm_width=2, qkv_bias=True, output_bias=True, mlp_bias=True, positions=0, is_tied=True
)
_BLOCK_SPARSE = Names(experts="block_sparse_moe.experts", shared="block_sparse_moe.shared_experts")
_NEMOTRON_H = Names("mixer", "mixer", "mixer", "mixer.experts", "mixer.shared_experts")
_COHERE = Shape(norms=1, is_tied=True)
_OLMO2 = Shape(qk_norm=QkNorm.ALL, window_period=4)

_SHAPES: Mapping[str, Shape] = {
    **dict.fromkeys(
        [
            "llama",
            "yi",
            "internlm2",
            "internlm3",
            "baichuan",
            "mistral",
            "ministral",
            "ministral3",
            "mistral3",
            "granite",
            "granitemoe",
            "granitemoeshared",
            "granitemoehybrid",
            "deepseek",
            "deepseek_v2",
            "deepseek_v3",
            "deepseek_v32",
            "kimi_k2",
            "mistral4",
            "glm_moe_dsa",
            "glm4_moe_lite",
            "ernie4_5",
            "ernie4_5_moe",
            "smollm3",
            "jamba",
            "bamba",
            "falcon_h1",
            "exaone",
            "phi3",
            "mimo_v2_flash",
            "step3p7",
            "aquila",
            "xverse",
            "llama4_text",
            "deepseek_ocr",
        ],
        _LLAMA,
    ),
    **dict.fromkeys(
        ["qwen2", "qwen2_vl", "qwen2_5_vl", "qwen2_moe", "mimo", "qwen2_audio", "qwen2_5_omni"], _QWEN2
    ),
    **dict.fromkeys(
        [
            "qwen3",
            "qwen3_moe",
            "qwen3_next",
            "qwen3_5",
            "qwen3_5_moe",
            "qwen3_vl",
            "qwen3_vl_moe",
            "qwen3_omni_moe",
        ],
        _QWEN3,
    ),
    **dict.fromkeys(("mixtral", "minimax_m3", "minimax_m3_vl"), replace(_LLAMA, names=_BLOCK_SPARSE)),
    "minimax_m2": replace(_LLAMA, names=_BLOCK_SPARSE, qk_norm=QkNorm.ALL),
    **dict.fromkeys(
        ("minimax", "minimax_text_01", "minimax_m1"), replace(_LLAMA, names=_BLOCK_SPARSE, has_windows=False)
    ),
    "minicpm": replace(_LLAMA, is_tied=True),
    "gemma": _GEMMA,
    "gemma2": _GEMMA2,
    **dict.fromkeys(("gemma3", "gemma4"), _GEMMA3),
    "phi": Shape(
        is_gated=False, norms=1, norm_width=2, qkv_bias=True, output_bias=True, mlp_bias=True, head_bias=True
    ),
    "phimoe": Shape(norm_width=2, names=_BLOCK_SPARSE),
    "falcon": Shape(is_gated=False, norms=1, norm_width=2, is_tied=True),
    "starcoder2": Shape(
        is_gated=False, norm_width=2, qkv_bias=True, output_bias=True, mlp_bias=True, is_tied=True
    ),
    **dict.fromkeys(("gpt2", "gpt_bigcode"), _GPT2),
    "gptj": Shape(is_gated=False, norms=1, norm_width=2, mlp_bias=True, head_bias=True),
    "gpt_neox": Shape(is_gated=False, norm_width=2, qkv_bias=True, output_bias=True, mlp_bias=True),
    "opt": replace(_GPT2, positions=2),
    "bloom": replace(_GPT2, positions=None, embedding_norm=True),
    "mpt": Shape(is_gated=False, is_tied=True),
    "dbrx": Shape(names=Names(experts="ffn.experts")),
    "olmo": Shape(norm_width=0),
    **dict.fromkeys(("olmo2", "olmo3", "olmoe"), _OLMO2),
    "cohere": _COHERE,
    "cohere2": replace(_COHERE, window_period=4),
    "glm": Shape(qkv_bias=True),
    **dict.fromkeys(("glm4", "glm4v"), Shape(norms=4, qkv_bias=True)),
    "glm4_moe": Shape(qkv_bias=True),
    "chatglm": Shape(qkv_bias=True),
    "stablelm": Shape(norm_width=2),
    "internlm": Shape(qkv_bias=True, output_bias=True),
    **dict.fromkeys(("hunyuan", "hunyuan_v1_dense", "hunyuan_v1_moe"), Shape(qk_norm=QkNorm.HEAD)),
    "dots1": Shape(qk_norm=QkNorm.HEAD),
    "gpt_oss": Shape(qkv_bias=True, output_bias=True),
    "nemotron": Shape(is_gated=False, norm_width=2),
    "nemotron_h": Shape(norms=1, names=_NEMOTRON_H),
    "arcee": Shape(is_gated=False),
    "apertus": Shape(is_gated=False, qk_norm=QkNorm.HEAD),
    "exaone4": Shape(qk_norm=QkNorm.HEAD, window_period=4),
    "seed_oss": Shape(qkv_bias=True),
    **dict.fromkeys(("lfm2", "lfm2_moe"), Shape(qk_norm=QkNorm.HEAD, is_tied=True)),
}


def shape_of(model_type: str) -> Shape | None:
    """The conventions of this type, with or without the `_text` of a nested configuration."""
    return _SHAPES.get(model_type) or _SHAPES.get(model_type.removesuffix("_text"))
