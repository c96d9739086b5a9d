"""An architecture out of any Hugging Face config.json.

Owns how its parts come together: `reading` finds what the fields mean, `modules` counts, number types
are in `quantization`, how an engine spreads the weights is in `layout`. Where a figure is missing, or a
field that decides the size is not understood, the answer is a `ConfigFault` with the field's name.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from argosy.errors import SpecError
from argosy.perf.catalogue.fields import ConfigFault, ConfigFaultReason, UnreadableFieldError
from argosy.perf.catalogue.layout import weight_layout
from argosy.perf.catalogue.modules import Decoder, Ffn, MatrixKind, Mixer, modules
from argosy.perf.catalogue.quantization import Scheme, read_scheme
from argosy.perf.catalogue.reading import parts
from argosy.perf.catalogue.reading.context import LENGTHS, max_context
from argosy.perf.catalogue.reading.layers import layer_plan
from argosy.perf.catalogue.reading.opening import LanguageModel, open_config, require_all_read
from argosy.snapshot.architecture import Architecture, Family

_COMPUTE_BYTES = 2
_STATE_BYTES = 4
# Model types whose published files hold no length: what vLLM takes then.
_WITHOUT_LENGTH = {"bloom": 2048, "falcon": 2048}


def architecture_from_config(
    config: Mapping[str, Any], hf_quant_config: Mapping[str, Any] | None = None
) -> Architecture | ConfigFault:
    """The architecture that a config.json describes, or the field that prevents it.

    `config` may hold the language model in a `text_config` and the like. `hf_quant_config` is the content
    of the file of that name beside it, where there is one (ModelOpt): it wins.
    """
    try:
        model = open_config(config)
        scheme = read_scheme(model.levels, hf_quant_config)
        architecture = _architecture(model, _decoder(model), scheme)
        require_all_read(model)
        return architecture
    except UnreadableFieldError as unreadable:
        return unreadable.fault
    except SpecError as nonsense:
        field, sentence = (text.removeprefix("architecture.") for text in (nonsense.field, str(nonsense)))
        return ConfigFault(ConfigFaultReason.BAD_VALUE, sentence, field=field)


def _decoder(model: LanguageModel) -> Decoder:
    f, shape = model.fields, model.shape
    hidden, heads = f.number(*parts.HIDDEN), f.number(*parts.HEADS)
    f.use("vocab_size")
    vocabulary = f.number("padded_vocab_size") if f.has("padded_vocab_size") else f.number("vocab_size")
    plan = layer_plan(model)
    mixers = {mixer for mixer, _ in plan}
    is_parallel = f.flag("use_parallel_residual") and model.is_a("stablelm")
    return Decoder(
        hidden=hidden,
        vocabulary=vocabulary,
        tied=_is_tied(model),
        plan=plan,
        norms_per_layer=1 if is_parallel else shape.norms,
        mlp=parts.mlp(model, any(ffn is Ffn.MOE for _, ffn in plan), hidden),
        attention=parts.attention(model, hidden, heads),
        mla=parts.mla(f, heads),
        linear=parts.linear(f),
        mamba=parts.mamba(f, hidden) if mixers & {Mixer.MAMBA, Mixer.BOTH} else None,
        mamba_1=parts.mamba_1(f, hidden) if Mixer.MAMBA_1 in mixers else None,
        convolution=parts.convolution(f) if Mixer.CONVOLUTION in mixers else 0,
        norm_width=shape.norm_width,
        positions=_positions(model, hidden),
        others=(vocabulary if shape.head_bias else 0) + (2 * hidden if shape.embedding_norm else 0),
        names=shape.names,
    )


def _is_tied(model: LanguageModel) -> bool:
    """Whether the head is the embedding: as written, or as the model type assumes."""
    f = model.fields
    assumed = f.flag("use_embedding_sharing", default=model.shape.is_tied)
    return f.flag("tie_word_embeddings", default=assumed)


def _positions(model: LanguageModel, hidden: int) -> int:
    """Rows of a learned table of positions. Raises UnreadableFieldError for an embedding of another width."""
    f = model.fields
    if model.shape.positions is None:
        return 0
    width = f.number("word_embed_proj_dim", default=hidden)
    if width != hidden:
        raise UnreadableFieldError(
            f"{f.path}word_embed_proj_dim", f"{width} differs from the hidden_size {hidden}"
        )
    return max_context(f, model.model_type) + model.shape.positions


# --- putting it together ----------------------------------------------------------------------


def _architecture(model: LanguageModel, decoder: Decoder, scheme: Scheme) -> Architecture:
    f, mlp, attention = model.fields, decoder.mlp, decoder.attention
    assert attention is not None
    mixers = [mixer for mixer, _ in decoder.plan]
    moe_layers = sum(ffn is Ffn.MOE for _, ffn in decoder.plan)
    per_token = parts.experts_per_token(f, mlp.experts) if moe_layers else 0
    total = sum(module.parameters for module in modules(decoder))
    context = _context(model)
    window, sliding = _windows(model, mixers, context)
    mla = decoder.mla
    family = _family(model, decoder)
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
        max_context=context,
        tied_embeddings=decoder.tied,
        query_key_norm=attention.norm_width > 0 and mla is None,
        experts=mlp.experts if moe_layers else 0,
        experts_per_token=per_token,
        expert_intermediate_size=mlp.expert_width if moe_layers else 0,
        dense_layers=sum(ffn is Ffn.DENSE for _, ffn in decoder.plan) if moe_layers else 0,
        shared_expert_intermediate_size=mlp.shared_width if moe_layers else 0,
        mla_kv_dim=mla.kv_rank + mla.rope_dim if mla else 0,
        mla_rope_dim=mla.rope_dim if mla else 0,
        index_dim=mla.index_dim if mla else 0,
        sliding_window=window,
        sliding_layers=sliding,
        full_kv_heads=attention.full_kv_heads,
        full_head_dim=attention.full_head_dim,
        linear_layers=sum(not mixer.keeps_kv for mixer in mixers),
        state_bytes=_state_bytes(decoder, mixers),
        dtype=scheme.dtype,
        kv_dtype=scheme.kv_dtype,
        weight_block=scheme.weight_block,
        family=family,
        layout=weight_layout(decoder, family, scheme),
    )


def _context(model: LanguageModel) -> int:
    has_length = any(model.fields.has(name) for name in LENGTHS)
    if model.model_type in _WITHOUT_LENGTH and not has_length:
        return _WITHOUT_LENGTH[model.model_type]
    return max_context(model.fields, model.model_type)


def _windows(model: LanguageModel, mixers: list[Mixer], context: int) -> tuple[int, int]:
    """The window and the layers that have it; none where no sequence is longer than the window."""
    sliding = mixers.count(Mixer.SLIDING)
    if not sliding:
        return 0, 0
    window = parts.windowed_tokens(model.fields)
    return (window, sliding) if window < context else (0, 0)


def _idle_parameters(decoder: Decoder, per_token: int) -> int:
    """What one token is not multiplied with: idle experts, and tables of which it reads one row."""
    experts = sum(m.parameters for m in modules(decoder) if m.kind is MatrixKind.EXPERTS)
    idle = experts * (decoder.mlp.experts - per_token) // decoder.mlp.experts if experts else 0
    positions = decoder.positions * decoder.hidden
    return idle + positions + (0 if decoder.tied else decoder.vocabulary * decoder.hidden)


def _state_bytes(decoder: Decoder, mixers: list[Mixer]) -> int:
    """Recurrent state (float32) and the convolution's last inputs of one sequence, all layers."""
    total = mixers.count(Mixer.CONVOLUTION) * decoder.hidden * decoder.convolution * _COMPUTE_BYTES
    if n := decoder.linear:
        keys, values = n.key_heads * n.key_dim, n.value_heads * n.value_dim
        state = values * n.key_dim * _STATE_BYTES
        convolution = (2 * keys + values) * (n.kernel - 1) * _COMPUTE_BYTES
        total += mixers.count(Mixer.LINEAR) * (state + convolution)
    if m := decoder.mamba:
        inner = m.heads * m.head_dim
        state = inner * m.state * _STATE_BYTES
        convolution = (inner + 2 * m.groups * m.state) * (m.kernel - 1) * _COMPUTE_BYTES
        total += (mixers.count(Mixer.MAMBA) + mixers.count(Mixer.BOTH)) * (state + convolution)
    if one := decoder.mamba_1:
        convolution = one.inner * (one.kernel - 1) * _COMPUTE_BYTES
        total += mixers.count(Mixer.MAMBA_1) * (one.inner * one.state * _STATE_BYTES + convolution)
    if (a := decoder.attention) and Mixer.LIGHTNING in mixers:
        total += mixers.count(Mixer.LIGHTNING) * a.heads * a.head_dim**2 * _STATE_BYTES
    return total


def _family(model: LanguageModel, decoder: Decoder) -> Family:
    f = model.fields
    f.use("sparse_attention_config", "hybrid_layer_pattern")
    if decoder.mla:
        return Family.MLA
    if model.is_a("gemma", "step"):
        return Family.WINDOWED
    has_state = any(not mixer.keeps_kv or mixer is Mixer.BOTH for mixer, _ in decoder.plan)
    if decoder.linear or has_state or model.is_nested or f.has("hybrid_layer_pattern"):
        return Family.HYBRID
    if f.has("sparse_attention_config"):
        return Family.HYBRID
    return Family.MOE if decoder.mlp.experts else Family.DENSE
