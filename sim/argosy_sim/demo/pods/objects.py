"""The objects of the story, all in a namespace of its own or with its label.

Owns the manifests. Input: the examples, the simulator's image, the load. Output: objects to create. Pure.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from typing import Any

NAMESPACE = "argosy-demo"
LABEL = "argosy.dev/demo=pods"
LOAD = "load"
LOAD_FILE = "load.jsonl.gz"
_LABELS = dict([LABEL.split("=")])
_ENGINE = "argosy-demo-engine"
_KEPT_S = 3600
_CONTROL_PLANE = "node-role.kubernetes.io/control-plane"
ENGINE = {
    # Without a named account, an engine's pod gets no token to ask which GPU its node has.
    "serviceAccountName": "default",
    "resources": {"requests": {"cpu": "20m", "memory": "128Mi"}, "limits": {"cpu": "1", "memory": "1Gi"}},
}
"""As in hack/kind/fleet: nodes share one small machine, and a simulated engine holds no weights."""
CLUSTER_WIDE = ("Fleet", "GPUPool")


def namespace() -> dict[str, Any]:
    """The story's namespace."""
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE, "labels": _LABELS}}


def rights() -> list[dict[str, Any]]:
    """The right of simulated engines to read which GPU their node is labelled with."""
    rbac = "rbac.authorization.k8s.io"
    role = {"apiGroup": rbac, "kind": "ClusterRole", "name": _ENGINE}
    account = {"kind": "ServiceAccount", "name": "default", "namespace": NAMESPACE}
    metadata = {"name": _ENGINE, "labels": _LABELS}
    rules = [{"apiGroups": [""], "resources": ["pods", "nodes"], "verbs": ["get"]}]
    return [
        {"apiVersion": f"{rbac}/v1", "kind": "ClusterRole", "metadata": metadata, "rules": rules},
        {
            "apiVersion": f"{rbac}/v1",
            "kind": "ClusterRoleBinding",
            "metadata": metadata,
            "roleRef": role,
            "subjects": [account],
        },
    ]


def fleet_objects(
    examples: Iterable[Mapping[str, Any]], image: str, gpus_per_node: Mapping[str, int]
) -> list[dict[str, Any]]:
    """The examples for this cluster; `gpus_per_node` by the product that a pool selects."""
    return [_fitted(item, image, gpus_per_node) for item in examples]


def _fitted(item: Mapping[str, Any], image: str, gpus_per_node: Mapping[str, int]) -> dict[str, Any]:
    metadata, spec = {**item["metadata"], "labels": _LABELS}, dict(item["spec"])
    if item["kind"] not in CLUSTER_WIDE:
        metadata["namespace"] = NAMESPACE
    if item["kind"] == "Fleet":
        # A judgement asks which replica answered a request.
        spec["gateway"] = {**spec.get("gateway", {}), "endpointHeader": True}
    if item["kind"] == "ServedModel":
        spec["engine"] = {**spec.get("engine", {}), "image": image, **ENGINE}
    if item["kind"] == "GPUPool":
        product = spec["nodeSelector"]["nvidia.com/gpu.product"]
        spec["gpusPerNode"] = gpus_per_node.get(product, spec["gpusPerNode"])
    return {**item, "metadata": metadata, "spec": spec}


def load_objects(image: str, url: str, content: bytes, deadline_s: float) -> list[dict[str, Any]]:
    """The Job that sends the load, for `deadline_s` at most, and the ConfigMap with its requests."""
    metadata = {"name": LOAD, "namespace": NAMESPACE, "labels": _LABELS}
    file = {LOAD_FILE: base64.b64encode(content).decode()}
    return [
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "binaryData": file},
        {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": metadata,
            "spec": {
                "backoffLimit": 0,
                "activeDeadlineSeconds": round(deadline_s),
                "ttlSecondsAfterFinished": _KEPT_S,
                "template": {"metadata": {"labels": _LABELS}, "spec": _load_pod(image, url)},
            },
        },
    ]


def _load_pod(image: str, url: str) -> dict[str, Any]:
    is_control_plane = {"matchExpressions": [{"key": _CONTROL_PLANE, "operator": "Exists"}]}
    preferred = [{"weight": 1, "preference": is_control_plane}]
    return {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        # Beside the control plane where that is a node of its own: the story takes no such node away.
        "tolerations": [{"key": _CONTROL_PLANE, "operator": "Exists"}],
        "affinity": {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": preferred}},
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [
            {
                "name": LOAD,
                "image": image,
                "command": ["python3", "-m", "argosy_sim.demo.pods.load", f"/load/{LOAD_FILE}", url],
                "securityContext": {
                    "allowPrivilegeEscalation": False,
                    "readOnlyRootFilesystem": True,
                    "capabilities": {"drop": ["ALL"]},
                },
                "volumeMounts": [
                    {"name": LOAD, "mountPath": "/load"},
                    {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108  (an empty volume of the pod's)
                ],
            }
        ],
        "volumes": [{"name": LOAD, "configMap": {"name": LOAD}}, {"name": "tmp", "emptyDir": {}}],
    }
