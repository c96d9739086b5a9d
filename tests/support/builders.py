"""Objects and pods that are valid and boring: a test states only the fields that it is about.

Owns one builder per kind. Input: the fields that differ. Output: values, as the operator reads them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from argosy.api import CustomResource, Fleet, FleetPlan, GPUPool, InvalidObject, ServedModel, WorkloadClass
from argosy.api.conditions import Condition, ConditionStatus
from argosy.api.fleetplan import FleetPlanStatus
from argosy.snapshot.cluster import NodeState, PodState

GPU_LABEL = "nvidia.com/gpu.product"
NVIDIA = "nvidia.com/gpu"
R = TypeVar("R", bound=CustomResource)


def parsed(kind: type[R], name: str, spec: Mapping[str, Any], namespace: str = "") -> R:
    """An object as the API server would hand it out."""
    metadata = {"name": name, "uid": f"uid-{name}", "generation": 1, "resourceVersion": "1"}
    if namespace:
        metadata["namespace"] = namespace
    found = kind.from_object({"metadata": metadata, "spec": spec})
    assert not isinstance(found, InvalidObject), found
    return found


def a_pool(name: str = "l40s", gpu: str = "L40S", **spec: Any) -> GPUPool:
    """A pool whose nodes carry its name; $0.90 per GPU-hour."""
    chosen = {"gpu": gpu, "nodeSelector": {GPU_LABEL: name}, "gpusPerNode": 2, "priceUsdPerHour": 0.9}
    return parsed(GPUPool, name, {**chosen, **spec})


def a_model(name: str = "llama", model_id: str = "small", **spec: Any) -> ServedModel:
    return parsed(ServedModel, name, {"modelId": model_id, **spec}, "default")


def a_class(name: str = "chat", rate_per_s: float = 8.0, **spec: Any) -> WorkloadClass:
    """Requests with a header of the class's name, for the model `llama`; its declared rate counts."""
    chosen = {
        "match": {"headers": [{"name": "x-class", "value": name}]},
        "models": [{"name": "llama"}],
        "traffic": {
            "requestsPerSecond": rate_per_s,
            "lengths": {"archetype": "azure-conversation"},
            "source": "Declared",
        },
        "slo": {"ttft": {"p95Milliseconds": 2000}},
    }
    return parsed(WorkloadClass, name, {**chosen, **spec}, "default")


def a_fleet(mode: str = "Auto", **spec: Any) -> Fleet:
    """No margin, so that counts are easy to compute."""
    return parsed(Fleet, "default", {"mode": mode, "robustnessMargin": 0.0, **spec})


def a_node(name: str, pool: str = "l40s", gpus: int = 2, **fields: Any) -> NodeState:
    labels = {GPU_LABEL: pool, "kubernetes.io/hostname": name}
    return NodeState(name, labels, {NVIDIA: gpus}, ready=True, **fields)


def some_nodes(pool: str, count: int, gpus: int = 2) -> list[NodeState]:
    return [a_node(f"{pool}-{i}", pool, gpus) for i in range(count)]


def a_pod(name: str, node: str = "n", gpus: int = 1, **fields: Any) -> PodState:
    """An engine pod of Argosy, running and ready."""
    chosen: dict[str, Any] = {
        "namespace": "default",
        "uid": name,
        "deployment": "default/d",
        "phase": "Running",
        "ready": True,
        "deleting": False,
        "gated": False,
        "devices": {NVIDIA: gpus},
    }
    return PodState(name=name, node=node, **{**chosen, **fields})


def a_pending_pod(**fields: Any) -> PodState:
    """An engine pod of Argosy that has no node yet."""
    return a_pod("p", **{"node": "", "phase": "Pending", "ready": False, **fields})


def with_condition(plan: FleetPlan, reason: str, status: ConditionStatus) -> FleetPlan:
    """The plan with this reason of its condition Applied, and no other."""
    condition = Condition(type="Applied", status=status, reason=reason)
    return plan.model_copy(update={"status": FleetPlanStatus(conditions=(condition,))})
