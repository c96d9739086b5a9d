"""Which models the catalogue holds, under which key, and where their figures come from.

Owns the choices for hack/export_catalogue.py. A model is a list of checkpoints with the same
dimensions; the first decides what the key alone means. `config` names the configuration that a
checkpoint's figures are read from: among those that aiconfigurator-core carries, or in
`hand_configs`.

Left out of what aiconfigurator-core carries, because `Architecture` cannot describe them:
DeepSeek-V4 (KV of several granularities), Kimi-K3 (Kimi delta attention beside MLA) and
Llama-3.3-Nemotron-Super-49B (dimensions of its own in every layer).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple


class Target(NamedTuple):
    """One checkpoint; `config` empty: of the same name; `differs` overrides architecture fields."""

    name: str
    config: str = ""
    differs: Mapping[str, Any] = {}


# A fine-tune or a re-upload of the same weights, whose config.json has the same dimensions.
_FP8_KV8, _FP8 = {"dtype": "fp8", "kv_dtype": "fp8"}, {"dtype": "fp8"}
_L8, _L70, _L405 = (f"meta-llama/Meta-Llama-3.1-{size}" for size in ("8B", "70B", "405B"))
_L8_3, _L70_3 = {"max_context": 8192}, {"max_context": 8192}
_V3, _K2, _M25 = "deepseek-ai/DeepSeek-V3", "moonshotai/Kimi-K2-Instruct", "MiniMaxAI/MiniMax-M2.5"


def _instruct(*names: str) -> list[Target]:
    """Qwen2.5's instruct models: the dimensions of the base model, trained for 32,768 positions."""
    return [Target(f"{name}-Instruct", name, {"max_context": 32768}) for name in names]


def _same(config: str, *names: str) -> list[Target]:
    """Checkpoints with the same config.json."""
    return [Target(name, config) for name in names]


MODELS: Mapping[str, list[Target]] = {
    "llama-3.1-8b": [
        Target("meta-llama/Llama-3.1-8B-Instruct", _L8),
        Target("meta-llama/Llama-3.1-8B", _L8),
        Target("meta-llama/Meta-Llama-3.1-8B"),
        Target("meta-llama/Meta-Llama-3.1-8B-Instruct", _L8),
        Target("deepseek-ai/DeepSeek-R1-Distill-Llama-8B", _L8),
        Target("nvidia/Llama-3.1-8B-Instruct-FP8", _L8, _FP8_KV8),
        Target("RedHatAI/Meta-Llama-3.1-8B-Instruct-FP8", _L8, _FP8),
        # The same layers and heads; only its trained context is shorter.
        Target("meta-llama/Meta-Llama-3-8B", _L8, _L8_3),
        Target("meta-llama/Meta-Llama-3-8B-Instruct", _L8, _L8_3),
    ],
    "llama-3.1-70b": [
        Target("meta-llama/Llama-3.3-70B-Instruct", _L70),
        Target("meta-llama/Llama-3.1-70B-Instruct", _L70),
        Target("meta-llama/Llama-3.1-70B", _L70),
        Target("meta-llama/Meta-Llama-3.1-70B"),
        Target("meta-llama/Meta-Llama-3.1-70B-Instruct", _L70),
        Target("deepseek-ai/DeepSeek-R1-Distill-Llama-70B", _L70),
        Target("nvidia/Llama-3.1-70B-Instruct-FP8"),
        Target("nvidia/Llama-3.3-70B-Instruct-FP8", "nvidia/Llama-3.1-70B-Instruct-FP8"),
        Target("RedHatAI/Llama-3.3-70B-Instruct-FP8-dynamic", _L70, _FP8),
        Target("meta-llama/Meta-Llama-3-70B", _L70, _L70_3),
        Target("meta-llama/Meta-Llama-3-70B-Instruct", _L70, _L70_3),
    ],
    "llama-3.1-405b": [
        Target("meta-llama/Llama-3.1-405B-Instruct", _L405),
        Target("meta-llama/Llama-3.1-405B", _L405),
        Target("meta-llama/Meta-Llama-3.1-405B"),
        Target("nvidia/Llama-3.1-405B-Instruct-FP8", _L405, _FP8_KV8),
    ],
    "llama-3.2-3b": [
        Target("meta-llama/Llama-3.2-3B-Instruct", "meta-llama/Llama-3.2-3B"),
        Target("meta-llama/Llama-3.2-3B"),
    ],
    "llama-4-scout": [Target("meta-llama/Llama-4-Scout-17B-16E-Instruct")],
    "llama-4-maverick": [Target("meta-llama/Llama-4-Maverick-17B-128E-Instruct")],
    "qwen3-0.6b": [Target("Qwen/Qwen3-0.6B")],
    "qwen3-1.7b": [Target("Qwen/Qwen3-1.7B")],
    "qwen3-4b": [Target("Qwen/Qwen3-4B"), Target("Qwen/Qwen3-4B-FP8", "Qwen/Qwen3-4B", _FP8)],
    "qwen3-8b": [Target("Qwen/Qwen3-8B"), Target("Qwen/Qwen3-8B-FP8", "Qwen/Qwen3-8B", _FP8)],
    "qwen3-14b": [Target("Qwen/Qwen3-14B"), Target("Qwen/Qwen3-14B-FP8", "Qwen/Qwen3-14B", _FP8)],
    "qwen3-32b": [
        Target("Qwen/Qwen3-32B"),
        Target("Qwen/Qwen3-32B-FP8"),
        Target("Qwen/Qwen3-32B-FP8-Static-PerTensor"),
    ],
    "qwen3-30b-a3b": [
        Target("Qwen/Qwen3-30B-A3B"),
        Target("Qwen/Qwen3-30B-A3B-FP8"),
        Target("Qwen/Qwen3-30B-A3B-Instruct-2507", "Qwen/Qwen3-30B-A3B", {"max_context": 262144}),
    ],
    "qwen3-235b-a22b": [
        Target("Qwen/Qwen3-235B-A22B"),
        Target("Qwen/Qwen3-235B-A22B-FP8"),
        Target("nvidia/Qwen3-235B-A22B-NVFP4"),
        Target("Qwen/Qwen3-235B-A22B-Instruct-2507", "Qwen/Qwen3-235B-A22B", {"max_context": 262144}),
    ],
    "qwen3-coder-480b-a35b": [Target("Qwen/Qwen3-Coder-480B-A35B-Instruct")],
    "qwen3-vl-2b": [Target("Qwen/Qwen3-VL-2B-Instruct")],
    "qwen3-vl-4b": [Target("Qwen/Qwen3-VL-4B-Instruct")],
    "qwen3-vl-8b": [Target("Qwen/Qwen3-VL-8B-Instruct")],
    "qwen3-vl-32b": [Target("Qwen/Qwen3-VL-32B-Instruct"), Target("Qwen/Qwen3-VL-32B-Thinking")],
    "qwen3-vl-30b-a3b": [Target("Qwen/Qwen3-VL-30B-A3B-Instruct")],
    "qwen3-vl-235b-a22b": [Target("Qwen/Qwen3-VL-235B-A22B-Instruct")],
    "qwen3.5-27b": [Target("Qwen/Qwen3.5-27B"), Target("nvidia/Qwen3.6-27B-NVFP4")],
    "qwen3.5-35b-a3b": [Target("Qwen/Qwen3.5-35B-A3B"), Target("nvidia/Qwen3.6-35B-A3B-NVFP4")],
    "qwen3.5-122b-a10b": [Target("Qwen/Qwen3.5-122B-A10B"), Target("nvidia/Qwen3.5-122B-A10B-NVFP4")],
    "qwen3.5-397b-a17b": [Target("Qwen/Qwen3.5-397B-A17B"), Target("nvidia/Qwen3.5-397B-A17B-NVFP4")],
    "qwen2.5-3b": [Target("Qwen/Qwen2.5-3B"), *_instruct("Qwen/Qwen2.5-3B")],
    "qwen2.5-7b": [Target("Qwen/Qwen2.5-7B"), *_instruct("Qwen/Qwen2.5-7B")],
    "qwen2.5-14b": [Target("Qwen/Qwen2.5-14B"), *_instruct("Qwen/Qwen2.5-14B")],
    "qwen2.5-32b": [Target("Qwen/Qwen2.5-32B"), *_instruct("Qwen/Qwen2.5-32B")],
    "gpt-oss-20b": [Target("openai/gpt-oss-20b")],
    "gpt-oss-120b": [Target("openai/gpt-oss-120b")],
    "mistral-7b": [Target("mistralai/Mistral-7B-Instruct-v0.2")],
    "mistral-7b-v0.1": [Target("mistralai/Mistral-7B-Instruct-v0.1")],
    "mixtral-8x7b": [
        Target("mistralai/Mixtral-8x7B-Instruct-v0.1", "mistralai/Mixtral-8x7B-v0.1"),
        Target("mistralai/Mixtral-8x7B-v0.1"),
    ],
    "mixtral-8x22b": [Target("mistralai/Mixtral-8x22B-v0.1")],
    "deepseek-v3": [
        Target(_V3),
        Target("deepseek-ai/DeepSeek-R1"),
        Target("deepseek-ai/DeepSeek-V3.1", _V3),
        Target("nvidia/DeepSeek-V3.1-NVFP4"),
        Target("nvidia/DeepSeek-R1-NVFP4", "nvidia/DeepSeek-V3.1-NVFP4"),
    ],
    "deepseek-v3.2": [Target("deepseek-ai/DeepSeek-V3.2"), Target("nvidia/DeepSeek-V3.2-NVFP4")],
    "kimi-k2": [Target(_K2)],
    "kimi-k2.5": [
        Target("moonshotai/Kimi-K2.5"),
        Target("nvidia/Kimi-K2.5-NVFP4"),
        Target("nvidia/Kimi-K2.6-NVFP4"),
        Target("nvidia/Kimi-K2.7-Code-NVFP4"),
    ],
    "glm-5": [
        Target("zai-org/GLM-5"),
        Target("zai-org/GLM-5-FP8"),
        Target("zai-org/GLM-5.1"),
        Target("zai-org/GLM-5.1-FP8"),
        Target("nvidia/GLM-5-NVFP4"),
        Target("nvidia/GLM-5.1-NVFP4"),
    ],
    "glm-5.2": [
        Target("zai-org/GLM-5.2"),
        Target("zai-org/GLM-5.2-FP8"),
        Target("zai-org/GLM-5.3"),
        Target("zai-org/GLM-5.3-FP8"),
        Target("nvidia/GLM-5.2-NVFP4"),
        Target("nvidia/GLM-5.3-NVFP4"),
    ],
    "gemma-4-26b-a4b": [Target("google/gemma-4-26B-A4B"), Target("nvidia/Gemma-4-26B-A4B-NVFP4")],
    "gemma-4-31b": [Target("nvidia/Gemma-4-31B-IT-NVFP4")],
    "minimax-m2.5": [
        Target(_M25),
        Target("nvidia/MiniMax-M2.5-NVFP4"),
        Target("MiniMaxAI/MiniMax-M2.7"),
        Target("nvidia/MiniMax-M2.7-NVFP4"),
    ],
    "minimax-m3": [Target("MiniMaxAI/MiniMax-M3"), Target("nvidia/MiniMax-M3-NVFP4")],
    "mimo-7b": [Target("XiaomiMiMo/MiMo-7B-Base")],
    "mimo-v2-flash": [Target("XiaomiMiMo/MiMo-V2-Flash")],
    "step-3.7-flash": [Target("stepfun-ai/Step-3.7-Flash"), Target("stepfun-ai/Step-3.7-Flash-FP8")],
    "nemotron-3-nano-30b-a3b": [
        Target("nvidia/NVIDIA-Nemotron-3-Nano-30B-A3B-BF16"),
        Target("nvidia/NVIDIA-Nemotron-3-Nano-30B-A3B-NVFP4"),
        Target("nvidia/NVIDIA-Nemotron-3.5-Lightning-30B-A3B-NVFP4"),
    ],
    "nemotron-3-super-120b-a12b": [
        Target("nvidia/NVIDIA-Nemotron-3-Super-120B-A12B-FP8"),
        Target("nvidia/NVIDIA-Nemotron-3-Super-120B-A12B-NVFP4"),
    ],
    "nemotron-3-ultra-550b-a55b": [
        Target("nvidia/NVIDIA-Nemotron-3-Ultra-550B-A55B-BF16"),
        Target("nvidia/NVIDIA-Nemotron-3-Ultra-550B-A55B-FP8"),
        Target("nvidia/NVIDIA-Nemotron-3-Ultra-550B-A55B-NVFP4"),
    ],
    "nemotron-h-56b": [Target("nvidia/Nemotron-H-56B-Base-8K")],
    "llama-2-7b": [
        Target("meta-llama/Llama-2-7b-hf"),
        *_same("meta-llama/Llama-2-7b-hf", "meta-llama/Llama-2-7b-chat-hf"),
    ],
    "llama-2-13b": [
        Target("meta-llama/Llama-2-13b-hf"),
        *_same("meta-llama/Llama-2-13b-hf", "meta-llama/Llama-2-13b-chat-hf"),
    ],
    "llama-2-70b": [
        Target("meta-llama/Llama-2-70b-hf"),
        *_same("meta-llama/Llama-2-70b-hf", "meta-llama/Llama-2-70b-chat-hf"),
    ],
    "codellama-34b": [
        Target("codellama/CodeLlama-34b-hf"),
        *_same("codellama/CodeLlama-34b-hf", "codellama/CodeLlama-34b-Instruct-hf"),
    ],
    "yi-34b": [Target("01-ai/Yi-34B"), *_same("01-ai/Yi-34B", "01-ai/Yi-34B-Chat")],
    "qwen2.5-72b": [Target("Qwen/Qwen2.5-72B"), *_instruct("Qwen/Qwen2.5-72B")],
    "mistral-nemo-12b": [
        Target("mistralai/Mistral-Nemo-Instruct-2407"),
        *_same("mistralai/Mistral-Nemo-Instruct-2407", "mistralai/Mistral-Nemo-Base-2407"),
    ],
    "mistral-small-24b": [Target("mistralai/Mistral-Small-24B-Instruct-2501")],
    "phi-4": [Target("microsoft/phi-4")],
    "command-r-32b": [Target("CohereLabs/c4ai-command-r-08-2024")],
    "gemma-3-12b": [Target("google/gemma-3-12b-it")],
    "gemma-3-27b": [Target("google/gemma-3-27b-it")],
    "nemotron-nano-9b-v2": [Target("nvidia/NVIDIA-Nemotron-Nano-9B-v2")],
    "nemotron-nano-12b-v2": [Target("nvidia/NVIDIA-Nemotron-Nano-12B-v2")],
}
