"""Which node each gated pod gets, from the plan's counts.

Owns the last step of placement: the FleetPlan gives the replicas of a Deployment per node, and gated
pods fill the places that are still free. Those that wait for nodes which do not exist yet lose their gate
without a node: no autoscaler looks at a gated pod. Input: those counts and the pods. Output: `PlacePod` and
`ReleasePod` steps.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from argosy.keys import DeploymentKey
from argosy.rollout.steps import PlacePod, ReleasePod
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


def release_for_nodes(
    awaited: Mapping[DeploymentKey, int], pods: Iterable[PodState], placed: Iterable[PlacePod]
) -> tuple[ReleasePod, ...]:
    """Gated pods that are let go, so that an autoscaler brings nodes for them.

    awaited: replicas by Deployment for which nodes have to come, those that wait for them already included
    placed:  what `assign_nodes` has found
    """
    has_place = {step.pod for step in placed}
    found: list[ReleasePod] = []
    by_deployment: dict[DeploymentKey, list[PodState]] = {}
    for pod in pods:
        if awaited.get(pod.deployment) and pod.is_active and not pod.deleting and not pod.destination:
            by_deployment.setdefault(pod.deployment, []).append(pod)
    for deployment, its_pods in sorted(by_deployment.items()):
        num_released = sum(not pod.gated for pod in its_pods)
        gated = [pod for pod in its_pods if pod.gated and pod.key not in has_place]
        gated.sort(key=lambda pod: (pod.created_s, pod.key))
        found.extend(ReleasePod(pod.key) for pod in gated[: max(0, awaited[deployment] - num_released)])
    return tuple(found)
