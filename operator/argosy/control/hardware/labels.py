"""Whether a node has the GPU that its pool declares.

Owns the reading of what GPU feature discovery, AMD's node labeller and clouds write on nodes: product,
memory, MIG and sharing. Input: a pool's spec and a node. Output: an `Unfit` with the label found and the
remedy, or None. A node without such a label makes no claim: it is not unfit.

Labels of clouds name a family of cards only ("a100", whatever its memory), and are compared as such, where
the device plugin's own label is missing; GKE's name the card's memory too.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from argosy.api.gpupool import GPUPoolSpec
from argosy.control.hardware.declared import GpuFault, slice_profile, unshared_gpu
from argosy.perf.catalogue import find_gpu
from argosy.perf.protocol import OutOfRange
from argosy.snapshot import Gpu
from argosy.snapshot.cluster import NodeState

MEMORY_OFF = 0.06
"""Of the memory that the catalogue has, a label may differ by so much: drivers keep some for themselves."""
_CLOUD_OFF = 0.08
"""AWS writes what the data sheet has, 24,576 MiB for an A10G whose driver shows 23,028."""

_MIB, _GIB = 2**20, 2**30
_NVIDIA = "nvidia.com/gpu"
_SLICES = "nvidia.com/mig-"
_SHARED = "-SHARED"
_AMD_PRODUCTS = ("amd.com/gpu.product-name", "beta.amd.com/gpu.product-name")
_AMD_MEMORY = ("amd.com/gpu.vram", "beta.amd.com/gpu.vram")
_AMD_COUNTED = tuple(f"{name}." for name in _AMD_MEMORY)
_AMD_PARTITION = "amd.com/compute-memory-partition"
_AMD_WHOLE = "spx"
_GKE_PARTITION = "cloud.google.com/gke-gpu-partition-size"
_GKE_SHARING = "cloud.google.com/gke-gpu-sharing-strategy"
_GKE_SHARERS = "cloud.google.com/gke-max-shared-clients-per-gpu"
_GKE_CARD = "cloud.google.com/gke-accelerator"
_FAMILIES = (
    _GKE_CARD,
    "karpenter.k8s.aws/instance-gpu-name",
    "eks.amazonaws.com/instance-gpu-name",
    "k8s.amazonaws.com/accelerator",
)
_CLOUD_MEMORY = ("karpenter.k8s.aws/instance-gpu-memory", "eks.amazonaws.com/instance-gpu-memory")
_INSTANCE_TYPE = "node.kubernetes.io/instance-type"
_AZURE = re.compile(
    r"Standard_N[CDV]\w*?_(?:[a-z]+_)?(?P<gpu>V100|T4|A10|A100|H100|H200|GB200|GB300|MI300X)_v\d+", re.I
)
_STRATEGIES = ("time-slicing", "time-sharing", "mps")


_UNIT_LABELS = ("product", "memory", "replicas", "sharing-strategy")
_READ = (
    *(*_AMD_PRODUCTS, *_AMD_MEMORY, _AMD_PARTITION, _GKE_PARTITION, _GKE_SHARING, _GKE_SHARERS),
    *(*_FAMILIES, *_CLOUD_MEMORY, _INSTANCE_TYPE),
)


@dataclass(frozen=True, slots=True)
class Unfit:
    """Why a node is not what its pool declares: what was found on it, and what to set instead."""

    found: str
    remedy: str


@dataclass(frozen=True, slots=True)
class _Asked:
    """A pool's spec with its GPU before it is shared; `unit`: the prefix of the labels about its resource."""

    spec: GPUPoolSpec
    gpu: Gpu
    unit: str

    @property
    def is_declared(self) -> bool:
        """Whether the catalogue does not have it: no label names it then."""
        return not self.gpu.products

    @property
    def sharers(self) -> int:
        return self.spec.sharing.replicas_per_gpu if self.spec.sharing else 1


def node_check(spec: GPUPoolSpec) -> Callable[[NodeState], Unfit | None]:
    """The check of a pool's nodes. Where the pool's own GPU is not known, nothing is compared."""
    gpu = unshared_gpu(spec)
    if isinstance(gpu, GpuFault):
        return lambda node: None
    profile = slice_profile(spec.resource_name)
    asked = _Asked(spec, gpu, f"{_SLICES}{profile}" if profile else _NVIDIA)
    keys = (*_READ, *(f"{unit}.{what}" for unit in {_NVIDIA, asked.unit} for what in _UNIT_LABELS))
    # Thousands of nodes have the same few labels: each combination is judged once.
    known: dict[tuple[object, ...], Unfit | None] = {}

    def check(node: NodeState) -> Unfit | None:
        seen = (*map(node.labels.get, keys), _amd_memory(node.labels), _slices_only(spec.resource_name, node))
        if seen not in known:
            faults = (each(asked, node) for each in _CHECKS)
            known[seen] = next((fault for fault in faults if fault is not None), None)
        return known[seen]

    return check


def _slices_only(resource: str, node: NodeState) -> tuple[tuple[str, int], ...]:
    """The MIG slices of a node that has nothing of the pool's resource; by name."""
    if node.allocatable.get(resource, 0):
        return ()
    return tuple(
        sorted((n, count) for n, count in node.allocatable.items() if n.startswith(_SLICES) and count)
    )


def _product(asked: _Asked, node: NodeState) -> Unfit | None:
    key, value = _first(node.labels, (f"{asked.unit}.product", f"{_NVIDIA}.product", *_AMD_PRODUCTS))
    if not value:
        return None
    found = find_gpu(value.removesuffix(_SHARED))
    if asked.is_declared:
        is_slice = isinstance(found, Gpu) and bool(found.part_of) and not asked.gpu.part_of
        return _slices(key, value, found, asked) if is_slice and isinstance(found, Gpu) else None
    if isinstance(found, OutOfRange):
        remedy = f"select other nodes, or declare {value} in spec.gpuSpec under a name of its own"
        return Unfit(_label(key, value), remedy)
    if found.name == asked.gpu.name or (
        slice_profile(asked.spec.resource_name) and found.name == asked.gpu.part_of
    ):
        return None
    if found.part_of:
        return _slices(key, value, found, asked)
    if asked.gpu.part_of == found.name:
        profile = asked.gpu.name.removeprefix(f"{found.name}-MIG-")
        remedy = f"set spec.resourceName to {_SLICES}{profile}, or spec.gpu to {found.name} where MIG is off"
        return Unfit(_label(key, value), remedy)
    return Unfit(
        _label(key, value), f"set spec.gpu to {found.name}, or select other nodes in spec.nodeSelector"
    )


def _slices(key: str, value: str, found: Gpu, asked: _Asked) -> Unfit:
    """A node whose label names slices, in a pool of something else."""
    remedy = f"set spec.gpu to {found.name}"
    if asked.is_declared:
        remedy += " and remove spec.gpuSpec"
    return Unfit(_label(key, value), f"{remedy}, or select other nodes in spec.nodeSelector")


def _mig(asked: _Asked, node: NodeState) -> Unfit | None:
    """A node that offers slices and nothing of the pool's resource."""
    offered = _slices_only(asked.spec.resource_name, node)
    if not offered or slice_profile(asked.spec.resource_name):
        return None
    card, resource = asked.gpu.part_of or asked.gpu.name, offered[0][0]
    profile = slice_profile(resource)
    counted = ", ".join(f"{name} {count}" for name, count in offered)
    return Unfit(
        f"it has {counted} and no {asked.spec.resource_name}",
        f"set spec.gpu to {card}-MIG-{profile} and spec.resourceName to {resource}",
    )


def _partition(asked: _Asked, node: NodeState) -> Unfit | None:
    """GKE's slices, which are counted as whole GPUs, and AMD's partitions."""
    labels, name = node.labels, asked.gpu.name
    profile = labels.get(_GKE_PARTITION, "")
    if profile and not asked.is_declared and not name.endswith(f"-MIG-{profile}"):
        card = asked.gpu.part_of or name
        return Unfit(_label(_GKE_PARTITION, profile), f"set spec.gpu to {card}-MIG-{profile}")
    mode = labels.get(_AMD_PARTITION, "")
    if mode and not asked.is_declared and not mode.lower().startswith(_AMD_WHOLE):
        remedy = "declare the partition in spec.gpuSpec under a name of its own, or set the card to SPX"
        return Unfit(_label(_AMD_PARTITION, mode), remedy)
    return None


def _memory(asked: _Asked, node: NodeState) -> Unfit | None:
    key, value = _first(node.labels, (f"{asked.unit}.memory", *_CLOUD_MEMORY))
    found = int(value) * _MIB if value.isdigit() else 0
    if not found:
        key, value, found = _amd_memory(node.labels)
    wanted = asked.gpu.memory_bytes
    # The plugin prints the share for cards that MPS divides and the whole card for time-slicing.
    off = _CLOUD_OFF if key in _CLOUD_MEMORY else MEMORY_OFF
    if not found or any(abs(found - each) <= off * each for each in (wanted, wanted / asked.sharers)):
        return None
    has = f"{asked.gpu.name} has {wanted // _MIB} MiB"
    remedy = (
        f"set spec.gpuSpec.memoryGib to {found / _GIB:.4g}"
        if asked.is_declared
        else "set spec.gpu to the card with this memory, or declare it in spec.gpuSpec under its own name"
    )
    return Unfit(f"{_label(key, value)}, and {has}", remedy)


def _amd_memory(labels: Mapping[str, str]) -> tuple[str, str, int]:
    """Label, its value and bytes; AMD's labeller writes the size as a value, or into the label's name."""
    key, value = _first(labels, _AMD_MEMORY)
    if not value:
        counted = sorted(k for k in labels if k.startswith(_AMD_COUNTED))
        key, value = (counted[0], counted[0].rsplit(".", 1)[1]) if len(counted) == 1 else ("", "")
    size = value.upper().removesuffix("B").removesuffix("G")
    return key, value, int(size) * _GIB if size.isdigit() else 0


def _sharing(asked: _Asked, node: NodeState) -> Unfit | None:
    labels = node.labels
    key, value = _first(labels, (f"{asked.unit}.replicas", _GKE_SHARERS))
    number = int(value) if value.isdigit() else 0
    how_key, how = _first(labels, (f"{asked.unit}.sharing-strategy", _GKE_SHARING))
    product_key, product = _first(labels, (f"{asked.unit}.product", f"{_NVIDIA}.product"))
    is_shared = number > 1 or how.lower() in _STRATEGIES or product.endswith(_SHARED)
    label = _label(key, value) if number else _label(how_key, how) if how else _label(product_key, product)
    if is_shared and asked.sharers == 1:
        shares = str(number) if number > 1 else "the containers that share a card"
        return Unfit(
            f"{label}: containers share each card and its memory",
            f"set spec.sharing.replicasPerGpu to {shares}, or select nodes with whole cards",
        )
    if is_shared and number > 1 and number != asked.sharers:
        found = f"{label}, and spec.sharing.replicasPerGpu is {asked.sharers}"
        return Unfit(found, f"set spec.sharing.replicasPerGpu to {number}")
    if asked.sharers > 1 and not is_shared and (number == 1 or how.lower() == "none"):
        found = f"{label}, and spec.sharing.replicasPerGpu is {asked.sharers}"
        return Unfit(found, "remove spec.sharing: each container has a card of its own")
    return None


def _family(asked: _Asked, node: NodeState) -> Unfit | None:
    """A cloud's label, where the device plugin's own is missing."""
    if asked.is_declared or any(node.labels.get(k) for k in (f"{_NVIDIA}.product", *_AMD_PRODUCTS)):
        return None
    key, value = _first(node.labels, _FAMILIES)
    name = value
    if not value:
        key, value = _INSTANCE_TYPE, node.labels.get(_INSTANCE_TYPE, "")
        azure = _AZURE.fullmatch(value)
        name = azure["gpu"] if azure else ""
    found = find_gpu(name) if name else None
    if not isinstance(found, Gpu):
        return None
    if _family_of(found) == _family_of(asked.gpu):
        return _gke_memory(value, found, asked) if key == _GKE_CARD else None
    remedy = f"set spec.gpu to {found.name} or another card of its kind, or select other nodes"
    return Unfit(_label(key, value), f"{remedy} in spec.nodeSelector")


def _gke_memory(value: str, found: Gpu, asked: _Asked) -> Unfit | None:
    """`nvidia-tesla-a100` has 40 GB and `nvidia-a100-80gb` 80: the label alone tells them apart."""
    card = find_gpu(asked.gpu.part_of or asked.gpu.name)
    if (
        not isinstance(card, Gpu)
        or abs(found.memory_bytes - card.memory_bytes) <= MEMORY_OFF * card.memory_bytes
    ):
        return None
    has = (
        f"{found.name} with {found.memory_bytes // _MIB} MiB, and {card.name} has {card.memory_bytes // _MIB}"
    )
    return Unfit(
        f"{_label(_GKE_CARD, value)}: {has}",
        f"set spec.gpu to {found.name}, or select other nodes in spec.nodeSelector",
    )


def _family_of(gpu: Gpu) -> str:
    name = gpu.part_of or gpu.name
    return name if name.startswith("RTX") else name.split("-")[0]


def _first(labels: Mapping[str, str], keys: tuple[str, ...]) -> tuple[str, str]:
    """The first label that is there, and its value; empty where none is."""
    return next(((key, labels[key]) for key in keys if labels.get(key)), ("", ""))


def _label(key: str, value: str) -> str:
    return f"label {key} is {value}"


_CHECKS = (_product, _family, _partition, _mig, _sharing, _memory)
