"""Which surplus replica gives way where planned ones find no room.

Owns the way out of a deadlock: new replicas need the GPUs of those that wait for the new ones to
be Ready. Never lets a group's last serving replica go: a class that has room for one replica only
keeps the one it has, and its status says what is missing. Input and output: see `giving_way`.
"""

from __future__ import annotations

from argosy.rollout.targets import RolloutInputs, Target, is_surplus_allowed_to_go


def giving_way(inputs: RolloutInputs) -> frozenset[str]:
    """Keys of the Deployments that let one replica go now: at most one in each pool.

    One at a time: as long as something drains or loads there, the room that it makes or takes is
    not known yet.
    """
    starved = [t for t in inputs.targets if t.pool and t.replicas and inputs.without_room.get(t.key)]
    pools = sorted({t.pool for t in starved})
    chosen = (_choose(pool, [t for t in starved if t.pool == pool], inputs) for pool in pools)
    return frozenset(key for key in chosen if key)


def _choose(pool: str, starved: list[Target], inputs: RolloutInputs) -> str:
    members = [t for t in inputs.targets if t.pool == pool]
    if any(_is_draining(t, inputs) for t in members) or any(_is_loading(t, inputs) for t in starved):
        return ""
    able = [t for t in members if _may_give_way(t, inputs)]
    return max(able, key=lambda t: (_idle(t, inputs) > 0, _spare(t.group, inputs), t.key)).key if able else ""


def _is_draining(target: Target, inputs: RolloutInputs) -> bool:
    """Whether a pod of it is on its way out, or Kubernetes has not chosen one yet."""
    existing = inputs.deployments.get(target.key)
    going = any(p.deleting and p.key not in inputs.lost for p in inputs.all_pods(target.key))
    return going or (existing is not None and len(inputs.live_pods(target.key)) > existing.replicas)


def _is_loading(target: Target, inputs: RolloutInputs) -> bool:
    """Whether a replica that has room does not serve yet."""
    return inputs.num_serving(target.key) < target.replicas - inputs.without_room.get(target.key, 0)


def _may_give_way(target: Target, inputs: RolloutInputs) -> bool:
    if not inputs.num_surplus(target) or is_surplus_allowed_to_go(target, inputs):
        return False  # what may go at once needs nobody to ask it
    if target.replicas and _alive(target, inputs) <= target.replicas:
        return False  # its surplus stands in for lost replicas
    return _idle(target, inputs) > 0 or _serving(target.group, inputs) > 1


def _alive(target: Target, inputs: RolloutInputs) -> int:
    return sum(p.key not in inputs.lost for p in inputs.live_pods(target.key))


def _idle(target: Target, inputs: RolloutInputs) -> int:
    """Replicas of it that serve nobody: Kubernetes takes those first."""
    return len(inputs.live_pods(target.key)) - inputs.num_serving(target.key)


def _serving(group: str, inputs: RolloutInputs) -> int:
    return sum(inputs.num_serving(t.key) for t in inputs.targets if t.group == group)


def _spare(group: str, inputs: RolloutInputs) -> int:
    """Serving replicas beyond what the plan wants of the group: who has most gives first."""
    return _serving(group, inputs) - sum(t.replicas for t in inputs.targets if t.group == group)
