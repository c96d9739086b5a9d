"""The GPUs and models that Argosy knows by name.

Owns the hard facts of each (memory, layers, parameters), every figure with its source. Never
knows how fast a pair is (`table`) nor what fits where (`memory`). Names come in as a user or
a node label writes them; an unknown one is answered with the nearest that exist.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass

from argosy.perf.protocol import OutOfRange, OutOfRangeReason

_MIB = 1024 * 1024
_NVML = "NVML's total, as nvidia-smi and the node label nvidia.com/gpu.memory show it"


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU type.

    `product` is the node label nvidia.com/gpu.product. `memory_bytes` is what the driver
    reports, not what the data sheet says (an L40S of "48 GB" has 46,068 MiB). Bandwidth and
    the dense bfloat16 rate are the data sheet's peaks: only fits' priors use them.
    """

    name: str
    product: str
    memory_bytes: int
    memory_bytes_per_s: float
    bf16_flops: float
    source: str


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """One architecture and the names its checkpoints go by.

    `parameters` is the total; `bytes_per_parameter` and `kv_bytes` are those of the served
    type (bfloat16). All else is from the checkpoint's config.json.
    """

    key: str
    names: tuple[str, ...]
    layers: int
    hidden_size: int
    intermediate_size: int
    attention_heads: int
    kv_heads: int
    head_dim: int
    vocabulary: int
    parameters: int
    source: str
    bytes_per_parameter: float = 2.0
    kv_bytes: float = 2.0

    @property
    def weight_bytes(self) -> int:
        """Bytes of all weights, over all GPUs of a replica."""
        return round(self.parameters * self.bytes_per_parameter)

    def kv_bytes_per_token(self, tensor_parallel: int) -> float:
        """KV bytes of one token on one GPU. KV heads are sharded; beyond their number they repeat."""
        heads = max(1.0, self.kv_heads / tensor_parallel)
        return 2 * self.layers * heads * self.head_dim * self.kv_bytes


GPUS: tuple[Gpu, ...] = (
    Gpu("H100", "NVIDIA-H100-80GB-HBM3", 81_559 * _MIB, 3.35e12, 989e12, f"{_NVML}; H100 SXM5 data sheet"),
    Gpu("A100", "NVIDIA-A100-SXM4-80GB", 81_920 * _MIB, 2.039e12, 312e12, f"{_NVML}; A100 SXM4 data sheet"),
    Gpu("L40S", "NVIDIA-L40S", 46_068 * _MIB, 0.864e12, 362e12, f"{_NVML}; L40S data sheet"),
    Gpu("B200", "NVIDIA-B200", 183_359 * _MIB, 7.7e12, 2_250e12, f"{_NVML}; B200 (HGX) data sheet"),
)

MODELS: tuple[ModelFacts, ...] = (
    ModelFacts(
        key="llama-3-8b",
        names=(
            "meta-llama/Llama-3.1-8B-Instruct",
            "meta-llama/Llama-3.1-8B",
            "meta-llama/Meta-Llama-3.1-8B",
            "meta-llama/Meta-Llama-3.1-8B-Instruct",
            # Same layers and heads as 3.1; only its trained context (8,192) is shorter.
            "meta-llama/Meta-Llama-3-8B",
            "meta-llama/Meta-Llama-3-8B-Instruct",
        ),
        layers=32,
        hidden_size=4096,
        intermediate_size=14_336,
        attention_heads=32,
        kv_heads=8,
        head_dim=128,
        vocabulary=128_256,
        parameters=8_030_261_248,
        source="config.json and safetensors index of meta-llama/Llama-3.1-8B",
    ),
    ModelFacts(
        key="llama-3-70b",
        names=(
            "meta-llama/Llama-3.3-70B-Instruct",
            "meta-llama/Llama-3.1-70B-Instruct",
            "meta-llama/Meta-Llama-3.1-70B",
            "meta-llama/Meta-Llama-3.1-70B-Instruct",
        ),
        layers=80,
        hidden_size=8192,
        intermediate_size=28_672,
        attention_heads=64,
        kv_heads=8,
        head_dim=128,
        vocabulary=128_256,
        parameters=70_553_706_496,
        source="config.json and safetensors index of meta-llama/Llama-3.1-70B",
    ),
)

_GPU_BY_NAME = {name.lower(): gpu for gpu in GPUS for name in (gpu.name, gpu.product)}
_MODEL_BY_NAME = {name.lower(): model for model in MODELS for name in model.names}


def find_gpu(name: str) -> Gpu | OutOfRange:
    """The GPU with this catalogue name or product label (case does not matter)."""
    found = _GPU_BY_NAME.get(name.lower())
    if found is not None:
        return found
    known = [known for gpu in GPUS for known in (gpu.name, gpu.product)]
    return _unknown(OutOfRangeReason.UNKNOWN_GPU, "GPU", name, known)


def find_model(name: str) -> ModelFacts | OutOfRange:
    """The architecture behind this model id (case does not matter)."""
    found = _MODEL_BY_NAME.get(name.lower())
    if found is not None:
        return found
    known = [known for model in MODELS for known in model.names]
    return _unknown(OutOfRangeReason.UNKNOWN_MODEL, "model", name, known)


def _unknown(reason: OutOfRangeReason, kind: str, name: str, known: Iterable[str]) -> OutOfRange:
    nearest = _nearest(name, known)
    hint = f"did you mean {' or '.join(nearest)}?" if nearest else f"known are {', '.join(known)}"
    return OutOfRange(reason, f'the {kind} "{name}" is not in the catalogue; {hint}', nearest)


def _nearest(name: str, known: Iterable[str]) -> tuple[str, ...]:
    """At most three of `known` that look like `name`, the likeliest first."""
    by_lower = {candidate.lower(): candidate for candidate in known}
    matches = difflib.get_close_matches(name.lower(), by_lower, n=3, cutoff=0.5)
    return tuple(by_lower[match] for match in matches)
