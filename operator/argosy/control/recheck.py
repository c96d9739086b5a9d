"""The check before acting: is a step that was decided on an older snapshot still safe?

Owns the comparison of what each step relies on with a fresh snapshot, one step at a time: a change of
an object that a step does not rely on does not stop it. Input: a step and the snapshot. Output: an
empty string, or a sentence on what has changed; the step is then left to the next decision.
"""

from __future__ import annotations

from argosy.api.conditions import ConditionType
from argosy.control.candidates.variants import variants_of
from argosy.control.decision import PlannedStep, Reliance
from argosy.control.picture.removal import is_destructive
from argosy.control.picture.set_aside import set_aside
from argosy.control.state.nodes import new_pod_nodes, pool_nodes
from argosy.control.state.orphans import orphans
from argosy.control.state.removable import in_order_of_removal, still_sending
from argosy.control.state.restarts import ordered_restarts, workload_of
from argosy.control.state.routable import unrouted
from argosy.control.state.waiting import uncounted_pods
from argosy.keys import DeploymentKey, NamespacedName
from argosy.manifests import EngineWorkload
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
    ScaleDeployment,
    Step,
)
from argosy.snapshot.fleet import FleetSnapshot, is_true
from argosy.snapshot.serving import takes_requests


def changed_since(planned: PlannedStep, snapshot: FleetSnapshot) -> str:
    """Why the step is no longer safe, in a sentence; empty where it still is."""
    relies_on = planned.relies_on
    common = _plan_changed(relies_on, snapshot) or _group_gone(relies_on, snapshot)
    common = common or _not_seen(planned.step, snapshot)
    return common or _unsafe(planned, snapshot)


def _unsafe(planned: PlannedStep, snapshot: FleetSnapshot) -> str:
    """Why the step is no longer safe by what it is itself about."""
    relies_on = planned.relies_on
    match planned.step:
        case CreateDeployment(workload):
            return _workload_changed(workload, snapshot)
        case RestoreDeployment(workload, replicas):
            # Its name holds the hash of the template that is set back.
            return "" if replicas is None else _count_changed(workload.key, relies_on, snapshot)
        case ScaleDeployment(key):
            unsafe = _taken_back(key, snapshot) or _autoscaled(key, relies_on, snapshot)
            unsafe = unsafe or _count_changed(key, relies_on, snapshot)
            unsafe = unsafe or _too_few_serve(planned.step, relies_on, snapshot)
            return unsafe or _still_sending(planned.step, relies_on, snapshot)
        case MarkVictim(pod, cost):
            unsafe = _pod_changed(pod, relies_on, snapshot) or _stays(pod, cost, snapshot)
            return unsafe or _too_few_others(pod, relies_on, snapshot)
        case PlacePod(pod) | ReleasePod(pod):
            return _pod_changed(pod, relies_on, snapshot) or _place_gone(planned.step, snapshot)
        case DeleteDeployment(key):
            return _in_use(key, snapshot)
        case DeletePod(pod):
            return _pod_changed(pod, relies_on, snapshot) or _no_orphan(pod, relies_on, snapshot)
        case ProtectReplicas(key):
            if key not in snapshot.deployments:
                return f"Deployment {key} is gone"
            return _too_few_serve(planned.step, relies_on, snapshot)
        case AdoptReplicaSet(key) | DeleteReplicaSet(key):
            return _replica_set_changed(planned.step, key, snapshot)
        case EndProtection():
            return ""


def _count_changed(key: DeploymentKey, relies_on: Reliance, snapshot: FleetSnapshot) -> str:
    now = snapshot.deployments.get(key)
    if now is not None and now.replicas == relies_on.replicas:
        return ""
    found = "is gone" if now is None else f"has {now.replicas} replicas"
    return f"Deployment {key} {found} now; it had {relies_on.replicas}"


def _taken_back(key: DeploymentKey, snapshot: FleetSnapshot) -> str:
    """Nothing is removed of a Deployment that its user took back since."""
    state = snapshot.deployments.get(key)
    return f"Deployment {key} was taken back" if state is not None and state.is_given_back else ""


def _stays(pod: str, cost: int, snapshot: FleetSnapshot) -> str:
    return _taken_back(snapshot.pods[pod].deployment, snapshot) if cost < 0 else ""


def _autoscaled(key: DeploymentKey, relies_on: Reliance, snapshot: FleetSnapshot) -> str:
    """A count is not set where an autoscaler owns it that the decision did not know."""
    owner = snapshot.count_owners.get(key)
    if owner is None or owner.title == relies_on.scaler:
        return ""
    return f"{owner.title} sets the count of Deployment {key} now"


def _plan_changed(relies_on: Reliance, snapshot: FleetSnapshot) -> str:
    if not snapshot.acts:
        return f"the mode of Fleet/default is {snapshot.fleet_spec.mode} now"
    plan = next((p for p in snapshot.plans if p.key == relies_on.plan), None)
    if plan is None:
        return f"FleetPlan {relies_on.plan} is gone"
    return "" if is_true(plan, ConditionType.APPLIED) else f"FleetPlan {relies_on.plan} is no longer applied"


def _group_gone(relies_on: Reliance, snapshot: FleetSnapshot) -> str:
    """A step for a group is void once none of its classes exists; one for no group is not."""
    if not relies_on.classes or any(key in snapshot.classes for key in relies_on.classes):
        return ""
    return f"WorkloadClass {', '.join(relies_on.classes)} is gone"


def _not_seen(step: Step, snapshot: FleetSnapshot) -> str:
    """Nothing is removed while part of the picture is missing that the decision still had."""
    if not is_destructive(step, snapshot):
        return ""
    problems = snapshot.seen.problems(snapshot.monotonic_s)
    if not problems and isinstance(step, ScaleDeployment | DeleteDeployment | ProtectReplicas):
        is_kept = step.key in set_aside(snapshot).deployments
        return f"what Deployment {step.key} was made for is not seen" if is_kept else ""
    return "; ".join(problems)


def _workload_changed(workload: EngineWorkload, snapshot: FleetSnapshot) -> str:
    """A Deployment is created only while the objects still describe exactly its pod template."""
    if workload.key in snapshot.deployments:
        return f"Deployment {workload.key} exists now"  # an apply would reset its count
    model = snapshot.models.get(workload.variant.model_key)
    if model is None:
        return f"ServedModel {workload.variant.model_key} is gone"
    orders = ordered_restarts(snapshot)
    described = (
        workload_of(snapshot, orders, variant, workload.group).key
        for variant in variants_of(snapshot, model)
        if variant.pool == workload.variant.pool
    )
    if workload.key in described:
        return ""
    return f"ServedModel {model.key} or GPUPool {workload.variant.pool} describes another engine now"


def _in_use(key: DeploymentKey, snapshot: FleetSnapshot) -> str:
    deployment = snapshot.deployments.get(key)
    if deployment is None:
        return f"Deployment {key} is gone"
    has_pods = any(p.deployment == key for p in snapshot.engine_pods)
    return f"Deployment {key} has replicas again" if deployment.replicas or has_pods else ""


def _too_few_serve(
    step: ScaleDeployment | ProtectReplicas, relies_on: Reliance, snapshot: FleetSnapshot
) -> str:
    """Replicas are removed, or left to evictions, only while enough of those that stay take requests."""
    lost = uncounted_pods(snapshot) | unrouted(snapshot).keys()
    counts = {key: deployment.replicas for key, deployment in snapshot.deployments.items()}
    counts[step.key] = step.replicas
    for key, needed in sorted(relies_on.serving.items()):
        pods = in_order_of_removal(snapshot, key, lost)
        staying = pods[max(0, len(pods) - counts.get(key, 0)) :]
        found = sum(takes_requests(pod, lost) for pod in staying)
        if found < needed:
            return f"the number of serving replicas of Deployment {key} would be {found}: {needed} is needed"
    return ""


def _still_sending(step: ScaleDeployment, relies_on: Reliance, snapshot: FleetSnapshot) -> str:
    """Nothing is removed that an Envoy may still send requests to."""
    lost = uncounted_pods(snapshot)
    pods = in_order_of_removal(snapshot, step.key, lost)
    going = pods[: max(0, len(pods) - step.replicas)]
    for pod, why in still_sending(snapshot, going, lost):
        if pod.key not in relies_on.unacknowledged:
            return f"pod {pod.key} would be removed: {why}"
    return ""


def _too_few_others(pod: str, relies_on: Reliance, snapshot: FleetSnapshot) -> str:
    """A pod is taken out of rotation only while enough others take requests."""
    out = uncounted_pods(snapshot) | unrouted(snapshot).keys() | {pod}
    for key, needed in sorted(relies_on.serving.items()):
        found = sum(takes_requests(p, out) for p in snapshot.engine_pods if p.deployment == key)
        if found < needed:
            return f"the number of serving replicas of Deployment {key} would be {found}: {needed} is needed"
    return ""


def _pod_changed(pod: str, relies_on: Reliance, snapshot: FleetSnapshot) -> str:
    now = snapshot.pods.get(pod)
    if now is None or now.uid != relies_on.pod_uid:
        return f"pod {pod} is gone"
    return f"pod {pod} is being deleted" if now.deleting else ""


def _no_orphan(pod: str, relies_on: Reliance, snapshot: FleetSnapshot) -> str:
    """Only a pod that no Deployment removes is deleted, once no request is sent to it."""
    orphan = next((p for p in orphans(snapshot) if p.key == pod), None)
    if orphan is None:
        return f"pod {pod} is no orphan any more"
    for _, why in still_sending(snapshot, [orphan], uncounted_pods(snapshot)):
        if pod not in relies_on.unacknowledged:
            return f"pod {pod} would be removed: {why}"
    return _too_few_others(pod, relies_on, snapshot)


def _replica_set_changed(
    step: AdoptReplicaSet | DeleteReplicaSet, key: NamespacedName, snapshot: FleetSnapshot
) -> str:
    now = snapshot.loose.get(key)
    if now is None:
        return f"ReplicaSet {key} is gone, or a Deployment owns it"
    if isinstance(step, DeleteReplicaSet) and now.deployment in snapshot.deployments:
        return f"Deployment {now.deployment} exists now"
    return ""


def _place_gone(step: PlacePod | ReleasePod, snapshot: FleetSnapshot) -> str:
    if not snapshot.pods[step.pod].gated:
        return f"pod {step.pod} has its node already"
    if isinstance(step, ReleasePod):
        return ""
    usable = new_pod_nodes(pool_nodes(snapshot, uncounted_pods(snapshot)))
    return "" if step.node in usable else f"node {step.node} takes no new pods now"
