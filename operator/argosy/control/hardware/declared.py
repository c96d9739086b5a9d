"""The GPU that a GPUPool declares.

Owns the way from `spec.gpu`, `spec.gpuSpec`, `spec.interconnect`, `spec.sharing` and `spec.resourceName` to
a `Gpu`, and the refusal of those that contradict each other. Input: the spec. Output: a `Gpu`, or a
`GpuFault`. What the nodes are, `labels` finds.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from argosy.api.conditions import Reason
from argosy.api.gpupool import GPUPoolSpec
from argosy.api.gpuspec import GpuSpec, InterconnectType, PeakFlops
from argosy.dtype import Dtype
from argosy.perf.catalogue import find_gpu
from argosy.perf.catalogue.slices import shared
from argosy.perf.protocol import OutOfRange
from argosy.refusals import Refused
from argosy.snapshot import Gpu
from argosy.snapshot.variant import Reduce

_SLICE_RESOURCE = re.compile(r"nvidia\.com/mig-(?P<profile>\d+g\.\d+gb).*")
_SHARED_RESOURCE = ".shared"
_VENDORS = {"nvidia.com": "nvidia", "amd.com": "amd"}
_GIB, _GIGA, _TERA = 2**30, 1e9, 1e12


@dataclass(frozen=True, slots=True)
class GpuFault(Refused[Reason]):
    """Why a pool's GPU is none; `message` is a whole sentence."""


def pool_gpu(spec: GPUPoolSpec) -> Gpu | GpuFault:
    """The GPU, or the part of one, that each unit of `spec.resourceName` is."""
    found = unshared_gpu(spec)
    whole = found if isinstance(found, GpuFault) else _linked(found, spec)
    if isinstance(whole, GpuFault) or spec.sharing is None:
        return whole
    return shared(whole, spec.sharing.replicas_per_gpu)


def unshared_gpu(spec: GPUPoolSpec) -> Gpu | GpuFault:
    """The GPU, or the MIG slice, before it is shared."""
    found = find_gpu(spec.gpu)
    if spec.gpu_spec is not None:
        if not isinstance(found, OutOfRange):
            problem = (
                f"{spec.gpu} is a name of {found.name} in the catalogue, and spec.gpuSpec declares another"
                " GPU; remove spec.gpuSpec, or choose a name that the catalogue does not have"
            )
            return GpuFault(Reason.GPU_CONTRADICTED, Reason.GPU_CONTRADICTED.sentence(problem=problem))
        return _declared(spec, spec.gpu_spec)
    if isinstance(found, OutOfRange):
        return GpuFault(Reason.UNKNOWN_GPU, Reason.UNKNOWN_GPU.sentence(problem=found.message.rstrip(".")))
    problem = _contradiction(spec, found)
    if problem:
        return GpuFault(Reason.GPU_CONTRADICTED, Reason.GPU_CONTRADICTED.sentence(problem=problem))
    return found


def is_declared(spec: GPUPoolSpec) -> bool:
    """Whether the pool's GPU is another than the catalogue's of that name."""
    return spec.gpu_spec is not None or spec.interconnect is not None


def _linked(gpu: Gpu, spec: GPUPoolSpec) -> Gpu | GpuFault:
    """With the links that the pool declares."""
    declared = spec.interconnect
    if declared is None:
        return gpu
    measured = tuple(
        Reduce(each.gpus, each.latency_microseconds / 1e3, each.bus_gb_per_second * _GIGA)
        for each in sorted(declared.all_reduce, key=lambda each: each.gpus)
    )
    linked = replace(gpu, all_reduces=measured)
    if declared.type is None:
        return linked
    if declared.type is not InterconnectType.NVLINK:
        direct = declared.type is InterconnectType.PCIE_PEER_TO_PEER
        return replace(linked, nvlink_bytes_per_s=None, peer_to_peer=direct)
    if gpu.nvlink_bytes_per_s is not None:
        return linked
    remedy = (
        "set spec.gpuSpec.linkGbPerSecond"
        if spec.gpu_spec is not None
        else "of bridges between pairs, measure all_reduce_perf and set spec.interconnect.allReduce"
        " (argosy perf links) and type to PCIePeerToPeer or PCIeThroughHost"
    )
    problem = f"spec.interconnect.type is NVLink, and {gpu.name} has no NVLink bandwidth; {remedy}"
    return GpuFault(Reason.GPU_CONTRADICTED, Reason.GPU_CONTRADICTED.sentence(problem=problem))


def slice_profile(resource: str) -> str:
    """The MIG profile that an extended resource counts; empty where it counts something else."""
    found = _SLICE_RESOURCE.fullmatch(resource)
    return found["profile"] if found else ""


def _contradiction(spec: GPUPoolSpec, gpu: Gpu) -> str:
    """What of the spec contradicts the catalogue's GPU; empty where nothing does."""
    profile, resource = slice_profile(spec.resource_name), spec.resource_name
    if gpu.sharers > 1:
        card = gpu.name.removesuffix(f"-SHARED-{gpu.sharers}")
        return (
            f"{spec.gpu} is a share of a card; set spec.gpu to {card} and spec.sharing.replicasPerGpu to"
            f" {gpu.sharers}"
        )
    vendor = _VENDORS.get(resource.split("/")[0], gpu.vendor)
    if vendor != gpu.vendor:
        wanted = next((f"{group}/gpu" for group, made in _VENDORS.items() if made == gpu.vendor), "")
        remedy = f"set spec.resourceName to {wanted}" if wanted else "correct spec.resourceName"
        return f"spec.resourceName {resource} does not count {gpu.name}; {remedy}, or correct spec.gpu"
    if profile and not gpu.name.endswith(f"-MIG-{profile}"):
        wanted = f"{gpu.part_of or gpu.name}-MIG-{profile}"
        remedy = (
            "correct one of them" if isinstance(find_gpu(wanted), OutOfRange) else f"set spec.gpu to {wanted}"
        )
        return f"{gpu.name} is not what spec.resourceName {resource} counts: MIG slices {profile}; {remedy}"
    if resource.endswith(_SHARED_RESOURCE) and spec.sharing is None:
        return (
            f"spec.resourceName {resource} counts shares of {gpu.name}, and spec.sharing is not set; set"
            " spec.sharing.replicasPerGpu to the containers that share a card"
        )
    return ""


def _flops(peaks: PeakFlops) -> dict[Dtype, float]:
    rates = {Dtype.BF16: peaks.bf16, Dtype.FP8: peaks.fp8, Dtype.INT8: peaks.int8, Dtype.FP4: peaks.fp4}
    return {dtype: rate * _TERA for dtype, rate in rates.items() if rate is not None}


def _declared(spec: GPUPoolSpec, card: GpuSpec) -> Gpu:
    flops = {} if card.tflops is None else _flops(card.tflops)
    made = Gpu(
        name=spec.gpu,
        products=(),
        memory_bytes=int(card.memory_gib * _GIB),
        memory_bytes_per_s=(card.memory_bandwidth_gb_per_second or 0.0) * _GIGA,
        flops=flops,
        nvlink_bytes_per_s=None if card.link_gb_per_second is None else card.link_gb_per_second * _GIGA,
        pcie_bytes_per_s=card.pcie_gb_per_second * _GIGA,
        network_bytes_per_s=card.network_gb_per_second * _GIGA,
        gpus_per_node=spec.gpus_per_node,
        tdp_w=card.power_watts,
        vendor=_VENDORS.get(spec.resource_name.split("/")[0], "another vendor"),
        source="declared in spec.gpuSpec",
        has_peaks=bool(flops),
    )
    return replace(made, part_of=spec.gpu) if slice_profile(spec.resource_name) else made
