"""The longest sequence that a model was trained for, as vLLM derives it.

Owns which field holds it and what a scaled position encoding makes of it. Input: the fields of a
configuration, or those that an engine overrides. Output: tokens.

As in vLLM's `_get_and_verify_max_len`: the smallest of the fields of a length; YaRN starts from the
original length instead, and every scaling but longrope's and Llama 3's multiplies by its factor.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from argosy.perf.catalogue.fields import ConfigFaultReason, ConfigFields, UnreadableFieldError

LENGTHS = (
    "max_position_embeddings", "n_positions", "max_seq_len", "seq_length", "max_sequence_length",
    "max_seq_length", "seq_len", "model_max_length",
)  # fmt: skip
_UNSCALED = ("su", "longrope", "llama3", "default", "mrope")
_SCALING = ("rope_parameters", "rope_scaling")


def max_context(fields: ConfigFields, model_type: str) -> int:
    """Positions of the model. Raises UnreadableFieldError where no field has them or one is no number."""
    found = [fields.number(name) for name in LENGTHS if fields.has(name)]
    if not found:
        raise UnreadableFieldError(fields.path + LENGTHS[0], "is missing", ConfigFaultReason.MISSING_FIELD)
    length = min(found)
    for name in _SCALING:
        fields.use(name)
    if "gemma3" in model_type:  # its field holds the scaled length
        return length
    return scaled_context(fields.values, length, fields.path)


def scaled_context(values: Mapping[str, Any], length: int, path: str = "") -> int:
    """The length that the scaling in `rope_parameters` or `rope_scaling` makes of this one.

    Raises UnreadableFieldError for a factor or an original length that is no positive number.
    """
    factor = 1.0
    for name, scaling in _scalings(values):
        kind = scaling.get("rope_type", scaling.get("type", "default"))
        if kind in _UNSCALED:
            continue
        factor = _positive(scaling.get("factor", factor), f"{path}{name}.factor")
        if kind == "yarn":
            original = scaling.get("original_max_position_embeddings") or length
            length = int(_positive(original, f"{path}{name}.original_max_position_embeddings"))
    return int(length * factor)


def _scalings(values: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The scaling of every layer: one for all, or one for each type of layer."""
    name = next((name for name in _SCALING if isinstance(values.get(name), Mapping)), None)
    if name is None:
        return
    written = values[name]
    inner = [(f"{name}.{kind}", entry) for kind, entry in written.items() if isinstance(entry, Mapping)]
    yield from inner or [(name, written)]


def _positive(value: Any, field: str) -> float:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not math.isfinite(value) or not 0 < value <= 2**40:
        raise UnreadableFieldError(field, f"must be a positive number, not {value!r}")
    return float(value)
