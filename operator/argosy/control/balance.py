"""From a picture to the fast loop's question: what each cluster of a cell has right now.

Owns the translation of a snapshot into `route.weights`'s input, and which weights are worth
publishing. Never measures and never writes.
"""

from __future__ import annotations

from collections.abc import Mapping

from argosy.api import FleetPlan
from argosy.api.routerpolicy import WeightCorrection
from argosy.control.owners import class_by_deployment
from argosy.control.silence import lost_pods
from argosy.route.policies import assign_policies
from argosy.route.weights import CellWeights, ClusterLoad, CorrectionSettings, correct, queue_of
from argosy.snapshot.cluster import PodState
from argosy.snapshot.fleet import FleetSnapshot


def balance(
    snapshot: FleetSnapshot,
    plan: FleetPlan,
    previous: Mapping[str, CellWeights],
    capacity_per_s: Mapping[str, float],
) -> dict[str, CellWeights]:
    """The weights of every cell of the applied plan. `capacity_per_s`: of one replica, by cluster."""
    lost = lost_pods(snapshot)
    usable: dict[str, list[PodState]] = {}
    for pod in snapshot.engine_pods:
        if pod.ready and not pod.deleting and pod.key not in lost:
            usable.setdefault(pod.deployment, []).append(pod)
    class_of = class_by_deployment(snapshot.engine_pods, (c.workload_class for c in plan.spec.cells))
    by_class = assign_policies(snapshot.policies.values(), snapshot.classes.values()).by_class
    found: dict[str, CellWeights] = {}
    for cell in plan.spec.cells:
        policy = by_class.get(cell.workload_class)
        enabled = policy is None or policy.spec.weight_correction is WeightCorrection.ENABLED
        shares = {s.deployment: s.share for s in cell.shares}
        names = shares.keys() | {n for n in usable if class_of.get(n) == cell.workload_class}
        replicas = {d.name: d.replicas for d in plan.spec.deployments}
        clusters = {
            name: ClusterLoad(
                planned_share=shares.get(name, 0.0),
                planned_replicas=replicas.get(name, 0),
                usable_endpoints=len(usable.get(name, ())),
                capacity_per_replica=capacity_per_s.get(name, 0.0),
                queue=queue_of(snapshot.telemetry, [p.address for p in usable.get(name, ())], snapshot.now_s),
            )
            for name in sorted(names)
        }
        found |= correct({cell.name: clusters}, previous, CorrectionSettings(enabled=enabled))
    return found


def published_weights(plan: FleetPlan) -> dict[str, CellWeights]:
    """What every replica of the operator serves now, from the plan's status."""
    return {w.cell: CellWeights({d.deployment: d.weight for d in w.weights}) for w in plan.status.weights}


def worth_publishing(plan: FleetPlan, weights: Mapping[str, CellWeights]) -> bool:
    """Whether Envoy should be told: some weight differs by a point from what it is served."""
    served = {cell: dict(w.weights) for cell, w in published_weights(plan).items()}
    for cell in plan.spec.cells:
        served.setdefault(cell.name, {s.deployment: s.share for s in cell.shares if s.share > 0})
    return any(_differ(served.get(cell, {}), found.weights) for cell, found in weights.items())


def _differ(served: Mapping[str, float], wanted: Mapping[str, float]) -> bool:
    return any(
        abs(served.get(name, 0.0) - wanted.get(name, 0.0)) >= CorrectionSettings().hysteresis
        or (served.get(name, 0.0) > 0) != (wanted.get(name, 0.0) > 0)
        for name in served.keys() | wanted.keys()
    )
