"""What each sharing group is called, and keeps being called.

Owns a group's identity. Its name is on pods and part of Deployments' names, so it must not follow who
is a member: it is chosen once, stored in the FleetPlan (`sharingGroup` of cells and Deployments), and
kept as long as the group has one of its classes. Input: which classes share, and the plan before.
Output: a `GroupName` for each group, the same in every replica of the operator.

    a class joins or leaves   the name stays
    a group splits            the part with the most planned requests/s keeps the name
    groups merge              the name of the part with the most planned requests/s stays
    a new group               is named after its oldest class, with a number where that is taken
    a class is renamed        the new one takes up the name of running pods that no class has any more
    every FleetPlan is lost   the same, for all names
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from argosy.keys import ClassKey, GroupName, ModelKey
from argosy.snapshot.cluster import LABEL_GROUP, LABEL_MODEL, label_value
from argosy.snapshot.fleet import FleetSnapshot


@dataclass(frozen=True, slots=True)
class Membership:
    """Classes that share replicas of these models; `founder` is the oldest.

    can_be_planned: False where nothing can serve any of them: then they keep a name only if no other
        group claims it
    """

    classes: tuple[ClassKey, ...]
    founder: ClassKey
    models: frozenset[ModelKey]
    can_be_planned: bool = True

    def joined_by(self, other: Membership) -> Membership:
        """With the other's classes; the founder stays."""
        return replace(self, classes=(*self.classes, *other.classes))


@dataclass(frozen=True, slots=True)
class PlannedGroups:
    """The groups of the plan before.

    group_of: by class; empty before the first plan
    rate_per_s: planned requests/s, by class
    running: pods by group and model, of groups that no class has: a group without one, or all groups where
        no plan is left that could name them
    """

    group_of: Mapping[ClassKey, GroupName]
    rate_per_s: Mapping[ClassKey, float]
    running: Mapping[tuple[GroupName, str], int]

    @classmethod
    def of(cls, snapshot: FleetSnapshot) -> PlannedGroups:
        """From the applied plan, else from the newest."""
        newest = max(snapshot.plans, key=lambda p: p.spec.revision, default=None)
        plan = snapshot.applied_plan or newest
        group_of: dict[ClassKey, GroupName] = {}
        rate_per_s: dict[ClassKey, float] = {}
        for cell in sorted(plan.spec.cells, key=lambda c: c.name) if plan is not None else ():
            group_of.setdefault(cell.workload_class, cell.sharing_group)
            rate_per_s[cell.workload_class] = (
                rate_per_s.get(cell.workload_class, 0.0) + cell.requests_per_second
            )
        had = {group for key, group in group_of.items() if key in snapshot.classes}
        running = {key: count for key, count in _running(snapshot).items() if key[0] not in had}
        return cls(group_of, rate_per_s, running)

    def rate_of_group(self, group: GroupName) -> float:
        """Planned requests/s of a group's classes."""
        return sum(self.rate_per_s[key] for key, its_group in self.group_of.items() if its_group == group)


def group_keys(
    memberships: Iterable[Membership], planned: PlannedGroups
) -> list[tuple[Membership, GroupName]]:
    """Each membership with the name of its group: no two have the same."""
    rows = sorted(memberships, key=lambda m: m.founder)
    found = _kept(rows, planned)
    taken = set(found.values())
    wanted = {_named_after(m.founder) for m in rows}
    for index, membership in enumerate(rows):
        if index not in found:
            found[index] = _adopted(membership, planned, taken | wanted) or _new(membership.founder, taken)
            taken.add(found[index])
    return [(membership, found[index]) for index, membership in enumerate(rows)]


def _kept(rows: list[Membership], planned: PlannedGroups) -> dict[int, GroupName]:
    """The names that stay: each goes to the group with the most planned requests/s of its classes."""
    claims: list[tuple[bool, float, int, GroupName, int]] = []
    for index, membership in enumerate(rows):
        members = Counter(planned.group_of[key] for key in membership.classes if key in planned.group_of)
        for group, count in members.items():
            common_per_s = sum(
                planned.rate_per_s[key] for key in membership.classes if planned.group_of.get(key) == group
            )
            claims.append((not membership.can_be_planned, -common_per_s, -count, group, index))
    found: dict[int, GroupName] = {}
    for *_, group, index in sorted(claims):
        if index not in found and group not in found.values():
            found[index] = group
    return found


def _adopted(membership: Membership, planned: PlannedGroups, taken: set[GroupName]) -> GroupName | None:
    """The name of the most pods of its models that no class has; None where pods have its own name."""
    own = _named_after(membership.founder)
    names = {label_value(model.name) for model in membership.models}
    pods: Counter[GroupName] = Counter()
    for (group, model), count in planned.running.items():
        if model in names and group.namespace == membership.founder.namespace:
            pods[group] += count
    if pods[own] > 0:
        return None
    orphans = [group for group, count in pods.items() if count and group not in taken]
    return min(orphans, key=lambda group: (-pods[group], group), default=None)


def _new(founder: ClassKey, taken: set[GroupName]) -> GroupName:
    name, number = _named_after(founder), 1
    while name in taken:
        number += 1
        name = GroupName.of(founder.namespace, label_value(f"{founder.name}-{number}"))
    return name


def _named_after(founder: ClassKey) -> GroupName:
    """A name that fits into a label: pods carry it."""
    return GroupName.of(founder.namespace, label_value(founder.name))


def _running(snapshot: FleetSnapshot) -> dict[tuple[GroupName, str], int]:
    found: Counter[tuple[GroupName, str]] = Counter()
    for pod in snapshot.engine_pods:
        group, model = pod.labels.get(LABEL_GROUP), pod.labels.get(LABEL_MODEL)
        if group and model and not pod.deleting:
            found[GroupName.of(pod.namespace, group), model] += 1
    return dict(found)
