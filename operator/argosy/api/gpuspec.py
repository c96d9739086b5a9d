"""The figures of a GPU that the catalogue does not have.

Owns the fields and rules of `spec.gpuSpec`, and those of `spec.sharing`. `perf` computes memory and
step times from them; without peaks it uses measured profiles only.
"""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from argosy.api.schema.rule import Rule
from argosy.api.schema.value import Value


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
