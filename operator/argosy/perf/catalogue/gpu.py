"""GPU types: what the data sheet and the driver say of each.

Owns the noun `Gpu` and reading gpus.json. Input: the file's bytes; output: `Gpu` values. Every
entry names its sources.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from argosy.checks import positive
from argosy.errors import SpecError
from argosy.snapshot.architecture import Dtype


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU type. Bandwidths are peaks, of one direction where a link has two.

    products:           values of the node labels nvidia.com/gpu.product or
                        amd.com/gpu.product-name, the usual one first
    memory_bytes:       as the driver reports it, not as the data sheet rounds it (an L40S of
                        "48 GB" has 46,068 MiB)
    flops:              dense peaks by number type; a type that is missing has no hardware there,
                        and vLLM multiplies in 16 bits with the weights stored small ("weight-only")
    nvlink_bytes_per_s: of all GPU-to-GPU links of one GPU together (NVLink, on AMD Infinity
                        Fabric); None where GPUs meet over PCIe only
    network_bytes_per_s: of one GPU to another node

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

    def __post_init__(self) -> None:
        for name in ("memory_bytes", "memory_bytes_per_s", "pcie_bytes_per_s", "network_bytes_per_s"):
            positive(getattr(self, name), f"gpu.{name}")
        positive(self.tdp_w, "gpu.tdp_w")
        positive(self.gpus_per_node, "gpu.gpus_per_node")
        if self.nvlink_bytes_per_s is not None:
            positive(self.nvlink_bytes_per_s, "gpu.nvlink_bytes_per_s")
        for dtype, peak in self.flops.items():
            positive(peak, f"gpu.flops.{dtype}")
        if Dtype.BF16 not in self.flops:
            raise SpecError("the 16-bit peak is missing", "gpu.flops.bf16")

    @property
    def product(self) -> str:
        """The usual value of the node label nvidia.com/gpu.product (amd.com/gpu.product-name)."""
        return self.products[0]


def parse_gpus(document: bytes) -> tuple[Gpu, ...]:
    """The GPUs of a gpus.json. Raises SpecError that names what is wrong with it."""
    try:
        return tuple(_gpu(entry) for entry in json.loads(document))
    except (ValueError, KeyError, TypeError, AttributeError) as fault:
        raise SpecError(f"not a catalogue of GPUs: {type(fault).__name__} {fault}") from fault


def _gpu(entry: Mapping[str, Any]) -> Gpu:
    values = dict(entry)
    values["products"], values["aliases"] = tuple(entry["products"]), tuple(entry["aliases"])
    values["flops"] = {Dtype(dtype): float(peak) for dtype, peak in entry["flops"].items()}
    return Gpu(**values)
