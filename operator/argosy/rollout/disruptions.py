"""How many replicas of each Deployment an eviction must leave ready.

Owns the count of each PodDisruptionBudget. `kubectl drain` and node controllers evict through the
Eviction API, which refuses what a budget does not allow: a replica goes only when its successor is
ready, whether the Deployment has one replica or many. Input: `RolloutInputs`. Output: steps for the
Deployments of Argosy's that exist and stay; a budget is made and deleted in one step with its Deployment.
"""

from __future__ import annotations

from argosy.rollout.steps import EndProtection, ProtectReplicas
from argosy.rollout.targets import RolloutInputs, Target, is_surplus_allowed_to_go


def protection_steps(inputs: RolloutInputs) -> tuple[ProtectReplicas | EndProtection, ...]:
    """The budgets that differ from what they should be, and those whose Deployments are gone."""
    staying = {key for key, each in inputs.deployments.items() if not each.is_going and not each.is_adopted}
    wanted = {t.key: least_ready(t, inputs) for t in inputs.targets if t.key in staying}
    changed = [
        ProtectReplicas(key, least) for key, least in wanted.items() if inputs.protected.get(key) != least
    ]
    due = {t.key for t in inputs.targets if t.replicas}
    gone = sorted(inputs.protected.keys() - inputs.deployments.keys() - due)
    return (*changed, *map(EndProtection, gone))


def least_ready(target: Target, inputs: RolloutInputs) -> int:
    """Replicas of the Deployment that no eviction may take.

    The planned ones; and until the planned ones of the whole group serve, all that serve now: a surplus
    stands in for them, and so does a replica on a node that is leaving. Kubernetes counts a lost
    replica as ready until its kubelet notices, and one that gets no requests too, so each is added, but
    for one that is about to be removed. As many as there are pods is enough: then none may go.
    """
    pods = inputs.live_pods(target.key)
    useless = {p.key for p in pods if p.key in inputs.lost | inputs.unrouted and not p.is_marked}
    if is_surplus_allowed_to_go(target, inputs):
        needed = target.replicas + inputs.num_held(target)
    else:
        needed = max(target.replicas, inputs.num_serving(target.key))
    num_pods = max(len(pods), inputs.deployments[target.key].replicas, target.replicas)
    return min(needed + sum(p.ready and p.key in useless for p in pods), num_pods)
