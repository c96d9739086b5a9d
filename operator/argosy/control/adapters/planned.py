"""Which LoRA adapters the replicas of a plan have slots for, before any of them runs.

Input: a plan, the models and the classes. Output: one `PlannedAdapters` per model and sharing group.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from argosy.api import FleetPlan, ServedModel, WorkloadClass
from argosy.control.adapters.residency import Replica, WantedAdapter, assign
from argosy.keys import ClassKey, GroupName, ModelKey
from argosy.plan.explain.words import counted
from argosy.route.adapters import adapters_of_class


@dataclass(frozen=True, slots=True)
class PlannedAdapters:
    """The adapters of a model in a sharing group; without_slot: those that no replica has a slot for."""

    model: ModelKey
    group: GroupName
    names: tuple[str, ...]
    replicas: int
    slots: int
    largest_rank: int
    without_slot: tuple[str, ...]

    @property
    def sentence(self) -> str:
        """For users."""
        text = (
            f"ServedModel {self.model}: {counted(len(self.names), 'LoRA adapter')} of ranks up to"
            f" {self.largest_rank}, at most {self.slots} (maxLoras) on each of"
            f" {counted(self.replicas, 'replica')} for {self.group}"
        )
        if not self.without_slot:
            return text
        return (
            f"{text}; no slot is left for {', '.join(self.without_slot)}: raise spec.engine.maxLoras, or"
            " remove adapters"
        )


def planned_adapters(
    plan: FleetPlan, models: Mapping[ModelKey, ServedModel], classes: Mapping[ClassKey, WorkloadClass]
) -> tuple[PlannedAdapters, ...]:
    """Of each model that has adapters, in each sharing group that has replicas of it."""
    members = {
        group: [
            classes[c.workload_class]
            for c in plan.spec.cells
            if c.sharing_group == group and c.workload_class in classes
        ]
        for group in {cell.sharing_group for cell in plan.spec.cells}
    }
    found = []
    for (key, group), count in sorted(_replicas(plan).items()):
        model = models.get(key)
        if model is None or not model.spec.adapters:
            continue
        routed = {name for each in members.get(group, ()) for name in adapters_of_class(each, [model])}
        its = [each for each in model.spec.adapters if each.name in routed]
        slots = model.spec.engine.max_loras
        residency = assign(
            [WantedAdapter(each.name, each.weight) for each in its],
            [Replica(str(number), slots) for number in range(count)],
        )
        names = tuple(each.name for each in its)
        rank = max((each.rank for each in its), default=0)
        if names:
            found.append(PlannedAdapters(key, group, names, count, slots, rank, residency.without_slot))
    return tuple(found)


def _replicas(plan: FleetPlan) -> dict[tuple[ModelKey, GroupName], int]:
    found: dict[tuple[ModelKey, GroupName], int] = {}
    for each in plan.spec.deployments:
        of = (ModelKey.of(each.namespace, each.model), each.sharing_group)
        found[of] = found.get(of, 0) + each.replicas
    return found
