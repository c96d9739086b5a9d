"""What becomes of ReplicaSets that no Deployment owns: adopted again where theirs exists, else deleted.

Owns the order. A Deployment releases a ReplicaSet whose labels no longer match its selector, and makes a
second one, whose pods the plan has no place for. With its labels it is adopted again, and no pod restarts.
One whose Deployment is neither there nor planned goes once its sharing group is served as planned. Input:
such ReplicaSets and what a roll-out sees. Output: steps.
"""

from __future__ import annotations

from collections.abc import Iterable

from argosy.rollout.steps import AdoptReplicaSet, DeleteReplicaSet
from argosy.rollout.targets import RolloutInputs
from argosy.snapshot.cluster import LABEL_GROUP, ReplicaSetState, label_value


def replica_set_steps(
    loose: Iterable[ReplicaSetState], inputs: RolloutInputs
) -> tuple[AdoptReplicaSet | DeleteReplicaSet, ...]:
    """One step at most for each. One with all its labels is adopted by Kubernetes itself."""
    owners = {t.key for t in inputs.targets if t.replicas} | inputs.deployments.keys()
    found: list[AdoptReplicaSet | DeleteReplicaSet] = []
    for each in loose:
        if each.deployment not in owners:
            if not _is_needed(each, inputs):
                found.append(DeleteReplicaSet(each.key))
        elif each.lacking:
            found.append(AdoptReplicaSet(each.key, each.lacking))
    return tuple(found)


def _is_needed(each: ReplicaSetState, inputs: RolloutInputs) -> bool:
    """Whether its pods may stand in for planned replicas of their sharing group."""
    group = (each.key.namespace, each.labels.get(LABEL_GROUP, ""))
    return any((g.namespace, label_value(g.name)) == group for g in inputs.unready_groups)
