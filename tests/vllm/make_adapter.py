"""Write a LoRA adapter of random weights for the tiny model: `make_adapter.py FOLDER RANK`.

Large ones: its answers must differ from those of the model, whose own weights are random too.

Run by the interpreter that has vLLM. It adapts the projections of queries and values in each layer, as PEFT
writes them.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

LAYERS, HIDDEN = 8, 512
WIDTHS = {"q_proj": 512, "v_proj": 256}

folder, rank = Path(sys.argv[1]), int(sys.argv[2])
folder.mkdir(parents=True)
weights = {}
for layer in range(LAYERS):
    for name, width in WIDTHS.items():
        prefix = f"base_model.model.model.layers.{layer}.self_attn.{name}"
        weights[f"{prefix}.lora_A.weight"] = torch.randn(rank, HIDDEN)
        weights[f"{prefix}.lora_B.weight"] = torch.randn(width, rank)
save_file(weights, folder / "adapter_model.safetensors")
config = {
    "peft_type": "LORA",
    "r": rank,
    "lora_alpha": 2 * rank,
    "target_modules": list(WIDTHS),
    "bias": "none",
}
(folder / "adapter_config.json").write_text(json.dumps(config))
