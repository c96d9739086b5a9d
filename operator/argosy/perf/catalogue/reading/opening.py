"""Where the language model's fields are in a config.json, and what is assumed beside them.

Owns how configurations nest and which architectures cannot be described. Input: the JSON mapping.
Output: a `LanguageModel`, or an UnreadableFieldError with the field.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from argosy.perf.catalogue.fields import ConfigFaultReason, ConfigFields, UnreadableFieldError
from argosy.perf.catalogue.reading.deciding import first_unread
from argosy.perf.catalogue.reading.defaults import assumed_fields
from argosy.perf.catalogue.reading.shapes import Shape, shape_of

_NESTED = ("text_config", "llm_config", "language_config", "thinker_config", "language_model_config")
# Dimensions that some model types write in a mapping of their own.
_FLATTENED = ("attn_config", "ffn_config")
_DEEPEST = 4
_GATED = ("silu", "swish", "swiglu")
_REMEDY = "declare the model's dimensions in spec.architecture of its ServedModel"
# Architectures whose KV cache or weights these dimensions cannot describe.
_INEXPRESSIBLE = {
    "DeepseekV4ForCausalLM": "compressed attention keeps KV of several granularities",
    "KimiK3ForConditionalGeneration": "Kimi delta attention beside MLA in a latent mixture of experts",
    "KimiLinearForCausalLM": "Kimi delta attention beside MLA in a latent mixture of experts",
    "MiniCPM3ForCausalLM": "an engine keeps its latent attention's KV expanded to every head",
    "DeciLMForCausalLM": "every layer has dimensions of its own (block_configs)",
}


@dataclass(frozen=True, slots=True)
class LanguageModel:
    """The language model's fields, and what stands around them.

    written: its fields as the file has them; layers: every mapping from the file down to it
    """

    fields: ConfigFields
    written: Mapping[str, Any]
    levels: tuple[Mapping[str, Any], ...]
    model_type: str
    architecture: str
    shape: Shape
    is_known: bool

    @property
    def is_nested(self) -> bool:
        """Whether the language model is a part of the file."""
        return len(self.levels) > 1

    def is_a(self, *prefixes: str) -> bool:
        """Whether the model type begins with one of these."""
        return self.model_type.startswith(prefixes)


def open_config(config: Mapping[str, Any]) -> LanguageModel:
    """The language model of this file. Raises UnreadableFieldError."""
    names = config.get("architectures") or [""]
    architecture = str(names[0]) if isinstance(names, list | tuple) and names else ""
    if architecture in _INEXPRESSIBLE:
        raise UnreadableFieldError(
            "architectures", f"{architecture}: {_INEXPRESSIBLE[architecture]}; {_REMEDY}"
        )
    levels, path = _levels(config)
    written = _flat(levels[-1])
    around = {name: value for level in levels[:-1] for name, value in level.items()}
    named = written.get("model_type") or around.get("model_type")
    model_type = named if isinstance(named, str) else ""
    assumed = assumed_fields(model_type, written, is_nested=len(levels) > 1)
    fields = ConfigFields({**assumed, **around, **written}, path)
    shape = shape_of(model_type)
    return LanguageModel(
        fields, written, levels, model_type, architecture, shape or Shape(), shape is not None
    )


def _levels(config: Mapping[str, Any]) -> tuple[tuple[Mapping[str, Any], ...], str]:
    levels, path = [config], ""
    while len(levels) < _DEEPEST:
        name = next((name for name in _NESTED if isinstance(levels[-1].get(name), Mapping)), None)
        if name is None or not levels[-1][name]:
            break
        levels.append(levels[-1][name])
        path += f"{name}."
    return tuple(levels), path


def _flat(written: Mapping[str, Any]) -> Mapping[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in written.items():
        if name in _FLATTENED and isinstance(value, Mapping):
            flat |= {inner: entry for inner, entry in value.items() if inner != "model_type"}
        else:
            flat[name] = value
    return flat


def require_all_read(model: LanguageModel) -> None:
    """Raises UnreadableFieldError for a field that decides the model's size and was not used, and for a
    model type of which nothing shows how its MLP is built."""
    fields = model.fields
    unread = first_unread(model.written, fields.used)
    if unread is not None:
        name, value = unread
        raise UnreadableFieldError(
            fields.path + name,
            f"{str(value)[:60]} may decide the model's size and is not understood in the model type"
            f" {model.model_type!r}; {_REMEDY}",
        )
    if model.is_known:
        return
    act = fields.text("hidden_act") or fields.text("hidden_activation") or fields.text("activation_function")
    if act.lower() in _GATED:
        return
    raise UnreadableFieldError(
        fields.path + "model_type",
        f"{model.model_type!r} is not known, and hidden_act {act!r} does not show whether its MLP has a gate"
        f" (silu would); {_REMEDY}",
        ConfigFaultReason.BAD_VALUE if model.model_type else ConfigFaultReason.MISSING_FIELD,
    )
