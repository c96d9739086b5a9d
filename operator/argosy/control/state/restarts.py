"""Replicas that a user has ordered to be restarted (`kubectl rollout restart`).

Owns which order holds for a variant in a sharing group, and which pods Kubernetes has made for it. kubectl
writes the time of the order into the pod template of a Deployment: it becomes part of what the pods depend
on, so the replicas are exchanged as after any change of their template, each once its successor serves.
Input: a snapshot. Output: orders, workloads, pods.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

from argosy.api.fleetplan import PlannedDeployment
from argosy.api.schema.timestamp import seconds_of
from argosy.keys import DeploymentKey, GroupName
from argosy.manifests import EngineWorkload
from argosy.snapshot import Variant
from argosy.snapshot.cluster import LABEL_GROUP, LABEL_VARIANT, label_value
from argosy.snapshot.fleet import FleetSnapshot

Orders = Mapping[tuple[str, str, str], str]
"""By namespace, variant and the label of the sharing group: the last order, as kubectl wrote it."""


def ordered_restarts(snapshot: FleetSnapshot) -> Orders:
    """The orders that hold."""
    found: dict[tuple[str, str, str], str] = {}
    for key, order in _orders(snapshot):
        found[key] = max(found.get(key, ""), order, key=lambda text: (seconds_of(text) or 0.0, text))
    return found


def workload_of(
    snapshot: FleetSnapshot, orders: Orders, variant: Variant, group: GroupName
) -> EngineWorkload:
    """What runs one variant for one sharing group."""
    key = (variant.model_key.namespace, variant.name, label_value(group.name))
    return EngineWorkload(variant, group, snapshot.pools[variant.pool], orders.get(key, ""))


def adopted_workload(snapshot: FleetSnapshot, entry: PlannedDeployment) -> EngineWorkload | None:
    """What a user's Deployment runs that a plan lists; None where it is given back, gone or Argosy's own."""
    state = snapshot.deployments.get(entry.name)
    variant = state.adoption.variant if state is not None and state.adoption is not None else None
    if variant is None or not entry.is_adopted:
        return None
    return EngineWorkload(variant, entry.sharing_group, snapshot.pools[variant.pool], adopted=entry.name)


def surge_pods(snapshot: FleetSnapshot) -> frozenset[str]:
    """Keys of the pods beyond their Deployment's count that have no node: those of Kubernetes' own exchange.

    They hold nothing, get no place, and go with the Deployment.
    """
    waiting: dict[DeploymentKey, list[str]] = {}
    num_live: Counter[DeploymentKey] = Counter()
    for pod in snapshot.engine_pods:
        if pod.is_active and not pod.deleting:
            num_live[pod.deployment] += 1
            if not pod.destination:
                waiting.setdefault(pod.deployment, []).append(pod.key)
    found: set[str] = set()
    for key, pods in waiting.items():
        if (deployment := snapshot.deployments.get(key)) is not None:
            found.update(sorted(pods)[: max(0, num_live[key] - deployment.replicas)])
    return frozenset(found)


def _orders(snapshot: FleetSnapshot) -> Iterator[tuple[tuple[str, str, str], str]]:
    """Of the Deployments, and of the plan: it knows the order where the Deployment was deleted."""
    for key, deployment in snapshot.deployments.items():
        if deployment.is_adopted:
            continue  # Kubernetes carries it out by itself
        if order := deployment.restarted_at:
            labels = deployment.labels
            yield (key.namespace, labels.get(LABEL_VARIANT, ""), labels.get(LABEL_GROUP, "")), order
    plan = snapshot.applied_plan
    for entry in plan.spec.deployments if plan is not None else ():
        if entry.restarted_at:
            key_of_entry = (entry.namespace, entry.variant, label_value(entry.sharing_group.name))
            yield key_of_entry, entry.restarted_at
