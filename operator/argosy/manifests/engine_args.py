"""The arguments of an engine's container: `vllm serve`'s command line.

Owns the way from a variant to arguments, by the table of flags in `api.engine_flags`. Input: a
`Variant`. Output: words, the same for equal variants.
"""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from argosy.api.engine_flags import ENGINE_FLAGS, EngineFlag, FlagValue
from argosy.snapshot import Variant

_OF_VARIANT = {field.name for field in fields(Variant)}


def engine_args(variant: Variant) -> list[str]:
    """Each flag whose field differs from vLLM's default with its value, then the user's own arguments."""
    words: list[str] = []
    for flag in ENGINE_FLAGS:
        if _is_given(flag, variant):
            words += [flag.flag, *_values(flag, _value(flag.field, variant))]
    return [*words, *variant.engine.args]


def _value(field: str, variant: Variant) -> Any:
    """The field's value; the names of a variant's fields and of its settings' do not overlap."""
    return getattr(variant if field in _OF_VARIANT else variant.engine, field)


def _is_given(flag: EngineFlag, variant: Variant) -> bool:
    if flag.requires and not _value(flag.requires, variant):
        return False
    return _value(flag.field, variant) not in flag.default_at


def _values(flag: EngineFlag, value: Any) -> list[str]:
    match flag.value:
        case FlagValue.NOTHING:
            return []
        case FlagValue.WORDS:
            return list(value)
        case _:
            return [str(value)]
