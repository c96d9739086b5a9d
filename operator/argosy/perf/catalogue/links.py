"""What it costs to move bytes between GPUs: all-reduces, pipeline transfers, KV transfers.

Owns `Link` (what connects the GPUs of a group, with what it sustains rather than what its data
sheet says) and the cost of one operation over it. Bytes and numbers of GPUs come in, milliseconds
go out.

The model is latency plus bytes over rate. A ring all-reduce sends 2(n-1)/n of the message over
every GPU's link; its latency grows with the group where the bytes pass through host memory.
The constants are read from the collective tables of aiconfigurator-core 0.12.0 (NCCL 2.27-2.29
and vLLM's all-reduce in a CUDA graph; their message sizes count bfloat16 elements):

    rate / peak of the link          2 GPUs   4 GPUs   8 GPUs   point to point
    A100, NVLink 3 (300 GB/s)         0.58     0.66     0.69     0.50
    H100, NVLink 4 (450 GB/s)         0.64     0.72     0.91     0.57
    B200, NVLink 5 (900 GB/s)         0.55     0.65     0.73     0.49
    RTX PRO 6000, PCIe 5 (64 GB/s)    0.59     0.46     0.38     0.50
    L40S, PCIe 4 (32 GB/s)            0.58     0.12     0.06     0.61

The L40S are one machine without peer-to-peer, whose GPUs reach each other through the host (and
its two sockets); the RTX PRO 6000 reach each other directly. A card takes the figures of one or
the other by `Gpu.peer_to_peer`, which a pool's `spec.interconnect` overrides. Small messages take
12.5-14 us over NVLink (A100, with an older engine, 25 us) and 13, 21, 29 us for 2, 4, 8 GPUs over
PCIe. hack/fit_links.py fits the rates through the host, and judges all on sizes held out.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from enum import StrEnum

from argosy.checks import not_negative, positive
from argosy.errors import SpecError
from argosy.perf.catalogue import Gpu
from argosy.snapshot.variant import Reduce

NVLINK_POINT_TO_POINT, NVLINK_REDUCE = 0.5, 0.65
PCIE_POINT_TO_POINT, PCIE_REDUCE_PAIR, PCIE_REDUCE_GROUP = 0.55, 0.58, 0.42
HOST_REDUCE = {4: 0.12, 8: 0.06, 16: 0.03}
"""Shares of PCIe's peak through the host. That 16 GPUs have half of what 8 have is an assumption."""
NVLINK_LATENCY_MS, PCIE_LATENCY_MS, PCIE_LATENCY_PER_DOUBLING_MS = 0.0125, 0.0125, 0.008
# The latency is that of aiconfigurator's system files (`p2p_latency`). No measurement between
# nodes is at hand: four fifths of the line rate is an assumption, at the careful end of RDMA.
NETWORK_SHARE, NETWORK_LATENCY_MS = 0.8, 0.01


class PcieTransport(StrEnum):
    """How GPUs of a node reach each other over PCIe; the value is the link's name."""

    PEER_TO_PEER = "PCIe"
    THROUGH_HOST = "PCIe through the host"


@dataclass(frozen=True, slots=True)
class Link:
    """What connects GPUs, as one GPU sees it.

    bytes_per_s: sustained from one GPU to another, one direction
    latency_ms:  of one message
    reduces:     all-reduces by number of GPUs, rising; a number between two of them takes the larger's,
                 one above them the largest's. Empty: latency and rate of the link

    Raises SpecError for a rate that is not positive, for a negative latency and for numbers that do not rise.
    """

    name: str
    bytes_per_s: float
    latency_ms: float
    reduces: tuple[Reduce, ...] = ()

    def __post_init__(self) -> None:
        positive(self.bytes_per_s, "link.bytes_per_s")
        not_negative(self.latency_ms, "link.latency_ms")
        numbers = [each.gpus for each in self.reduces]
        if numbers != sorted(set(numbers)):
            raise SpecError(f"numbers of GPUs must rise, not {numbers}", "link.reduces")


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
    """The links of this GPU: NVLink where it has one, else PCIe; what its pool measured wins."""
    if gpu.nvlink_bytes_per_s is not None:
        inside = _nvlink(gpu.nvlink_bytes_per_s)
    else:
        transport = PcieTransport.PEER_TO_PEER if gpu.peer_to_peer else PcieTransport.THROUGH_HOST
        inside = pcie_link(gpu.pcie_bytes_per_s, transport)
    network = Link("network", NETWORK_SHARE * gpu.network_bytes_per_s, NETWORK_LATENCY_MS)
    return GpuLinks(_with_measured(inside, gpu.all_reduces), network, gpu.gpus_per_node)


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
    if not link.reduces:
        return link.latency_ms, 1e3 * 2 * (num_gpus - 1) / num_gpus / link.bytes_per_s
    at = next((each for each in link.reduces if each.gpus >= num_gpus), link.reduces[-1])
    return at.latency_ms, 1e3 * 2 * (num_gpus - 1) / num_gpus / at.bytes_per_s


def pcie_link(peak_bytes_per_s: float, transport: PcieTransport) -> Link:
    """PCIe of this peak, one direction; pairs are as fast through the host as they are directly."""
    shares = {2: PCIE_REDUCE_PAIR} | dict.fromkeys(HOST_REDUCE, PCIE_REDUCE_GROUP)
    if transport is PcieTransport.THROUGH_HOST:
        shares |= HOST_REDUCE
    reduces = tuple(
        Reduce(
            gpus=gpus,
            latency_ms=PCIE_LATENCY_MS + PCIE_LATENCY_PER_DOUBLING_MS * math.log2(gpus / 2),
            bytes_per_s=share * peak_bytes_per_s,
        )
        for gpus, share in shares.items()
    )
    return Link(transport.value, PCIE_POINT_TO_POINT * peak_bytes_per_s, PCIE_LATENCY_MS, reduces)


def _nvlink(peak_bytes_per_s: float) -> Link:
    reduce = Reduce(2, NVLINK_LATENCY_MS, NVLINK_REDUCE * peak_bytes_per_s)
    return Link("NVLink", NVLINK_POINT_TO_POINT * peak_bytes_per_s, NVLINK_LATENCY_MS, (reduce,))


def _with_measured(link: Link, measured: tuple[Reduce, ...]) -> Link:
    """With what was measured in place of what is known of the link's kind.

    A group larger than every measured one is at most as fast as the largest of those.
    """
    if not measured:
        return link
    by_gpus = {each.gpus: each for each in link.reduces}
    largest = max(measured, key=lambda each: each.gpus)
    # A kind's last figure is also that of every larger group, which must not become the measured one's.
    by_gpus = {
        gpus: _no_faster(each, largest) if gpus > largest.gpus else each for gpus, each in by_gpus.items()
    }
    if link.reduces[-1].gpus <= largest.gpus:
        beyond = replace(link.reduces[-1], gpus=2 * largest.gpus)
        by_gpus[beyond.gpus] = _no_faster(beyond, largest)
    by_gpus |= {each.gpus: each for each in measured}
    reduces = tuple(by_gpus[gpus] for gpus in sorted(by_gpus))
    return replace(link, name=f"{link.name} (measured by the pool)", reduces=reduces)


def _no_faster(one: Reduce, other: Reduce) -> Reduce:
    return replace(
        one,
        latency_ms=max(one.latency_ms, other.latency_ms),
        bytes_per_s=min(one.bytes_per_s, other.bytes_per_s),
    )
