"""Pools of slices, shares and declared GPUs: what is planned on them, and what their statuses report."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from builders import a_class, a_fleet, a_model, a_pool, some_nodes
from small_fleet import World, condition, verdict

from argosy.api import GPUPool
from argosy.api.conditions import Reason
from argosy.control.candidates.variants import variants_of
from argosy.control.hardware.declared import GpuFault, pool_gpu
from argosy.keys import ModelKey
from argosy.perf import LibraryPerfModel, shipped_library
from argosy.perf.protocol import OutOfRange, OutOfRangeReason
from argosy.snapshot import Dtype, Gpu, Variant

PERF = LibraryPerfModel(shipped_library(), {})
CARD = {"memoryGib": 48, "memoryBandwidthGbPerSecond": 800, "tflops": {"bf16": 150, "fp8": 300}}
SLICES = "nvidia.com/mig-3g.40gb"


def variant_on(**spec: Any) -> Variant:
    world = World([], a_fleet(), a_model(model_id="meta-llama/Llama-3.1-8B-Instruct"), a_pool(**spec))
    snapshot = world.snapshot()
    return variants_of(snapshot, snapshot.models[ModelKey.of("default", "llama")])[0]


@pytest.mark.parametrize(
    ("spec", "reason", "says"),
    [
        pytest.param({"gpu": "X9000"}, Reason.UNKNOWN_GPU, 'the GPU "X9000" is not', id="unknown"),
        pytest.param(
            {"gpu": "MI300X"},
            Reason.GPU_CONTRADICTED,
            "nvidia.com/gpu does not count MI300X; set spec.resourceName to amd.com/gpu",
            id="a card of another vendor",
        ),
        pytest.param(
            {"gpu": "L4", "resourceName": "amd.com/gpu"},
            Reason.GPU_CONTRADICTED,
            "set spec.resourceName to nvidia.com/gpu",
            id="a resource of another vendor",
        ),
        pytest.param(
            {"gpu": "H100", "resourceName": SLICES},
            Reason.GPU_CONTRADICTED,
            "MIG slices 3g.40gb; set spec.gpu to H100-MIG-3g.40gb.",
            id="a card counted as slices",
        ),
        pytest.param(
            {"gpu": "H100-MIG-1g.10gb", "resourceName": SLICES},
            Reason.GPU_CONTRADICTED,
            "set spec.gpu to H100-MIG-3g.40gb.",
            id="other slices",
        ),
        pytest.param(
            {"gpu": "L4", "resourceName": SLICES},
            Reason.GPU_CONTRADICTED,
            "correct one of them.",
            id="no slices",
        ),
        pytest.param(
            {"gpu": "L4", "resourceName": "nvidia.com/gpu.shared"},
            Reason.GPU_CONTRADICTED,
            "set spec.sharing.replicasPerGpu",
            id="shares by resource",
        ),
        pytest.param(
            {"gpu": "L4-SHARED-4"},
            Reason.GPU_CONTRADICTED,
            "set spec.gpu to L4 and spec.sharing.replicasPerGpu to 4.",
            id="a share by name",
        ),
        pytest.param(
            {"gpu": "H100", "gpuSpec": CARD},
            Reason.GPU_CONTRADICTED,
            "remove spec.gpuSpec",
            id="declared twice",
        ),
    ],
)
def test_what_contradicts_itself_is_refused_with_what_to_set(
    spec: dict[str, Any], reason: Reason, says: str
) -> None:
    found = pool_gpu(a_pool(**spec).spec)
    assert isinstance(found, GpuFault)
    assert found.reason is reason
    assert says in found.message


def test_a_declared_card_is_computed_less_certainly_than_one_of_the_catalogue() -> None:
    twin = {"memoryGib": 44.99, "memoryBandwidthGbPerSecond": 600, "tflops": {"bf16": 125, "int8": 250}}
    own, known = (
        PERF.profile(variant_on(**spec)) for spec in ({"gpu": "own", "gpuSpec": twin}, {"gpu": "A10"})
    )
    assert not isinstance(own, OutOfRange)
    assert not isinstance(known, OutOfRange)
    assert own.key.gpu == "own"
    assert own.uncertainty > known.uncertainty


def test_a_card_of_which_only_the_memory_is_declared_is_answered_by_a_measured_profile_alone() -> None:
    variant = variant_on(gpu="own", gpuSpec={"memoryGib": 48})
    refused = PERF.profile(variant)
    assert isinstance(refused, OutOfRange)
    assert refused.reason is OutOfRangeReason.NO_PROFILE
    assert "spec.gpuSpec declares no memoryBandwidthGbPerSecond" in refused.message
    measured = PERF.profile(variant_on(gpu="L40S"))
    assert not isinstance(measured, OutOfRange)
    mine = replace(measured, key=replace(measured.key, gpu="own"))
    answered = PERF.with_profiles([mine]).profile(variant)
    assert not isinstance(answered, OutOfRange)
    assert answered.key.gpu == "own"


def test_the_figures_of_a_declared_card_are_those_that_are_written() -> None:
    found = pool_gpu(
        a_pool(gpu="own", gpuSpec={**CARD, "linkGbPerSecond": 100}, resourceName="amd.com/gpu").spec
    )
    assert isinstance(found, Gpu)
    assert (found.memory_bytes, found.memory_bytes_per_s) == (48 * 2**30, 8e11)
    assert dict(found.flops) == {Dtype.BF16: 1.5e14, Dtype.FP8: 3e14}
    assert (found.nvlink_bytes_per_s, found.vendor) == (1e11, "amd")


def test_engines_on_a_shared_card_take_their_share_of_its_memory() -> None:
    shared = variant_on(gpu="L4", sharing={"replicasPerGpu": 4})
    assert (shared.gpu, shared.engine.gpu_memory_utilization) == ("L4-SHARED-4", 0.225)
    assert variant_on(gpu="L4").engine.gpu_memory_utilization == 0.9


def test_nothing_is_planned_on_nodes_of_another_gpu_and_both_statuses_name_the_label() -> None:
    world = World(some_nodes("l40s", 2), a_fleet(), a_pool(gpu="H100"), a_model(), a_class())
    world.run(30)
    assert world.pods == {}
    decision = world.decisions[-1]
    for kind in ("Accepted", "Ready"):
        assert verdict(decision, "l40s", "gpupools", kind) == ("False", "GpuMismatch")
        assert condition(decision, "l40s", "gpupools", kind)["message"] == (
            "spec.gpu: H100 is not the GPU of every node: nodes l40s-0, l40s-1: label nvidia.com/gpu.product"
            " is l40s, so no new replica is planned there; set spec.gpu to L40S, or select other nodes in"
            " spec.nodeSelector."
        )
    assert verdict(decision, "default/chat") == ("False", "GpuMismatch")


def test_of_mixed_nodes_those_that_fit_are_used_and_the_others_named() -> None:
    odd, *fit = some_nodes("l40s", 3)
    odd = replace(odd, labels={**odd.labels, "nvidia.com/gpu.replicas": "2"})
    world = World([odd, *fit], a_fleet(), a_pool(), a_model(), a_class())
    world.settle()
    assert {pod.node for pod in world.pods.values()} <= {node.name for node in fit}
    decision = world.decisions[-1]
    assert verdict(decision, "l40s", "gpupools", "Accepted") == ("False", "GpuMismatch")
    assert verdict(decision, "l40s", "gpupools")[0] == "True"
    said = condition(decision, "l40s", "gpupools", "Accepted")["message"]
    assert "node l40s-0: label nvidia.com/gpu.replicas is 2" in said
    assert "l40s-1" not in said


def test_what_runs_on_a_node_stays_when_its_label_changes() -> None:
    world = World(some_nodes("l40s", 2), a_fleet(), a_pool(), a_model(), a_class())
    world.settle()
    running = set(world.pods)
    for name, node in list(world.nodes.items()):
        world.nodes[name] = replace(node, labels={**node.labels, "nvidia.com/gpu.replicas": "2"})
    world.run(60)
    assert set(world.pods) == running
    assert verdict(world.decisions[-1], "l40s", "gpupools", "Accepted") == ("False", "GpuMismatch")


def test_a_pool_whose_spec_contradicts_itself_is_not_planned() -> None:
    world = World(
        some_nodes("l40s", 2), a_fleet(), a_pool(gpu="H100", resourceName=SLICES), a_model(), a_class()
    )
    world.run(30)
    assert world.pods == {}
    decision = world.decisions[-1]
    assert verdict(decision, "l40s", "gpupools", "Accepted") == ("False", "GpuContradicted")
    assert verdict(decision, "default/chat") == ("False", "GpuContradicted")


def test_the_examples_pools_are_gpus() -> None:
    path = Path(__file__).parents[4] / "examples/gpus/pools.yaml"
    pools = [GPUPool.from_object(obj) for obj in yaml.safe_load_all(path.read_text("utf-8"))]
    found = {p.metadata.name: pool_gpu(p.spec) for p in pools if isinstance(p, GPUPool)}
    assert {name: getattr(gpu, "name", gpu) for name, gpu in found.items()} == {
        "h100-half": "H100-MIG-3g.40gb",
        "l40s-shared": "L40S-SHARED-2",
        "acme": "acme-100",
        "l40s-direct": "L40S",
    }
