"""The GPUs of gpus.json.

Owns reading the file: what the data sheet and the driver say of each card. Input: its bytes; output:
`Gpu` values. Every entry names its sources.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from argosy.errors import SpecError
from argosy.snapshot.architecture import Dtype
from argosy.snapshot.variant import Gpu

_LISTS = ("products", "aliases", "mig")


def parse_gpus(document: bytes) -> tuple[Gpu, ...]:
    """The GPUs of a gpus.json. Raises SpecError that names what is wrong with it."""
    try:
        return tuple(_gpu(entry) for entry in json.loads(document))
    except (ValueError, KeyError, TypeError, AttributeError) as fault:
        raise SpecError(f"not a catalogue of GPUs: {type(fault).__name__} {fault}") from fault


def only_memory(name: str, memory_gib: float) -> Gpu:
    """A GPU of which only the memory is known: measured profiles answer for it, and nothing is computed."""
    return Gpu(
        name=name,
        products=(),
        memory_bytes=int(memory_gib * 2**30),
        memory_bytes_per_s=0.0,
        flops={},
        nvlink_bytes_per_s=None,
        pcie_bytes_per_s=32e9,
        network_bytes_per_s=12.5e9,
        gpus_per_node=8,
        tdp_w=300.0,
        vendor="another vendor",
        source="declared",
        has_peaks=False,
    )


def _gpu(entry: Mapping[str, Any]) -> Gpu:
    values = dict(entry)
    values |= {name: tuple(entry[name]) for name in _LISTS if name in entry}
    values["flops"] = {Dtype(dtype): float(peak) for dtype, peak in entry["flops"].items()}
    return Gpu(**values)
