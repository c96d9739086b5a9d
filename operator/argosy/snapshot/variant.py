"""What can serve: GPU, parallel shape, engine settings, variant.

Owns the noun `Gpu`, the identity of a variant (model x pool x parallel shape x engine settings), and the
way from a ServedModel's `spec.engine` to settings. How fast a variant is, is `perf`'s answer.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from packaging.version import Version

from argosy.api.engine.pod import EnginePod, EnvVar
from argosy.api.servedmodel import Engine
from argosy.checks import not_negative, positive
from argosy.dtype import Dtype
from argosy.engine_version import engine_version
from argosy.errors import SpecError
from argosy.keys import ModelKey
from argosy.snapshot.architecture import Architecture

NAME_LIMIT = 63
"""A variant's name is a label value, while a model's and a pool's may have 253 characters each."""

_DEFAULTS = Engine()


def _unchanged(value: Any) -> Any:
    return value


def _dtype(name: str | None) -> Dtype | None:
    return None if name is None else Dtype(name)


def _pairs(env: tuple[EnvVar, ...]) -> tuple[tuple[str, str], ...]:
    """Those with a value of their own: what others hold is in objects that decisions do not read."""
    return tuple((variable.name, variable.value) for variable in env if variable.value_from is None)


_CONVERTERS: Mapping[str, Callable[[Any], Any]] = {
    "quantization": _dtype,
    "kv_cache_dtype": _dtype,
    "env": _pairs,
}
"""For the fields of `spec.engine` whose type differs here."""


@dataclass(frozen=True, slots=True)
class Reduce:
    """What an all-reduce of so many GPUs of a node takes: a latency, and the bytes over a rate.

    bytes_per_s: that pass each GPU's link (the bus bandwidth of nccl-tests), 2(n-1)/n of the message

    Raises SpecError for fewer GPUs than two, a negative latency and a rate that is not positive.
    """

    gpus: int
    latency_ms: float
    bytes_per_s: float

    def __post_init__(self) -> None:
        positive(self.gpus - 1, "reduce.gpus")
        not_negative(self.latency_ms, "reduce.latency_ms")
        positive(self.bytes_per_s, "reduce.bytes_per_s")

    @property
    def ms_per_byte(self) -> float:
        """Milliseconds per byte of the message."""
        return 1e3 * 2 * (self.gpus - 1) / self.gpus / self.bytes_per_s

    def milliseconds(self, num_bytes: float) -> float:
        """Until every GPU has the sum of all their `num_bytes`."""
        return self.latency_ms + self.ms_per_byte * num_bytes


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU type, or a part of one. Bandwidths are peaks, of one direction where a link has two.

    products:           values of the node labels nvidia.com/gpu.product or
                        amd.com/gpu.product-name, the usual one first; none of a declared GPU
    memory_bytes:       as the driver reports it, not as the data sheet rounds it (an L40S of
                        "48 GB" has 46,068 MiB)
    flops:              dense peaks by number type; a type that is missing has no hardware there,
                        and vLLM multiplies in 16 bits with the weights stored small ("weight-only");
                        16 bits are float16 before compute capability 8.0, which has no bfloat16
    nvlink_bytes_per_s: of all GPU-to-GPU links of one GPU together (NVLink, on AMD Infinity
                        Fabric); None where GPUs meet over PCIe only
    network_bytes_per_s: of one GPU to another node
    compute_capability: NVIDIA's; None where it is unknown and of other vendors
    mig:                profiles into which MIG divides it, the smallest first
    part_of:            the card of which it is a slice or a share; empty for a whole card
    sharers:            containers that share its memory and its time
    peer_to_peer:       whether GPUs reach each other over PCIe directly, not through the host's memory
    all_reduces:        what its pool measured inside a node, by number of GPUs
    has_peaks:          False where only memory and links were declared: bandwidth and peaks are not used

    Raises SpecError, with the field, for what is not positive and for a missing 16-bit peak.
    """

    name: str
    products: tuple[str, ...]
    memory_bytes: int
    memory_bytes_per_s: float
    flops: Mapping[Dtype, float] = field(hash=False)
    nvlink_bytes_per_s: float | None
    pcie_bytes_per_s: float
    network_bytes_per_s: float
    gpus_per_node: int
    tdp_w: float
    vendor: str
    source: str
    aliases: tuple[str, ...] = ()
    compute_capability: float | None = None
    mig: tuple[str, ...] = ()
    part_of: str = ""
    sharers: int = 1
    has_peaks: bool = True
    peer_to_peer: bool = True
    all_reduces: tuple[Reduce, ...] = ()

    def __post_init__(self) -> None:
        for name in ("memory_bytes", "pcie_bytes_per_s", "network_bytes_per_s"):
            positive(getattr(self, name), f"gpu.{name}")
        positive(self.tdp_w, "gpu.tdp_w")
        positive(self.gpus_per_node, "gpu.gpus_per_node")
        positive(self.sharers, "gpu.sharers")
        if self.nvlink_bytes_per_s is not None:
            positive(self.nvlink_bytes_per_s, "gpu.nvlink_bytes_per_s")
        if not self.has_peaks:
            return
        positive(self.memory_bytes_per_s, "gpu.memory_bytes_per_s")
        for dtype, peak in self.flops.items():
            positive(peak, f"gpu.flops.{dtype}")
        if Dtype.BF16 not in self.flops:
            raise SpecError("the 16-bit peak is missing", "gpu.flops.bf16")

    @property
    def product(self) -> str:
        """The usual value of the node label nvidia.com/gpu.product (amd.com/gpu.product-name)."""
        return self.products[0]


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """How one vLLM engine is started. Token counts are tokens, the utilisation is 0-1.

    version: of vLLM in the image, where its user states it; `Variant.engine_version` reads it
    quantization, kv_cache_dtype: number types of weights and KV; None: the checkpoint's own
    max_loras, max_lora_rank:     adapters resident at once (0: LoRA is off), and their rank at most
    drain_seconds: how long a replica that is removed may take to finish its requests
    pod: what its pods have beside it: labels, secrets, volumes, resources, security
    block_size: tokens of a KV block: vLLM's default, which no ServedModel changes

    All defaults but `block_size`'s are those of `spec.engine`, which owns them.
    """

    image: str = _DEFAULTS.image
    # Not part of a variant's name: it decides what is expected of an engine, not how it is started.
    version: str | None = field(default=_DEFAULTS.version, repr=False)
    port: int = _DEFAULTS.port
    max_num_seqs: int = _DEFAULTS.max_num_seqs
    max_num_batched_tokens: int = _DEFAULTS.max_num_batched_tokens
    max_model_len: int = _DEFAULTS.max_model_len
    gpu_memory_utilization: float = _DEFAULTS.gpu_memory_utilization
    block_size: int = 16
    quantization: Dtype | None = None
    kv_cache_dtype: Dtype | None = None
    max_loras: int = _DEFAULTS.max_loras
    max_lora_rank: int = _DEFAULTS.max_lora_rank
    # Not part of a variant's name or identity: how an engine ends and who else knows it, not what it can do.
    drain_seconds: int = field(default=_DEFAULTS.drain_seconds, repr=False, compare=False)
    pod: EnginePod = field(default=_DEFAULTS, repr=False, compare=False)
    args: tuple[str, ...] = _DEFAULTS.args
    env: tuple[tuple[str, str], ...] = ()

    @classmethod
    def of(cls, engine: Engine) -> EngineSettings:
        """The settings of a ServedModel's `spec.engine`: each field under its own name, or in `pod`."""
        names = [f.name for f in fields(cls) if f.name in Engine.model_fields]
        values = {name: _CONVERTERS.get(name, _unchanged)(getattr(engine, name)) for name in names}
        return cls(**values, pod=engine)


@dataclass(frozen=True, slots=True)
class Variant:
    """Model x pool x parallel shape x engine settings.

    `model_key` is the ServedModel; `model_id` is what the performance
    tables and the engine know; `gpu` is the catalogue's name. `architecture` and `declared_gpu` are
    what the user declares of a model and of a GPU: figures that the catalogue does not have, or the links of
    the pool's nodes.
    """

    model_key: ModelKey
    model_id: str
    served_names: tuple[str, ...]
    pool: str
    gpu: str
    tensor_parallel: int
    engine: EngineSettings
    pipeline_parallel: int = 1
    # Not part of the name: it decides what is expected of an engine, not how it is started.
    architecture: Architecture | None = field(default=None, repr=False)
    declared_gpu: Gpu | None = field(default=None, repr=False)

    @property
    def gpus(self) -> int:
        """GPUs of one replica."""
        return self.tensor_parallel * self.pipeline_parallel

    @property
    def engine_version(self) -> Version | None:
        """Of vLLM in its engines; None where neither `spec.engine.version` nor the image's tag tells."""
        return engine_version(self.engine.image, self.engine.version)

    @property
    def name(self) -> str:
        """Readable, unique and a valid label value: any other setting is another variant."""
        readable = f"{self.model_key.name}-{self.pool}-tp{self.tensor_parallel}"
        if self.pipeline_parallel > 1:
            readable += f"pp{self.pipeline_parallel}"
        digest = hashlib.sha256(repr(self).encode()).hexdigest()[:6]
        return f"{readable[: NAME_LIMIT - len(digest) - 1].rstrip('-.')}-{digest}"
