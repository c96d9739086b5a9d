"""An architecture out of any Hugging Face config.json.

Owns what the fields of a configuration mean (which names there are for one thing, which layers
attend how, which have experts). Where a figure is missing, the answer is a `ConfigFault` with the
field's name. Counting is in `modules`, number types are in `quantization`, how an engine spreads
the weights is in `layout`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from argosy.errors import SpecError
from argosy.perf.catalogue.fields import ConfigFault, ConfigFaultReason, ConfigFields, UnreadableFieldError
from argosy.perf.catalogue.layout import weight_layout
from argosy.perf.catalogue.modules import (
    Attention,
    Decoder,
    Ffn,
    Linear,
    Mamba,
    MatrixKind,
    Mixer,
    Mla,
    Mlp,
    Names,
    modules,
)
from argosy.perf.catalogue.quantization import Scheme, read_scheme
from argosy.snapshot.architecture import Architecture, Family

_T = TypeVar("_T")
# Far above any model; a slip of the pen must not be counted for hours.
_MOST_LAYERS = 1024
_COMPUTE_BYTES = 2
_STATE_BYTES = 4
# Architectures whose KV cache or weights these dimensions cannot describe.
_INEXPRESSIBLE = {
    "DeepseekV4ForCausalLM": "compressed attention keeps KV of several granularities",
    "KimiK3ForConditionalGeneration": "Kimi delta attention beside MLA in a latent mixture of experts",
    "KimiLinearForCausalLM": "Kimi delta attention beside MLA in a latent mixture of experts",
    "DeciLMForCausalLM": "every layer has dimensions of its own (block_configs)",
}
_MIXERS = {
    "full_attention": Mixer.FULL,
    "sliding_attention": Mixer.SLIDING,
    "linear_attention": Mixer.LINEAR,
    "deepseek_sparse_attention": Mixer.MLA,
    # vLLM keeps KV of chunked attention to the full length (its hybrid KV cache manager is off there).
    "chunked_attention": Mixer.FULL,
}
_NEMOTRON = {
    "M": (Mixer.MAMBA, Ffn.NONE),
    "mamba": (Mixer.MAMBA, Ffn.NONE),
    "*": (Mixer.FULL, Ffn.NONE),
    "attention": (Mixer.FULL, Ffn.NONE),
    "E": (Mixer.NONE, Ffn.MOE),
    "moe": (Mixer.NONE, Ffn.MOE),
    "-": (Mixer.NONE, Ffn.DENSE),
    "mlp": (Mixer.NONE, Ffn.DENSE),
}


@dataclass(frozen=True, slots=True)
class _Config:
    """The language model's fields, and what stands around them."""

    fields: ConfigFields
    model_type: str
    architecture: str
    is_nested: bool

    def is_a(self, *prefixes: str) -> bool:
        return self.model_type.startswith(prefixes)


def architecture_from_config(
    config: Mapping[str, Any], hf_quant_config: Mapping[str, Any] | None = None
) -> Architecture | ConfigFault:
    """The architecture that a config.json describes, or the field that prevents it.

    `config` may hold the language model in a `text_config`. `hf_quant_config` is the content of
    the file of that name beside it, where there is one (ModelOpt): it wins.
    """
    try:
        parsed = _open(config)
        texts = [config, config.get("text_config") or {}, config.get("llm_config") or {}]
        scheme = read_scheme([text for text in texts if isinstance(text, Mapping)], hf_quant_config)
        return _architecture(parsed, _decoder(parsed), scheme)
    except UnreadableFieldError as unreadable:
        return unreadable.fault
    except SpecError as nonsense:
        field, sentence = (text.removeprefix("architecture.") for text in (nonsense.field, str(nonsense)))
        return ConfigFault(ConfigFaultReason.BAD_VALUE, sentence, field=field)


def _open(config: Mapping[str, Any]) -> _Config:
    inner = config.get("text_config") or config.get("llm_config")
    names = config.get("architectures") or [""]
    architecture = str(names[0]) if isinstance(names, list | tuple) and names else ""
    if architecture in _INEXPRESSIBLE:
        raise UnreadableFieldError("architectures", f"{architecture}: {_INEXPRESSIBLE[architecture]}")
    is_nested = isinstance(inner, Mapping)
    values = {**config, **inner} if isinstance(inner, Mapping) else config
    fields = ConfigFields(values, "text_config." if is_nested else "")
    return _Config(fields, fields.text("model_type"), architecture, is_nested)


def _decoder(c: _Config) -> Decoder:
    f = c.fields
    hidden, heads = f.number("hidden_size", "n_embd"), f.number("num_attention_heads", "n_head")
    plan = _plan(c)
    return Decoder(
        hidden=hidden,
        vocabulary=f.number("vocab_size"),
        tied=f.flag("tie_word_embeddings", default=c.is_a("gemma")),
        plan=plan,
        norms_per_layer=1 if c.is_a("nemotron_h") else 4 if c.is_a("gemma") else 2,
        mlp=_mlp(c, any(ffn is Ffn.MOE for _, ffn in plan)),
        attention=_attention(c, hidden, heads),
        mla=_mla(f, heads),
        linear=_linear(f),
        mamba=_mamba(f),
        names=_names(c),
    )


def _names(c: _Config) -> Names:
    if c.is_a("nemotron_h"):
        return Names("mixer", "mixer", "mixer", "mixer.experts", "mixer.shared_experts")
    if c.is_a("gemma"):
        return Names(experts="moe.experts")
    if c.is_a("mixtral", "minimax"):
        return Names(experts="block_sparse_moe.experts", shared="block_sparse_moe.shared_experts")
    if c.is_a("qwen"):
        return Names(shared="mlp.shared_expert")
    return Names()


# --- layers -----------------------------------------------------------------------------------


def _plan(c: _Config) -> tuple[tuple[Mixer, Ffn], ...]:
    f = c.fields
    listed = f.text("hybrid_override_pattern") or f.sequence("layers_block_type")
    if listed:
        name = "hybrid_override_pattern" if f.has("hybrid_override_pattern") else "layers_block_type"
        return tuple(_known(_NEMOTRON, entry, f.path + name) for entry in listed)
    layers = f.number("num_hidden_layers", "n_layer")
    if layers > _MOST_LAYERS:
        raise UnreadableFieldError(f"{f.path}num_hidden_layers", f"{layers} is more than {_MOST_LAYERS}")
    for name in ("moe_layer_freq", "mlp_layer_types"):
        if (listed := f.sequence(name)) and len(listed) != layers:
            raise UnreadableFieldError(f.path + name, f"lists {len(listed)} layers, not {layers}")
    mixers = _mixers(c, layers)
    if len(mixers) != layers:
        raise UnreadableFieldError(f"{f.path}layer_types", f"lists {len(mixers)} layers, not {layers}")
    return tuple((mixer, _ffn(f, number)) for number, mixer in enumerate(mixers))


def _mixers(c: _Config, layers: int) -> list[Mixer]:
    f = c.fields
    if f.has("kv_lora_rank"):
        return [Mixer.MLA] * layers
    if types := f.sequence("layer_types"):
        return [_known(_MIXERS, name, f"{f.path}layer_types") for name in types]
    if f.has("full_attention_interval"):
        every = f.number("full_attention_interval")
        return [Mixer.FULL if (n + 1) % every == 0 else Mixer.LINEAR for n in range(layers)]
    if pattern := f.sequence("hybrid_layer_pattern"):
        return [Mixer.SLIDING if entry else Mixer.FULL for entry in pattern]
    is_windowed = f.has("sliding_window") and f.flag("use_sliding_window", default=True)
    if not is_windowed or f.has("attention_chunk_size"):
        return [Mixer.FULL] * layers
    every = f.number("sliding_window_pattern", default=2 if c.is_a("gemma2") else 6)
    if c.is_a("gemma"):
        return [Mixer.FULL if (n + 1) % every == 0 else Mixer.SLIDING for n in range(layers)]
    return [Mixer.SLIDING] * layers


def _known(kinds: Mapping[str, _T], entry: object, field: str) -> _T:
    if not isinstance(entry, str) or entry not in kinds:
        raise UnreadableFieldError(field, f"{entry!r} is no kind of layer")
    return kinds[entry]


def _ffn(f: ConfigFields, number: int) -> Ffn:
    if not _experts(f) or not f.flag("enable_moe_block", default=True):
        return Ffn.DENSE
    if types := f.sequence("mlp_layer_types"):
        return Ffn.MOE if types[number] == "sparse" else Ffn.DENSE
    if frequencies := f.sequence("moe_layer_freq"):
        return Ffn.MOE if frequencies[number] else Ffn.DENSE
    if number < f.count("first_k_dense_replace") or number in f.sequence("mlp_only_layers"):
        return Ffn.DENSE
    step = f.number("interleave_moe_layer_step", "decoder_sparse_step", "moe_layer_freq", default=1)
    return Ffn.MOE if (number + 1) % step == 0 else Ffn.DENSE


# --- the parts of a layer ---------------------------------------------------------------------


def _experts(f: ConfigFields) -> int:
    return f.count("n_routed_experts", "num_experts", "num_local_experts")


def _experts_per_token(f: ConfigFields, experts: int) -> int:
    taken = f.number("num_experts_per_tok", "top_k_experts", "num_experts_per_token")
    if taken > experts:
        raise UnreadableFieldError(f"{f.path}num_experts_per_tok", f"asks for {taken} of {experts} experts")
    return taken


def _mlp(c: _Config, has_experts: bool) -> Mlp:
    f = c.fields
    matrices = 2 if f.text("mlp_hidden_act") == "relu2" else 3
    if not has_experts:
        return Mlp(f.number("intermediate_size"), matrices)
    width = f.number("moe_intermediate_size", "intermediate_size")
    # A mixture of experts may have no dense layer at all, and then no width of one.
    dense = f.count("dense_intermediate_size", "intermediate_size_mlp", "intermediate_size")
    is_gpt_oss = c.is_a("gpt_oss")
    return Mlp(
        dense_width=dense,
        matrices=matrices,
        experts=_experts(f),
        expert_width=width,
        expert_inputs=f.count("moe_latent_size"),
        shared_width=width if c.is_a("llama4") else _shared_width(f, width),
        shared_is_gated=c.is_a("qwen"),
        expert_bias=is_gpt_oss,
        router_bias=is_gpt_oss or f.text("topk_method") == "noaux_tc",
        beside_dense=c.is_a("gemma"),
    )


def _shared_width(f: ConfigFields, expert_width: int) -> int:
    named = f.count(
        "shared_expert_intermediate_size",
        "moe_shared_expert_intermediate_size",
        "shared_intermediate_size",
        "share_expert_dim",
    )
    return named or f.count("n_shared_experts", "num_shared_experts") * expert_width


def _attention(c: _Config, hidden: int, heads: int) -> Attention:
    f = c.fields
    head_dim = f.number("head_dim", "attention_head_dim", default=max(1, hidden // heads))
    kv_heads = f.number("num_key_value_heads", default=heads)
    has_bias = c.is_a("qwen2") or f.flag("attention_bias")
    norm_width = 2 * head_dim if c.is_a("qwen3", "gemma3", "gemma4") or f.has("use_qk_norm") else 0
    if f.text("qk_norm_type") == "per_layer":
        norm_width = (heads + kv_heads) * head_dim
    return Attention(
        heads=heads,
        kv_heads=kv_heads,
        head_dim=head_dim,
        value_dim=f.number("v_head_dim", default=head_dim) if not f.has("kv_lora_rank") else head_dim,
        full_kv_heads=f.count("num_global_key_value_heads"),
        full_head_dim=f.count("global_head_dim"),
        qkv_bias=has_bias,
        output_bias=has_bias and c.is_a("llama", "gpt_oss"),
        norm_width=norm_width,
        sinks=c.is_a("gpt_oss"),
        is_gated=f.flag("attn_output_gate"),
        shares_full_kv=f.flag("attention_k_eq_v"),
    )


def _mla(f: ConfigFields, heads: int) -> Mla | None:
    if not f.has("kv_lora_rank"):
        return None
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


def _linear(f: ConfigFields) -> Linear | None:
    if not f.has("linear_num_value_heads"):
        return None
    return Linear(
        key_heads=f.number("linear_num_key_heads"),
        key_dim=f.number("linear_key_head_dim"),
        value_heads=f.number("linear_num_value_heads"),
        value_dim=f.number("linear_value_head_dim"),
        kernel=f.number("linear_conv_kernel_dim"),
    )


def _mamba(f: ConfigFields) -> Mamba | None:
    if not f.has("mamba_num_heads"):
        return None
    return Mamba(
        heads=f.number("mamba_num_heads"),
        head_dim=f.number("mamba_head_dim"),
        groups=f.number("n_groups"),
        state=f.number("ssm_state_size"),
        kernel=f.number("conv_kernel"),
    )


# --- putting it together ----------------------------------------------------------------------


def _architecture(c: _Config, decoder: Decoder, scheme: Scheme) -> Architecture:
    f, mlp, attention = c.fields, decoder.mlp, decoder.attention
    assert attention is not None
    mixers = [mixer for mixer, _ in decoder.plan]
    moe_layers = sum(ffn is Ffn.MOE for _, ffn in decoder.plan)
    per_token = _experts_per_token(f, mlp.experts) if moe_layers else 0
    total = sum(module.parameters for module in modules(decoder))
    sliding = mixers.count(Mixer.SLIDING)
    mla = decoder.mla
    family = _family(c, decoder)
    return Architecture(
        layers=len(decoder.plan),
        hidden_size=decoder.hidden,
        intermediate_size=mlp.dense_width,
        attention_heads=attention.heads,
        kv_heads=attention.kv_heads,
        head_dim=attention.head_dim,
        vocabulary=decoder.vocabulary,
        parameters=total,
        active_parameters=total - _idle_parameters(decoder, per_token),
        max_context=f.number("max_position_embeddings", "n_positions"),
        tied_embeddings=decoder.tied,
        experts=mlp.experts if moe_layers else 0,
        experts_per_token=per_token,
        expert_intermediate_size=mlp.expert_width if moe_layers else 0,
        dense_layers=sum(ffn is Ffn.DENSE for _, ffn in decoder.plan) if moe_layers else 0,
        shared_expert_intermediate_size=mlp.shared_width if moe_layers else 0,
        mla_kv_dim=mla.kv_rank + mla.rope_dim if mla else 0,
        mla_rope_dim=mla.rope_dim if mla else 0,
        index_dim=mla.index_dim if mla else 0,
        sliding_window=f.number("sliding_window") if sliding else 0,
        sliding_layers=sliding,
        full_kv_heads=attention.full_kv_heads,
        full_head_dim=attention.full_head_dim,
        linear_layers=sum(m in (Mixer.LINEAR, Mixer.MAMBA, Mixer.NONE) for m in mixers),
        state_bytes=_state_bytes(decoder, mixers),
        dtype=scheme.dtype,
        kv_dtype=scheme.kv_dtype,
        weight_block=scheme.weight_block,
        family=family,
        layout=weight_layout(decoder, family, scheme),
    )


def _idle_parameters(decoder: Decoder, per_token: int) -> int:
    """What one token is not multiplied with: idle experts, and an input table of its own."""
    experts = sum(m.parameters for m in modules(decoder) if m.kind is MatrixKind.EXPERTS)
    idle = experts * (decoder.mlp.experts - per_token) // decoder.mlp.experts if experts else 0
    return idle + (0 if decoder.tied else decoder.vocabulary * decoder.hidden)


def _state_bytes(decoder: Decoder, mixers: list[Mixer]) -> int:
    """Recurrent state (float32) and the convolution's last inputs of one sequence, all layers."""
    total = 0
    if n := decoder.linear:
        keys, values = n.key_heads * n.key_dim, n.value_heads * n.value_dim
        state = values * n.key_dim * _STATE_BYTES
        convolution = (2 * keys + values) * (n.kernel - 1) * _COMPUTE_BYTES
        total += mixers.count(Mixer.LINEAR) * (state + convolution)
    if m := decoder.mamba:
        inner = m.heads * m.head_dim
        state = inner * m.state * _STATE_BYTES
        convolution = (inner + 2 * m.groups * m.state) * (m.kernel - 1) * _COMPUTE_BYTES
        total += mixers.count(Mixer.MAMBA) * (state + convolution)
    return total


def _family(c: _Config, decoder: Decoder) -> Family:
    if decoder.mla:
        return Family.MLA
    if c.is_a("gemma", "step"):
        return Family.WINDOWED
    if decoder.linear or decoder.mamba or c.is_nested or c.fields.has("hybrid_layer_pattern"):
        return Family.HYBRID
    if c.fields.has("sparse_attention_config"):
        return Family.HYBRID
    return Family.MOE if decoder.mlp.experts else Family.DENSE
