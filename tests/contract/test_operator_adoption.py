"""Argosy beside a user's vLLM Deployment and Kueue's gate, on a real control plane, fleet and Envoy."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from another_class import another_class
from operator_stage import OURS, Object, OperatorStage, condition, is_ready, until

PODS = "/api/v1/namespaces/default/pods?labelSelector=app%3Dmine"
MODEL_ID = "meta-llama/Llama-3.1-8B-Instruct"
ARGS = [
    *("--model", MODEL_ID, "--served-model-name", "llama-8b", "--port", "8123"),
    *("--max-model-len=8192", "--max-num-seqs=128", "--max-num-batched-tokens=4096"),
]
GUEST: Object = another_class("guest", 150)


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
        assert stage.deployments()["mine"]["spec"] == before["spec"]

        with stage.load(rate_per_s=2, **guest) as load:
            stage.kubectl("label", "deployment", "mine", "argosy.dev/adopt-")
            until(lambda: "mine" not in planned(stage) and planned(stage), "a plan without it", 60.0)
            key = f"default/{pod['metadata']['name']}"
            until(lambda: key not in stage.envoy_endpoints(), "its endpoint to go")
        assert load.lost == ()

        now = stage.deployments()["mine"]
        assert now["spec"] == before["spec"]
        assert not any("argosy" in m["manager"] for m in now["metadata"]["managedFields"])
        (still,) = stage.items(PODS)
        assert still["metadata"]["uid"] == pod["metadata"]["uid"]
        assert is_ready(still)


QUEUE, KUEUE = "kueue.x-k8s.io/queue-name", {"name": "kueue.x-k8s.io/admission"}
POLICY: list[Object] = [
    {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "MutatingAdmissionPolicy",
        "metadata": {"name": "queued"},
        "spec": {
            "failurePolicy": "Fail",
            "reinvocationPolicy": "Never",
            "matchConstraints": {
                "resourceRules": [
                    {
                        "apiGroups": [""],
                        "apiVersions": ["v1"],
                        "operations": ["CREATE"],
                        "resources": ["pods"],
                    }
                ]
            },
            "matchConditions": [
                {"name": "queued", "expression": f"'{QUEUE}' in object.metadata.?labels.orValue({{}})"}
            ],
            "mutations": [
                {
                    "patchType": "JSONPatch",
                    "jsonPatch": {
                        "expression": '[JSONPatch{op: "add", path: "/spec/schedulingGates/-", value:'
                        f' Object.spec.schedulingGates{{name: "{KUEUE["name"]}"}}}}]'
                    },
                }
            ],
        },
    },
    {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "MutatingAdmissionPolicyBinding",
        "metadata": {"name": "queued"},
        "spec": {"policyName": "queued"},
    },
]


def is_gating(stage: OperatorStage) -> bool:
    """Whether a pod that is made now would get Kueue's gate."""
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "probe", "namespace": "default", "labels": {QUEUE: "inference"}},
        "spec": {"schedulingGates": [{"name": "a.b/c"}], "containers": [{"name": "a", "image": "a"}]},
    }
    made = stage.kubectl("create", "--dry-run=server", "-o", "json", "-f", "-", stdin=json.dumps(pod))
    return KUEUE in json.loads(made)["spec"]["schedulingGates"]


def test_of_two_gates_argosy_removes_its_own_and_the_pod_waits_for_kueue(stage: OperatorStage) -> None:
    """A policy stands in for Kueue's webhook, which sets the gate on labelled pods; kubectl for Kueue."""
    stage.apply(*POLICY)
    try:
        until(lambda: is_gating(stage), "the policy to be in force")
        stage.patch("smodel", "llama-8b", engine={"podLabels": {QUEUE: "inference"}})

        def queued() -> list[Object]:
            return [p for p in stage.pods("chat") if p["spec"].get("schedulingGates") == [KUEUE]]

        until(lambda: len(queued()) == 2, "two pods with no gate but Kueue's")
        said = "Kueue removes it once LocalQueue inference admits the pod"
        until(lambda: said in condition(stage.class_of("chat"), "Ready").get("message", ""), "the status")
        hosts = [pod["spec"]["nodeSelector"]["kubernetes.io/hostname"] for pod in queued()]
        for pod in queued():
            patch = json.dumps({"spec": {"schedulingGates": [{"$patch": "delete", **KUEUE}]}})
            stage.kubectl("patch", "pod", pod["metadata"]["name"], "--type=strategic", "-p", patch)

        def admitted() -> list[Object]:
            return [p for p in stage.ready_pods("chat") if QUEUE in p["metadata"]["labels"]]

        until(lambda: len(admitted()) == 2, "the admitted pods to be ready")
        assert sorted(pod["spec"]["nodeName"] for pod in admitted()) == sorted(hosts)
    finally:
        stage.delete(*POLICY)
