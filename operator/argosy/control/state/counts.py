"""How many replicas of each Deployment exist, and how many take requests.

Owns the two counts. Input: a snapshot and the keys of the pods whose capacity does not count. Output:
replicas by Deployment.
"""

from __future__ import annotations

from argosy.keys import DeploymentKey
from argosy.snapshot.fleet import FleetSnapshot
from argosy.snapshot.serving import is_alive, takes_requests


def num_alive(snapshot: FleetSnapshot, lost: frozenset[str]) -> dict[DeploymentKey, int]:
    """Replicas that exist, are not drained and are not lost."""
    alive: dict[DeploymentKey, int] = {}
    for pod in snapshot.engine_pods:
        if is_alive(pod, lost):
            alive[pod.deployment] = alive.get(pod.deployment, 0) + 1
    return alive


def num_serving(snapshot: FleetSnapshot, lost: frozenset[str]) -> dict[DeploymentKey, int]:
    """Replicas that take requests; 0 where a Deployment's pods only load."""
    serving: dict[DeploymentKey, int] = {}
    for pod in snapshot.engine_pods:
        if not pod.deleting:
            serving[pod.deployment] = serving.get(pod.deployment, 0) + takes_requests(pod, lost)
    return serving
