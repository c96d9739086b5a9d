"""Which labelled Deployments take part, and what the others are told."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from adopted_world import ALL_ARGS, KEY, a_deployment, a_users_pod
from small_fleet import World, a_class, a_fleet, a_model, a_node, a_pool, some_nodes

from argosy.api import CustomResource
from argosy.control.adoption.adopt import with_adopted
from argosy.files.manifests.reading import read_objects
from argosy.files.objects import snapshot_of
from argosy.snapshot.fleet import FleetSnapshot
from argosy.snapshot.kubernetes import deployment_state, pod_state

EXAMPLES = Path(__file__).parents[4] / "examples"


def seen(
    deployment: dict[str, Any], *objects: CustomResource, nodes: tuple[str, ...] = ("l40s-0",)
) -> FleetSnapshot:
    """With its pods on these nodes."""
    known = [*some_nodes("l40s", 2), *some_nodes("h100", 1), a_node("lone", "none")]
    chosen = objects or (a_fleet(), a_pool(), a_model(), a_class())
    own = World(known, *chosen).snapshot()
    pods = [pod_state(a_users_pod(i, node, deployment)) for i, node in enumerate(nodes, 1)]
    state = deployment_state(deployment)
    return with_adopted(replace(own, pods={p.key: p for p in pods}), {state.key: state})


def problem(snapshot: FleetSnapshot) -> str:
    assert KEY not in snapshot.deployments
    assert not snapshot.engine_pods
    return snapshot.unadopted[KEY].problem


def test_its_pods_are_engines_of_the_model_pool_and_class_that_it_serves() -> None:
    args = (*ALL_ARGS, "--port=9000")
    found = seen(a_deployment(2, args=args), nodes=("l40s-0", "l40s-1"))
    adoption = found.deployments[KEY].adoption
    assert adoption is not None
    assert adoption.variant is not None
    assert (adoption.workload_class, adoption.group) == ("default/chat", "default/chat")
    assert (adoption.variant.pool, adoption.variant.gpus) == ("l40s", 1)
    assert [p.address for p in found.engine_pods] == ["10.9.0.1:9000", "10.9.0.2:9000"]
    assert {p.labels["argosy.dev/model"] for p in found.engine_pods} == {"llama"}


def test_pods_of_another_replica_set_with_its_labels_are_not_its_own() -> None:
    deployment = a_deployment(1)
    pod = a_users_pod(1, "l40s-0", deployment)
    pod["metadata"]["ownerReferences"][0]["name"] = "another-5d9c8b7f6"
    own = World(some_nodes("l40s", 1), a_fleet(), a_pool(), a_model(), a_class()).snapshot()
    stray, state = pod_state(pod), deployment_state(deployment)
    found = with_adopted(replace(own, pods={stray.key: stray}), {state.key: state})
    assert not found.engine_pods


def test_its_class_is_named_by_the_annotation_where_several_use_the_model() -> None:
    objects = (a_fleet(), a_pool(), a_model(), a_class(), a_class("batch"))
    found = seen(a_deployment(1, workload_class="batch"), *objects)
    adoption = found.deployments[KEY].adoption
    assert adoption is not None
    assert adoption.workload_class == "default/batch"


def test_without_the_annotation_no_class_is_guessed() -> None:
    objects = (a_fleet(), a_pool(), a_model(), a_class(), a_class("batch"))
    assert problem(seen(a_deployment(1), *objects)) == (
        "WorkloadClasses that name ServedModel llama in spec.models are batch, chat; name one by the"
        " annotation argosy.dev/adopt-class"
    )


@pytest.mark.parametrize(
    ("deployment", "expected"),
    [
        (
            a_deployment(1, label="lllama"),
            "label argosy.dev/adopt: there is no ServedModel lllama in namespace",
        ),
        (a_deployment(1, workload_class="x"), "annotation argosy.dev/adopt-class: 'x' is no WorkloadClass"),
        (a_deployment(1, args=("--model=other", *ALL_ARGS[1:])), "--model is other, and spec.modelId of"),
        (
            a_deployment(1, args=("--model=small", *ALL_ARGS[2:])),
            "--served-model-name is small, so its engines refuse requests for llama",
        ),
        (a_deployment(1, args=ALL_ARGS[:-1]), "--gpu-memory-utilization is not among its arguments"),
        (a_deployment(1, gpus=2), "nvidia.com/gpu is 2, and --tensor-parallel-size 1 with"),
        (a_deployment(1, gpus=0), "those that ask for nvidia.com/gpu are none; exactly one is needed"),
    ],
)
def test_what_does_not_fit_is_told(deployment: dict[str, Any], expected: str) -> None:
    assert expected in problem(seen(deployment))


@pytest.mark.parametrize(
    ("nodes", "expected"),
    [
        ((), "none of its pods runs on a node yet"),
        (("lone",), "node lone, whose labels no spec.nodeSelector of a GPUPool selects"),
        (("l40s-0", "h100-0"), "nodes of the GPUPools h100, l40s; nodes of one pool are needed"),
    ],
)
def test_its_pool_is_that_of_all_its_nodes(nodes: tuple[str, ...], expected: str) -> None:
    objects = (a_fleet(), a_pool(), a_pool("h100", "H100"), a_model(), a_class())
    assert expected in problem(seen(a_deployment(1), *objects, nodes=nodes))


def test_the_annotations_arguments_stand_in_for_absent_ones() -> None:
    found = seen(_with_notes())
    adoption = found.deployments[KEY].adoption
    assert adoption is not None
    assert adoption.variant is not None
    assert adoption.variant.engine.gpu_memory_utilization == 0.8


def _with_notes() -> dict[str, Any]:
    found = a_deployment(1, args=ALL_ARGS[:-1])
    found["metadata"]["annotations"]["argosy.dev/adopt-args"] = "--gpu-memory-utilization=0.8"
    return found


def test_the_example_is_adopted_beside_the_small_fleet() -> None:
    deployment = yaml.safe_load((EXAMPLES / "coexistence" / "adopt.yaml").read_text())
    deployment["metadata"]["namespace"] = "default"
    pod = a_users_pod(1, "l40s-0", deployment)
    name = f"my-vllm-{pod['metadata']['labels']['pod-template-hash']}"
    pod["metadata"]["ownerReferences"][0]["name"] = name
    node = a_node("l40s-0", "NVIDIA-L40S")
    own = snapshot_of(read_objects([EXAMPLES / "small"]), 0.0, [node])
    its, state = pod_state(pod), deployment_state(deployment)
    found = with_adopted(replace(own, pods={its.key: its}), {state.key: state})
    assert not found.unadopted
    adoption = found.deployments[state.key].adoption
    assert adoption is not None
    assert adoption.workload_class == "default/chat"
