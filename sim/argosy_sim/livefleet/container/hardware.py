"""Which GPU a container simulates.

Owns the question that a real engine asks its driver. Input: the environment, and in a pod the API server:
the label `nvidia.com/gpu.product` of the pod's node, read with the pod's service account. Output: the
product's name. A pod's resources only count GPUs, and a kubelet passes no node label to containers.
"""

from __future__ import annotations

import json
import ssl
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from argosy.addresses import written
from argosy.errors import SpecError

GPU_VARIABLE = "ARGOSY_SIM_GPU"
PRODUCT_LABEL = "nvidia.com/gpu.product"
SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_TIMEOUT_S = 5.0

Read = Callable[[str], dict[str, Any]]
"""Reads an object of the API server by its path; raises OSError where it cannot."""


def gpu_product(environment: Mapping[str, str], pod: str, account: Path = SERVICE_ACCOUNT) -> str:
    """The GPU that the environment names, else that of the pod's node. Raises SpecError."""
    if named := environment.get(GPU_VARIABLE):
        return named
    host = environment.get("KUBERNETES_SERVICE_HOST")
    if not host or not (account / "token").is_file():
        raise SpecError(
            f"{GPU_VARIABLE} is not set, and this container has no service account to ask for its node's"
            f" label {PRODUCT_LABEL}; set {GPU_VARIABLE} to a GPU such as NVIDIA-L40S",
            GPU_VARIABLE,
        )
    port = environment.get("KUBERNETES_SERVICE_PORT", "443")
    namespace = (account / "namespace").read_text().strip()
    return product_of_node(_reader(f"https://{written(host, int(port))}", account), namespace, pod)


def product_of_node(read: Read, namespace: str, pod: str) -> str:
    """The product that the node of a pod is labelled with. Raises SpecError."""
    try:
        node = read(f"/api/v1/namespaces/{namespace}/pods/{pod}")["spec"]["nodeName"]
        labels = read(f"/api/v1/nodes/{node}")["metadata"].get("labels") or {}
    except OSError as error:
        raise SpecError(
            f"{GPU_VARIABLE} is not set, and the node of pod {namespace}/{pod} cannot be read: {error};"
            " set it, or let this pod's service account get pods and nodes",
            GPU_VARIABLE,
        ) from error
    if PRODUCT_LABEL not in labels:
        raise SpecError(f"node {node} has no label {PRODUCT_LABEL}; set it, or {GPU_VARIABLE}", GPU_VARIABLE)
    return str(labels[PRODUCT_LABEL])


def _reader(server: str, account: Path) -> Read:
    def read(path: str) -> dict[str, Any]:
        token = (account / "token").read_text().strip()
        request = urllib.request.Request(server + path, headers={"Authorization": f"Bearer {token}"})  # noqa: S310
        trusted = ssl.create_default_context(cafile=str(account / "ca.crt"))
        with urllib.request.urlopen(request, timeout=_TIMEOUT_S, context=trusted) as answer:  # noqa: S310
            found: dict[str, Any] = json.load(answer)
        return found

    return read
