"""Which pods without a ReplicaSet may go: make-before-break for what no count can remove.

Owns the order: an orphan that still takes requests is marked first, and goes once its Deployment serves
without it. Input: the orphans and what a roll-out sees (without them). Output: steps.
"""

from __future__ import annotations

from collections.abc import Iterable, Set

from argosy.keys import DeploymentKey
from argosy.rollout.steps import VICTIM_COST, DeletePod, MarkVictim
from argosy.rollout.targets import RolloutInputs, is_surplus_allowed_to_go
from argosy.snapshot.cluster import PodState
from argosy.snapshot.serving import takes_requests


def orphan_steps(
    orphans: Iterable[PodState], inputs: RolloutInputs, without_place: Set[DeploymentKey]
) -> tuple[MarkVictim | DeletePod, ...]:
    """One step at most for each. without_place: Deployments whose successors may wait for these GPUs."""
    return tuple(
        step
        for pod in orphans
        if not pod.deleting and (step := _next_step(pod, inputs, without_place)) is not None
    )


def _next_step(
    pod: PodState, inputs: RolloutInputs, without_place: Set[DeploymentKey]
) -> MarkVictim | DeletePod | None:
    is_served = _is_served(pod.origin, inputs)
    is_routed = pod.deployment in inputs.deployments and takes_requests(pod, inputs.lost)
    if is_routed and not pod.is_marked:
        return MarkVictim(pod.key, VICTIM_COST) if is_served else None
    # One that its ReplicaSet counts gets a successor only once it is deleted; it takes no requests.
    is_alone = not pod.controller and not is_served
    if is_alone and (is_routed or pod.origin not in without_place):
        return None
    return DeletePod(pod.key)


def _is_served(origin: DeploymentKey, inputs: RolloutInputs) -> bool:
    target = next((t for t in inputs.targets if t.key == origin), None)
    if target is None:
        return True
    return inputs.num_serving(origin) >= target.replicas and is_surplus_allowed_to_go(target, inputs)
