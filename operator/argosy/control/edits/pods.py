"""Pods that another client has deleted or whose labels it has changed: found, and reported once each.

Owns the verdict, which leaves out whatever else ends a pod: a count that falls, an exchange of templates,
an eviction, a mark, a node that leaves or is gone. A deletion is reported once its successor exists: in a
namespace that is being deleted there never is one. Input: a snapshot, what the last decision knew, what
this one sets back. Output: the same with the edits of pods.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass, replace
from functools import cached_property

from argosy.control.edits.found import BUDGET, ORPHAN, POD, UNNAMED, Edit, model_of
from argosy.control.edits.mending import Mending
from argosy.control.memory import EditMemory
from argosy.control.state.departure import departure
from argosy.control.state.orphans import orphans
from argosy.keys import DeploymentKey, ModelKey
from argosy.snapshot.cluster import LABEL_TEMPLATE_HASH, DeploymentState, PodState, label_value
from argosy.snapshot.fleet import FleetSnapshot

SETTLED_S = 60.0
"""So long after a change of a Deployment was set back, pods may still end for it."""


def with_pods(
    mending: Mending, snapshot: FleetSnapshot, lost: Set[str], plan: str, before: EditMemory
) -> Mending:
    """`mending` with the pods that another client has touched. plan: as of `mended`."""
    if not plan:
        return replace(mending, memory=replace(mending.memory, pods={}, orphans=frozenset()))
    strays = orphans(snapshot)
    look = _Look(snapshot, frozenset(p.key for p in strays), lost, before, mending)
    edits = list(mending.edits)
    pods: dict[DeploymentKey, Mapping[str, PodState]] = {}
    for key, deployment in snapshot.deployments.items():
        if deployment.is_adopted:
            continue
        live = look.live.get(key, {})
        gone = look.deleted(deployment, live)
        has_successor = len(live) >= deployment.replicas
        edits += [look.edit(key, POD, pod.name) for pod in gone if has_successor]
        pods[key] = live if has_successor else {**live, **{pod.key: pod for pod in gone}}
    for pod in strays:
        if pod.key not in before.orphans and not pod.deleting:
            labels = ", ".join(pod.lacking)
            edits.append(look.edit(pod.origin, ORPHAN, f"label {labels} of pod {pod.name}"))
    known = replace(mending.memory, pods=pods, orphans=look.strays)
    stay = (edit for edit in edits if edit.deployment.namespace not in snapshot.ending)
    return replace(mending, edits=tuple(stay), memory=known)


@dataclass(frozen=True)
class _Look:
    """One decision's picture of the pods. `strays`: keys of the pods that have lost labels."""

    snapshot: FleetSnapshot
    strays: frozenset[str]
    lost: Set[str]
    before: EditMemory
    mending: Mending

    @cached_property
    def live(self) -> Mapping[DeploymentKey, Mapping[str, PodState]]:
        """The replicas of each Deployment that Kubernetes counts."""
        found: dict[DeploymentKey, dict[str, PodState]] = {}
        for pod in self.snapshot.engine_pods:
            if pod.is_active and not pod.deleting and pod.key not in self.strays:
                found.setdefault(pod.deployment, {})[pod.key] = pod
        return found

    def deleted(self, deployment: DeploymentState, live: Mapping[str, PodState]) -> list[PodState]:
        """Its pods whose end only another client's deletion explains."""
        known, count = self.before.pods.get(deployment.key, {}), self.before.counts.get(deployment.key)
        if count is None or len(known) > count.replicas or deployment.replicas < count.replicas:
            return []
        if self._is_changing(deployment, (*known.values(), *live.values())):
            return []
        latest = [self.snapshot.pods.get(key, pod) for key, pod in known.items()]
        return [pod for pod in latest if self._was_deleted(pod, deployment)]

    def edit(self, key: DeploymentKey, about: str, change: str) -> Edit:
        """About the ServedModel of the Deployment, where both exist."""
        found, models = self.snapshot.deployments.get(key), self.snapshot.models
        by_label = {(each.namespace, label_value(each.name)): each for each in models}
        model = model_of(found, by_label) if found is not None else ModelKey()
        return Edit(key, model, about, UNNAMED, 0.0, change)

    def _is_changing(self, deployment: DeploymentState, pods: tuple[PodState, ...]) -> bool:
        """Whether Kubernetes ends pods of the Deployment because of a change of the Deployment itself."""
        if len({p.labels.get(LABEL_TEMPLATE_HASH) for p in pods}) > 1:
            return True
        if any(edit.deployment == deployment.key for edit in self.mending.contested):
            return True
        now_s = self.snapshot.monotonic_s
        return any(
            key == deployment.key and about != BUDGET and now_s - each.at_s[-1] < SETTLED_S
            for (key, about), each in self.mending.memory.heals.items()
        )

    def _was_deleted(self, pod: PodState, deployment: DeploymentState) -> bool:
        is_here = pod.key in self.snapshot.pods
        if is_here and not pod.deleting:
            return False  # it has ended by itself, or has lost labels
        if pod.evicted or pod.is_marked or pod.key in self.lost:
            return False
        if deployment.created_s is not None and pod.created_s < deployment.created_s:
            return False  # it went with an earlier Deployment of this name
        node = self.snapshot.nodes.get(pod.node)
        return not pod.node or (node is not None and node.ready and not departure(node))
