"""Which classes share replicas.

Owns the rule (section 6 of docs/design/0002). Classes are compatible that allow the same ServedModels,
have the same priority, and agree on what a RouterPolicy says of clusters. Compatible classes share,
unless that would take a variant from one of them or cost it more than half of what a replica carries:
a group is planned with the strictest SLO of its classes. Rates play no part, so a group does not fall
apart when they change. Input: a snapshot and what can serve each class by itself. Output: `RouteCells`,
one for each class, with the group that serves it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from argosy.control.candidates.group_keys import Membership, PlannedGroups, group_keys
from argosy.control.candidates.resolve import Known, Resolution, ResolvedClass
from argosy.control.candidates.workload import strictest
from argosy.control.cells import RouteCell, RouteCells
from argosy.keys import CellName, GroupName, ModelKey
from argosy.perf.protocol import Capacity
from argosy.route.policies import ClusterPolicy, assign_policies
from argosy.snapshot import Mix, Slo, Variant

LEAST_KEPT = 0.5
"""Part (0-1) of what a replica carries of a class by itself that it must still carry within the group's
SLO: so sharing takes at most twice the work, and small classes, for which it is meant, save far more."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What classes must agree on to share replicas.

    planned: the group that they have, where none may merge
    """

    namespace: str
    models: frozenset[ModelKey]
    priority: int
    policy: ClusterPolicy
    planned: GroupName | None = None


def shared_cells(resolution: Resolution, known: Known, *, may_merge: bool = True) -> RouteCells:
    """One cell for each class; compatible classes are in one group.

    may_merge: False where the groups of the plan before may only split: then all its Deployments keep theirs
    """
    planned = PlannedGroups.of(known.snapshot)
    rule = _Rule(known, planned, may_merge)
    memberships: list[Membership] = []
    for _, members in sorted(rule.compatible(resolution).items(), key=lambda item: item[1][0].key):
        memberships += rule.memberships(members)
    rows = [
        RouteCell(CellName.of_class(key), key, group)
        for membership, group in group_keys(memberships, planned)
        for key in membership.classes
    ]
    return RouteCells(tuple(sorted(rows, key=lambda row: row.name)))


@dataclass(frozen=True, slots=True)
class _Rule:
    """The rule for one snapshot. `capacities`: answers that it has asked for, in requests/s."""

    known: Known
    planned: PlannedGroups
    may_merge: bool = True
    capacities: dict[tuple[ModelKey, str, Mix, Slo], float] = field(default_factory=dict)

    def compatible(self, resolution: Resolution) -> Mapping[Terms, list[ResolvedClass]]:
        """The classes by what they must agree on: those of the largest running groups first, then by age."""
        snapshot = self.known.snapshot
        policies = assign_policies(snapshot.policies.values(), snapshot.classes.values()).by_class
        found: dict[Terms, list[ResolvedClass]] = {}
        for member in sorted(resolution.classes.values(), key=self._order):
            terms = Terms(
                namespace=member.key.namespace,
                models=member.spec.model_keys,
                priority=member.spec.spec.priority,
                policy=ClusterPolicy.of(policies.get(member.key)),
                planned=None if self.may_merge else self.planned.group_of.get(member.key),
            )
            found.setdefault(terms, []).append(member)
        return found

    def _order(self, member: ResolvedClass) -> tuple[float, str, tuple[str, str]]:
        group = self.planned.group_of.get(member.key)
        size_per_s = self.planned.rate_of_group(group) if group is not None else -1.0
        return (-size_per_s, group or "", member.spec.metadata.seniority)

    def memberships(self, members: list[ResolvedClass]) -> list[Membership]:
        """Compatible classes as groups. What nothing can serve stays with the group that it has."""
        found = [_membership(part) for part in self._parts([m for m in members if m.able])]
        stranded: dict[GroupName, list[ResolvedClass]] = {}
        for member in members:
            group = self.planned.group_of.get(member.key)
            if not member.able and group is not None:
                stranded.setdefault(group, []).append(member)
            elif not member.able:
                found.append(_membership([member], can_be_planned=False))
        for group, those in stranded.items():
            homes = [(self._num_from(group, each), -i) for i, each in enumerate(found) if each.can_be_planned]
            number, place = max(homes, default=(0, 0))
            if number:
                found[-place] = found[-place].joined_by(_membership(those))
            else:
                found.append(_membership(those, can_be_planned=False))
        return found

    def _num_from(self, group: GroupName, membership: Membership) -> int:
        """Of its classes, those that the plan before had in this group."""
        return sum(self.planned.group_of.get(key) == group for key in membership.classes)

    def _parts(self, members: list[ResolvedClass]) -> list[list[ResolvedClass]]:
        """All of them together if that can be; else each joins the first part that it can share with."""
        if not members or self._can_share(members):
            return [members] if members else []
        parts: list[list[ResolvedClass]] = []
        for member in members:
            home = next((part for part in parts if self._can_share([*part, member])), None)
            if home is None:
                parts.append([member])
            else:
                home.append(member)
        return parts

    def _can_share(self, members: list[ResolvedClass]) -> bool:
        """Whether every variant of each still carries enough of it within the strictest SLO of all."""
        if len({frozenset(a.variant.name for a in m.able) for m in members}) > 1:
            return False
        slo = strictest(m.slo for m in members)
        return all(
            self._capacity_per_s(a.variant, m.mix, slo) >= LEAST_KEPT * a.capacity.requests_per_s
            for m in members
            if m.slo != slo
            for a in m.able
        )

    def _capacity_per_s(self, variant: Variant, mix: Mix, slo: Slo) -> float:
        question = (variant.model_key, variant.name, mix, slo)
        if question not in self.capacities:
            answer = self.known.perf_by_model[variant.model_key].capacity(variant, mix, slo)
            per_s = answer.requests_per_s if isinstance(answer, Capacity) else 0.0
            self.capacities[question] = per_s if math.isfinite(per_s) else 0.0
        return self.capacities[question]


def _membership(members: Iterable[ResolvedClass], *, can_be_planned: bool = True) -> Membership:
    found = tuple(members)
    founder = min(found, key=lambda m: m.spec.metadata.seniority)
    models = frozenset(model for m in found for model in m.spec.model_keys)
    return Membership(tuple(m.key for m in found), founder.key, models, can_be_planned)
