"""The figures of a GPU that the catalogue does not have, and what connects the GPUs of a node.

Owns the fields and rules of `spec.gpuSpec`, `spec.interconnect` and `spec.sharing`. `perf` computes
memory and step times from them; without peaks it uses measured profiles only.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import Field

from argosy.api.schema.rule import Rule
from argosy.api.schema.value import KeyedBy, Value


class PeakFlops(Value):
    """Dense peak rates of a GPU, in 10^12 operations per second, by number type."""

    bf16: float = Field(
        gt=0, le=1e5, description="In 16 bits with 32-bit accumulation (float16 where there is no bfloat16)."
    )
    fp8: float | None = Field(None, gt=0, le=1e5, description="In FP8. Absent: no hardware for it.")
    int8: float | None = Field(None, gt=0, le=1e5, description="In INT8. Absent: no hardware for it.")
    fp4: float | None = Field(None, gt=0, le=1e5, description="In FP4. Absent: no hardware for it.")


class GpuSpec(Value):
    """A GPU's data sheet. Dense rates, not those with sparsity."""

    memory_gib: float = Field(
        gt=0, le=4096, description="Memory in GiB as the driver reports it (nvidia-smi, MiB / 1024)."
    )
    memory_bandwidth_gb_per_second: float | None = Field(
        None,
        gt=0,
        le=1e5,
        description=(
            "Peak memory bandwidth in 10^9 bytes per second. Absent, as tflops then is: only measured"
            " profiles (spec.profiles of a ServedModel) answer for this GPU."
        ),
    )
    tflops: PeakFlops | None = Field(None, description="Dense peak rates by number type.")
    link_gb_per_second: float | None = Field(
        None,
        gt=0,
        le=1e5,
        description=(
            "Bandwidth of all links from one GPU to the others of its node together (NVLink, Infinity"
            " Fabric), one direction, in 10^9 bytes per second. Absent: they meet over PCIe."
        ),
    )
    pcie_gb_per_second: float = Field(
        32.0, gt=0, le=1e4, description="Bandwidth of PCIe, one direction, in 10^9 bytes per second."
    )
    network_gb_per_second: float = Field(
        12.5, gt=0, le=1e4, description="Bandwidth from one GPU to another node, in 10^9 bytes per second."
    )
    power_watts: float = Field(300.0, gt=0, le=1e5, description="Power limit of one GPU in watts.")

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            name="gpupool-gpu-spec-peaks",
            cel="has(self.tflops) == has(self.memoryBandwidthGbPerSecond)",
            message=(
                "spec.gpuSpec: tflops and memoryBandwidthGbPerSecond are needed together; set both, or"
                " neither where only measured profiles answer"
            ),
            holds=lambda spec: (spec.tflops is None) == (spec.memory_bandwidth_gb_per_second is None),
        ),
    )


class InterconnectType(StrEnum):
    """How the GPUs of a node reach each other."""

    NVLINK = "NVLink"
    PCIE_PEER_TO_PEER = "PCIePeerToPeer"
    PCIE_THROUGH_HOST = "PCIeThroughHost"


class AllReduce(Value):
    """What an all-reduce inside a node takes: a latency, and the bytes over a bandwidth."""

    gpus: int = Field(ge=2, le=64, description="GPUs of a node that take part.")
    latency_microseconds: float = Field(
        ge=0, le=1e6, description="Time of an all-reduce of few bytes, in microseconds."
    )
    bus_gb_per_second: float = Field(
        gt=0,
        le=1e5,
        description="Bus bandwidth at large sizes (busbw of nccl-tests), in 10^9 bytes per second.",
    )


MAX_ALL_REDUCES = 8
"""Numbers of GPUs that a pool has figures of."""


class Interconnect(Value):
    """What connects the GPUs of a node."""

    type: InterconnectType | None = Field(
        None,
        description=(
            "NVLink (on AMD Infinity Fabric), PCIePeerToPeer (nvidia-smi topo -p2p r shows OK) or"
            " PCIeThroughHost (it does not: the bytes pass the host's memory). Absent: as in the catalogue."
        ),
    )
    all_reduce: Annotated[tuple[AllReduce, ...], Field(max_length=MAX_ALL_REDUCES), KeyedBy("gpus")] = Field(
        (),
        description=(
            "Measured all-reduces by number of GPUs, as argosy perf links prints them from the output of"
            " all_reduce_perf (nccl-tests). Used in place of what is known of the type."
        ),
    )

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            name="gpupool-interconnect-empty",
            cel="has(self.type) || (has(self.allReduce) && self.allReduce.size() > 0)",
            message="spec.interconnect: set type, allReduce or both, or remove it",
            holds=lambda link: link.type is not None or bool(link.all_reduce),
        ),
    )


class GpuSharing(Value):
    """How containers share one card (time-slicing, MPS)."""

    replicas_per_gpu: int = Field(
        ge=2,
        le=64,
        description=(
            "Containers that share one GPU, as the device plugin is configured (label"
            " nvidia.com/gpu.replicas). Each is planned with this share of memory, bandwidth and arithmetic."
        ),
    )
