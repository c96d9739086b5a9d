"""Configurations that aiconfigurator-core does not carry, and how that tool can be shown them.

Owns config.json of such checkpoints with where it is quoted, and the directory that the tool reads one
from. A model type that the tool does not know is shown as the one with the same matrix products:
Phi-3 fuses projections and Cohere runs attention beside the MLP, neither of which changes a size;
Gemma 3 is a dense Gemma 4 whose layers without a window have the same heads as the others.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

_LLM_PROF = "its config.json, as github.com/citsjtu2020/LLM-Prof (sglang/Model_Config.md) quotes it"
_MISTRAL_V2 = "its config.json, as publicly quoted for mistralai/Mistral-7B-Instruct-v0.2 (transformers 4.39)"
_PUBLISHED = "its config.json, as publicly quoted"
_META_2 = "its config.json, as publicly quoted (transformers 4.31)"
_MEGATRON = "its config.json, as NVIDIA's Megatron Bridge and NeMo recipes quote it"
_MISTRAL_V1 = "its config.json, as publicly quoted for mistralai/Mistral-7B-Instruct-v0.1 (transformers 4.40)"


def _dense(model_type: str, source: str, *figures: int, **more: Any) -> tuple[dict[str, Any], str]:
    names = (
        "num_hidden_layers", "hidden_size", "intermediate_size", "num_attention_heads",
        "num_key_value_heads", "vocab_size", "max_position_embeddings",
    )  # fmt: skip
    config = dict(zip(names, figures, strict=True))
    return {"model_type": model_type, **config, "torch_dtype": "bfloat16", **more}, source


def _gemma(*figures: int) -> tuple[dict[str, Any], str]:
    """Gemma 3: every sixth layer attends to everything, the others to the last 1,024 tokens."""
    layers, hidden, intermediate, heads, kv_heads, head_dim = figures
    kinds = ["full_attention" if (layer + 1) % 6 == 0 else "sliding_attention" for layer in range(layers)]
    return _dense(
        "gemma3_text", _PUBLISHED, layers, hidden, intermediate, heads, kv_heads, 262_208, 131_072,
        head_dim=head_dim, sliding_window=1024, layer_types=kinds, tie_word_embeddings=True,
    )  # fmt: skip


def _nemotron_nano(pattern: str, hidden: int, intermediate: int) -> tuple[dict[str, Any], str]:
    """Nemotron Nano v2: Mamba-2 and MLPs in turn, with a few layers of attention."""
    return _dense(
        "nemotron_h", _MEGATRON, len(pattern), hidden, intermediate, 40, 8, 131_072, 131_072,
        hybrid_override_pattern=pattern, head_dim=128, mamba_num_heads=128, mamba_head_dim=80,
        ssm_state_size=128, n_groups=8, conv_kernel=4, chunk_size=128, mlp_hidden_act="relu2",
    )  # fmt: skip


HAND: Mapping[str, tuple[dict[str, Any], str]] = {
    "meta-llama/Llama-3.2-3B": _dense(
        "llama", _LLM_PROF, 28, 3072, 8192, 24, 8, 128_256, 131_072, head_dim=128, tie_word_embeddings=True
    ),
    "Qwen/Qwen2.5-3B": _dense(
        "qwen2", _LLM_PROF, 36, 2048, 11008, 16, 2, 151_936, 32_768, tie_word_embeddings=True
    ),
    "Qwen/Qwen2.5-7B": _dense("qwen2", _LLM_PROF, 28, 3584, 18944, 28, 4, 152_064, 131_072),
    "Qwen/Qwen2.5-14B": _dense("qwen2", _LLM_PROF, 48, 5120, 13824, 40, 8, 152_064, 131_072),
    "Qwen/Qwen2.5-32B": _dense("qwen2", _LLM_PROF, 64, 5120, 27648, 40, 8, 152_064, 131_072),
    "Qwen/Qwen3-4B": _dense(
        "qwen3", _LLM_PROF, 36, 2560, 9728, 32, 8, 151_936, 40_960, head_dim=128, tie_word_embeddings=True
    ),
    "Qwen/Qwen3-14B": _dense("qwen3", _LLM_PROF, 40, 5120, 17408, 40, 8, 151_936, 40_960, head_dim=128),
    "mistralai/Mistral-7B-Instruct-v0.2": _dense(
        "mistral", _MISTRAL_V2, 32, 4096, 14336, 32, 8, 32_000, 32_768, sliding_window=None
    ),
    "mistralai/Mistral-7B-Instruct-v0.1": _dense(
        "mistral", _MISTRAL_V1, 32, 4096, 14336, 32, 8, 32_000, 32_768, sliding_window=4096
    ),
    "meta-llama/Llama-2-7b-hf": _dense("llama", _META_2, 32, 4096, 11008, 32, 32, 32_000, 4096),
    "meta-llama/Llama-2-13b-hf": _dense("llama", _META_2, 40, 5120, 13824, 40, 40, 32_000, 4096),
    "meta-llama/Llama-2-70b-hf": _dense("llama", _META_2, 80, 8192, 28672, 64, 8, 32_000, 4096),
    "codellama/CodeLlama-34b-hf": _dense("llama", _PUBLISHED, 48, 8192, 22016, 64, 8, 32_000, 16_384),
    "01-ai/Yi-34B": _dense("llama", _PUBLISHED, 60, 7168, 20480, 56, 8, 64_000, 4096),
    "Qwen/Qwen2.5-72B": _dense("qwen2", _PUBLISHED, 80, 8192, 29568, 64, 8, 152_064, 131_072),
    "mistralai/Mistral-Nemo-Instruct-2407": _dense(
        "mistral", _PUBLISHED, 40, 5120, 14336, 32, 8, 131_072, 131_072, head_dim=128, sliding_window=None
    ),
    "mistralai/Mistral-Small-24B-Instruct-2501": _dense(
        "mistral", _PUBLISHED, 40, 5120, 32768, 32, 8, 131_072, 32_768, head_dim=128, sliding_window=None
    ),
    "microsoft/phi-4": _dense("phi3", _PUBLISHED, 40, 5120, 17920, 40, 10, 100_352, 16_384),
    "CohereLabs/c4ai-command-r-08-2024": _dense(
        "cohere", _PUBLISHED, 40, 8192, 24576, 64, 8, 256_000, 131_072, tie_word_embeddings=True
    ),
    "google/gemma-3-12b-it": _gemma(48, 3840, 15360, 16, 8, 256),
    "google/gemma-3-27b-it": _gemma(62, 5376, 21504, 32, 16, 128),
    "nvidia/NVIDIA-Nemotron-Nano-9B-v2": _nemotron_nano(
        "M-M-M-MM-M-M-M*-M-M-M*-M-M-M-M*-M-M-M-M*-M-MM-M-M-M-M-M-", 4480, 15680
    ),
    "nvidia/NVIDIA-Nemotron-Nano-12B-v2": _nemotron_nano(
        "M-M-M-M*-M-M-M-M*-M-M-M-M*-M-M-M-M*-M-M-M-M*-M-M-M-M*-M-M-M-M-", 5120, 20480
    ),
}

# Carried by the tool, which does not find them by name.
_BY_DIRECTORY = ("mistralai/Mixtral-8x7B-v0.1", "mistralai/Mixtral-8x22B-v0.1", "moonshotai/Kimi-K2-Instruct")

_SHOWN_AS = {
    "llama": "LlamaForCausalLM",
    "qwen2": "Qwen2ForCausalLM",
    "qwen3": "Qwen3ForCausalLM",
    "mistral": "LlamaForCausalLM",
    "phi3": "LlamaForCausalLM",
    "cohere": "LlamaForCausalLM",
    "gemma3_text": "Gemma4ForConditionalGeneration",
    "nemotron_h": "NemotronHForCausalLM",
}


def directory_of(config: Mapping[str, Any], hf_quant: Mapping[str, Any] | None, directory: Path) -> str:
    """The same directory, holding the configuration as the tool reads it."""
    shown = _SHOWN_AS.get(config.get("model_type", ""))
    config = {"architectures": [shown], **config} if shown else {**config}
    if shown == "Gemma4ForConditionalGeneration":
        config = {"architectures": [shown], "text_config": config}
    directory.mkdir(exist_ok=True)
    (directory / "config.json").write_text(json.dumps(config))
    if hf_quant is not None:
        (directory / "hf_quant_config.json").write_text(json.dumps(hf_quant))
    return str(directory)


@cache
def tool_path(name: str) -> str:
    """What the tool takes for a checkpoint: its name, or a directory that lasts as long as this process."""
    if name not in HAND and name not in _BY_DIRECTORY:
        return name
    config = HAND[name][0] if name in HAND else _carried(name)
    return directory_of(config, None, Path(_directories().name, name.replace("/", "--")))


def _carried(name: str) -> Mapping[str, Any]:
    import aiconfigurator_core

    folder = Path(aiconfigurator_core.__file__).parent / "model_configs"
    config: dict[str, Any] = json.loads((folder / f"{name.replace('/', '--')}_config.json").read_text())
    return config


@cache
def _directories() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory()
