"""What profiles are exported of: GPUs, checkpoints and tensor-parallel sizes.

Owns the choices, each with its reason. A shape that has no data or does not fit is found out
by `profile_source` and named in the manifest, not left out here. Experts are cut like all other
layers: there is no expert parallelism and no data-parallel attention, and no pipeline.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from profile_source import Checkpoint

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
_DENSE = ("llama-3.1-8b", "llama-3.1-70b", "qwen3-8b", "qwen3-14b", "qwen3-32b")


def has_experts(model: str) -> bool:
    """Whether a step's time depends on which experts its tokens go to."""
    return model not in _DENSE


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
# The tool has no config of this one; these are the dimensions that Qwen/Qwen3-14B publishes in its.
_QWEN3_14B = str(Path(__file__).parent / "model_configs" / "qwen3-14b")

CHECKPOINTS = (
    Checkpoint("llama-3.1-8b", "bf16", _LLAMA_8B, BF16),
    Checkpoint("llama-3.1-8b", "fp8", _LLAMA_8B, DYNAMIC_FP8),
    Checkpoint("llama-3.1-8b", "fp4", _LLAMA_8B, NVFP4),
    Checkpoint("llama-3.1-70b", "bf16", _LLAMA_70B, BF16),
    Checkpoint("llama-3.1-70b", "fp8", _LLAMA_70B, DYNAMIC_FP8),
    Checkpoint("llama-3.1-70b", "fp4", _LLAMA_70B, NVFP4),
    Checkpoint("qwen3-8b", "bf16", "Qwen/Qwen3-8B", BF16),
    Checkpoint("qwen3-8b", "fp8", "Qwen/Qwen3-8B", BLOCK_FP8),
    Checkpoint("qwen3-14b", "bf16", _QWEN3_14B, BF16),
    Checkpoint("qwen3-14b", "fp8", _QWEN3_14B, BLOCK_FP8),
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


def tensor_parallel_sizes(gpu: str) -> tuple[int, ...]:
    """The sizes to try. Above 2, L40S was measured in a box without peer-to-peer transfers."""
    return (1, 2) if gpu == "L40S" else (1, 2, 4, 8)
