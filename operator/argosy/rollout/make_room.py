"""Which surplus replica gives way where planned replicas find no room.

Owns the way out of a deadlock: new replicas need the GPUs of surplus ones, or what these take of a quota,
and the surplus stays until the new ones are Ready. The last replica that serves a group, or a cell of it,
gives way only where its users allow an interruption (`Target.may_interrupt`) and a planned replica of its own
group fits where it is: else a group that has room for one replica only keeps the one it has, and its status
reports what is missing. Nor do replicas on nodes that take no new ones: nothing could start in their place.
Input: `RolloutInputs`. Output: the Deployments that let one replica go.
"""

from __future__ import annotations

from argosy.keys import DeploymentKey, GroupName
from argosy.rollout.targets import RolloutInputs, Target, is_surplus_allowed_to_go
from argosy.snapshot.serving import is_alive


def giving_way(inputs: RolloutInputs) -> frozenset[DeploymentKey]:
    """The Deployments that let one replica go now: at most one in each pool, and one of each group.

    One at a time: while a replica drains or loads in a pool, the room that it makes or takes is not
    known yet; and two pools that each take the last replica but one would leave a group without any.
    """
    starved = [t for t in inputs.targets if t.pool and t.replicas and inputs.without_room.get(t.key)]
    chosen: dict[DeploymentKey, GroupName] = {}
    for pool in sorted({t.pool for t in starved}):
        waiting = [t for t in starved if t.pool == pool]
        found = _choose(pool, waiting, inputs, frozenset(chosen.values()))
        if found is not None:
            chosen[found.key] = found.group
    return frozenset(chosen)


def _choose(
    pool: str, starved: list[Target], inputs: RolloutInputs, spared: frozenset[GroupName]
) -> Target | None:
    """The Deployment that gives way, not of the groups that are spared; None where none may.

    It is of the same pool, or, where a quota is used up, of the same namespace.
    """
    quotas = {t.key.namespace for t in starved if t.key in inputs.quota_starved}
    members = [t for t in inputs.targets if t.pool == pool or (quotas and t.key.namespace in quotas)]
    if any(_is_draining(t, inputs) for t in members) or any(_is_loading(t, inputs) for t in starved):
        return None
    able = [t for t in members if t.group not in spared and _may_give_way(t, starved, inputs)]
    return max(able, key=lambda t: _rank(t, inputs), default=None)


def _rank(target: Target, inputs: RolloutInputs) -> tuple[bool, bool, int, DeploymentKey]:
    """The highest gives way: what interrupts no service before what does, idle replicas first."""
    is_idle = _idle(target, inputs) > 0
    interrupts = not is_idle and _is_last_server(target, inputs)
    return (not interrupts, is_idle, _spare(target.group, inputs), target.key)


def _is_draining(target: Target, inputs: RolloutInputs) -> bool:
    """True if one of its pods is being deleted, or Kubernetes has still to choose one."""
    existing = inputs.deployments.get(target.key)
    going = any(p.deleting and p.key not in inputs.lost for p in inputs.all_pods(target.key))
    return going or (existing is not None and len(inputs.live_pods(target.key)) > existing.replicas)


def _is_loading(target: Target, inputs: RolloutInputs) -> bool:
    """True if a replica that has room does not serve yet."""
    return inputs.num_settled(target.key) < target.replicas - inputs.without_room.get(target.key, 0)


def _may_give_way(target: Target, starved: list[Target], inputs: RolloutInputs) -> bool:
    if not inputs.num_surplus(target) or is_surplus_allowed_to_go(target, inputs):
        return False  # without surplus none can go; a surplus that may go at once goes anyway
    if target.is_given_back or inputs.deployments[target.key].is_going:
        return False  # its deletion is requested, or a user wants it back: nothing changes its count
    if target.replicas and _alive(target, inputs) <= target.replicas:
        return False  # its surplus stands in for lost replicas, or for some that leave
    if all(p.key in inputs.closed for p in inputs.live_pods(target.key)):
        return False  # no planned replica could start where they are
    is_needed = _idle(target, inputs) == 0 and _is_last_server(target, inputs)
    return not is_needed or _makes_room_for_its_own(target, starved, inputs)


def _makes_room_for_its_own(target: Target, starved: list[Target], inputs: RolloutInputs) -> bool:
    """True if its users allow an interruption, and a planned replica of its group fits where it is."""
    if not target.may_interrupt or target.replicas:
        return False
    gpus = min((sum(p.devices.values()) for p in inputs.live_pods(target.key)), default=0)
    needed = [t.workload.variant.gpus for t in starved if t.group in target.relieved_by and t.workload]
    return bool(needed) and min(needed) <= gpus


def _alive(target: Target, inputs: RolloutInputs) -> int:
    return sum(is_alive(p, inputs.lost | inputs.leaving) for p in inputs.all_pods(target.key))


def _idle(target: Target, inputs: RolloutInputs) -> int:
    """Replicas of it that are not ready: Kubernetes deletes those first."""
    return len(inputs.live_pods(target.key)) - inputs.num_ready(target.key)


def _is_last_server(target: Target, inputs: RolloutInputs) -> bool:
    """True if one replica less could leave its group, or a cell that it serves, without any.

    A cell that has moved to another group is served by the replicas of both.
    """
    members = [t for t in inputs.targets if t.relieved_by & target.relieved_by]
    if sum(inputs.num_serving_or_going(t.key) for t in members) <= 1:
        return True
    return any(
        sum(inputs.num_serving_or_going(t.key) for t in members if cell in t.cells) <= 1
        for cell in target.cells
    )


def _serving(group: GroupName, inputs: RolloutInputs) -> int:
    return sum(inputs.num_serving_or_going(t.key) for t in inputs.targets if t.group == group)


def _spare(group: GroupName, inputs: RolloutInputs) -> int:
    """Serving replicas beyond those planned for the group: the group with the most gives way first."""
    return _serving(group, inputs) - sum(t.replicas for t in inputs.targets if t.group == group)
