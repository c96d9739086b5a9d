"""A pool's GPU against the labels of its nodes: what contradicts it is found, and no label is no claim."""

from __future__ import annotations

from typing import Any

import pytest
from builders import NVIDIA, a_pool

from argosy.control.hardware.labels import Unfit, node_check
from argosy.snapshot.cluster import NodeState

PRODUCT = "nvidia.com/gpu.product"
SLICES = "nvidia.com/mig-3g.40gb"


def unfit(
    gpu: str, labels: dict[str, str], allocatable: dict[str, int] | None = None, **spec: Any
) -> Unfit | None:
    pool = a_pool(gpu=gpu, **spec)
    return node_check(pool.spec)(
        NodeState("n", labels, allocatable or {pool.spec.resource_name: 4}, ready=True)
    )


@pytest.mark.parametrize(
    ("gpu", "labels", "spec"),
    [
        pytest.param("L4", {}, {}, id="no label"),
        pytest.param(
            "A10G",
            {"karpenter.k8s.aws/instance-gpu-name": "a10g", "karpenter.k8s.aws/instance-gpu-memory": "24576"},
            {},
            id="the memory of a data sheet",
        ),
        pytest.param("A100", {"cloud.google.com/gke-accelerator": "nvidia-a100-80gb"}, {}, id="GKE card"),
        pytest.param(
            "A100-MIG-3g.40gb",
            {
                "cloud.google.com/gke-accelerator": "nvidia-a100-80gb",
                "cloud.google.com/gke-gpu-partition-size": "3g.40gb",
            },
            {},
            id="GKE slice",
        ),
        pytest.param("L4", {PRODUCT: "NVIDIA-L4", "nvidia.com/gpu.memory": "23034"}, {}, id="the card"),
        pytest.param("nvidia-l4", {PRODUCT: "NVIDIA-L4"}, {}, id="another name of it"),
        pytest.param("A100", {PRODUCT: "A100-SXM4-80GB"}, {}, id="an old driver"),
        pytest.param(
            "L4", {PRODUCT: "NVIDIA-L4", "nvidia.com/mig.strategy": "mixed"}, {}, id="a strategy alone"
        ),
        pytest.param("L4", {"nvidia.com/gpu.replicas": "1"}, {}, id="one replica per card"),
        pytest.param(
            "L4",
            {PRODUCT: "NVIDIA-L4-SHARED", "nvidia.com/gpu.replicas": "4", "nvidia.com/gpu.memory": "23034"},
            {"sharing": {"replicasPerGpu": 4}},
            id="shared as declared",
        ),
        pytest.param(
            "L4",
            {"nvidia.com/gpu.memory": "5758", "nvidia.com/gpu.sharing-strategy": "mps"},
            {"sharing": {"replicasPerGpu": 4}},
            id="the memory of a share",
        ),
        pytest.param(
            "H100-MIG-3g.40gb",
            {PRODUCT: "NVIDIA-H100-80GB-HBM3-MIG-3g.40gb", "nvidia.com/gpu.memory": "40448"},
            {},
            id="single strategy",
        ),
        pytest.param(
            "H100-MIG-3g.40gb",
            {PRODUCT: "NVIDIA-H100-80GB-HBM3", "nvidia.com/gpu.memory": "81559", f"{SLICES}.memory": "40448"},
            {"resourceName": SLICES},
            id="mixed strategy",
        ),
        pytest.param(
            "MI300X",
            {"amd.com/gpu.product-name": "AMD_Instinct_MI300X_OAM", "amd.com/gpu.vram": "192G"},
            {"resourceName": "amd.com/gpu"},
            id="AMD",
        ),
        pytest.param("A100-40GB", {"karpenter.k8s.aws/instance-gpu-name": "a100"}, {}, id="a family"),
        pytest.param("H100", {"cloud.google.com/gke-accelerator": "nvidia-h100-mega-80gb"}, {}, id="GKE"),
        pytest.param(
            "A100-PCIe", {"node.kubernetes.io/instance-type": "Standard_NC24ads_A100_v4"}, {}, id="Azure"
        ),
        pytest.param("L4", {"karpenter.k8s.aws/instance-gpu-name": "new-card"}, {}, id="an unknown family"),
        pytest.param(
            "own",
            {PRODUCT: "ACME-1", "nvidia.com/gpu.memory": "49152"},
            {"gpuSpec": {"memoryGib": 48}},
            id="own",
        ),
    ],
)
def test_nothing_contradicts(gpu: str, labels: dict[str, str], spec: dict[str, Any]) -> None:
    assert unfit(gpu, labels, **spec) is None


@pytest.mark.parametrize(
    ("gpu", "labels", "spec", "found", "remedy"),
    [
        pytest.param(
            "H100",
            {PRODUCT: "NVIDIA-L4"},
            {},
            f"label {PRODUCT} is NVIDIA-L4",
            "set spec.gpu to L4",
            id="product",
        ),
        pytest.param("L4", {PRODUCT: "NVIDIA-X99"}, {}, "NVIDIA-X99", "spec.gpuSpec", id="unknown product"),
        pytest.param(
            "H100",
            {PRODUCT: "NVIDIA-H100-80GB-HBM3-MIG-1g.10gb"},
            {},
            "MIG-1g.10gb",
            "set spec.gpu to H100-MIG-1g.10gb",
            id="slices as a card",
        ),
        pytest.param(
            "H100-MIG-3g.40gb",
            {PRODUCT: "NVIDIA-H100-80GB-HBM3"},
            {},
            "is NVIDIA-H100-80GB-HBM3",
            f"set spec.resourceName to {SLICES}",
            id="a card as slices",
        ),
        pytest.param(
            "V100",
            {"nvidia.com/gpu.memory": "32510"},
            {},
            "label nvidia.com/gpu.memory is 32510, and V100 has 16160 MiB",
            "the card with this memory",
            id="memory",
        ),
        pytest.param(
            "own",
            {"nvidia.com/gpu.memory": "24576"},
            {"gpuSpec": {"memoryGib": 48}},
            "own has 49152 MiB",
            "set spec.gpuSpec.memoryGib to 24",
            id="memory of a declared card",
        ),
        pytest.param(
            "L4",
            {PRODUCT: "NVIDIA-L4-SHARED", "nvidia.com/gpu.replicas": "4"},
            {},
            "label nvidia.com/gpu.replicas is 4",
            "set spec.sharing.replicasPerGpu to 4",
            id="shared",
        ),
        pytest.param(
            "L4", {PRODUCT: "NVIDIA-L4-SHARED"}, {}, f"label {PRODUCT} is", "spec.sharing", id="suffix"
        ),
        pytest.param(
            "L4",
            {"nvidia.com/gpu.sharing-strategy": "mps"},
            {},
            "sharing-strategy is mps",
            "spec.sharing",
            id="MPS",
        ),
        pytest.param(
            "L4",
            {
                "cloud.google.com/gke-gpu-sharing-strategy": "time-sharing",
                "cloud.google.com/gke-max-shared-clients-per-gpu": "3",
            },
            {},
            "gke-max-shared-clients-per-gpu is 3",
            "set spec.sharing.replicasPerGpu to 3",
            id="shared on GKE",
        ),
        pytest.param(
            "L4",
            {"nvidia.com/gpu.replicas": "2"},
            {"sharing": {"replicasPerGpu": 4}},
            "spec.sharing.replicasPerGpu is 4",
            "set spec.sharing.replicasPerGpu to 2",
            id="another number",
        ),
        pytest.param(
            "L4",
            {"nvidia.com/gpu.replicas": "1"},
            {"sharing": {"replicasPerGpu": 4}},
            "is 1",
            "remove spec.sharing",
            id="not shared",
        ),
        pytest.param(
            "A100-40GB",
            {"cloud.google.com/gke-gpu-partition-size": "1g.5gb"},
            {},
            "gke-gpu-partition-size is 1g.5gb",
            "set spec.gpu to A100-40GB-MIG-1g.5gb",
            id="slices on GKE",
        ),
        pytest.param(
            "MI325X",
            {"beta.amd.com/gpu.product-name": "AMD_Instinct_MI300X_OAM"},
            {"resourceName": "amd.com/gpu"},
            "AMD_Instinct_MI300X_OAM",
            "set spec.gpu to MI300X",
            id="AMD product",
        ),
        pytest.param(
            "MI300X",
            {"beta.amd.com/gpu.vram.64G": "8"},
            {"resourceName": "amd.com/gpu"},
            "64G, and MI300X has",
            "the card with this memory",
            id="AMD memory in the label's name",
        ),
        pytest.param(
            "MI300X",
            {"amd.com/compute-memory-partition": "cpx_nps4"},
            {"resourceName": "amd.com/gpu"},
            "is cpx_nps4",
            "SPX",
            id="AMD partition",
        ),
        pytest.param(
            "H100",
            {"karpenter.k8s.aws/instance-gpu-name": "l4"},
            {},
            "instance-gpu-name is l4",
            "L4",
            id="Karpenter",
        ),
        pytest.param(
            "H100",
            {"cloud.google.com/gke-accelerator": "nvidia-tesla-t4"},
            {},
            "nvidia-tesla-t4",
            "T4",
            id="GKE card",
        ),
        pytest.param(
            "A100",
            {"cloud.google.com/gke-accelerator": "nvidia-tesla-a100"},
            {},
            "A100-40GB with 40960 MiB, and A100 has 81920",
            "set spec.gpu to A100-40GB",
            id="GKE card with less memory",
        ),
        pytest.param(
            "L4",
            {"cloud.google.com/gke-gpu-sharing-strategy": "time-sharing"},
            {},
            "time-sharing",
            "spec.sharing.replicasPerGpu",
            id="GKE sharing",
        ),
        pytest.param(
            "H100",
            {"node.kubernetes.io/instance-type": "Standard_ND96isr_MI300X_v5"},
            {},
            "Standard_ND96isr_MI300X_v5",
            "MI300X",
            id="Azure size",
        ),
    ],
)
def test_what_contradicts_is_named_with_what_to_set(
    gpu: str, labels: dict[str, str], spec: dict[str, Any], found: str, remedy: str
) -> None:
    fault = unfit(gpu, labels, **spec)
    assert fault is not None
    assert found in fault.found
    assert remedy in fault.remedy


def test_a_node_that_offers_slices_only_is_named_with_them() -> None:
    fault = unfit("H100", {}, {NVIDIA: 0, SLICES: 2})
    assert fault is not None
    assert f"it has {SLICES} 2 and no {NVIDIA}" in fault.found
    assert f"set spec.gpu to H100-MIG-3g.40gb and spec.resourceName to {SLICES}" in fault.remedy
