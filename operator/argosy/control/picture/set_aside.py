"""Deployments whose makers are not seen: they are kept as they are, and planning goes on around them.

Owns what is kept: a whole sharing group, as soon as a WorkloadClass, the ServedModel or the GPUPool of
one of its Deployments is absent (`Seen.absent`). Input: a snapshot. Output: a snapshot in which the
group's engines hold their GPUs as foreign pods do and its classes are left out; and the entries of the
applied plan that the next revision takes over.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from argosy.api import FleetPlan, GPUPool
from argosy.api.fleetplan import PlannedDeployment
from argosy.control.picture.named import Makers, makers_by_deployment
from argosy.control.revision import bounds
from argosy.keys import ClassKey, DeploymentKey, GroupName
from argosy.snapshot.fleet import FleetSnapshot
from argosy.snapshot.seen import ObjectRef


@dataclass(frozen=True, slots=True)
class SetAside:
    """What is kept as it is.

    classes: those of the groups that are seen, each with what its group misses
    """

    deployments: frozenset[DeploymentKey] = frozenset()
    groups: frozenset[GroupName] = frozenset()
    classes: dict[ClassKey, frozenset[ObjectRef]] = field(default_factory=dict)


def set_aside(snapshot: FleetSnapshot) -> SetAside:
    """The groups of which a maker is absent."""
    if not snapshot.seen.absent:
        return SetAside()
    makers = makers_by_deployment(snapshot)
    missing: dict[GroupName, set[ObjectRef]] = {}
    for each in makers.values():
        if absent := each.missing & snapshot.seen.absent:
            missing.setdefault(each.group, set()).update(absent)
    classes: dict[ClassKey, frozenset[ObjectRef]] = {}
    for each in _of_groups(makers, missing):
        for key in each.classes:
            classes[key] = classes.get(key, frozenset()) | missing[each.group]
    deployments = {key for key, each in makers.items() if each.group in missing}
    return SetAside(frozenset(deployments), frozenset(missing), classes)


def _of_groups(makers: dict[DeploymentKey, Makers], groups: dict[GroupName, set[ObjectRef]]) -> list[Makers]:
    return [each for each in makers.values() if each.group in groups]


def without(snapshot: FleetSnapshot, kept: SetAside) -> FleetSnapshot:
    """The snapshot to plan on: GPUs that the kept engines hold are taken, and nothing plans for them."""
    if not kept.deployments and not kept.classes:
        return snapshot
    return replace(
        snapshot,
        classes={key: item for key, item in snapshot.classes.items() if key not in kept.classes},
        deployments={k: state for k, state in snapshot.deployments.items() if k not in kept.deployments},
        protected={k: least for k, least in snapshot.protected.items() if k not in kept.deployments},
        pods={
            key: replace(pod, deployment=DeploymentKey()) if pod.deployment in kept.deployments else pod
            for key, pod in snapshot.pods.items()
        },
        plans=tuple(_without_groups(plan, kept) for plan in snapshot.plans),
    )


def _without_groups(plan: FleetPlan, kept: SetAside) -> FleetPlan:
    """A plan's own decisions about the kept groups are left out; the plan keeps its name and number."""
    spec = plan.spec.model_copy(
        update={
            "deployments": tuple(d for d in plan.spec.deployments if d.sharing_group not in kept.groups),
            "cells": tuple(c for c in plan.spec.cells if c.sharing_group not in kept.groups),
        }
    )
    return plan.model_copy(update={"spec": spec})


def taken_over(
    plan: FleetPlan, applied: FleetPlan | None, kept: SetAside, pools: Mapping[str, GPUPool]
) -> FleetPlan:
    """A new revision, with what the applied plan has decided for the kept groups, and its price.

    A pool that is not seen has no price: what runs there is not part of the cost, as of Fleet's own.
    """
    if applied is None or not kept.groups:
        return plan
    deployments = [d for d in applied.spec.deployments if d.sharing_group in kept.groups]
    cells = [c for c in applied.spec.cells if c.sharing_group in kept.groups]
    spec = plan.spec.model_copy(
        update={
            "deployments": (*plan.spec.deployments, *deployments)[: bounds.MAX_DEPLOYMENTS],
            "cells": (*plan.spec.cells, *cells)[: bounds.MAX_CELLS],
            "cost_usd_per_hour": round(
                plan.spec.cost_usd_per_hour + math.fsum(_usd_per_hour(each, pools) for each in deployments), 4
            ),
        }
    )
    return plan.model_copy(update={"spec": bounds.bounded(spec)})


def _usd_per_hour(entry: PlannedDeployment, pools: Mapping[str, GPUPool]) -> float:
    """The price of its replicas, planned and kept ones, where their pool is seen."""
    if entry.pool not in pools:
        return 0.0
    replicas = entry.replicas + entry.kept_replicas
    return pools[entry.pool].spec.price_usd_per_hour * entry.gpus_per_replica * replicas
