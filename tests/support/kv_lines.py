"""Start-up logs of vLLM: what an engine had for KV, and where the rest of its memory went.

Owns reading tests/data/perf/kv_lines.csv. Output: `KvLine`s, each with the variant that was run.
"""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from argosy.keys import ModelKey
from argosy.perf import Gpu, find_gpu, find_model
from argosy.perf.catalogue import Model, architecture_from_config
from argosy.perf.footprint.memory import fits_on
from argosy.perf.footprint.weights import Ranks, rank_weight_bytes
from argosy.perf.footprint.working_memory import usable_bytes, working_memory
from argosy.perf.protocol import Fits
from argosy.snapshot import EngineSettings, Variant
from argosy.snapshot.architecture import Architecture, Dtype

DATA = Path(__file__).parents[1] / "data" / "perf"
CAPTURE_SIZES = 51
"""Of graphs, in these runs."""


@dataclass(frozen=True)
class KvLine:
    """One engine; GiB on one GPU, as its log says."""

    name: str
    gpu: Gpu
    architecture: Architecture
    variant: Variant
    weight_gib: float
    activation_gib: float
    non_torch_gib: float
    graph_estimate_gib: float
    kv_gib: float
    kv_tokens: int

    @property
    def samples_most(self) -> bool:
        """Whether the sampler's peak is above a layer's: a vocabulary of more than 40,000 tokens."""
        return self.architecture.vocabulary > 40_000

    @property
    def has_windows(self) -> bool:
        """Then the log's tokens are those of sequences whose windows hold a whole prompt, and say less."""
        return self.architecture.sliding_layers > 0

    def error(self) -> float:
        """Of the KV tokens, relative; of the bytes for KV where some layers have windows."""
        if self.has_windows:
            return free_gib(self.gpu, self.architecture, self.variant) / self.kv_gib - 1
        found = fits_on(self.gpu, self.architecture, self.variant)
        assert isinstance(found, Fits), (self.name, found.message)
        return found.kv_capacity_tokens / self.kv_tokens - 1


@cache
def kv_lines() -> tuple[KvLine, ...]:
    """In the file's order."""
    return tuple(_line(row) for row in _rows("kv_lines.csv"))


@dataclass(frozen=True)
class OtherCard:
    """One engine of another card or release: what its log leaves for KV, in GiB on one GPU."""

    name: str
    gpu: Gpu
    architecture: Architecture
    variant: Variant
    kv_gib: float

    def error(self) -> float:
        """Of the bytes for KV, relative."""
        return free_gib(self.gpu, self.architecture, self.variant) / self.kv_gib - 1


def free_gib(gpu: Gpu, a: Architecture, variant: Variant) -> float:
    """What is left for KV on one GPU of an engine without a pipeline."""
    engine, ranks = variant.engine, Ranks(variant.tensor_parallel)
    used = working_memory(a, gpu, variant).total + rank_weight_bytes(a, engine.quantization, ranks)
    return (engine.gpu_memory_utilization * usable_bytes(gpu) - used) / 2**30


@cache
def other_cards() -> tuple[OtherCard, ...]:
    """In the file's order."""
    return tuple(_other(row) for row in _rows("kv_lines_other_cards.csv"))


def _rows(name: str) -> list[dict[str, str]]:
    lines = (DATA / name).read_text("utf-8").splitlines()
    return list(csv.DictReader(each for each in lines if not each.startswith("#")))


def _other(row: dict[str, str]) -> OtherCard:
    gpu = find_gpu(row["gpu"])
    assert isinstance(gpu, Gpu), gpu
    engine = EngineSettings(
        image=f"vllm/vllm-openai:v{row['version']}",
        max_num_seqs=int(row["seqs"]),
        max_num_batched_tokens=int(row["batched"]),
        gpu_memory_utilization=float(row["utilization"]),
        quantization=Dtype(row["quantization"]) if row["quantization"] else None,
    )
    variant = Variant(ModelKey("ns/m"), row["like"], ("m",), "pool", gpu.name, int(row["tp"]), engine)
    name = f"{row['like']} on {row['tp']} x {row['gpu']}, vLLM {row['version']}"
    return OtherCard(name, gpu, _architecture(row["like"]), variant, float(row["kv_gib"]))


def _line(row: dict[str, str]) -> KvLine:
    gpu = find_gpu("H100")
    assert isinstance(gpu, Gpu)
    engine = EngineSettings(
        image="vllm/vllm-openai:v0.19.0",
        max_num_seqs=1024,
        max_num_batched_tokens=8192,
        max_model_len=int(row["max_model_len"]),
        gpu_memory_utilization=0.95,
        quantization=Dtype(row["quantization"]) if row["quantization"] else None,
        kv_cache_dtype=Dtype(row["kv_cache_dtype"]) if row["kv_cache_dtype"] else None,
    )
    variant = Variant(
        ModelKey("ns/m"), row["like"], ("m",), "pool", "H100", int(row["tp"]), engine, int(row["pp"])
    )
    numbers = ("weight", "activation", "non_torch", "graph_estimate", "kv_gib")
    return KvLine(
        row["model"],
        gpu,
        _architecture(row["like"]),
        variant,
        *(float(row[n]) for n in numbers),
        int(row["kv_tokens"]),
    )


def _architecture(name: str) -> Architecture:
    published = {
        each["name"]: each["config"] for each in json.loads((DATA / "published_models.json").read_text())
    }
    if name in published:
        found = architecture_from_config(published[name])
        assert isinstance(found, Architecture), found
        return found
    model = find_model(name)
    assert isinstance(model, Model), model
    return model.architecture
