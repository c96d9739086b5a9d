"""The parts of a layer: attention, its compressed and linear forms, the MLP and the experts.

Owns which fields hold their dimensions. Input: a `LanguageModel`. Output: the nouns of `modules`, or an
UnreadableFieldError with the field.
"""

from __future__ import annotations

import math

from argosy.perf.catalogue.fields import ConfigFaultReason, ConfigFields, UnreadableFieldError
from argosy.perf.catalogue.modules import Attention, Linear, Mamba, Mamba1, Mla, Mlp
from argosy.perf.catalogue.reading.layers import PER_TOKEN, num_experts
from argosy.perf.catalogue.reading.opening import LanguageModel
from argosy.perf.catalogue.reading.shapes import QkNorm

HIDDEN = ("hidden_size", "n_embd", "d_model", "n_embed")
HEADS = ("num_attention_heads", "n_head", "n_heads", "num_heads")
_KV_HEADS = (
    "num_key_value_heads",
    "num_kv_heads",
    "n_head_kv",
    "multi_query_group_num",
    "kv_n_heads",
    "num_query_groups",
)
_WIDTH = ("intermediate_size", "ffn_dim", "ffn_hidden_size", "n_inner")
_EXPERT_WIDTH = ("moe_intermediate_size", "moe_ffn_hidden_size", "intermediate_size", "ffn_hidden_size")
_SHARED_WIDTH = (
    "shared_expert_intermediate_size", "moe_shared_expert_intermediate_size", "shared_intermediate_size",
    "share_expert_dim",
)  # fmt: skip
_SHARED = ("n_shared_experts", "num_shared_experts", "num_shared_expert", "moe_num_shared_experts")
# An MLP four times as wide as the model, where nothing else is written.
_FOURFOLD = ("gpt2", "gpt_bigcode", "gptj", "bloom", "falcon", "mpt")


# --- the MLP ----------------------------------------------------------------------------------


def mlp(model: LanguageModel, has_experts: bool, hidden: int) -> Mlp:
    """The MLP of the model. Raises UnreadableFieldError."""
    f, shape = model.fields, model.shape
    is_gated = shape.is_gated and f.text("mlp_hidden_act") != "relu2"
    matrices = 3 if is_gated else 2
    has_bias = shape.mlp_bias or f.flag("mlp_bias")
    if model.model_type == "minicpm":  # the width that its logits are scaled by
        f.use("dim_model_base")
    f.use("use_mixed_mlp_moe", "moe_latent_size", "block_auto_adjust_ff_dim", *PER_TOKEN)
    if not has_experts:
        return Mlp(_dense_width(model, hidden), matrices, bias=has_bias)
    width = f.number(*_EXPERT_WIDTH)
    # A mixture of experts may have no dense layer at all, and then no width of one.
    dense = f.count("dense_intermediate_size", "intermediate_size_mlp", *_WIDTH)
    is_gpt_oss = model.is_a("gpt_oss")
    return Mlp(
        dense_width=dense,
        matrices=matrices,
        experts=num_experts(f),
        expert_width=width,
        expert_inputs=f.count("moe_latent_size"),
        shared_width=width if model.is_a("llama4") else _shared_width(f, width),
        shared_is_gated=shape.shared_is_gated,
        expert_bias=is_gpt_oss,
        router_bias=is_gpt_oss or f.text("topk_method") == "noaux_tc",
        beside_dense=model.is_a("gemma"),
        bias=has_bias,
    )


def _dense_width(model: LanguageModel, hidden: int) -> int:
    f = model.fields
    f.use(*_SHARED, *_SHARED_WIDTH, *_EXPERT_WIDTH, "expansion_ratio")
    if model.is_a("granitemoehybrid"):  # without experts, the shared MLP is the only one
        return f.number("shared_intermediate_size")
    if model.is_a(*_FOURFOLD):
        return f.number(*_WIDTH, default=f.number("expansion_ratio", default=4) * hidden)
    if model.is_a("lfm2"):
        return _adjusted_width(f)
    return f.number(*_WIDTH)


def _adjusted_width(f: ConfigFields) -> int:
    """LFM2's: two thirds of what is written, rounded up to a multiple."""
    width = f.number("intermediate_size", "block_ff_dim")
    multiple = f.number("block_multiple_of", default=256)
    f.use("block_ffn_dim_multiplier", "block_dim", "block_mlp_init_scale", "block_out_init_scale")
    if not f.flag("block_auto_adjust_ff_dim", default=True):
        return width
    factor = f.values.get("block_ffn_dim_multiplier")
    width = int((factor if isinstance(factor, int | float) else 1.0) * int(2 * width / 3))
    return multiple * math.ceil(width / multiple)


def _shared_width(f: ConfigFields, expert_width: int) -> int:
    f.use(*_SHARED)
    return f.count(*_SHARED_WIDTH) or f.count(*_SHARED) * expert_width


def experts_per_token(f: ConfigFields, experts: int) -> int:
    """Raises UnreadableFieldError for none, and for more than there are."""
    taken = f.number(*PER_TOKEN)
    if taken > experts:
        raise UnreadableFieldError(f"{f.path}num_experts_per_tok", f"asks for {taken} of {experts} experts")
    return taken


# --- attention --------------------------------------------------------------------------------


def attention(model: LanguageModel, hidden: int, heads: int) -> Attention:
    """Attention per head. Raises UnreadableFieldError."""
    f, shape = model.fields, model.shape
    head_dim = f.number("head_dim", "attention_head_dim", "kv_channels", default=max(1, hidden // heads))
    kv_heads = _kv_heads(model, heads)
    has_bias = any(
        f.flag(name) for name in ("attention_bias", "qkv_bias", "use_qkv_bias", "add_qkv_bias", "use_bias")
    )
    if not f.flag("use_cla"):  # layers that share their KV with the next
        f.use("cla_share_factor")
    attended = _WindowedHeads(f, heads, head_dim, kv_heads)
    return Attention(
        heads=heads,
        kv_heads=attended.kv_heads,
        head_dim=head_dim,
        value_dim=f.number("v_head_dim", default=head_dim) if not f.has("kv_lora_rank") else head_dim,
        full_kv_heads=f.count("num_global_key_value_heads") or attended.full_kv_heads,
        full_head_dim=f.count("global_head_dim"),
        qkv_bias=has_bias or shape.qkv_bias,
        output_bias=shape.output_bias or (has_bias and model.is_a("llama", "phimoe")),
        norm_width=_norm_width(model, head_dim, heads + kv_heads),
        sinks=model.is_a("gpt_oss"),
        is_gated=f.flag("attn_output_gate") or model.is_a("qwen3_next"),
        shares_full_kv=f.flag("attention_k_eq_v"),
    )


def _kv_heads(model: LanguageModel, heads: int) -> int:
    f = model.fields
    many_query = f.flag("multi_query") and not f.flag("new_decoder_architecture")
    f.use("new_decoder_architecture", "multi_query_attention")
    if f.has("num_key_value_heads"):  # written beside it, the ratio of both
        f.use("num_key_value_groups")
    if model.is_a("falcon", "gpt_bigcode") and not model.is_a("falcon_h1"):
        f.use(*_KV_HEADS)
        if many_query:
            return 1
        return f.number(*_KV_HEADS, default=heads) if f.flag("new_decoder_architecture") else heads
    return f.number(*_KV_HEADS, default=heads)


class _WindowedHeads:
    """KV heads of the layers with a window, where a configuration has others for them (`swa_*`).

    Raises UnreadableFieldError where those layers differ in more than that.
    """

    def __init__(self, f: ConfigFields, heads: int, head_dim: int, kv_heads: int) -> None:
        same = {"swa_num_attention_heads": heads, "swa_head_dim": head_dim}
        for name, expected in same.items():
            found = f.number(name, default=expected)
            if found != expected:
                raise UnreadableFieldError(
                    f.path + name, f"{found} differs from the {expected} of the other layers"
                )
        f.use("swa_v_head_dim")
        self.kv_heads = f.number("swa_num_key_value_heads", default=kv_heads)
        self.full_kv_heads = kv_heads if self.kv_heads != kv_heads else 0


def _norm_width(model: LanguageModel, head_dim: int, heads: int) -> int:
    f = model.fields
    f.use("use_qk_norm", "qk_layernorm")
    is_on = f.has("use_qk_norm") or f.values.get("qk_layernorm") is True
    if f.text("qk_norm_type") == "per_layer" or model.shape.qk_norm is QkNorm.ALL:
        return heads * head_dim
    return 2 * head_dim if model.shape.qk_norm is QkNorm.HEAD or is_on else 0


def mla(f: ConfigFields, heads: int) -> Mla | None:
    """Latent attention, where there is any. Raises UnreadableFieldError."""
    f.use("index_topk", "index_topk_freq", "index_skip_topk_offset", "index_share_for_mtp_iteration")
    f.use("indexer_types", "indexer_rope_interleave", "index_n_heads", "index_head_dim")
    if not f.has("kv_lora_rank"):
        return None
    f.use("use_mla")
    return Mla(
        heads=heads,
        query_rank=f.count("q_lora_rank"),
        kv_rank=f.number("kv_lora_rank"),
        nope_dim=f.number("qk_nope_head_dim"),
        rope_dim=f.number("qk_rope_head_dim"),
        value_dim=f.number("v_head_dim"),
        index_heads=f.count("index_n_heads"),
        index_dim=f.count("index_head_dim"),
    )


# --- layers with a state ----------------------------------------------------------------------


def linear(f: ConfigFields) -> Linear | None:
    """Gated delta net, where there is any. Raises UnreadableFieldError."""
    if not f.has("linear_num_value_heads"):
        return None
    return Linear(
        key_heads=f.number("linear_num_key_heads"),
        key_dim=f.number("linear_key_head_dim"),
        value_heads=f.number("linear_num_value_heads"),
        value_dim=f.number("linear_value_head_dim"),
        kernel=f.number("linear_conv_kernel_dim"),
    )


def mamba(f: ConfigFields, hidden: int) -> Mamba:
    """Mamba 2. Raises UnreadableFieldError."""
    heads = f.number("mamba_num_heads", "mamba_n_heads")
    f.use("expand", "mamba_expand", "mamba_d_head", "mamba_d_ssm", "mamba_use_mlp", "mlp_expansion_factor")
    if f.values.get("mamba_d_head") == "auto":
        inner = f.number("mamba_d_ssm", default=f.number("mamba_expand", default=2) * hidden)
        head_dim = max(1, inner // heads)
    else:
        head_dim = f.number("mamba_head_dim", "mamba_d_head")
    return Mamba(
        heads=heads,
        head_dim=head_dim,
        groups=f.number("n_groups", "mamba_n_groups"),
        state=f.number("ssm_state_size", "mamba_d_state"),
        kernel=f.number("conv_kernel", "mamba_d_conv"),
    )


def mamba_1(f: ConfigFields, hidden: int) -> Mamba1:
    """Mamba 1. Raises UnreadableFieldError."""
    rank = f.values.get("mamba_dt_rank")
    f.use("mamba_dt_rank")
    return Mamba1(
        inner=f.number("mamba_expand") * hidden,
        state=f.number("mamba_d_state"),
        kernel=f.number("mamba_d_conv"),
        rank=math.ceil(hidden / 16) if rank in (None, "auto") else f.number("mamba_dt_rank"),
    )


def convolution(f: ConfigFields) -> int:
    """The kernel of short convolutions. Raises UnreadableFieldError where there is none."""
    f.use("conv_dim", "conv_dim_out", "conv_use_xavier_init")
    return f.number("conv_L_cache")


def windowed_tokens(f: ConfigFields) -> int:
    """Tokens of the window. Raises UnreadableFieldError where layers have one and no field holds it."""
    if not f.has("sliding_window") and not f.has("sliding_window_size"):
        raise UnreadableFieldError(f"{f.path}sliding_window", "is missing", ConfigFaultReason.MISSING_FIELD)
    return f.number("sliding_window", "sliding_window_size")
