"""The objects that a plan or a Deployment names and that the snapshot does not hold.

Owns the way from a Deployment to the WorkloadClasses, the ServedModel and the GPUPool that it was made
for, also where these are not seen: by the applied plan, or else the newest plan that lists it, or else
the labels. What an older plan names may have been deleted since. Input: a snapshot. Output: for each
Deployment what is missing, and when its maker last saw that.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from argosy.api import FleetPlan, GPUPool, ServedModel, WorkloadClass
from argosy.api.fleetplan import PlannedDeployment
from argosy.api.schema.timestamp import seconds_of
from argosy.control.cells import RouteCells, cells_of_plan, one_cell_each
from argosy.keys import ClassKey, DeploymentKey, GroupName, NamespacedName
from argosy.snapshot.cluster import LABEL_GROUP, LABEL_MODEL, LABEL_POOL, label_value
from argosy.snapshot.fleet import FleetSnapshot
from argosy.snapshot.seen import ObjectRef


@dataclass(frozen=True, slots=True)
class Makers:
    """What one Deployment was made for.

    classes:  of its sharing group, those of them that the snapshot holds
    missing:  what the snapshot does not hold
    since_s:  all of it existed at this instant (epoch seconds): the plan or the Deployment was made then
    """

    group: GroupName
    classes: frozenset[ClassKey]
    missing: frozenset[ObjectRef]
    since_s: float | None


def makers_by_deployment(snapshot: FleetSnapshot) -> dict[DeploymentKey, Makers]:
    """The makers of every Deployment that runs or that the applied plan names."""
    plan = snapshot.applied_plan
    applied = {entry.name for entry in plan.spec.deployments} if plan else set[DeploymentKey]()
    entries, labels = _entries(snapshot), _labels(snapshot)
    classes_of_group = _classes_of_groups(snapshot)
    found: dict[DeploymentKey, Makers] = {}
    for key in sorted({*applied, *labels}):
        if key in entries:
            found[key] = _planned(snapshot, *entries[key])
        else:
            found[key] = _labelled(snapshot, key, labels[key], classes_of_group)
    return found


def _entries(snapshot: FleetSnapshot) -> dict[DeploymentKey, tuple[FleetPlan, PlannedDeployment]]:
    """The entry of each Deployment in the applied plan, or in the newest plan that lists it."""
    plan = snapshot.applied_plan
    by_age = (*sorted(snapshot.plans, key=lambda p: p.spec.revision), *((plan,) if plan else ()))
    return {entry.name: (each, entry) for each in by_age for entry in each.spec.deployments}


def _planned(snapshot: FleetSnapshot, plan: FleetPlan, entry: PlannedDeployment) -> Makers:
    classes = {c.workload_class for c in plan.spec.cells if c.sharing_group == entry.sharing_group}
    missing = [ObjectRef(WorkloadClass.PLURAL, key) for key in classes - snapshot.classes.keys()]
    if entry.model_key not in snapshot.models:
        missing.append(ObjectRef(ServedModel.PLURAL, entry.model_key))
    if entry.pool not in snapshot.pools:
        missing.append(ObjectRef(GPUPool.PLURAL, entry.pool))
    present = frozenset(classes & snapshot.classes.keys())
    made_s = seconds_of(plan.metadata.creation_timestamp)
    return Makers(entry.sharing_group, present, frozenset(missing), made_s)


def _labelled(
    snapshot: FleetSnapshot,
    key: DeploymentKey,
    labels: Mapping[str, str],
    classes_of_group: Mapping[GroupName, frozenset[ClassKey]],
) -> Makers:
    """A label is as long as its value may be: an object that is not seen is named by it as far as it goes."""
    missing = list(_missing_by_label(snapshot, key.namespace, labels))
    by_label = {(g.namespace, label_value(g.name)): g for g in classes_of_group}
    value = labels.get(LABEL_GROUP, "")
    group = by_label.get((key.namespace, value))
    named = classes_of_group[group] if group is not None else {ClassKey.of(key.namespace, value)}
    missing += [ObjectRef(WorkloadClass.PLURAL, each) for each in named - snapshot.classes.keys()]
    present = frozenset(named & snapshot.classes.keys())
    since_s = snapshot.deployments[key].created_s
    return Makers(group or GroupName.of(key.namespace, value), present, frozenset(missing), since_s)


def _missing_by_label(
    snapshot: FleetSnapshot, namespace: str, labels: Mapping[str, str]
) -> Iterator[ObjectRef]:
    model, pool = labels.get(LABEL_MODEL, ""), labels.get(LABEL_POOL, "")
    if model not in {label_value(k.name) for k in snapshot.models if k.namespace == namespace}:
        yield _former(snapshot, ServedModel.PLURAL, namespace, model)
    if pool not in set(map(label_value, snapshot.pools)):
        yield _former(snapshot, GPUPool.PLURAL, "", pool)


def _former(snapshot: FleetSnapshot, plural: str, namespace: str, value: str) -> ObjectRef:
    """The deleted object that a label names; where there is none, the label itself stands for it."""
    for ref in snapshot.seen.deleted:
        name = NamespacedName(ref.key)
        if ref.plural == plural and name.namespace == namespace and label_value(name.name) == value:
            return ref
    return ObjectRef(plural, NamespacedName.of(namespace, value))


def _labels(snapshot: FleetSnapshot) -> dict[DeploymentKey, Mapping[str, str]]:
    """The labels of every Deployment; where it carries none, those of its pods."""
    of_pods = {pod.deployment: pod.labels for pod in snapshot.engine_pods}
    return {
        key: state.labels if LABEL_GROUP in state.labels else of_pods[key]
        for key, state in snapshot.deployments.items()
        if LABEL_GROUP in state.labels or LABEL_GROUP in of_pods.get(key, {})
    }


def _classes_of_groups(snapshot: FleetSnapshot) -> dict[GroupName, frozenset[ClassKey]]:
    """The classes of every group: of the newest plan that has it, those that are not seen included, and
    of every class."""
    found: dict[GroupName, frozenset[ClassKey]] = {}
    for plan in sorted(snapshot.plans, key=lambda p: p.spec.revision):
        found |= _by_group(cells_of_plan(plan))
    alone = _by_group(one_cell_each(snapshot.classes))
    return found | {group: classes | found.get(group, frozenset()) for group, classes in alone.items()}


def _by_group(cells: RouteCells) -> dict[GroupName, frozenset[ClassKey]]:
    found: dict[GroupName, set[ClassKey]] = {}
    for row in cells.rows:
        found.setdefault(row.group, set()).add(row.workload_class)
    return {group: frozenset(classes) for group, classes in found.items()}


def missing_since(makers: Iterable[Makers]) -> dict[ObjectRef, float | None]:
    """Everything that is missing, with the latest instant at which it is known to have existed.

    None where no instant is known.
    """
    found: dict[ObjectRef, float | None] = {}
    for each in makers:
        for ref in each.missing:
            times = [t for t in (found.get(ref), each.since_s) if t is not None]
            found[ref] = max(times, default=None)
    return found
