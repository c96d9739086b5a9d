"""Variants and catalogue entries by name, for tests of what fits where."""

from __future__ import annotations

from typing import Any

from argosy.perf import Gpu, find_gpu, find_model
from argosy.perf.catalogue import Model
from argosy.perf.footprint.memory import fits
from argosy.perf.protocol import Fits
from argosy.snapshot import EngineSettings, Variant
from argosy.snapshot.architecture import Architecture

LLAMA_8B, LLAMA_70B = "meta-llama/Llama-3.1-8B-Instruct", "meta-llama/Llama-3.3-70B-Instruct"
DEEPSEEK, GPT_OSS, QWEN_235B_FP8 = (
    "deepseek-ai/DeepSeek-V3",
    "openai/gpt-oss-120b",
    "Qwen/Qwen3-235B-A22B-FP8",
)


def variant(gpu: str, model_id: str, tensor_parallel: int, engine: EngineSettings | None = None) -> Variant:
    return Variant("ns/m", model_id, ("m",), "pool", gpu, tensor_parallel, engine or EngineSettings())


def room(gpu: str, model_id: str, tensor_parallel: int, **engine: Any) -> Fits:
    answer = fits(variant(gpu, model_id, tensor_parallel, EngineSettings(**engine)))
    assert isinstance(answer, Fits), answer
    return answer


def architecture(name: str) -> Architecture:
    model = find_model(name)
    assert isinstance(model, Model)
    return model.architecture


def gpu_of(name: str) -> Gpu:
    gpu = find_gpu(name)
    assert isinstance(gpu, Gpu)
    return gpu
