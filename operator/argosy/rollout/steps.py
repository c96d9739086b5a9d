"""Which safe steps lead from what runs to what is planned.

Owns make-before-break: replicas are added at once, and removed only when the planned replicas of
their sharing group are Ready; victims are marked before the count goes down. No step edits a pod
template. Input: targets, Deployments, pods. Output: steps, in order.

Where planned replicas find no room because the surplus holds it, neither could ever go first. Then
the surplus gives way one replica at a time, drained as always, and never the last one that serves a
group (`make_room`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from argosy.keys import DeploymentKey, NamespacedName
from argosy.manifests import EngineWorkload
from argosy.rollout.make_room import giving_way
from argosy.rollout.targets import RolloutInputs, Target, is_surplus_allowed_to_go
from argosy.snapshot.cluster import PodState

VICTIM_COST = -1000
"""`controller.kubernetes.io/pod-deletion-cost` of a pod that should go first."""

LOWEST_COST = -(2**31)
"""The least that Kubernetes takes."""

MOST_REPLACED = 3
"""Replacements of lost replicas, as a multiple of the planned count: where every replacement is lost
too, more of them do not help. Those on nodes that are not ready are all replaced: such nodes get no
replacement, so their number is the bound."""


@dataclass(frozen=True, slots=True)
class CreateDeployment:
    """Make a Deployment that does not exist yet, and its PodDisruptionBudget (server-side apply)."""

    workload: EngineWorkload
    replicas: int


@dataclass(frozen=True, slots=True)
class ScaleDeployment:
    """Change the count of an existing Deployment (`/scale`); its template stays."""

    key: DeploymentKey
    replicas: int


@dataclass(frozen=True, slots=True)
class RestoreDeployment:
    """Set back the fields of a Deployment that Argosy made and that another client has changed.

    Server-side apply of the same manifest: where its pods run another template by now, Kubernetes exchanges
    them one by one, each after its successor is ready.

    replicas: the count; None: an autoscaler's, which stays
    removal: a strategic merge patch that removes what was added to its template; empty: nothing was
    """

    workload: EngineWorkload
    replicas: int | None
    removal: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class MarkVictim:
    """Set or remove the deletion cost that makes a pod go first."""

    pod: str
    cost: int


@dataclass(frozen=True, slots=True)
class PlacePod:
    """Give a gated pod its node and remove its scheduling gate, in one patch."""

    pod: str
    node: str


@dataclass(frozen=True, slots=True)
class ReleasePod:
    """Remove a pod's scheduling gate without a node: an autoscaler brings one only for a pod that it sees."""

    pod: str


@dataclass(frozen=True, slots=True)
class DeleteDeployment:
    """Delete a Deployment that has no pod left and no planned replica, and its PodDisruptionBudget."""

    key: DeploymentKey


@dataclass(frozen=True, slots=True)
class DeletePod:
    """Delete a pod that no Deployment removes; it drains first, as any replica that goes."""

    pod: str


@dataclass(frozen=True, slots=True)
class AdoptReplicaSet:
    """Set back the labels by which its Deployment finds a ReplicaSet: it owns it again; no pod restarts."""

    key: NamespacedName
    labels: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class DeleteReplicaSet:
    """Delete a ReplicaSet whose Deployment is neither there nor planned; its pods drain, as any that go."""

    key: NamespacedName


@dataclass(frozen=True, slots=True)
class ProtectReplicas:
    """Let evictions leave at least so many replicas ready (a PodDisruptionBudget, server-side apply)."""

    key: DeploymentKey
    replicas: int


@dataclass(frozen=True, slots=True)
class EndProtection:
    """Delete the PodDisruptionBudget of a Deployment that is gone."""

    key: DeploymentKey


Step = (
    CreateDeployment
    | ScaleDeployment
    | RestoreDeployment
    | MarkVictim
    | PlacePod
    | ReleasePod
    | DeleteDeployment
    | DeletePod
    | AdoptReplicaSet
    | DeleteReplicaSet
    | ProtectReplicas
    | EndProtection
)


def describe(step: Step) -> str:
    """A step in a few words."""
    match step:
        case CreateDeployment(workload, replicas):
            return f"create Deployment {workload.key} with {replicas} replica{'s' * (replicas != 1)}"
        case ScaleDeployment(key, replicas):
            return f"scale Deployment {key} to {replicas}"
        case RestoreDeployment(workload, replicas):
            count = "as many replicas as it has" if replicas is None else f"{replicas} replicas"
            return f"set back Deployment {workload.key} with {count}"
        case MarkVictim(pod, cost):
            return f"{'mark' if cost else 'unmark'} pod {pod} as the first to be removed"
        case PlacePod() | ReleasePod():
            return _place_text(step)
        case DeleteDeployment(key):
            return f"delete the empty Deployment {key}"
        case DeletePod(pod):
            return f"delete pod {pod}, which no Deployment counts"
        case AdoptReplicaSet(key):
            return f"set back the labels of ReplicaSet {key}"
        case DeleteReplicaSet(key):
            return f"delete ReplicaSet {key}, which no Deployment owns"
        case ProtectReplicas(key, replicas):
            count = f"{replicas} replica{'s' * (replicas != 1)}"
            return f"let evictions leave at least {count} of Deployment {key} ready"
        case EndProtection(key):
            return f"delete the PodDisruptionBudget of Deployment {key}"


def _place_text(step: PlacePod | ReleasePod) -> str:
    if isinstance(step, PlacePod):
        return f"place pod {step.pod} on node {step.node}"
    return f"let pod {step.pod} wait for a node that an autoscaler brings"


def rollout_steps(inputs: RolloutInputs) -> tuple[Step, ...]:
    """The steps that are safe now; the next iteration finds those that become safe later."""
    yielding = giving_way(inputs)
    steps: list[Step] = []
    for target in inputs.targets:
        existing = inputs.deployments.get(target.key)
        if existing is None:
            if target.replicas > 0 and target.workload is not None and not target.is_adopted:
                steps.append(CreateDeployment(target.workload, target.replicas))
            continue
        if existing.is_going:
            continue
        if target.is_given_back or (target.is_adopted and inputs.is_rolling(target.key)):
            steps.extend(MarkVictim(p.key, 0) for p in inputs.live_pods(target.key) if p.is_marked)
            continue
        if target.is_autoscaled:
            steps.extend(_marks(target, existing.replicas, inputs))
            continue
        wanted = _wanted_count(target, existing.replicas, inputs)
        if target.key in yielding:
            wanted = min(wanted, existing.replicas - 1)
        if target.is_adopted:
            wanted = min(wanted, existing.replicas)
        elif wanted == existing.replicas == 0 and not inputs.all_pods(target.key):
            steps.append(DeleteDeployment(target.key))
            continue
        steps.extend(_marks(target, wanted, inputs))
        if wanted != existing.replicas:
            steps.append(ScaleDeployment(target.key, wanted))
    return tuple(steps)


def _wanted_count(target: Target, existing: int, inputs: RolloutInputs) -> int:
    """The count that its Deployment should have now.

    Kubernetes still counts a lost replica, and one that leaves; the count is raised by one for each, so
    that the replacement loads while the pod is still there. A group that waits for planned replicas keeps
    all that serve: what only loads, and that no plan wants any more, goes at once.
    """
    pods = inputs.live_pods(target.key)
    num_lost = sum(p.key in inputs.lost for p in pods)
    num_stranded = sum(p.key in inputs.lost & inputs.stranded for p in pods)
    num_leaving = sum(p.key in inputs.leaving - inputs.lost for p in pods)
    if len(pods) - num_lost - num_leaving < target.replicas:
        num_silent = min(num_lost - num_stranded, MOST_REPLACED * target.replicas)
        replaced = num_silent + num_stranded + num_leaving
        return max(existing, target.replicas + replaced)
    if is_surplus_allowed_to_go(target, inputs):
        return max(target.replicas, min(existing, inputs.num_held(target)))
    needed = target.replicas + num_lost + num_leaving if target.replicas else 0
    num_in_vain = 0 if target.is_kept else min(max(0, existing - needed), inputs.num_never_served(target))
    return max(existing - num_in_vain, target.replicas)


def _marks(target: Target, wanted: int, inputs: RolloutInputs) -> list[MarkVictim]:
    """Lost pods go first, then those that leave, then placement's victims; a mark that is no longer due
    is removed.

    A Deployment that is not planned keeps those that leave to the last: it gives way for the GPUs of
    the others. Pods that are not ready come before all: Kubernetes takes them first, whatever their
    marks, and a mark takes a ready one out of rotation. Marks stay until the pods are being deleted:
    Kubernetes may not have chosen yet. A cost that a user has set on a pod of an adopted Deployment stays;
    where it is below 0, the pod goes before the others, because Kubernetes would take it first.
    """
    pods = inputs.live_pods(target.key)
    keys = {p.key for p in pods}
    order = [p.key for p in pods if p.key in inputs.lost]
    others = [p.key for p in pods if p.key in inputs.leaving and p.key not in inputs.victims]
    others += [v for v in inputs.victims if v in keys]
    if target.replicas:
        others.sort(key=lambda key: key not in inputs.leaving)
    else:
        others.sort(key=lambda key: key in inputs.closed)
    order += [key for key in others if key not in inputs.lost]
    ranks = {key: rank for rank, key in enumerate(order)}
    going = sorted(pods, key=lambda p: (p.ready, _users_wish(p), ranks.get(p.key, len(order)), p.key))
    lowest = min((_users_wish(p) - len(pods) for p in pods if _users_wish(p)), default=VICTIM_COST)
    base = max(min(VICTIM_COST, lowest), LOWEST_COST)
    due = {
        p.key: base + rank
        for rank, p in enumerate(going[: max(0, len(pods) - wanted)])
        if p.ready or p.key in ranks or p.is_users_cost
    }
    users = {p.key for p in pods if p.is_users_cost} - due.keys()
    marks = [(p.key, due.get(p.key, 0)) for p in pods if p.deletion_cost != due.get(p.key, 0)]
    return [MarkVictim(pod, cost) for pod, cost in marks if pod not in users]


def _users_wish(pod: PodState) -> int:
    """The deletion cost below 0 that a user has set; 0 where none is."""
    return min(0, pod.deletion_cost) if pod.is_users_cost else 0
