"""What an engine's arguments make of the context that a model was trained for.

Owns `--hf-overrides` and `--rope-scaling` of vLLM as far as they scale positions. Input: the trained
context and the arguments. Output: tokens, or the sentence why an argument cannot be read: an override of
anything else that decides the model's size is refused.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from argosy.api.engine.arguments import value_of
from argosy.perf.catalogue.fields import UnreadableFieldError
from argosy.perf.catalogue.reading.context import LENGTHS, scaled_context
from argosy.perf.catalogue.reading.deciding import first_unread

HF_OVERRIDES = "--hf-overrides"
_ROPE_SCALING = "--rope-scaling"
_LENGTH = "max_position_embeddings"
_READ = (_LENGTH, "rope_scaling", "rope_parameters", "text_config")


def context_with_overrides(trained: int, args: Sequence[str]) -> int | str:
    """The context that vLLM derives with these arguments, in tokens."""
    try:
        return _derived(trained, args)
    except UnreadableFieldError as unreadable:
        return f"{HF_OVERRIDES} in spec.engine.args: {unreadable.fault.message}"


def _derived(trained: int, args: Sequence[str]) -> int:
    values = {**_mapping(args, HF_OVERRIDES)}
    if scaling := _mapping(args, _ROPE_SCALING):
        values["rope_scaling"] = scaling
    if isinstance(values.get("text_config"), Mapping):
        values |= values["text_config"]
    others = ((name, values[name]) for name in LENGTHS if name != _LENGTH and name in values)
    if unread := first_unread(values, _READ) or next(others, None):
        name, value = unread
        found = f"{str(value)[:60]} may decide the model's size and is not read here"
        remedy = "remove it, or declare in spec.architecture a checkpoint whose config.json has it"
        raise UnreadableFieldError(name, f"{found}; {remedy}")
    length = values.get(_LENGTH, trained)
    if isinstance(length, bool) or not isinstance(length, int) or length < 1:
        raise UnreadableFieldError(_LENGTH, f"must be a positive whole number, not {length!r}")
    return scaled_context(values, length)


def _mapping(args: Sequence[str], flag: str) -> Mapping[str, Any]:
    """The JSON object behind a flag; empty where the flag is not there. Raises UnreadableFieldError."""
    written = value_of(args, flag)
    if written is None:
        return {}
    try:
        found = json.loads(written)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, Mapping):
        raise UnreadableFieldError(flag, f"must be a JSON object, not {written[:60]!r}")
    return found
