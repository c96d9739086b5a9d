"""A vLLM Deployment that a user runs, labelled and taken back, on a real control plane, fleet and Envoy."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from operator_stage import OURS, Object, OperatorStage, condition, is_ready, until

PODS = "/api/v1/namespaces/default/pods?labelSelector=app%3Dmine"
MODEL_ID = "meta-llama/Llama-3.1-8B-Instruct"
ARGS = [
    *("--model", MODEL_ID, "--served-model-name", "llama-8b", "--port", "8123"),
    *("--max-model-len=8192", "--max-num-seqs=128", "--max-num-batched-tokens=4096"),
]
GUEST: Object = {
    "apiVersion": "argosy.dev/v1alpha1",
    "kind": "WorkloadClass",
    "metadata": {"name": "guest", "namespace": "default"},
    "spec": {
        "match": {"headers": [{"name": "x-argosy-class", "value": "guest"}]},
        "models": [{"name": "llama-8b"}],
        "traffic": {
            "requestsPerSecond": 1,
            "source": "Declared",
            "lengths": {"table": [{"promptTokens": 200, "outputTokens": 24, "weight": 1}]},
        },
        "slo": {"ttft": {"p95Milliseconds": 2000}},
        "priority": 150,
    },
}


def a_users_deployment() -> Object:
    labels = {"app": "mine"}
    container: dict[str, Any] = {
        "name": "vllm",
        "image": "vllm/vllm-openai:v0.10.0",
        "args": ARGS,
        "resources": {"limits": {"nvidia.com/gpu": "1"}},
        "readinessProbe": {"httpGet": {"path": "/health", "port": 8123}, "periodSeconds": 1},
    }
    spec = {"nodeSelector": {"nvidia.com/gpu.product": "NVIDIA-L40S"}, "containers": [container]}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "mine", "namespace": "default", "labels": labels},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": spec},
        },
    }


@contextmanager
def running(stage: OperatorStage) -> Iterator[None]:
    """The user's Deployment, with a ready pod."""
    mine = a_users_deployment()
    stage.apply(mine)
    try:
        until(lambda: [p for p in stage.items(PODS) if is_ready(p)], "the user's engine to be ready")
        yield
    finally:
        stage.delete(GUEST, mine)
        until(lambda: not stage.items(PODS), "the user's pod to go")


def adopted(stage: OperatorStage) -> Object:
    return condition(stage.read(f"{OURS}/namespaces/default/servedmodels/llama-8b"), "Adopted")


def planned(stage: OperatorStage) -> dict[str, int]:
    """The replicas of class guest in the applied plan, by Deployment."""
    spec = stage.applied().get("spec", {})
    return {
        d["deployment"]: d["replicas"]
        for d in spec.get("deployments", ())
        if d["sharingGroup"] == "default/guest" or d["deployment"] == "mine"
    }


def test_a_labelled_deployment_serves_without_a_restart_and_goes_back_without_a_lost_request(
    stage: OperatorStage,
) -> None:
    with running(stage):
        before = stage.deployments()["mine"]
        (pod,) = stage.items(PODS)
        notes = ("argosy.dev/adopt-class=guest", "argosy.dev/adopt-args=--gpu-memory-utilization=0.9")
        stage.kubectl("annotate", "deployment", "mine", *notes)
        stage.kubectl("label", "deployment", "mine", "argosy.dev/adopt=llama-8b")
        until(lambda: "'guest' is no WorkloadClass" in adopted(stage).get("message", ""), "the refusal")
        stage.apply(GUEST)
        until(lambda: adopted(stage).get("reason") == "Adopted", "the adoption")
        until(lambda: planned(stage) == {"mine": 1}, "a plan whose only replica for the class is the user's")

        guest = {"headers": {"x-argosy-class": "guest"}}
        until(lambda: not stage.answer(**guest).error, "class guest to be served")
        assert stage.deployments()["mine"]["metadata"]["generation"] == before["metadata"]["generation"]

        with stage.load(rate_per_s=2, **guest) as load:
            stage.kubectl("label", "deployment", "mine", "argosy.dev/adopt-")
            until(lambda: "mine" not in planned(stage) and planned(stage), "a plan without it", 60.0)
            key = f"default/{pod['metadata']['name']}"
            until(lambda: key not in stage.envoy_endpoints(), "its endpoint to go")
        assert load.lost == ()

        now = stage.deployments()["mine"]
        assert now["metadata"]["generation"] == before["metadata"]["generation"]
        assert "argosy" not in {m["manager"] for m in now["metadata"]["managedFields"]}
        (still,) = stage.items(PODS)
        assert still["metadata"]["uid"] == pod["metadata"]["uid"]
        assert is_ready(still)
