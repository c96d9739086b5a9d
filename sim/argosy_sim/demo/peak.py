"""The static fleet that the demo is compared with: what the planner gives for every class's peak.

Owns the question; the answer is `control.step`'s, on a snapshot in which each class declares its highest
rate and no traffic was observed. Pure but for the shipped profiles, which are read from the package.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, MutableMapping
from typing import Any, TypeVar

from argosy.api import Fleet, FleetPlan, GPUPool, InvalidObject, RouterPolicy, ServedModel, WorkloadClass
from argosy.api import Resource as ApiObject
from argosy.control.decision import ControlMemory
from argosy.control.step import StepSettings, step
from argosy.demand.forecast import DemandHistory
from argosy.errors import SpecError
from argosy.perf import LibraryPerfModel, shipped_library
from argosy.snapshot.cluster import NodeState
from argosy.snapshot.fleet import FleetSnapshot
from argosy_sim.demo.evidence import StaticPeak
from argosy_sim.livefleet.spec import FleetSpec

K = TypeVar("K", bound=ApiObject)


def static_peak(
    objects: Iterable[Mapping[str, Any]],
    fleet: FleetSpec,
    peak_rate_per_s: Mapping[str, float],
    cache: MutableMapping[str, Any],
) -> StaticPeak:
    """The fleet for `peak_rate_per_s` (by class name) at the objects' own prices."""
    plan = peak_plan(objects, fleet, peak_rate_per_s, cache)
    gpus: dict[str, int] = {}
    for entry in plan.spec.deployments:
        gpus[entry.pool] = gpus.get(entry.pool, 0) + entry.replicas * entry.gpus_per_replica
    words = ", ".join(f"{e.replicas} x {e.variant} for {e.sharing_group.name}" for e in plan.spec.deployments)
    return StaticPeak(gpus, f"{words}: ${plan.spec.cost_usd_per_hour:.2f}/h at act 1's prices")


def peak_plan(
    objects: Iterable[Mapping[str, Any]],
    fleet: FleetSpec,
    peak_rate_per_s: Mapping[str, float],
    cache: MutableMapping[str, Any],
) -> FleetPlan:
    """The plan behind `static_peak`; raises `SpecError` where there is none."""
    declared = [_with_rate(item, peak_rate_per_s) for item in objects]
    snapshot = FleetSnapshot(
        now_s=0.0,
        fleet=_of(Fleet, declared).get("default"),
        pools=_of(GPUPool, declared),
        models=_of(ServedModel, declared),
        classes=_of(WorkloadClass, declared),
        policies=_of(RouterPolicy, declared),
        plans=(),
        nodes={node.name: node for node in _nodes(fleet)},
        pods={},
    )
    perf = LibraryPerfModel(shipped_library(), cache, None)
    decision = step(
        snapshot, ControlMemory(DemandHistory()), StepSettings("static peak", plan_time_limit_s=None), perf
    )
    if decision.new_plan is None:
        raise SpecError(f"there is no plan for the peak: {decision.alarm or 'no class is declared'}")
    return decision.new_plan


def _with_rate(item: Mapping[str, Any], peak_rate_per_s: Mapping[str, float]) -> Mapping[str, Any]:
    if item["kind"] != WorkloadClass.KIND:
        return item
    name = item["metadata"]["name"]
    traffic = {
        **item["spec"]["traffic"],
        "requestsPerSecond": float(peak_rate_per_s[name]),
        "source": "Declared",
    }
    return {**item, "spec": {**item["spec"], "traffic": traffic}}


def _of(kind: type[K], objects: Iterable[Mapping[str, Any]]) -> dict[str, K]:
    found: dict[str, K] = {}
    for item in objects:
        if item["kind"] == kind.KIND:
            value = kind.from_object(item)
            if isinstance(value, InvalidObject):
                raise SpecError(value.message, value.field)
            found[value.key] = value
    return found


def _nodes(fleet: FleetSpec) -> Iterable[NodeState]:
    for group in fleet.nodes:
        for number in range(group.count):
            name = f"{group.name}-{number}"
            labels = {
                "nvidia.com/gpu.product": group.gpu_product,
                "kubernetes.io/hostname": name,
                **group.labels,
            }
            yield NodeState(name, labels, {"nvidia.com/gpu": group.gpus}, ready=True)
