"""What a Deployment of ours belongs to: its class, model and pool, read from its pods' labels.

Owns the way back from a label to an object. Never decides anything. A label's value is shorter
than a name may be, so it is compared with the objects that exist (`snapshot.cluster.label_value`)
and never taken for a name.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from argosy.snapshot.cluster import LABEL_CLASS, LABEL_MODEL, LABEL_POOL, PodState, label_value
from argosy.snapshot.fleet import FleetSnapshot


@dataclass(frozen=True, slots=True)
class Owners:
    """Keys of the objects that a Deployment was made for; empty where one is gone."""

    workload_class: str = ""
    model: str = ""
    pool: str = ""

    @property
    def all_exist(self) -> bool:
        """Whether somebody still wants the Deployment."""
        return bool(self.workload_class and self.model and self.pool)


def class_by_deployment(pods: Iterable[PodState], class_keys: Iterable[str]) -> dict[str, str]:
    """The class that each Deployment with pods serves, where the class exists."""
    return _owner_by_deployment(LABEL_CLASS, pods, class_keys)


def owners_by_deployment(snapshot: FleetSnapshot) -> dict[str, Owners]:
    """The owners of every Deployment that has pods."""
    pods = snapshot.engine_pods
    classes = class_by_deployment(pods, snapshot.classes)
    models = _owner_by_deployment(LABEL_MODEL, pods, snapshot.models)
    pools = _owner_by_deployment(LABEL_POOL, pods, snapshot.pools)
    return {
        name: Owners(classes.get(name, ""), models.get(name, ""), pools.get(name, ""))
        for name in sorted({p.deployment for p in pods})
    }


def _owner_by_deployment(label: str, pods: Iterable[PodState], keys: Iterable[str]) -> dict[str, str]:
    by_value: dict[tuple[str, str], str] = {}
    for key in keys:
        namespace, _, name = key.rpartition("/")
        by_value[namespace, label_value(name)] = key
    found: dict[str, str] = {}
    for pod in pods:
        value = pod.labels.get(label, "")
        # Pools are cluster-scoped: their keys have no namespace.
        owner = by_value.get((pod.namespace, value)) or by_value.get(("", value))
        if pod.deployment and owner:
            found[pod.deployment] = owner
    return found
