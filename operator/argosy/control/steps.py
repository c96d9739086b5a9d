"""From a decided plan to safe steps, each with what it relies on.

Owns the input of `rollout` (what is planned, what else exists) and the reliance of every step. Input:
what was decided, and the plan that is followed. Output: `PlannedStep`s in the order of taking.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import assert_never

from argosy.api import FleetPlan
from argosy.api.servedmodel import Exchange
from argosy.control.cells import RouteCells, cells_of_plan
from argosy.control.decision import PlannedStep, Reliance
from argosy.control.revision.decided import Decided
from argosy.control.state.nodes import PoolNodes, closed_pods, leaving_pods, new_pod_nodes, pool_nodes
from argosy.control.state.orphans import orphans, without_place
from argosy.control.state.owners import Owners
from argosy.control.state.restarts import surge_pods
from argosy.control.state.routable import unrouted
from argosy.control.state.silence import stranded_pods
from argosy.control.state.waiting import quota_starved, replicas_without_room, uncounted_pods
from argosy.keys import CellName, DeploymentKey, GroupName, ModelKey
from argosy.place.solution import Placement
from argosy.rollout import (
    AdoptReplicaSet,
    CreateDeployment,
    DeleteDeployment,
    DeletePod,
    DeleteReplicaSet,
    EndProtection,
    MarkVictim,
    PlacePod,
    ProtectReplicas,
    ReleasePod,
    RestoreDeployment,
    RolloutInputs,
    ScaleDeployment,
    Step,
    Target,
    assign_nodes,
    orphan_steps,
    protection_steps,
    release_for_nodes,
    replica_set_steps,
    rollout_steps,
)
from argosy.snapshot.fleet import FleetSnapshot


@dataclass(frozen=True, slots=True)
class World:
    """The snapshot, with what was read from it. `lost`: keys of pods whose capacity does not count."""

    snapshot: FleetSnapshot
    nodes: Mapping[str, PoolNodes]
    owners: Mapping[DeploymentKey, Owners]
    lost: frozenset[str]


def planned_steps(world: World, decided: Decided, follow: FleetPlan) -> tuple[PlannedStep, ...]:
    """What is safe to do now to carry out `follow`."""
    snapshot = world.snapshot
    strays, surge = orphans(snapshot), surge_pods(snapshot)
    inputs = RolloutInputs(
        targets=(*_planned(world, decided, follow), *_unplanned(world, decided, follow)),
        deployments=snapshot.deployments,
        pods=tuple(p for p in snapshot.engine_pods if p not in strays and p.key not in surge),
        victims=decided.placement.victims,
        lost=world.lost,
        stranded=stranded_pods(snapshot),
        leaving=leaving_pods(snapshot, world.nodes) - set(decided.placement.staying),
        closed=closed_pods(snapshot, world.nodes),
        without_room=replicas_without_room(snapshot, decided.placement),
        quota_starved=quota_starved(snapshot),
        unrouted=frozenset(unrouted(snapshot)),
        protected=snapshot.protected,
    )
    places = {**placed_nodes(decided.placement), **_places_of(follow, decided.placement)}
    usable = new_pod_nodes(world.nodes)
    gates = assign_nodes(places, snapshot.engine_pods, usable, world.lost)
    basis = _Basis(follow.key, snapshot, decided.cells, inputs)
    # A budget relies on all that serve now: on one more than a scale step of the same decision leaves.
    leaving = orphan_steps(strays, inputs, without_place(snapshot))
    adoptions = replica_set_steps(snapshot.loose.values(), inputs)
    released = release_for_nodes(decided.awaited, snapshot.engine_pods, gates)
    pods = (*gates, *released, *leaving, *adoptions)
    all_steps = (*protection_steps(inputs), *rollout_steps(inputs), *pods)
    steps = tuple(each for each in all_steps if _namespace_of_new(each) not in snapshot.ending)
    basis = replace(basis, counts={s.key: s.replicas for s in steps if isinstance(s, ScaleDeployment)})
    return tuple(PlannedStep(each, basis.reliance(each)) for each in steps)


def _namespace_of_new(step: Step) -> str:
    """The namespace in which a step makes or sets back something; empty where it does neither."""
    match step:
        case CreateDeployment(workload) | RestoreDeployment(workload):
            return workload.namespace
        case ProtectReplicas(key) | AdoptReplicaSet(key):
            return key.namespace
        case _:
            return ""


def gate_steps(snapshot: FleetSnapshot) -> tuple[PlannedStep, ...]:
    """Nodes for gated pods at once, between two decisions: the applied plan has said where."""
    plan, acts = snapshot.applied_plan, snapshot.acts
    if plan is None or not acts or not any(p.gated for p in snapshot.engine_pods):
        return ()
    lost = uncounted_pods(snapshot)
    usable = new_pod_nodes(pool_nodes(snapshot, lost))
    basis = _Basis(plan.key, snapshot, cells_of_plan(plan), RolloutInputs((), {}, ()))
    steps = assign_nodes(planned_nodes(plan), snapshot.engine_pods, usable, lost)
    return tuple(PlannedStep(each, basis.reliance(each)) for each in steps)


def placed_nodes(placement: Placement) -> dict[DeploymentKey, Counter[str]]:
    """From a placement: for Deployments whose list of nodes was too long for the FleetPlan."""
    found: dict[DeploymentKey, Counter[str]] = {}
    for (option, node), replicas in sorted(placement.counts.items()):
        found.setdefault(option, Counter())[node] = replicas
    return found


def planned_nodes(plan: FleetPlan) -> dict[DeploymentKey, Counter[str]]:
    """As the plan has them."""
    return {d.name: d.places for d in plan.spec.deployments if d.nodes}


def _places_of(plan: FleetPlan, placement: Placement) -> dict[DeploymentKey, Counter[str]]:
    """As the plan has them, and what placement has found beyond them since the plan was made."""
    now = placed_nodes(placement)
    replicas = {d.name: d.replicas for d in plan.spec.deployments}

    def places(name: DeploymentKey, listed: Counter[str]) -> Counter[str]:
        found = now.get(name, Counter())
        return found if listed <= found and found.total() <= replicas[name] else listed

    return {name: places(name, listed) for name, listed in planned_nodes(plan).items()}


def _planned(world: World, decided: Decided, follow: FleetPlan) -> Iterator[Target]:
    workloads, cells = decided.workloads, _served_cells(decided, follow)
    groups = {cell.name: cell.sharing_group for cell in follow.spec.cells}
    for entry in follow.spec.deployments:
        its_cells = cells.get(entry.name, frozenset())
        yield Target(
            key=entry.name,
            group=entry.sharing_group,
            replicas=entry.replicas,
            workload=workloads.get(entry.name),
            pool=entry.pool,
            is_kept=entry.name in decided.unplannable,
            is_short=entry.sharing_group in decided.short_groups,
            cells=its_cells,
            successors=frozenset(groups[cell] for cell in its_cells if cell in groups),
            may_interrupt=_may_interrupt(entry.model_key, world.snapshot),
            is_autoscaled=entry.name in decided.autoscaled,
            is_adopted=entry.is_adopted,
            is_given_back=_is_given_back(entry.name, world.snapshot),
        )


def _served_cells(decided: Decided, follow: FleetPlan) -> dict[DeploymentKey, frozenset[CellName]]:
    """The cells that each Deployment can serve, where its group alone does not tell.

    That is so for the cells of a group of several, and for cells that have come from another group:
    the plan lists the former replicas as long as they stand by.
    """
    num_cells = Counter(cell.group for cell in decided.problem.cells)
    group_of = {entry.name: entry.sharing_group for entry in follow.spec.deployments}
    listed = {(c.name, s.deployment) for c in follow.spec.cells for s in c.shares}
    new_group = {cell.name: cell.sharing_group for cell in follow.spec.cells}
    moved = {cell for cell, name in listed if group_of.get(name, new_group[cell]) != new_group[cell]}
    told_apart = moved | {c.name for c in decided.problem.cells if num_cells[c.group] > 1}
    able = {key for key, capacity_per_s in decided.problem.capacity_per_s.items() if capacity_per_s > 0}
    found: dict[DeploymentKey, set[CellName]] = {}
    for cell, option in able | listed:
        if cell in told_apart:
            found.setdefault(option, set()).add(cell)
    return {option: frozenset(cells) for option, cells in found.items()}


def _unplanned(world: World, decided: Decided, follow: FleetPlan) -> Iterator[Target]:
    """Deployments that the plan does not name: emptied, then removed.

    Replicas of a group for which nothing can be planned (its nodes are all gone for a moment, an SLO
    was tightened beyond reach) are left alone: the absence of a plan is no reason to lose requests. So are
    Deployments of users: the plan was made before they were adopted.
    """
    planned = {entry.name for entry in follow.spec.deployments}
    for key in sorted(world.snapshot.deployments.keys() - planned):
        owners, is_adopted = world.owners.get(key, Owners()), world.snapshot.deployments[key].is_adopted
        is_kept = key in decided.unplannable or is_adopted
        group = owners.group if owners.group is not None else GroupName()
        is_short = group in decided.short_groups
        may_interrupt = _may_interrupt(owners.model, world.snapshot)
        yield Target(
            key,
            group,
            0,
            None,
            owners.pool or "",
            is_kept,
            is_short,
            may_interrupt=may_interrupt,
            is_autoscaled=key in decided.autoscaled,
            is_adopted=is_adopted,
            is_given_back=is_adopted,
        )


def _is_given_back(key: DeploymentKey, snapshot: FleetSnapshot) -> bool:
    state = snapshot.deployments.get(key)
    return state is not None and state.is_given_back


def _may_interrupt(model: ModelKey | None, snapshot: FleetSnapshot) -> bool:
    found = snapshot.models.get(model) if model is not None else None
    return found is not None and found.spec.exchange is Exchange.BRIEF_OUTAGE


@dataclass(frozen=True, slots=True)
class _Basis:
    """What all steps of one decision were decided on. `counts`: of the Deployments that it scales."""

    plan: str
    snapshot: FleetSnapshot
    cells: RouteCells
    inputs: RolloutInputs
    counts: Mapping[DeploymentKey, int] = field(default_factory=dict)

    def reliance(self, step: Step) -> Reliance:
        """What one step relies on."""
        match step:
            case CreateDeployment(workload):
                return Reliance(self.plan, self.cells.classes_of(workload.group))
            case RestoreDeployment(_, replicas):
                return Reliance(self.plan, replicas=replicas)
            case ScaleDeployment(key, replicas):
                now = self.snapshot.deployments[key].replicas
                serving = self._serving_after(key, replicas) if replicas < now else {}
                scaler = self.snapshot.count_owners.get(key)
                return Reliance(
                    self.plan, serving=serving, replicas=now, scaler=scaler.title if scaler else ""
                )
            case MarkVictim(pod, cost):
                its = self.snapshot.pods[pod]
                count = self.counts.get(its.deployment, self.snapshot.deployments[its.deployment].replicas)
                serving = self._serving_after(its.deployment, count) if cost < 0 else {}
                return Reliance(self.plan, serving=serving, pod_uid=its.uid)
            case PlacePod(pod) | ReleasePod(pod):
                return Reliance(self.plan, pod_uid=self.snapshot.pods[pod].uid)
            case DeleteDeployment() | EndProtection() | AdoptReplicaSet() | DeleteReplicaSet():
                return Reliance(self.plan)
            case DeletePod(pod):
                orphan = self.snapshot.pods[pod]
                planned = {t.key: t.replicas for t in self.inputs.targets}.get(orphan.origin, 0)
                needed = min(planned, self.inputs.num_serving(orphan.origin))
                serving = {orphan.origin: needed} if needed else {}
                return Reliance(self.plan, serving=serving, pod_uid=orphan.uid)
            case ProtectReplicas(key, replicas):
                is_less = replicas < self.inputs.protected.get(key, 0)
                return Reliance(self.plan, serving=self._serving_after(key, replicas) if is_less else {})
        assert_never(step)

    def _serving_after(self, removed: DeploymentKey, count: int) -> dict[DeploymentKey, int]:
        """Replicas that serve the group, and those that its cells moved to, once `removed` has `count`.

        They are the planned ones where all of these serve. Otherwise a replica gives way to a planned
        one, and all others that serve now are needed.
        """
        groups = next(t.relieved_by for t in self.inputs.targets if t.key == removed)
        is_ready = not groups & self.inputs.unready_groups
        found: dict[DeploymentKey, int] = {}
        for target in self.inputs.targets:
            if target.group in groups:
                serving = self.inputs.num_serving(target.key)
                left = min(serving, count) if target.key == removed else serving
                found[target.key] = min(left, target.replicas) if is_ready else left
        return {key: needed for key, needed in found.items() if needed}
