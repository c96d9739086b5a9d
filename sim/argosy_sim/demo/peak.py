"""The static fleet that the demo is compared with: what the planner gives for every class's peak.

Owns the question; the answer is `control.step`'s, on a snapshot in which each class declares its highest
rate and no traffic was observed. Pure but for the shipped profiles, which are read from the package.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, MutableMapping
from typing import Any

from argosy.api import FleetPlan, WorkloadClass
from argosy.control.memory import ControlMemory
from argosy.control.step import StepSettings, step
from argosy.errors import SpecError
from argosy.files.objects import snapshot_of
from argosy.perf import LibraryPerfModel, shipped_library
from argosy.snapshot.cluster import NodeState
from argosy_sim.demo.evidence import StaticPeak
from argosy_sim.livefleet.spec import SIMULATED, LiveFleetSpec


def static_peak(
    objects: Iterable[Mapping[str, Any]],
    nodes: Iterable[NodeState],
    peak_rate_per_s: Mapping[str, float],
    cache: MutableMapping[str, Any],
) -> StaticPeak:
    """The fleet for `peak_rate_per_s` (by class name) at the objects' own prices."""
    plan = peak_plan(objects, nodes, peak_rate_per_s, cache)
    gpus: dict[str, int] = {}
    for entry in plan.spec.deployments:
        gpus[entry.pool] = gpus.get(entry.pool, 0) + entry.replicas * entry.gpus_per_replica
    words = ", ".join(f"{e.replicas} x {e.variant} for {e.sharing_group.name}" for e in plan.spec.deployments)
    return StaticPeak(gpus, f"{words}: ${plan.spec.cost_usd_per_hour:.2f}/h at act 1's prices")


def peak_plan(
    objects: Iterable[Mapping[str, Any]],
    nodes: Iterable[NodeState],
    peak_rate_per_s: Mapping[str, float],
    cache: MutableMapping[str, Any],
) -> FleetPlan:
    """The plan behind `static_peak`; raises `SpecError` where there is none."""
    declared = [_with_rate(item, peak_rate_per_s) for item in objects]
    snapshot = snapshot_of(declared, 0.0, nodes)
    perf = LibraryPerfModel(shipped_library(), cache, None)
    decision = step(snapshot, ControlMemory(), StepSettings("static peak", plan_time_limit_s=None), perf)
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


def fleet_nodes(fleet: LiveFleetSpec) -> Iterable[NodeState]:
    """The nodes of a live fleet, all Ready."""
    for group in fleet.nodes:
        for number in range(group.count):
            name = f"{group.name}-{number}"
            labels = {
                "nvidia.com/gpu.product": group.gpu_product,
                "kubernetes.io/hostname": name,
                "type": SIMULATED,
                **group.labels,
            }
            yield NodeState(name, labels, {"nvidia.com/gpu": group.gpus}, ready=True)
