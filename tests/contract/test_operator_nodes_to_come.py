"""A pool that stands at zero nodes, with a real scheduler and a fleet that brings nodes.

What the stage has is left alone: the model fits only the GPU of the pool whose node has to come.
"""

from __future__ import annotations

from typing import Any

from another_class import another_class
from operator_stage import OURS, Object, OperatorStage, condition, until

HERE = "/api/v1/nodes/h200-0"
POOL: dict[str, Any] = {
    "apiVersion": "argosy.dev/v1alpha1",
    "kind": "GPUPool",
    "metadata": {"name": "h200"},
    "spec": {
        "gpu": "H200",
        "nodeSelector": {"nvidia.com/gpu.product": "NVIDIA-H200"},
        "gpusPerNode": 1,
        "priceUsdPerHour": 60,
        "placement": "Argosy",
        "nodes": {"min": 0, "max": 1},
        "provisioningSeconds": 20,
    },
}
MODEL: dict[str, Any] = {
    "apiVersion": "argosy.dev/v1alpha1",
    "kind": "ServedModel",
    "metadata": {"name": "mixtral", "namespace": "default"},
    "spec": {
        "modelId": "mistralai/Mixtral-8x7B-Instruct-v0.1",
        "servedNames": ["mixtral"],
        "parallelShapes": [{"tensorParallel": 1}],
    },
}
CLASS = another_class("grower", 1, models=[{"name": "mixtral"}])


def test_a_pool_at_zero_nodes_gets_one_for_its_pods_and_gives_it_back(stage: OperatorStage) -> None:
    assert stage.read(HERE) == {}

    def pool() -> Object:
        return stage.read(f"{OURS}/gpupools/h200").get("status", {})

    try:
        stage.apply(POOL, MODEL, CLASS)
        [pod] = until(lambda: stage.pods("grower"), "a pod")
        assert pod["spec"]["nodeSelector"] == POOL["spec"]["nodeSelector"]
        [ready] = until(lambda: stage.ready_pods("grower"), "the pod to serve on a node that came")
        assert ready["metadata"]["uid"] == pod["metadata"]["uid"]
        assert ready["spec"]["nodeName"] == "h200-0"
        asked = [p["spec"]["nodesToCome"] for p in stage.plans() if p["spec"].get("nodesToCome")]
        assert asked[0] == [{"pool": "h200", "nodes": 1}]
        until(lambda: condition(stage.class_of("grower"), "Ready").get("status") == "True", "the class Ready")
        until(lambda: 0 < pool().get("provisioningSeconds", 0) < 20, "the delay to be learnt")
    finally:
        stage.delete(CLASS, MODEL, POOL)
    until(lambda: stage.read(HERE) == {}, "the empty node to be taken away")
