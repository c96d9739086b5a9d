"""What a Deployment was made for: its sharing group, model and pool, read from its pods' labels.

Owns the way back from a label to an object. A label's value is shorter than a name may be, so it
is compared with those of the names that exist (`snapshot.cluster.label_value`). Input: pods, and the
keys that exist. Output: `Owners`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeVar

from argosy.keys import DeploymentKey, GroupName, ModelKey, NamespacedName
from argosy.snapshot.cluster import LABEL_GROUP, LABEL_MODEL, LABEL_POOL, PodState, label_value
from argosy.snapshot.fleet import FleetSnapshot


@dataclass(frozen=True, slots=True)
class Owners:
    """What a Deployment was made for; None where it is gone."""

    group: GroupName | None = None
    model: ModelKey | None = None
    pool: str | None = None

    @property
    def all_exist(self) -> bool:
        """Whether everything that the Deployment was made for still exists."""
        return None not in (self.group, self.model, self.pool)


def group_by_deployment(
    pods: Iterable[PodState], groups: Iterable[GroupName]
) -> dict[DeploymentKey, GroupName]:
    """The sharing group that each Deployment with pods serves, where the group still exists."""
    return _owner_by_deployment(LABEL_GROUP, pods, groups)


def models_by_deployment(snapshot: FleetSnapshot) -> dict[DeploymentKey, ModelKey]:
    """The ServedModel that each Deployment with pods runs, where it still exists."""
    return _owner_by_deployment(LABEL_MODEL, snapshot.engine_pods, snapshot.models)


def owners_by_deployment(snapshot: FleetSnapshot, groups: Iterable[GroupName]) -> dict[DeploymentKey, Owners]:
    """The owners of every Deployment that has pods. `groups`: those that exist."""
    pods = snapshot.engine_pods
    group_of = group_by_deployment(pods, groups)
    model_of = models_by_deployment(snapshot)
    # Pools are cluster-scoped: their names are keys without a namespace.
    pool_of = _owner_by_deployment(LABEL_POOL, pods, map(NamespacedName, snapshot.pools))
    return {
        name: Owners(group_of.get(name), model_of.get(name), pool_of.get(name))
        for name in sorted({p.deployment for p in pods})
    }


Key = TypeVar("Key", bound=NamespacedName)


def _owner_by_deployment(
    label: str, pods: Iterable[PodState], keys: Iterable[Key]
) -> dict[DeploymentKey, Key]:
    by_value = {(key.namespace, label_value(key.name)): key for key in keys}
    found: dict[DeploymentKey, Key] = {}
    for pod in pods:
        value = pod.labels.get(label, "")
        owner = by_value.get((pod.namespace, value)) or by_value.get(("", value))
        if pod.deployment and owner:
            found[pod.deployment] = owner
    return found
