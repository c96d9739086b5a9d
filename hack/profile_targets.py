"""What profiles are exported of: GPUs, checkpoints and tensor-parallel sizes.

Owns the choices, each with its reason. A shape that has no data or does not fit is found out
by `profile_source` and named in the manifest, not left out here. Experts are cut like all other
layers: there is no expert parallelism and no data-parallel attention, and no pipeline.
"""

from __future__ import annotations

from collections.abc import Mapping

from profile_source import Checkpoint

from argosy.perf.catalogue import Model, find_model

# Catalogue name -> the tool's system. All those with vLLM kernels measured.
SYSTEMS: Mapping[str, str] = {
    "H100": "h100_sxm",
    "H200": "h200_sxm",
    "B200": "b200_sxm",
    "B300": "b300_sxm",
    "GB200": "gb200",
    "GB300": "gb300",
    "A100": "a100_sxm",
    "L40S": "l40s",
    "RTX-PRO-6000": "rtx_pro_6000_server",
}

# Relative error of a step with the usual host overhead, (dense, mixture of experts): on the even rows
# of the measured runs (`argosy perf validate` prints the odd ones), rounded up. No runs of the
# GPUs after B300 are known: B200's for the other Blackwells, else a tenth, and a third for experts.
_BLACKWELL = (0.16, 0.35)
UNCERTAINTY: Mapping[str, tuple[float, float]] = {
    "H100": (0.06, 0.30),
    "H200": (0.08, 0.30),
    "B200": _BLACKWELL,
    "B300": _BLACKWELL,
    "GB200": _BLACKWELL,
    "GB300": _BLACKWELL,
    "A100": (0.10, 0.33),
    "L40S": (0.10, 0.33),
    "RTX-PRO-6000": _BLACKWELL,
}


def has_experts(model: str) -> bool:
    """Whether a step's time depends on which experts its tokens go to."""
    found = find_model(model)
    if not isinstance(found, Model):
        raise SystemExit(found.message)
    return found.architecture.is_moe


BF16 = {"kvcache_quant_mode": "bfloat16"}
KV8 = {"kvcache_quant_mode": "fp8"}
# FP8 with dynamic scales: what vLLM makes of a bfloat16 checkpoint (`--quantization fp8`), and what
# the measured runs of Llama-70B state that they ran; their even rows are nearer to it, too.
DYNAMIC_FP8 = {"gemm_quant_mode": "fp8", **BF16}
# FP8 in blocks of 128, for the linear layers. Their measured kernels are bound by the host that
# launches them (65 us a GEMM on Hopper, 180 us on Blackwell, whatever its size, so that FP8 comes
# out slower than bfloat16); under CUDA graphs that is gone. Per-tensor FP8 with dynamic scales is
# the nearest that was measured free of it. The experts' blocks are measured well and stay.
BLOCK_FP8 = {"gemm_quant_mode": "fp8", **BF16}
# Where TP cuts a block of 128 of an expert, experts too are per tensor.
CUT_BLOCK_FP8 = {"moe_quant_mode": "fp8", **BLOCK_FP8}
NVFP4 = {"gemm_quant_mode": "nvfp4", **KV8}

_LLAMA_8B, _LLAMA_70B = "meta-llama/Meta-Llama-3.1-8B", "meta-llama/Meta-Llama-3.1-70B"

# Added after the others, and only on the GPUs that tables of siblings are made from: a table scaled to a
# sibling is within 6 % (`argosy.perf.profiles.reshape`), and the package has room for so many.
SMALLER_SET = ("H100", "H200", "B200", "A100", "L40S", "RTX-PRO-6000")

_FIRST = (
    Checkpoint("llama-3.1-8b", "bf16", _LLAMA_8B, BF16),
    Checkpoint("llama-3.1-8b", "fp8", _LLAMA_8B, DYNAMIC_FP8),
    Checkpoint("llama-3.1-8b", "fp4", _LLAMA_8B, NVFP4),
    Checkpoint("llama-3.1-70b", "bf16", _LLAMA_70B, BF16),
    Checkpoint("llama-3.1-70b", "fp8", _LLAMA_70B, DYNAMIC_FP8),
    Checkpoint("llama-3.1-70b", "fp4", _LLAMA_70B, NVFP4),
    Checkpoint("qwen3-8b", "bf16", "Qwen/Qwen3-8B", BF16),
    Checkpoint("qwen3-8b", "fp8", "Qwen/Qwen3-8B", BLOCK_FP8),
    Checkpoint("qwen3-14b", "bf16", "Qwen/Qwen3-14B", BF16),
    Checkpoint("qwen3-14b", "fp8", "Qwen/Qwen3-14B", BLOCK_FP8),
    Checkpoint("qwen3-32b", "bf16", "Qwen/Qwen3-32B", BF16),
    Checkpoint("qwen3-32b", "fp8", "Qwen/Qwen3-32B-FP8", BLOCK_FP8),
    Checkpoint("qwen3-30b-a3b", "bf16", "Qwen/Qwen3-30B-A3B", BF16),
    Checkpoint("qwen3-30b-a3b", "fp8", "Qwen/Qwen3-30B-A3B-FP8", BLOCK_FP8),
    Checkpoint("qwen3-235b-a22b", "bf16", "Qwen/Qwen3-235B-A22B", BF16),
    Checkpoint("qwen3-235b-a22b", "fp8", "Qwen/Qwen3-235B-A22B-FP8", BLOCK_FP8),
    Checkpoint("qwen3-235b-a22b", "fp4", "nvidia/Qwen3-235B-A22B-NVFP4", KV8),
    Checkpoint("gpt-oss-20b", "fp4", "openai/gpt-oss-20b", BF16),
    Checkpoint("gpt-oss-120b", "fp4", "openai/gpt-oss-120b", BF16),
    # Eight-fold TP of this one was run and measured, blocks or not.
    Checkpoint("minimax-m2.5", "fp8", "MiniMaxAI/MiniMax-M2.5", BLOCK_FP8, CUT_BLOCK_FP8),
    Checkpoint("minimax-m2.5", "fp4", "nvidia/MiniMax-M2.5-NVFP4", KV8),
    Checkpoint("kimi-k2.5", "int4", "moonshotai/Kimi-K2.5", BF16),
    Checkpoint("kimi-k2.5", "fp4", "nvidia/Kimi-K2.5-NVFP4", KV8),
    Checkpoint("deepseek-v3", "fp8", "deepseek-ai/DeepSeek-V3", BLOCK_FP8),
    Checkpoint("deepseek-v3", "fp4", "nvidia/DeepSeek-V3.1-NVFP4", KV8),
)


# For a name whose config states bfloat16. With experts per tensor, as no checkpoint has them, the source has
# no kernel of these sizes on Hopper and gives four times the time.
ALL_BLOCK_FP8 = {"moe_quant_mode": "fp8_block", **BLOCK_FP8}
# Experts per tensor, as the published FP8 checkpoints of these models have them.
ALL_FP8 = {"moe_quant_mode": "fp8", **DYNAMIC_FP8}
_BOTH = {"bf16": BF16, "fp8": DYNAMIC_FP8}
_DENSE = {
    "llama-2-7b": "meta-llama/Llama-2-7b-hf",
    "llama-2-13b": "meta-llama/Llama-2-13b-hf",
    "llama-3.1-405b": "meta-llama/Meta-Llama-3.1-405B",
    "llama-3.2-3b": "meta-llama/Llama-3.2-3B",
    "codellama-34b": "codellama/CodeLlama-34b-hf",
    "yi-34b": "01-ai/Yi-34B",
    "qwen2.5-7b": "Qwen/Qwen2.5-7B",
    "qwen2.5-14b": "Qwen/Qwen2.5-14B",
    "qwen2.5-32b": "Qwen/Qwen2.5-32B",
    "qwen2.5-72b": "Qwen/Qwen2.5-72B",
    "qwen3-4b": "Qwen/Qwen3-4B",
    "mistral-nemo-12b": "mistralai/Mistral-Nemo-Instruct-2407",
    "mistral-small-24b": "mistralai/Mistral-Small-24B-Instruct-2501",
    "command-r-32b": "CohereLabs/c4ai-command-r-08-2024",
    "gemma-3-12b": "google/gemma-3-12b-it",
    "gemma-3-27b": "google/gemma-3-27b-it",
    "nemotron-nano-9b-v2": "nvidia/NVIDIA-Nemotron-Nano-9B-v2",
    "nemotron-nano-12b-v2": "nvidia/NVIDIA-Nemotron-Nano-12B-v2",
}
_EXPERTS = {
    "mixtral-8x7b": "mistralai/Mixtral-8x7B-v0.1",
    "mixtral-8x22b": "mistralai/Mixtral-8x22B-v0.1",
    "llama-4-scout": "meta-llama/Llama-4-Scout-17B-16E-Instruct",
    "llama-4-maverick": "meta-llama/Llama-4-Maverick-17B-128E-Instruct",
}
# Not here: Qwen3.5, of which the tool's decode steps are shorter than their own matrix products; Phi-4,
# whose attention (10 KV heads) was measured at TP 8 only, where an engine cannot divide them; GLM-4.5,
# Gemma 2, Command A and other architectures that it does not know.
_MORE = (
    *(
        Checkpoint(model, dtype, name, quant)
        for model, name in _DENSE.items()
        for dtype, quant in _BOTH.items()
    ),
    *(
        Checkpoint(model, dtype, name, quant)
        for model, name in _EXPERTS.items()
        for dtype, quant in {"bf16": BF16, "fp8": ALL_FP8}.items()
    ),
    Checkpoint("qwen3-coder-480b-a35b", "fp8", "Qwen/Qwen3-Coder-480B-A35B-Instruct", ALL_BLOCK_FP8),
    Checkpoint("kimi-k2", "fp8", "moonshotai/Kimi-K2-Instruct", BLOCK_FP8),
    Checkpoint("nemotron-3-nano-30b-a3b", "bf16", "nvidia/NVIDIA-Nemotron-3-Nano-30B-A3B-BF16", BF16),
    Checkpoint("gemma-4-26b-a4b", "bf16", "google/gemma-4-26B-A4B", BF16),
)
CHECKPOINTS = (*_FIRST, *_MORE)


def checkpoints_of(gpu: str) -> tuple[Checkpoint, ...]:
    """What tables are made of on this GPU."""
    return CHECKPOINTS if gpu in SMALLER_SET else _FIRST


def tensor_parallel_sizes(gpu: str) -> tuple[int, ...]:
    """The sizes to try. Above 2, L40S was measured in a box without peer-to-peer transfers."""
    return (1, 2) if gpu == "L40S" else (1, 2, 4, 8)


def refusal(gpu: str, checkpoint: Checkpoint) -> str:
    """Why a shape that the tool answers for gets no table; empty where it gets one."""
    is_slow = gpu in ("H100", "H200") and checkpoint.model in _EXPERTS and checkpoint.dtype == "fp8"
    return _UNTUNED if is_slow else ""


_UNTUNED = "FP8 experts take up to three times as long as in bfloat16: measured without a tuned kernel"
