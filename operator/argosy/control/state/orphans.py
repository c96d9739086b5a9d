"""Pods that Argosy made and whose labels were changed: they hold GPUs, and no plan counts them.

Owns which pods these are. Input: a snapshot. Output: pods, and Deployments whose successors have no place.
A pod whose labels are whole is none, though no ReplicaSet counts it: one adopts it. Nor is one that another
controller has adopted, nor one without any of Argosy's labels: these are the user's.
"""

from __future__ import annotations

from argosy.control.state.waiting import UNSCHEDULED_AFTER_S
from argosy.keys import DeploymentKey
from argosy.snapshot.cluster import LABEL_DEPLOYMENT, LABEL_TEMPLATE_HASH, PodState
from argosy.snapshot.fleet import FleetSnapshot


def orphans(snapshot: FleetSnapshot) -> tuple[PodState, ...]:
    """By key. Those that drain are among them, those that have ended are not."""
    return tuple(pod for _, pod in sorted(snapshot.pods.items()) if _is_orphan(pod))


def without_place(snapshot: FleetSnapshot) -> frozenset[DeploymentKey]:
    """Deployments with a replica that has had no node for a while: it may wait for an orphan's GPUs."""
    return frozenset(
        p.deployment
        for p in snapshot.engine_pods
        if not p.node and not p.deleting and snapshot.now_s - p.created_s >= UNSCHEDULED_AFTER_S
    )


def _is_orphan(pod: PodState) -> bool:
    if not pod.origin or not pod.lacking or not pod.is_active:
        return False
    if not pod.controller:
        return True
    # Its ReplicaSet counts it and makes no successor, but it is not known as an engine.
    selected = not {LABEL_DEPLOYMENT, LABEL_TEMPLATE_HASH} & set(pod.lacking)
    return selected and pod.controller.startswith(f"{pod.origin.name}-")
