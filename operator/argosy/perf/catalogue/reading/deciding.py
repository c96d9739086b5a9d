"""Which fields of a configuration decide its size, so that none of them is passed over.

Owns the names: patterns of what decides layers, experts, heads, windows, widths, quantisation or
context, and patterns of what looks so and does not. Input: the fields as written and the names that
were used. Output: the first deciding field that was not used, or None.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

_DECIDING = re.compile(
    r"layer|expert|head|window|quant|rank|dim|intermediate|ffn|feed_?forward|mlp|mamba|ssm|conv|lightning"
    r"|delta|recurr|rwkv|pattern|every|interval|period|freq|stride|offset|moe|hidden|block|attn|attention"
    r"|kv|state|inner|expan|shar|sparse|top_?k|chunk|hybrid|linear|global|local|size|position|context"
    r"|seq_?len|max_seq|max_len|depth|width|compress|latent|lora|ratio|group|channels"
    r"|^n_|^num_|^d_|_factor$|rope_scaling|cla_|altup|laurel"
)
# A word in a text (`pattern: LLLG`) or a true flag decides only where it names one of these.
_DECIDING_TEXT = re.compile(r"pattern|layer|hybrid|window|quant_|block_type|schedule")
_DECIDING_FLAG = re.compile(
    r"window|expert|moe|shar|multi_query|architecture|alternat|sparse|hybrid|per_layer|mamba|mla|cla"
)
_HARMLESS = re.compile(
    # Tokens, text and images around the language model.
    r"token|vocab_size_per_layer|pad_|_id$|_ids$|label|image|img|video|vision|visual|audio|speech|vit_"
    r"|media|pixel|patch|mm_|projector|multimodal|tokenizer|class_num|anyres|dense_list"
    # How it is trained, initialised and sampled.
    r"|dropout|drop|_eps|epsilon|init|_std|loss|aux|jitter|temperature|beam|penalty|return_|max_length"
    r"|min_length|^top_k$|top_p|logit|softcap|soft_cap|summary|pretraining|checkpoint|ep_size|problem_type"
    r"|use_cache|dtype|task_specific|sequence_parallel|fused|flash|mambapy|_kernels|mem_eff"
    r"|block_sparse|no_repeat|finetuning|output_(hidden|attention|router)|in_fp32|label_smoothing|exponential"
    # Scales, norms, biases and positions: no width, no layer, no KV.
    r"|bias|norm|_scale|scale_|multiplier|router|routed_scaling|rope_theta|rope_local|rope_pct|rotary|rope_int"
    r"|rope_param|rope_freq|no_rope|nope_layer|freq_base|alibi|position_embedding|use_rope|use_nope|temperature"
    r"|query_pre_attn_scalar|attn_scal|qk_head_dim|attn_impl|attention_softmax|bidirectional|residual"
    r"|interpolation_factor|rope_ratio|^n_ctx$|interleaved_layers|alpha$"
    r"|mscale|swiglu_limit|swiglu_alpha|act_|_act$|activation|alpha_factor|beta_factor|clip|time_step"
    r"|chunk_size_feed_forward|^chunk_size$|mamba_chunk_size|attention_type|is_decoder|add_cross_attention|fp32"
    # Draft layers, which are loaded only where the engine is set to speculate.
    r"|mtp|nextn|eagle|medusa|draft"
    # Routing among experts, which moves no bytes.
    r"|capacity|^n_group$|topk_group|num_expert_group|topk_method|norm_topk|scoring|group_limited|expert_bias|renormal"
    r"|overlap|latent_moe_use_norm|seq_aux|tie_|original_max|initial_context|^block_size$|_parallel$|^dual_"
)
# Configurations of what stands beside the language model.
_BESIDE = re.compile(
    r"vision|visual|audio|speech|talker|code2wav|token2wav|projector|vit|vq|image|video|encoder"
    r"|generation|task|label|auto_map|rope|quantization|adapter|draft|mtp|sampl|preprocess"
)


def first_unread(fields: Mapping[str, Any], used: Collection[str]) -> tuple[str, Any] | None:
    """The path and the value of the first deciding field that was not used."""
    return next(_unread(fields, used), None)


def _unread(fields: Mapping[str, Any], used: Collection[str]) -> Iterator[tuple[str, Any]]:
    for name, value in fields.items():
        if name in used or _is_nothing(value):
            continue
        if isinstance(value, Mapping):
            if not _BESIDE.search(name):
                yield from ((f"{name}.{inner}", found) for inner, found in _unread(value, ()))
        elif _decides(name, value):
            yield name, value


def _is_nothing(value: object) -> bool:
    """Null, false, zero and empty: the feature is off."""
    return value is None or value is False or value in (0, "", (), [], {})


def _decides(name: str, value: object) -> bool:
    plain = re.sub(r"(?<=[a-z0-9])([A-Z])", r"_\1", name).lower()
    if _HARMLESS.search(plain):
        return False
    if isinstance(value, str):
        return bool(_DECIDING_TEXT.search(plain))
    if value is True:
        return bool(_DECIDING_FLAG.search(plain))
    return bool(_DECIDING.search(plain))
