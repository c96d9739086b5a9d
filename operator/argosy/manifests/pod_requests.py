"""What the scheduler keeps free for a pod beside its devices.

Owns the sum over containers as Kubernetes makes it. Input: a pod's spec, or a workload. Output: thousandths
by resource (`cpu` in CPUs, the others in bytes).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from argosy.manifests.deployment import EngineWorkload, pod_template
from argosy.manifests.engine_resources import engine_resources
from argosy.snapshot.admission.quantity import thousandths
from argosy.snapshot.cluster import ROOM


def pod_requests(spec: Mapping[str, Any]) -> dict[str, int]:
    """Of the containers together, or of an init container that asks for more; sidecars count in both."""
    running, starting = Counter[str](), Counter[str]()
    for each in _objects(spec.get("initContainers")):
        if each.get("restartPolicy") == "Always":
            running += _of(each)
            starting |= running
        else:
            starting |= running + _of(each)
    for each in _objects(spec.get("containers")):
        running += _of(each)
    return dict(running | starting)


def workload_requests(workload: EngineWorkload) -> dict[str, int]:
    """Of a replica. Where no patch adds to it, the engine's container is all."""
    if workload.variant.engine.pod.pod_template_patch:
        return pod_requests(pod_template(workload)["spec"])
    resources = engine_resources(workload.variant, workload.pool.spec.resource_name)
    return pod_requests({"containers": [{"resources": resources}]})


def _of(container: Mapping[str, Any]) -> Counter[str]:
    """A limit without a request is the request."""
    resources = _object(container.get("resources"))
    asked = {**_object(resources.get("limits")), **_object(resources.get("requests"))}
    return Counter({name: thousandths(asked[name]) or 0 for name in ROOM if name in asked})


def _object(value: object) -> Mapping[str, Any]:
    """A patch may hold anything: what is no object asks for nothing, and its dry run refuses it."""
    return value if isinstance(value, Mapping) else {}


def _objects(value: object) -> list[Mapping[str, Any]]:
    return [_object(each) for each in value] if isinstance(value, list | tuple) else []
