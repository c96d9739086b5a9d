"""Which layer attends how, and which has experts.

Owns the many names that configurations have for it. Input: a `LanguageModel`. Output: one pair of
`Mixer` and `Ffn` for every layer, or an UnreadableFieldError with the field.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from argosy.perf.catalogue.fields import ConfigFaultReason, ConfigFields, UnreadableFieldError
from argosy.perf.catalogue.modules import Ffn, Mixer
from argosy.perf.catalogue.reading.context import LENGTHS, max_context
from argosy.perf.catalogue.reading.opening import LanguageModel

EXPERTS = ("n_routed_experts", "num_experts", "num_local_experts", "moe_num_experts")
PER_TOKEN = (
    "num_experts_per_tok", "top_k_experts", "num_experts_per_token", "experts_per_token", "moe_k",
    "moe_topk", "moe_top_k",
)  # fmt: skip
LAYERS = ("num_hidden_layers", "n_layer", "num_layers", "n_layers")

_T = TypeVar("_T")
# Far above any model; a slip of the pen must not be counted for hours.
_MOST_LAYERS = 1024
_MIXERS = {
    "full_attention": Mixer.FULL,
    "attention": Mixer.FULL,
    "sliding_attention": Mixer.SLIDING,
    "linear_attention": Mixer.LINEAR,
    "mamba": Mixer.MAMBA,
    "conv": Mixer.CONVOLUTION,
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
_LISTS = ("layer_types", "layers_block_type")
# Every so many-th layer attends to all.
_PERIODS = ("sliding_window_pattern", "_sliding_window_pattern", "layer_switch")
_FIRST_WITH_EXPERTS = (
    "first_k_dense_replace", "num_dense_layers", "moe_layer_num_skipped", "moe_layer_start_index",
)  # fmt: skip
# What each kind of layer cannot be counted without.
_NEEDED = {
    Mixer.LINEAR: "linear_num_value_heads",
    Mixer.CONVOLUTION: "conv_L_cache",
}


def layer_plan(model: LanguageModel) -> tuple[tuple[Mixer, Ffn], ...]:
    """Every layer of the model. Raises UnreadableFieldError."""
    f = model.fields
    if model.is_a("nemotron_h") or f.text("hybrid_override_pattern"):
        listed = f.text("hybrid_override_pattern") or f.sequence("layers_block_type")
        name = "hybrid_override_pattern" if f.has("hybrid_override_pattern") else "layers_block_type"
        if listed:
            f.use(*LAYERS, *EXPERTS)
            return tuple(_known(_NEMOTRON, entry, f.path + name) for entry in listed)
    layers = f.number(*LAYERS)
    if layers > _MOST_LAYERS:
        raise UnreadableFieldError(f"{f.path}num_hidden_layers", f"{layers} is more than {_MOST_LAYERS}")
    for name in ("moe_layer_freq", "mlp_layer_types"):
        if (entries := f.sequence(name)) and len(entries) != layers:
            raise UnreadableFieldError(f.path + name, f"lists {len(entries)} layers, not {layers}")
    mixers = _mixers(model, layers)
    if len(mixers) != layers:
        raise UnreadableFieldError(f"{f.path}layer_types", f"lists {len(mixers)} layers, not {layers}")
    for mixer, needed in _NEEDED.items():
        if mixer in mixers and not f.has(needed):
            raise UnreadableFieldError(f.path + needed, "is missing", ConfigFaultReason.MISSING_FIELD)
    return tuple((mixer, ffn) for mixer, ffn in zip(mixers, _ffns(f, layers), strict=True))


# --- mixers -----------------------------------------------------------------------------------


def _mixers(model: LanguageModel, layers: int) -> list[Mixer]:
    f = model.fields
    if f.has("kv_lora_rank"):
        f.use("layer_types")
        return [Mixer.MLA] * layers
    if model.is_a("falcon_h1"):
        return [Mixer.BOTH] * layers
    for name in _LISTS:
        if types := f.sequence(name):
            _use_windows(f)
            listed = [_known(_MIXERS, entry, f.path + name) for entry in types]
            return [_lightning(model, mixer) for mixer in listed]
    return _hybrid(model, layers) or _windowed(model, layers)


def _lightning(model: LanguageModel, mixer: Mixer) -> Mixer:
    """What MiniMax calls linear attention."""
    return Mixer.LIGHTNING if mixer is Mixer.LINEAR and model.is_a("minimax") else mixer


def _hybrid(model: LanguageModel, layers: int) -> list[Mixer]:
    """The mixers of a model whose layers differ in kind; none where all attend."""
    f = model.fields
    if entries := f.sequence("attn_type_list"):
        f.use("layer_types")
        return [Mixer.FULL if entry else Mixer.LIGHTNING for entry in entries]
    if f.has("attn_layer_period"):
        period, offset = f.number("attn_layer_period"), f.count("attn_layer_offset")
        return [Mixer.FULL if n % period == offset else Mixer.MAMBA_1 for n in range(layers)]
    if model.is_a("bamba", "granitemoehybrid"):
        attending = set(f.sequence("attn_layer_indices"))
        return [Mixer.FULL if n in attending else Mixer.MAMBA for n in range(layers)]
    if model.is_a("lfm2"):
        attending = set(f.sequence("full_attn_idxs"))
        return [Mixer.FULL if n in attending else Mixer.CONVOLUTION for n in range(layers)]
    if f.has("full_attention_interval") or model.is_a("qwen3_next", "qwen3_5"):
        every = f.number("full_attention_interval", default=4)
        return [Mixer.FULL if (n + 1) % every == 0 else Mixer.LINEAR for n in range(layers)]
    if pattern := f.sequence("hybrid_layer_pattern"):
        _use_windows(f)
        return [Mixer.SLIDING if entry else Mixer.FULL for entry in pattern]
    return []


def _use_windows(f: ConfigFields) -> None:
    f.use(
        "sliding_window", "sliding_window_size", "use_sliding_window", "max_window_layers",
        "sliding_window_pattern", "_sliding_window_pattern", "layer_switch", "attention_chunk_size",
        "full_attention_interval", "attn_layer_indices", "full_attn_idxs",
    )  # fmt: skip


def _windowed(model: LanguageModel, layers: int) -> list[Mixer]:
    f = model.fields
    is_on = f.flag("use_sliding_window", default=True) and model.shape.has_windows
    is_windowed = f.has("sliding_window") and is_on
    f.use("sliding_window", "attention_chunk_size", "max_window_layers")
    if not is_windowed or f.has("attention_chunk_size") or _is_never_filled(model):
        f.use("sliding_window_pattern", "layer_switch")
        return [Mixer.FULL] * layers
    if word := f.text("sliding_window_pattern"):
        return _by_word(f, word, layers)
    every = f.number(*_PERIODS, default=model.shape.window_period)
    f.use(*_PERIODS)
    if every:
        return [Mixer.FULL if (n + 1) % every == 0 else Mixer.SLIDING for n in range(layers)]
    if not model.is_known:
        raise UnreadableFieldError(
            f"{f.path}sliding_window",
            f"is set, and layer_types does not list which of the {layers} layers have it",
        )
    first = f.count("max_window_layers") if model.is_a("qwen") else 0
    return [Mixer.FULL if n < first else Mixer.SLIDING for n in range(layers)]


def _is_never_filled(model: LanguageModel) -> bool:
    """Whether no sequence is longer than the window: which layers have it decides nothing then."""
    f = model.fields
    return any(f.has(name) for name in LENGTHS) and (
        f.number("sliding_window") >= max_context(f, model.model_type)
    )


def _by_word(f: ConfigFields, word: str, layers: int) -> list[Mixer]:
    """`LLLG`: three local layers and a global one, over and over; the last layer is global (EXAONE)."""
    kinds = {"L": Mixer.SLIDING, "G": Mixer.FULL}
    listed = [_known(kinds, letter, f"{f.path}sliding_window_pattern") for letter in word]
    mixers = [listed[n % len(listed)] for n in range(layers)]
    return [*mixers[:-1], Mixer.FULL]


def _known(kinds: Mapping[str, _T], entry: object, field: str) -> _T:
    if not isinstance(entry, str) or entry not in kinds:
        raise UnreadableFieldError(field, f"{entry!r} is no kind of layer")
    return kinds[entry]


# --- what follows the mixer -------------------------------------------------------------------


def num_experts(f: ConfigFields) -> int:
    """Routed experts of a layer. Raises UnreadableFieldError where tokens go to some of an unknown number."""
    experts = f.count(*EXPERTS)
    if not experts and f.count(*PER_TOKEN) and not any(f.has(name) for name in EXPERTS):
        raise UnreadableFieldError(f.path + "num_experts", "is missing", ConfigFaultReason.MISSING_FIELD)
    return experts


def _ffns(f: ConfigFields, layers: int) -> list[Ffn]:
    chosen = [_has_experts(f, number, layers) for number in range(layers)]
    if not num_experts(f) or not f.flag("enable_moe_block", default=True):
        return [Ffn.DENSE] * layers
    return [Ffn.MOE if is_chosen else Ffn.DENSE for is_chosen in chosen]


def _has_experts(f: ConfigFields, number: int, layers: int) -> bool:
    """Whether this layer of a mixture of experts has them. Every field is looked at, so that it is used."""
    listed = f.sequence("mlp_layer_types"), f.sequence("moe_layer_freq")
    only_dense, only_sparse = f.sequence("mlp_only_layers"), f.sequence("moe_layers")
    first = f.count(*_FIRST_WITH_EXPERTS)
    last = _last_with_experts(f, layers)
    step = f.number("interleave_moe_layer_step", "decoder_sparse_step", "moe_layer_interval", default=1)
    if not listed[1]:
        step = f.number("moe_layer_freq", default=step)
    period, offset = f.number("expert_layer_period", default=1), f.count("expert_layer_offset")
    if listed[0]:
        return bool(listed[0][number] == "sparse")
    if listed[1]:
        return bool(listed[1][number])
    if only_sparse:
        return number in only_sparse
    if number < first or number > last or number in only_dense:
        return False
    return (number + 1) % step == 0 and number % period == offset % period


def _last_with_experts(f: ConfigFields, layers: int) -> int:
    f.use("moe_layer_end_index")
    if f.values.get("moe_layer_end_index") in (None, -1):
        return layers - 1
    return f.count("moe_layer_end_index")
