"""What transformers assumes where a config.json leaves a field out.

Owns transformers_defaults.json beside it (written by hack/export_transformers_defaults.py from the
configuration classes of transformers 5.24.0) and which of its values may be used. Input: the model
type and the fields as written; output: the fields that are assumed.

transformers writes a nested configuration without the fields that have their default, so there every
field may be assumed. A file of its own is written with all of them: one without its layers or its
width is damaged, and the reader refuses it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

_DIMENSIONS = frozenset(
    [
        "d_model",
        "ffn_dim",
        "hidden_size",
        "intermediate_size",
        "max_position_embeddings",
        "max_seq_len",
        "moe_intermediate_size",
        "moe_num_experts",
        "n_embd",
        "n_head",
        "n_heads",
        "n_layer",
        "n_layers",
        "n_positions",
        "n_routed_experts",
        "num_attention_heads",
        "num_experts",
        "num_experts_per_tok",
        "num_hidden_layers",
        "num_local_experts",
        "vocab_size",
    ]
)


def assumed_fields(model_type: str, written: Mapping[str, Any], is_nested: bool) -> dict[str, Any]:
    """The fields that this model type assumes beside those written (a null is written)."""
    known = _defaults().get(model_type, {})
    # Of latent attention, the width of a head is a leftover that differs between releases.
    passed_over = {"head_dim"} if "kv_lora_rank" in {*known, *written} else set()
    if not is_nested:
        passed_over |= _DIMENSIONS
    return {name: value for name, value in known.items() if name not in written and name not in passed_over}


@cache
def _defaults() -> Mapping[str, Mapping[str, Any]]:
    read: Mapping[str, Mapping[str, Any]] = json.loads(
        files(__package__).joinpath("transformers_defaults.json").read_bytes()
    )
    return read
