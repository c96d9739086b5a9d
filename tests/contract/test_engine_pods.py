"""The real API server on the pods of engines: their schema, Pod Security, a LimitRange.

Everything is a dry run: admission is complete there, and no pod is left behind.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from builders import a_model, a_pool
from small_fleet import World
from waiting import until

from argosy.control.candidates.variants import variants_of
from argosy.keys import GroupName
from argosy.manifests import EngineWorkload, deployment_manifest, pod_template
from argosy.manifests.strategic_merge import merged

RESTRICTED, LIMITED = "engines-restricted", "engines-limited"
LIMITS = {
    "type": "Container",
    "default": {"cpu": "500m", "memory": "512Mi"},
    "defaultRequest": {"cpu": "100m", "memory": "128Mi"},
}
EVERY_FIELD: dict[str, Any] = {
    "annotations": {"prometheus.io/scrape": "true"},
    "env": [
        {"name": "A", "value": "1"},
        {"name": "T", "valueFrom": {"secretKeyRef": {"name": "hf", "key": "token", "optional": True}}},
        {"name": "C", "valueFrom": {"configMapKeyRef": {"name": "c", "key": "k"}}},
        {"name": "P", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
        {
            "name": "M",
            "valueFrom": {
                "resourceFieldRef": {
                    "containerName": "engine",
                    "resource": "limits.memory",
                    "divisor": "1Mi",
                }
            },
        },
    ],
    "envFrom": [{"secretRef": {"name": "s"}}, {"prefix": "P_", "configMapRef": {"name": "c"}}],
    "imagePullSecrets": [{"name": "registry"}],
    "imagePullPolicy": "IfNotPresent",
    "serviceAccountName": "engines",
    "volumes": [
        {"name": "claim", "persistentVolumeClaim": {"claimName": "models", "readOnly": True}},
        {"name": "host", "hostPath": {"path": "/models", "type": "Directory"}},
        {"name": "image", "image": {"reference": "registry.example/m:1", "pullPolicy": "Always"}},
        {"name": "empty", "emptyDir": {"medium": "Memory", "sizeLimit": "16Gi"}},
        {"name": "secret", "secret": {"secretName": "s", "items": [{"key": "a", "path": "b"}]}},
        {"name": "map", "configMap": {"name": "c", "defaultMode": 256, "optional": True}},
        {"name": "nfs", "nfs": {"server": "files", "path": "/models", "readOnly": True}},
    ],
    "volumeMounts": [
        {"name": "claim", "mountPath": "/home/vllm/.cache/huggingface", "subPath": "hub"},
        {"name": "image", "mountPath": "/image", "readOnly": True},
        {"name": "claim", "mountPath": "/claim"},
    ],
    "resources": {"requests": {"cpu": "3", "memory": "20Gi"}, "limits": {"rdma/ib": "1"}},
    "runtimeClassName": "nvidia",
    "priorityClassName": "high",
    "securityContext": {
        "runAsUser": 1000,
        "readOnlyRootFilesystem": True,
        "capabilities": {"add": ["IPC_LOCK"]},
        "seccompProfile": {"type": "Localhost", "localhostProfile": "vllm.json"},
        "appArmorProfile": {"type": "RuntimeDefault"},
    },
    "podSecurityContext": {"runAsGroup": 7, "supplementalGroups": [44], "fsGroupChangePolicy": "Always"},
}

Kubectl = Any


def a_workload(namespace: str, tensor_parallel: int = 1, **engine: Any) -> EngineWorkload:
    shapes = [{"tensorParallel": tensor_parallel}]
    model_id = "meta-llama/Llama-3.1-8B-Instruct"
    model = a_model(model_id=model_id, engine=engine, parallelShapes=shapes)
    [variant] = variants_of(World([], a_pool(), model).snapshot(), model)
    moved = replace(variant, model_key=type(variant.model_key).of(namespace, "llama"))
    return EngineWorkload(moved, GroupName(f"{namespace}/chat"), a_pool())


def a_pod(workload: EngineWorkload) -> dict[str, Any]:
    template = pod_template(workload)
    metadata = {**template["metadata"], "name": "engine", "namespace": workload.namespace}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]}


def refusal(kubectl: Kubectl, item: dict[str, Any]) -> str:
    """What the API server says to it; empty where it takes it, with no field unknown to it."""
    arguments = ("create", "--dry-run=server", "--validate=strict", "-f", "-")
    answer = kubectl(*arguments, stdin=json.dumps(item), check=False)
    return answer.stderr if answer.returncode else ""


@pytest.fixture(scope="module")
def namespaces(kubectl: Kubectl) -> Iterator[None]:
    label = {"pod-security.kubernetes.io/enforce": "restricted"}
    objects = [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": RESTRICTED, "labels": label}},
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": LIMITED}},
        {
            "apiVersion": "v1",
            "kind": "LimitRange",
            "metadata": {"name": "small", "namespace": LIMITED},
            "spec": {"limits": [LIMITS]},
        },
    ]
    kubectl("apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}))
    for name in (RESTRICTED, LIMITED):
        account = ("get", "serviceaccount", "default", "-n", name)
        until(lambda: kubectl(*account, check=False).returncode == 0, "an account")  # noqa: B023  (at once)
    yield
    kubectl("delete", "namespace", RESTRICTED, LIMITED, "--wait=false")


@pytest.mark.parametrize("tensor_parallel", [1, 2])
def test_pod_security_restricted_takes_an_engine_as_it_is_by_default(
    kubectl: Kubectl, namespaces: None, tensor_parallel: int
) -> None:
    pod = a_pod(a_workload(RESTRICTED, tensor_parallel))
    assert refusal(kubectl, pod) == ""
    del pod["spec"]["containers"][0]["securityContext"]
    assert 'violates PodSecurity "restricted' in refusal(kubectl, pod), "nothing is enforced here"


def test_a_limit_range_leaves_an_engine_its_requests_and_limits(kubectl: Kubectl, namespaces: None) -> None:
    pod = a_pod(a_workload(LIMITED))
    created = kubectl("create", "--dry-run=server", "-o", "json", "-f", "-", stdin=json.dumps(pod))
    found = json.loads(created.stdout)["spec"]["containers"][0]["resources"]
    assert (found["limits"]["memory"], found["limits"]["cpu"]) == ("28Gi", "16")
    assert (found["requests"]["memory"], found["requests"]["cpu"]) == ("8Gi", "2")


SIDECAR = {"name": "proxy", "image": "proxy:1", "ports": [{"name": "metrics", "containerPort": 9}]}
CSI = {"name": "models", "csi": {"driver": "d"}}
PATCHES: dict[str, dict[str, Any]] = {
    "containers by name": {
        "containers": [SIDECAR, {"name": "engine", "resources": {"limits": {"cpu": None}}}],
        "initContainers": [{"name": "fetch", "image": "fetch:1"}],
    },
    "variables, ports and mounts by their keys": {
        "containers": [
            {
                "name": "engine",
                "env": [{"name": "HOME", "value": "/x"}, {"name": "B", "value": "2"}],
                "ports": [{"containerPort": 5678, "name": "debug"}],
                "volumeMounts": [
                    {"mountPath": "/home/vllm", "name": "models"},
                    {"mountPath": "/m", "name": "m"},
                ],
            }
        ],
        "volumes": [CSI, {"name": "m", "emptyDir": {}}],
    },
    "an order of elements": {
        "$setElementOrder/containers": [{"name": "proxy"}, {"name": "engine"}],
        "containers": [
            SIDECAR,
            {
                "name": "engine",
                "$setElementOrder/env": [{"name": "USER"}, {"name": "B"}],
                "env": [{"name": "B", "value": "2"}],
            },
        ],
    },
    "items deleted": {
        "containers": [
            {
                "name": "engine",
                "env": [{"name": "USER", "$patch": "delete"}],
                "volumeMounts": [{"mountPath": "/home/vllm", "$patch": "delete"}],
            }
        ]
    },
    "a list replaced": {
        "containers": [{"name": "engine", "env": [{"$patch": "replace"}, {"name": "ONLY", "value": "1"}]}]
    },
    "a map replaced": {
        "securityContext": {"$patch": "replace", "fsGroup": 3},
        "containers": [{"name": "engine", "securityContext": {"capabilities": {"drop": ["NET_RAW"]}}}],
    },
    "keys retained, nulls": {
        "securityContext": {"$retainKeys": ["fsGroup"], "fsGroup": 4},
        "automountServiceAccountToken": None,
        "hostAliases": [{"ip": "10.0.0.1", "hostnames": ["a"]}],
    },
}


@pytest.mark.parametrize("patch", PATCHES.values(), ids=PATCHES.keys())
def test_a_patch_of_the_template_does_what_kubectl_makes_of_it(
    kubectl: Kubectl, tmp_path: Path, patch: dict[str, Any]
) -> None:
    plain = deployment_manifest(a_workload("default"), 1)
    (tmp_path / "plain.json").write_text(json.dumps(plain))
    whole = json.dumps({"spec": {"template": {"spec": patch}}})
    arguments = ("patch", "--local", "--type=strategic", "-o", "json", "-f", str(tmp_path / "plain.json"))
    theirs = json.loads(kubectl(*arguments, "-p", whole).stdout)["spec"]["template"]["spec"]
    own = merged(plain["spec"]["template"]["spec"], patch)
    assert without_empty(own) == without_empty(theirs)


def without_empty(value: Any) -> Any:
    """kubectl leaves empty objects out of what it prints, and prints some."""
    if isinstance(value, dict):
        kept = {name: without_empty(each) for name, each in value.items()}
        return {name: each for name, each in kept.items() if each not in ({}, [], None, False)}
    return [without_empty(each) for each in value] if isinstance(value, list) else value


def test_the_api_server_keeps_a_null_in_a_patch(kubectl: Kubectl, namespaces: None) -> None:
    kubectl("apply", "-f", str(Path(__file__).parents[2] / "crds" / "argosy.dev_servedmodels.yaml"))
    kubectl("wait", "--for=condition=Established", "--timeout=30s", "crd/servedmodels.argosy.dev")
    patch = {"spec": {"containers": [{"name": "engine", "resources": {"limits": {"cpu": None}}}]}}
    model = {
        "apiVersion": "argosy.dev/v1alpha1",
        "kind": "ServedModel",
        "metadata": {"name": "patched", "namespace": LIMITED},
        "spec": {"modelId": "m", "engine": {"podTemplatePatch": patch}},
    }
    arguments = ("create", "--dry-run=server", "-o", "json", "-f", "-")
    created = until(
        lambda: json.loads(kubectl(*arguments, stdin=json.dumps(model), check=False).stdout or "{}"),
        "the kind to be served",
    )
    assert created["spec"]["engine"]["podTemplatePatch"] == patch


def test_every_field_of_the_pod_is_one_that_the_api_server_knows(kubectl: Kubectl, namespaces: None) -> None:
    assert refusal(kubectl, deployment_manifest(a_workload(LIMITED, **EVERY_FIELD), 1)) == ""
