"""Replicas that stay although no plan needs them: nothing can be planned for a class that they serve.

An SLO was tightened beyond reach, say, or all nodes are gone for a moment: the absence of a plan is no
reason to lose requests. Owns which Deployments are kept, and how many replicas beyond the planned ones
that are; what they cost; and which cells they serve. Input: a snapshot, and what was decided. Output:
`Keeping`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from argosy.api.fleetplan import PlannedDeployment
from argosy.control.candidates.resolve import Resolution
from argosy.control.cells import RouteCells, former_classes
from argosy.control.state.owners import Owners
from argosy.keys import ClassKey, DeploymentKey
from argosy.snapshot.fleet import FleetSnapshot


@dataclass(frozen=True, slots=True)
class Keeping:
    """Replicas of one Deployment that are kept beyond the planned ones.

    entry:   the Deployment as the last plan that lists it has it
    classes: those that it serves and for which nothing can be planned
    usd_per_hour: the price of these replicas
    """

    entry: PlannedDeployment
    replicas: int
    classes: tuple[ClassKey, ...]
    usd_per_hour: float


def unplannable_classes(
    resolution: Resolution,
    cells: RouteCells,
    snapshot: FleetSnapshot,
    owners: Mapping[DeploymentKey, Owners],
) -> dict[DeploymentKey, tuple[ClassKey, ...]]:
    """By Deployment that is kept: the classes that it serves and for which nothing can be planned."""
    former = former_classes(snapshot)
    found: dict[DeploymentKey, tuple[ClassKey, ...]] = {}
    for key, each in owners.items():
        if not each.all_exist or each.group is None:
            continue
        classes = cells.classes_of(each.group) or former.get(each.group, ())
        unplannable = tuple(name for name in classes if resolution.classes[name].is_unplannable)
        if unplannable:
            found[key] = unplannable
    return found


def keepings(
    snapshot: FleetSnapshot,
    planned: Mapping[DeploymentKey, int],
    classes: Mapping[DeploymentKey, tuple[ClassKey, ...]],
) -> dict[DeploymentKey, Keeping]:
    """The surplus of the Deployments that are kept, by name; one that no plan lists is left out.

    planned: replicas by Deployment; classes: as `unplannable_classes` finds them
    """
    listed = _entries(snapshot)
    found: dict[DeploymentKey, Keeping] = {}
    for key in sorted(classes.keys() & snapshot.deployments.keys() & listed.keys()):
        replicas = snapshot.deployments[key].replicas - planned.get(key, 0)
        pool = snapshot.pools.get(listed[key].pool)
        if replicas > 0 and pool is not None:
            price = pool.spec.price_usd_per_hour * listed[key].gpus_per_replica * replicas
            found[key] = Keeping(listed[key], replicas, classes[key], price)
    return found


def _entries(snapshot: FleetSnapshot) -> dict[DeploymentKey, PlannedDeployment]:
    """The entry of each Deployment in the latest plan that lists it."""
    plans: Iterable[tuple[PlannedDeployment, ...]] = (
        plan.spec.deployments for plan in sorted(snapshot.plans, key=lambda plan: plan.spec.revision)
    )
    return {entry.name: entry for entries in plans for entry in entries}
