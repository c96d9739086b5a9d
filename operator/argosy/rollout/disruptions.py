"""How many replicas of each Deployment an eviction must leave ready.

Owns the count of each PodDisruptionBudget. `kubectl drain` and node controllers evict through the
Eviction API, which refuses what a budget does not allow: a replica goes only when its successor is
ready, whether the Deployment has one replica or many. Input: `RolloutInputs`. Output: steps; a budget is
made with its Deployment and goes with it.
"""

from __future__ import annotations

from argosy.rollout.steps import EndProtection, ProtectReplicas
from argosy.rollout.targets import RolloutInputs, Target, is_surplus_allowed_to_go


def protection_steps(inputs: RolloutInputs) -> tuple[ProtectReplicas | EndProtection, ...]:
    """The budgets that differ from what they should be, in the order of the targets; then those that end."""
    wanted = {t.key: least_ready(t, inputs) for t in inputs.targets if _is_protected(t, inputs)}
    changed = [
        ProtectReplicas(key, least) for key, least in wanted.items() if inputs.protected.get(key) != least
    ]
    return (*changed, *(EndProtection(key) for key in sorted(inputs.protected.keys() - wanted.keys())))


def least_ready(target: Target, inputs: RolloutInputs) -> int:
    """Replicas of the Deployment that no eviction may take.

    The planned ones; and until the planned ones of the whole group serve, all that serve now: a surplus
    stands in for them, and so does a replica on a node that is leaving.
    """
    if is_surplus_allowed_to_go(target, inputs):
        return target.replicas + inputs.num_held(target)
    return max(target.replicas, inputs.num_serving(target.key))


def _is_protected(target: Target, inputs: RolloutInputs) -> bool:
    """Whether its Deployment exists, or is about to, and is not about to be deleted."""
    existing = inputs.deployments.get(target.key)
    if existing is None:
        return target.replicas > 0 and target.workload is not None
    return bool(target.replicas or existing.replicas or inputs.all_pods(target.key))
