"""How many replicas of each Deployment exist, and how many take requests.

Owns the two counts, whether replicas still start, and which classes have all of theirs. Input: a snapshot and
the keys of the pods whose capacity does not count. Output: replicas by Deployment; classes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Set

from argosy.keys import ClassKey, DeploymentKey
from argosy.snapshot.fleet import FleetSnapshot
from argosy.snapshot.serving import is_alive, takes_requests


def num_alive(
    snapshot: FleetSnapshot, lost: frozenset[str], among: Set[str] | None = None
) -> Counter[DeploymentKey]:
    """Replicas that exist, are not drained and are not lost; `among`: only of the pods with these keys."""
    pods = (p for p in snapshot.engine_pods if among is None or p.key in among)
    return Counter(p.deployment for p in pods if is_alive(p, lost))


def num_serving(snapshot: FleetSnapshot, lost: frozenset[str]) -> dict[DeploymentKey, int]:
    """Replicas that take requests; 0 where a Deployment's pods only load."""
    serving: dict[DeploymentKey, int] = {}
    for pod in snapshot.engine_pods:
        if not pod.deleting:
            serving[pod.deployment] = serving.get(pod.deployment, 0) + takes_requests(pod, lost)
    return serving


def is_starting(snapshot: FleetSnapshot) -> bool:
    """Whether a Deployment has replicas that do not take requests yet, or the applied plan wants some."""
    plan, serving = snapshot.applied_plan, num_serving(snapshot, frozenset())
    wanted = [(d.key, d.replicas) for d in snapshot.deployments.values()]
    wanted += [(d.name, d.replicas) for d in plan.spec.deployments] if plan is not None else []
    return any(serving.get(key, 0) < count for key, count in wanted)


def served_in_full(snapshot: FleetSnapshot) -> frozenset[ClassKey]:
    """The classes of the applied plan of which every planned replica takes requests, one at least."""
    plan = snapshot.applied_plan
    if plan is None:
        return frozenset()
    serving = num_serving(snapshot, frozenset())
    planned = {d.name: d.replicas for d in plan.spec.deployments}
    needed: dict[ClassKey, set[DeploymentKey]] = {}
    for cell in plan.spec.cells:
        names = {share.deployment for share in cell.shares if share.share > 0}
        needed.setdefault(cell.workload_class, set()).update(names)
    return frozenset(
        key
        for key, names in needed.items()
        if names and all(0 < planned.get(name, 0) <= serving.get(name, 0) for name in names)
    )
