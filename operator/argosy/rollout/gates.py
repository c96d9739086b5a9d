"""Which node each gated pod gets, from the plan's counts.

Owns the last step of placement: the FleetPlan gives the replicas of a Deployment per node, and gated
pods fill the places that are still free. Input: those counts and the pods. Output: `PlacePod` steps.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from argosy.keys import DeploymentKey
from argosy.rollout.steps import PlacePod
from argosy.snapshot.cluster import PodState


def assign_nodes(
    planned: Mapping[DeploymentKey, Mapping[str, int]],
    pods: Iterable[PodState],
    usable: frozenset[str],
    lost: frozenset[str] = frozenset(),
) -> tuple[PlacePod, ...]:
    """Nodes for gated pods.

    planned: replicas by Deployment and node
    usable: names of the nodes that take new pods
    lost: keys of the pods whose capacity does not count

    A pod that has been given a node holds its place there before it is bound. A lost pod holds
    none: its replacement takes the place, if the node takes new pods. A pod for which the plan has
    no place left stays gated until the next plan.
    """
    by_deployment: dict[DeploymentKey, list[PodState]] = {}
    for pod in pods:
        if pod.deployment in planned and pod.is_active and not pod.deleting:
            by_deployment.setdefault(pod.deployment, []).append(pod)
    placed: list[PlacePod] = []
    for deployment, its_pods in sorted(by_deployment.items()):
        held = Counter(p.destination for p in its_pods if p.destination and p.key not in lost)
        open_places = [
            node
            for node, count in sorted(planned[deployment].items())
            for _ in range(count - held[node])
            if node in usable
        ]
        gated = sorted((p for p in its_pods if p.gated), key=lambda p: (p.created_s, p.key))
        placed.extend(PlacePod(p.key, node) for p, node in zip(gated, open_places, strict=False))
    return tuple(placed)
