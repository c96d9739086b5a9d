"""From a snapshot to the weights between clusters: what each cluster of a cell has at this instant.

Owns the translation of a snapshot into `route.weights`'s input, and which weights are worth
publishing. Input: a snapshot, the applied plan, the previous weights and the capacities of the last
decision. Output: the weights of every cell.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

from argosy.api import FleetPlan, RouterPolicy
from argosy.api.fleetplan import DeploymentWeight, FleetPlanStatus, PlannedCell, PublishedWeights
from argosy.control.cells import cells_of_plan, weights_of_plan
from argosy.control.state.owners import group_by_deployment, models_by_deployment
from argosy.control.state.silence import idle_pods
from argosy.keys import CellName, ClassKey, DeploymentKey, GroupName, ModelKey
from argosy.route.policies import ClusterPolicy, assign_policies
from argosy.route.weights import CellWeights, ClusterLoad, CorrectionSettings, correct, queue_of
from argosy.snapshot.cluster import PodState
from argosy.snapshot.fleet import FleetSnapshot
from argosy.snapshot.serving import takes_requests

Capacities = Mapping[tuple[CellName, DeploymentKey], float]
"""Requests/s that one replica of a Deployment carries of a cell."""

WEIGHT_DIGITS = 4
"""Decimals of a published weight: a hundredth of what is worth publishing."""


def balance(
    snapshot: FleetSnapshot,
    plan: FleetPlan,
    previous: Mapping[CellName, CellWeights],
    capacity_per_s: Capacities,
) -> dict[CellName, CellWeights]:
    """The weights of every cell of the applied plan.

    Cells that share replicas have the same weights: those of the first of them that has any are
    followed, so that a class that has just joined its group starts where the group is.
    """
    usable = _usable(snapshot)
    surplus = _Surplus(snapshot, plan)
    by_class = assign_policies(snapshot.policies.values(), snapshot.classes.values()).by_class
    replicas = {d.name: d.replicas for d in plan.spec.deployments}
    found: dict[CellName, CellWeights] = {}
    for alike in _alike(plan, by_class):
        cell, enabled = alike[0], ClusterPolicy.of(by_class.get(alike[0].workload_class)).corrects_weights
        shares = _shares(cell)
        clusters = {
            name: ClusterLoad(
                planned_share=shares.get(name, 0.0),
                planned_replicas=replicas.get(name, 0),
                usable_endpoints=len(usable.get(name, ())),
                capacity_per_replica=capacity_per_s.get((cell.name, name), 0.0),
                queue=queue_of(snapshot.telemetry, [p.address for p in usable.get(name, ())], snapshot.now_s),
            )
            for name in sorted(shares.keys() | (surplus.of_cell(cell) & usable.keys()))
        }
        known = next((previous[c.name] for c in alike if c.name in previous), None)
        before = {} if known is None else {cell.name: known}
        corrected = correct({cell.name: clusters}, before, CorrectionSettings(enabled=enabled))
        found |= {each.name: corrected[cell.name] for each in alike if cell.name in corrected}
    return found


def _alike(plan: FleetPlan, by_class: Mapping[ClassKey, RouterPolicy]) -> Iterable[list[PlannedCell]]:
    """The cells by group, where they have the same shares and their classes agree on the correction."""
    found: dict[object, list[PlannedCell]] = {}
    for cell in plan.spec.cells:
        policy = ClusterPolicy.of(by_class.get(cell.workload_class))
        likeness = (cell.sharing_group, cell.shares, policy.corrects_weights)
        found.setdefault(likeness, []).append(cell)
    return found.values()


@dataclass(frozen=True)
class _Surplus:
    """Which Deployments can carry what a cell's own replicas cannot."""

    snapshot: FleetSnapshot
    plan: FleetPlan

    @cached_property
    def _members(self) -> dict[GroupName, list[DeploymentKey]]:
        groups = cells_of_plan(self.plan).groups
        found: dict[GroupName, list[DeploymentKey]] = {}
        for name, group in group_by_deployment(self.snapshot.engine_pods, groups).items():
            found.setdefault(group, []).append(name)
        return found

    @cached_property
    def _classes(self) -> dict[GroupName, list[ClassKey]]:
        """The classes of a group, once for each of their cells."""
        found: dict[GroupName, list[ClassKey]] = {}
        for cell in self.plan.spec.cells:
            found.setdefault(cell.sharing_group, []).append(cell.workload_class)
        return found

    @cached_property
    def _model_of(self) -> dict[DeploymentKey, ModelKey]:
        return models_by_deployment(self.snapshot)

    @cached_property
    def _planned(self) -> frozenset[DeploymentKey]:
        return frozenset(d.name for d in self.plan.spec.deployments if d.replicas > 0)

    def of_cell(self, cell: PlannedCell) -> frozenset[DeploymentKey]:
        """The Deployments of the cell's group, without those that are there for other cells only.

        In a group of several cells, planned replicas without a share of this one are there for the
        others, and those of a model that the class does not allow would refuse its requests.
        """
        members = self._members.get(cell.sharing_group, [])
        classes = self._classes[cell.sharing_group]
        if len(classes) == 1:
            return frozenset(members)
        workload = self.snapshot.classes.get(cell.workload_class)
        models = workload.model_keys if workload is not None else frozenset()
        is_alone = len(set(classes)) == 1
        return frozenset(
            name
            for name in members
            if name not in self._planned and (is_alone or self._model_of.get(name) in models)
        )


def _usable(snapshot: FleetSnapshot) -> dict[DeploymentKey, list[PodState]]:
    idle = idle_pods(snapshot)
    usable: dict[DeploymentKey, list[PodState]] = {}
    for pod in snapshot.engine_pods:
        if takes_requests(pod, idle):
            usable.setdefault(pod.deployment, []).append(pod)
    return usable


def _shares(cell: PlannedCell) -> dict[DeploymentKey, float]:
    return {s.deployment: s.share for s in cell.shares}


def weights_status(weights: Mapping[CellName, Mapping[DeploymentKey, float]]) -> FleetPlanStatus:
    """The part of a FleetPlan's status that carries the weights to every replica of the operator."""
    rows = (
        PublishedWeights(
            cell=cell,
            weights=tuple(
                DeploymentWeight(deployment=name, weight=round(share, WEIGHT_DIGITS))
                for name, share in sorted(shares.items())
            ),
        )
        for cell, shares in sorted(weights.items())
    )
    return FleetPlanStatus(weights=tuple(rows))


def published_weights(plan: FleetPlan) -> dict[CellName, CellWeights]:
    """What every replica of the operator serves now, from the plan's status."""
    return {cell: CellWeights(weights) for cell, weights in weights_of_plan(plan).items()}


def worth_publishing(plan: FleetPlan, weights: Mapping[CellName, CellWeights]) -> bool:
    """True if some weight differs by a point or more from the one that is served."""
    served = weights_of_plan(plan)
    for cell in plan.spec.cells:
        served.setdefault(cell.name, {s.deployment: s.share for s in cell.shares if s.share > 0})
    return any(_differ(served.get(cell, {}), found.weights) for cell, found in weights.items())


def _differ(served: Mapping[DeploymentKey, float], wanted: Mapping[DeploymentKey, float]) -> bool:
    return any(
        abs(served.get(name, 0.0) - wanted.get(name, 0.0)) >= CorrectionSettings().hysteresis
        or (served.get(name, 0.0) > 0) != (wanted.get(name, 0.0) > 0)
        for name in served.keys() | wanted.keys()
    )
