"""What it costs to move bytes between GPUs: all-reduces, pipeline transfers, KV transfers.

Owns `Link` (what connects the GPUs of a group, with what it sustains rather than what its data
sheet says) and the cost of one operation over it. Bytes and numbers of GPUs come in, milliseconds
go out.

The model is latency plus bytes over rate. A ring all-reduce sends 2(n-1)/n of the message over
every GPU's link; its latency grows with the group where the bytes pass through host memory.
The constants are read from the collective tables of aiconfigurator-core 0.12.0 (NCCL 2.27-2.29
and vLLM's custom all-reduce in a CUDA graph; their message sizes count bfloat16 elements):

    rate / peak of the link          2 GPUs   4 GPUs   8 GPUs   point to point
    A100, NVLink 3 (300 GB/s)         0.58     0.66     0.69     0.50
    H100, NVLink 4 (450 GB/s)         0.64     0.72     0.91     0.57
    B200, NVLink 5 (900 GB/s)         0.55     0.65     0.73     0.49
    RTX PRO 6000, PCIe 5 (64 GB/s)    0.59     0.46     0.38     0.50
    L40S, PCIe 4 (32 GB/s)            0.58     0.12     0.06     0.61

The last two figures of the L40S are one machine without peer-to-peer whose traffic crossed a
socket: 2 GPUs of it do as well as the RTX PRO 6000's, 4 do not. They are left out, and groups
of more than two over PCIe take the RTX PRO 6000's share. Small messages take 12.5-14 us over
NVLink (A100, with an older engine, 25 us) and 13, 21, 29 us for 2, 4, 8 GPUs over PCIe.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from argosy.checks import not_negative, positive
from argosy.errors import SpecError
from argosy.perf.catalogue import Gpu

NVLINK_POINT_TO_POINT, NVLINK_REDUCE = 0.5, 0.65
PCIE_POINT_TO_POINT, PCIE_REDUCE_PAIR, PCIE_REDUCE_GROUP = 0.55, 0.58, 0.42
NVLINK_LATENCY_MS, PCIE_LATENCY_MS, PCIE_LATENCY_PER_DOUBLING_MS = 0.0125, 0.0125, 0.008
# The latency is that of aiconfigurator's system files (`p2p_latency`). No measurement between
# nodes is at hand: four fifths of the line rate is an assumption, at the careful end of RDMA.
NETWORK_SHARE, NETWORK_LATENCY_MS = 0.8, 0.01


@dataclass(frozen=True, slots=True)
class Link:
    """What connects GPUs, as one GPU sees it.

    bytes_per_s:             sustained from one GPU to another, one direction
    latency_ms:              of one message, and of an all-reduce of two GPUs
    pair_reduce_bytes_per_s, group_reduce_bytes_per_s: bytes that pass each GPU's link per second
                             in a ring all-reduce of two GPUs, and of more (None: `bytes_per_s`)
    doubling_ms:             latency added to an all-reduce by every doubling beyond two GPUs

    Raises SpecError for a rate that is not positive and for a negative latency.
    """

    name: str
    bytes_per_s: float
    latency_ms: float
    pair_reduce_bytes_per_s: float | None = None
    group_reduce_bytes_per_s: float | None = None
    doubling_ms: float = 0.0

    def __post_init__(self) -> None:
        positive(self.bytes_per_s, "link.bytes_per_s")
        not_negative(self.latency_ms, "link.latency_ms")


@dataclass(frozen=True, slots=True)
class GpuLinks:
    """How a GPU type reaches its neighbours: in its node, and in another node."""

    inside: Link
    network: Link
    gpus_per_node: int

    def of_group(self, num_gpus: int) -> Link:
        """The link that a group of so many GPUs is held up by."""
        return self.inside if num_gpus <= self.gpus_per_node else self.network


def gpu_links(gpu: Gpu) -> GpuLinks:
    """The links of this GPU type: NVLink where it has one, else PCIe through host memory."""
    if gpu.nvlink_bytes_per_s is not None:
        inside = _nvlink(gpu.nvlink_bytes_per_s)
    else:
        inside = _pcie(gpu.pcie_bytes_per_s)
    network = Link("network", NETWORK_SHARE * gpu.network_bytes_per_s, NETWORK_LATENCY_MS)
    return GpuLinks(inside, network, gpu.gpus_per_node)


def transfer_ms(num_bytes: float, link: Link) -> float:
    """Milliseconds to send so many bytes from one GPU to another (a pipeline stage's output, KV).

    Raises SpecError for negative bytes.
    """
    return link.latency_ms + 1e3 * not_negative(num_bytes, "num_bytes") / link.bytes_per_s


def all_reduce_terms(num_gpus: int, link: Link) -> tuple[float, float]:
    """(milliseconds, milliseconds per byte of the message) of an all-reduce; zeros for one GPU.

    Raises SpecError for fewer GPUs than one.
    """
    if num_gpus < 1:
        raise SpecError(f"must be at least 1, not {num_gpus}", "num_gpus")
    if num_gpus == 1:
        return 0.0, 0.0
    rate = link.pair_reduce_bytes_per_s if num_gpus == 2 else link.group_reduce_bytes_per_s
    latency_ms = link.latency_ms + link.doubling_ms * math.log2(num_gpus / 2)
    return latency_ms, 1e3 * 2 * (num_gpus - 1) / num_gpus / (rate or link.bytes_per_s)


def _nvlink(peak_bytes_per_s: float) -> Link:
    reduce = NVLINK_REDUCE * peak_bytes_per_s
    return Link("NVLink", NVLINK_POINT_TO_POINT * peak_bytes_per_s, NVLINK_LATENCY_MS, reduce, reduce)


def _pcie(peak_bytes_per_s: float) -> Link:
    return Link(
        "PCIe",
        PCIE_POINT_TO_POINT * peak_bytes_per_s,
        PCIE_LATENCY_MS,
        PCIE_REDUCE_PAIR * peak_bytes_per_s,
        PCIE_REDUCE_GROUP * peak_bytes_per_s,
        PCIE_LATENCY_PER_DOUBLING_MS,
    )
