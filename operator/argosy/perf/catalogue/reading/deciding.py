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
    r"layer|expert|head|window|quant|bits|rank|dim|intermediate|ffn|feed_?forward|mlp|mamba|ssm|conv|lightning"
    r"|delta|recurr|rwkv|pattern|every|interval|period|freq|stride|offset|moe|hidden|block|attn|attention"
    r"|kv|state|inner|expan|shar|sparse|top_?k|chunk|hybrid|linear|global|local|size|position|context"
    r"|seq_?len|max_seq|max_len|depth|width|compress|latent|lora|ratio|group|channels|swa|mixer|mqa|gqa|dense|types$|kinds$"
    r"|^n_|^num_|^d_|_factor$|rope_scaling|cla_|altup|laurel"
)
# A word in a text (`pattern: LLLG`) or a true flag decides only where it names one of these.
_DECIDING_TEXT = re.compile(r"pattern|layer|hybrid|window|quant_|block_type|schedule|mixer")
_DECIDING_FLAG = re.compile(
    r"window|expert|moe|shar|multi_query|architecture|alternat|sparse|hybrid|per_layer|mamba|mla|cla|swa|mqa|gqa"
)
# Whole words of a name, so that `mm` is not found in `gamma`.
_BESIDE_WORDS = (
    # Tokens, text and images around the language model.
    "tokens?|tokenizer|pad|ids?|id2label|label2id|labels?|images?|img|videos?|vision|visual|audio|speech|vit"
    "|media|pixels?|patch(?:es)?|mm|projector|multimodal|anyres|dense_list|class_num"
    # Draft layers, which are loaded only where the engine is set to speculate.
    "|mtp|nextn|eagle|medusa|draft"
    # Named so, and neither a layer nor an expert more.
    "|time_step|no_rope|num_expert_group|expert_bias|interleaved_layers|pretraining|vocab_size_per_layer_input"
)
_HARMLESS_WORDS = (
    # How it is trained, initialised and sampled.
    "[a-z]*dropout|drop|layerdrop|pdrop|eps|epsilon|init|initial|initializer|std|loss|aux|jitter|beams?|penalty"
    "|return|max_length|min_length|logits?|logit|softcapping|softcap|summary|checkpointing|ep_size|problem_type"
    "|use_cache|dtype|task_specific_params|fused|flash|mambapy|kernels|mem_eff|no_repeat|finetuning|output"
    "|in_fp32|fp32|capacity|temperature"
    # Scales, norms, biases and positions: no width, no layer, no KV.
    "|bias|[a-z]*norms?|scales?|mscale|multipliers?|routers?|routing|routed_scaling|rotary|nope|alibi|freq_base"
    "|position_embedding_type|position_embedding_xdrope|query_pre_attn_scalar|attn_scaling|qk_head_dim"
    "|attn_impl|attn_implementation|attention_softmax|bidirectional|residual|swiglu|act|activation|alpha|beta"
    "|clip|max_batch_size|mamba_chunk_size|attention_type|is_decoder|add_cross_attention|interpolation_factor|interpolate_factor|full_attn_mod|n_ctx|parallel"
    "|dual|tie|original_max_position_embeddings|original_rope"
    # Routing among experts, which moves no bytes.
    "|topk_group|topk_method|scoring|group_limited|renormalize|overlap"
)
_BESIDE_NAME = re.compile(f"(?:^|_)(?:{_BESIDE_WORDS})(?=_|$)")
_HARMLESS = re.compile(
    f"(?:^|_)(?:{_HARMLESS_WORDS})(?=_|$)|^(?:rope_[a-z_]*|n_group|top_k|top_p|block_size|chunk_size)$"
)
# Whatever else stands in such a name, it counts something.
_COUNTS = re.compile(r"experts?(?:_|$)|(?:^|_)(?:layers|heads|windows?|ranks?)$")
# Identifiers of tokens stand beside the language model; those of its layers do not.
_NAMES_LAYERS = re.compile(
    r"^(?!.*(?:vision|visual|image|video|audio|speech|feature|select|mtp|nextn|eagle|draft|aux)).*layers?_ids?$"
)
# Configurations of what stands beside the language model.
_BESIDE = re.compile(
    r"vision|visual|audio|speech|talker|code2wav|token2wav|projector|vit|vq|image|video|encoder"
    r"|perceiver|resampler|transformers|init_config|generation|task|label|auto_map|rope|^quantization_config$|adapter|draft|mtp|sampl|preprocess|dual_chunk"
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
    counts = value is not True and _COUNTS.search(plain)
    if _NAMES_LAYERS.search(plain):
        return True
    if _BESIDE_NAME.search(plain) or (_HARMLESS.search(plain) and not counts):
        return False
    if isinstance(value, str):
        return bool(_DECIDING_TEXT.search(plain))
    if value is True:
        return bool(_DECIDING_FLAG.search(plain))
    return bool(_DECIDING.search(plain))
