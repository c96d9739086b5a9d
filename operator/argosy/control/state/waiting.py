"""Which replicas wait for room, which of them will not get any where they are, and what does not count.

Owns these verdicts; `silence` finds the pods that are lost for another reason. Input: a snapshot and a
placement. Output: keys of pods, and replicas by Deployment.
"""

from __future__ import annotations

from collections import Counter

from argosy.api import GPUPool
from argosy.control.state.nodes import evicted_pods, pool_of, untolerated
from argosy.control.state.silence import lost_pods
from argosy.keys import DeploymentKey
from argosy.place.solution import Placement
from argosy.snapshot.admission.scheduling import num_nodes_short_of, uncounted_reasons, waits_for_claim
from argosy.snapshot.admission.words import cluster_refusal
from argosy.snapshot.cluster import DeploymentState, NodeState, PodState
from argosy.snapshot.fleet import FleetSnapshot

STUCK_AFTER_S = 30.0
"""A pod that was given a node may have to wait until its predecessor there has ended."""

DEFAULT_PROVISIONING_S = 300.0
"""Clouds start GPU machines in one to ten minutes."""

PATIENCE = 3.0
"""A node that takes so many times as long as usual is not waited for any more."""

LEAST_PATIENCE_S = 60.0

UNSCHEDULED_AFTER_S = 10.0
"""Far longer than the scheduler needs where there is room."""


def uncounted_pods(snapshot: FleetSnapshot) -> frozenset[str]:
    """Keys of the engine pods whose capacity does not count: lost, being evicted, or stuck without room."""
    return lost_pods(snapshot) | evicted_pods(snapshot) | stuck_pods(snapshot)


def stuck_pods(snapshot: FleetSnapshot) -> frozenset[str]:
    """Keys of the pods for which the scheduler finds no room on their node (a foreign pod came first, ...).

    A lifted gate is not put back, so such a pod never runs: it counts as lost, and a
    replacement gets another node.
    """
    return frozenset(
        p.key
        for p in snapshot.engine_pods
        if p.assigned_node and _unscheduled_for_s(p, snapshot.now_s) >= STUCK_AFTER_S
    )


def replicas_without_room(snapshot: FleetSnapshot, placement: Placement) -> dict[DeploymentKey, int]:
    """Replicas by Deployment that only more room would start.

    Where Argosy places, they are the placement's unplaced ones; elsewhere the scheduler marks the pods. Those
    for which an autoscaler may bring a node are not among them.
    Where a quota is used up, there is no pod at all.
    """
    waiting = Counter({u.option: u.replicas for u in placement.unplaced})
    for pod in snapshot.engine_pods:
        if is_without_room(pod, snapshot.now_s) and not _awaits_node(pod, snapshot):
            waiting[pod.deployment] += 1
    for key in quota_starved(snapshot):
        there = sum(p.deployment == key and p.is_active and not p.deleting for p in snapshot.engine_pods)
        waiting[key] += max(0, snapshot.deployments[key].replicas - there)
    return dict(sorted(waiting.items()))


def provisioning_s(pool: GPUPool) -> float:
    """Seconds until a new node of a pool takes replicas: as its status has it, else as declared."""
    declared = pool.spec.provisioning_seconds
    return pool.status.provisioning_seconds or (DEFAULT_PROVISIONING_S if declared is None else declared)


def patience_s(delay_s: float) -> float:
    """How long a node is waited for that usually takes `delay_s` (both in seconds)."""
    return max(LEAST_PATIENCE_S, PATIENCE * delay_s)


def _awaits_node(pod: PodState, snapshot: FleetSnapshot) -> bool:
    """Whether an autoscaler may be bringing its node."""
    pool = pool_of(pod, snapshot)
    if pool is None or pool.spec.nodes is None or waits_for_claim(pod.unschedulable):
        return False
    selector = pool.spec.node_selector.items()
    number = sum(selector <= node.labels.items() for node in snapshot.nodes.values())
    is_early = _unscheduled_for_s(pod, snapshot.now_s) < patience_s(provisioning_s(pool))
    return number < pool.spec.nodes.max and is_early


def quota_starved(snapshot: FleetSnapshot) -> frozenset[DeploymentKey]:
    """Deployments of Argosy's whose missing pods a used-up quota refuses: only room in it starts them."""
    return frozenset(
        key
        for key, state in snapshot.deployments.items()
        if state.pods_refused and not state.is_adopted and not state.is_going and _is_used_up(state)
    )


def _is_used_up(state: DeploymentState) -> bool:
    return bool(cluster_refusal(state.pods_refused, state.key.namespace).resource)


def is_without_room(pod: PodState, now_s: float) -> bool:
    """Whether the scheduler finds no room for a pod that it places itself."""
    is_ours_to_place = pod.gated or pod.assigned_node or pod.deleting
    return not is_ours_to_place and _unscheduled_for_s(pod, now_s) >= UNSCHEDULED_AFTER_S


def is_kept_off(pod: PodState, pool: GPUPool, snapshot: FleetSnapshot) -> bool:
    """Whether nodes of its pool with GPUs enough stand open for a pod, and the scheduler takes none of them
    for a reason that planning does not count.

    Its words are from its last try. They are believed where they count as many nodes without GPUs as there
    are now: GPUs may have become free since, and nodes have come.
    """
    resource, words = pool.spec.resource_name, pod.unschedulable
    if pod.unschedulable_since_s is None or not uncounted_reasons(words, resource):
        return False
    held: Counter[str] = Counter()
    for other in snapshot.pods.values():
        if other.holds_devices and other.key != pod.key:
            held[other.destination] += other.devices.get(resource, 0)
    room = [
        node.allocatable.get(resource, 0) - held[node.name] >= pod.devices.get(resource, 0)
        for node in snapshot.nodes.values()
        if _is_open(node, pool)
        and pod.assigned_node in ("", node.name)
        and (node.created_s or 0.0) <= pod.unschedulable_since_s
    ]
    return any(room) and room.count(False) == num_nodes_short_of(words, resource)


def _is_open(node: NodeState, pool: GPUPool) -> bool:
    is_selected = pool.spec.node_selector.items() <= node.labels.items()
    return is_selected and node.ready and not node.unschedulable and not untolerated(pool, node)


def _unscheduled_for_s(pod: PodState, now_s: float) -> float:
    """Seconds since the scheduler first found no room; 0 where it did not."""
    since_s = pod.unschedulable_since_s
    return 0.0 if pod.node or since_s is None else max(0.0, now_s - since_s)
