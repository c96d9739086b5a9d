"""Replicas that the cluster refuses now: by an object of the API server's admission, or by the scheduler.

Owns where a refusal is found: the condition of a Deployment, a write that was refused, a pod that no node
takes. Input: a snapshot. Output: `Evidence` by Deployment. What follows of it is `quarantine`'s and `limits`'
business.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from argosy.control.state.waiting import UNSCHEDULED_AFTER_S, is_kept_off, patience_s, provisioning_s
from argosy.keys import DeploymentKey, NamespacedName
from argosy.snapshot.admission.scheduling import scheduling_refusal, waits_for_claim
from argosy.snapshot.admission.words import ClusterRefusal, Refuser, cluster_refusal
from argosy.snapshot.cluster import LABEL_POOL, LABEL_VARIANT, PodState, label_value
from argosy.snapshot.fleet import FleetSnapshot


@dataclass(frozen=True, slots=True)
class Evidence:
    """That replicas of a Deployment are refused.

    option:  what they run, as `option_of` names it
    since_s: since when (seconds since the epoch)
    what:    what is refused, for sentences
    is_pinned: Argosy had chosen the node of the pod that the scheduler does not bind
    awaits_s: an autoscaler may still bring a node that takes it within so many seconds
    """

    option: NamespacedName
    refusal: ClusterRefusal
    since_s: float
    what: str
    is_pinned: bool = False
    awaits_s: float = 0.0


def option_of(namespace: str, variant: str) -> NamespacedName:
    """What is refused, whatever Deployment runs it: a variant in a namespace, as far as a label names it."""
    return NamespacedName.of(namespace, label_value(variant))


def evidence(snapshot: FleetSnapshot) -> dict[DeploymentKey, Evidence]:
    """By Deployment that Argosy made or wanted to make; users' own are their business."""
    found = dict(_refused_writes(snapshot))
    found |= dict(_without_node(snapshot))
    found |= dict(_refused_pods(snapshot))
    return dict(sorted(found.items()))


def _refused_writes(snapshot: FleetSnapshot) -> Iterator[tuple[DeploymentKey, Evidence]]:
    for key, write in snapshot.refused_writes.items():
        refusal = _named(cluster_refusal(write.message, key.namespace), snapshot, key.namespace)
        option = option_of(key.namespace, write.variant)
        yield key, Evidence(option, refusal, write.since_s, f"Deployment {key}")


def _refused_pods(snapshot: FleetSnapshot) -> Iterator[tuple[DeploymentKey, Evidence]]:
    for key, state in snapshot.deployments.items():
        if not state.pods_refused or state.is_adopted or state.is_going:
            continue
        refusal = _named(cluster_refusal(state.pods_refused, key.namespace), snapshot, key.namespace)
        since_s = snapshot.now_s if state.refused_since_s is None else state.refused_since_s
        option = option_of(key.namespace, state.labels.get(LABEL_VARIANT, ""))
        yield key, Evidence(option, refusal, since_s, f"the pods of Deployment {key}")


def _without_node(snapshot: FleetSnapshot) -> Iterator[tuple[DeploymentKey, Evidence]]:
    """The oldest such pod of a Deployment, unless a later one of it has found a node."""
    by_deployment: dict[DeploymentKey, list[PodState]] = {}
    for pod in snapshot.engine_pods:
        if pod.is_active and not pod.deleting:
            by_deployment.setdefault(pod.deployment, []).append(pod)
    for key, pods in by_deployment.items():
        state = snapshot.deployments.get(key)
        if state is None or state.is_adopted or state.is_going:
            continue
        bound_s = max((p.created_s for p in pods if p.node), default=0.0)
        waiting = [p for p in pods if _is_refused(p, snapshot.now_s) and p.created_s >= bound_s]
        for pod in sorted(waiting, key=lambda p: (p.created_s, p.key))[:1]:
            if (found := _no_node(pod, snapshot)) is not None:
                yield key, found


def _is_refused(pod: PodState, now_s: float) -> bool:
    since_s = pod.unschedulable_since_s
    is_late = since_s is not None and now_s - since_s >= UNSCHEDULED_AFTER_S
    return is_late and not pod.node and not pod.gated and not pod.other_gates


def _no_node(pod: PodState, snapshot: FleetSnapshot) -> Evidence | None:
    label = pod.labels.get(LABEL_POOL, "")
    pool = next((p for name, p in snapshot.pools.items() if label_value(name) == label), None)
    is_kept = pool is not None and is_kept_off(pod, pool, snapshot)
    is_growing = pool is not None and pool.spec.nodes is not None and not pod.assigned_node
    if is_growing and not is_kept and not waits_for_claim(pod.unschedulable):
        return None  # an autoscaler brings its node: `pools.to_come` says for how long that is awaited
    resource = pool.spec.resource_name if pool is not None else next(iter(pod.devices), "")
    refusal = scheduling_refusal(
        pod.unschedulable,
        pod.namespace,
        pool.key if pool else label,
        resource,
        is_kept_off=is_kept,
    )
    if refusal is None or pod.unschedulable_since_s is None:
        return None
    option = option_of(pod.namespace, pod.labels.get(LABEL_VARIANT, ""))
    is_pinned = bool(pod.assigned_node)
    awaits_s = patience_s(provisioning_s(pool)) if pool is not None and is_growing else 0.0
    return Evidence(option, refusal, pod.unschedulable_since_s, f"pod {pod.key}", is_pinned, awaits_s)


def _named(refusal: ClusterRefusal, snapshot: FleetSnapshot, namespace: str) -> ClusterRefusal:
    """With the name of the LimitRange, which the API server does not say: the one that has the bound."""
    if refusal.refuser is not Refuser.LIMIT_RANGE:
        return refusal
    here = {key: r for key, r in sorted(snapshot.limit_ranges.items()) if r.key.namespace == namespace}
    able = [key for key, r in here.items() if any(_says(refusal.problem, bound) for bound in r.bounds)]
    keys = able or list(here)
    if len(keys) != 1:
        return refusal
    remedy = refusal.remedy.replace("edit limitrange", f"edit limitrange {here[keys[0]].key.name}")
    return replace(refusal, name=f"LimitRange {keys[0]}", key=keys[0], remedy=remedy)


def _says(problem: str, bound: str) -> bool:
    start = problem.find(bound)
    return start >= 0 and not problem[start + len(bound) : start + len(bound) + 1].isalnum()


def refuser_text(refusal: ClusterRefusal, snapshot: FleetSnapshot, namespace: str) -> str:
    """The content of the object that refused, as far as it is known.

    Where it changes, what it refused is tried again.
    """
    match refusal.refuser:
        case Refuser.QUOTA:
            quota = snapshot.quotas.get(refusal.key)
            return "" if quota is None else f"{sorted(quota.hard.items())} {quota.scopes}"
        case Refuser.LIMIT_RANGE:
            here = (r for _, r in sorted(snapshot.limit_ranges.items()) if r.key.namespace == namespace)
            return str([(r.key, r.bounds) for r in here])
        case Refuser.POD_SECURITY:
            return snapshot.enforced.get(namespace, "")
        case Refuser.SCHEDULER:
            return _nodes_text(snapshot, refusal.key)
        case _:
            return ""


def _nodes_text(snapshot: FleetSnapshot, pool: str) -> str:
    """What decides about a pool's pods besides their GPUs: its spec, and its nodes' labels and taints."""
    spec = snapshot.pools.get(pool)
    if spec is None:
        return ""
    selector = spec.spec.node_selector.items()
    nodes = (n for _, n in sorted(snapshot.nodes.items()) if selector <= n.labels.items())
    told = [(n.name, sorted(n.labels.items()), n.taints, n.unschedulable) for n in nodes]
    return str((sorted(selector), spec.spec.tolerations, told))


def by_option(found: Mapping[DeploymentKey, Evidence]) -> dict[NamespacedName, Evidence]:
    """The oldest refusal of each option."""
    every: dict[NamespacedName, Evidence] = {}
    for each in found.values():
        before = every.get(each.option)
        if before is None or each.since_s < before.since_s:
            every[each.option] = each
    return every
