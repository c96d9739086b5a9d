"""Which running replicas stand by for a cell until those that are planned for it are ready.

Owns the link between two plans: the Deployments of the older one that may still answer a cell's
requests. A cell may have moved to another sharing group meanwhile, and a group may hold classes of
different models. Input: what was decided, and the plan before it. Output: Deployments by cell.
"""

from __future__ import annotations

from collections.abc import Iterable

from argosy.api import FleetPlan
from argosy.api.fleetplan import PlannedDeployment
from argosy.control.revision.decided import Decided
from argosy.keys import CellName, DeploymentKey
from argosy.plan.problem import Cell

Entries = dict[DeploymentKey, PlannedDeployment]


def standby(decided: Decided, previous: FleetPlan | None) -> dict[CellName, Entries]:
    """Entries of the previous plan that get no share of a cell and may yet answer its requests."""
    if previous is None:
        return {}
    running = [e for e in previous.spec.deployments if e.name in decided.running]
    return {
        cell.name: _of_cell(cell, running, decided, previous)
        for cell in decided.problem.cells
        if cell.group in decided.groups
    }


def _of_cell(
    cell: Cell, running: Iterable[PlannedDeployment], decided: Decided, previous: FleetPlan
) -> Entries:
    """Those of the cell's group that are going; and until its planned replicas are ready, those of the
    groups that its class was served by.

    The latter may be planned for other cells of the class: in a full pool the last former replica of
    the cell could else never make room.

    Classes of one group may allow different models: a replica of another model would refuse the requests.
    """
    row = decided.cells.find(cell.name)
    assert row is not None  # the problem was made of these cells
    before = [c for c in previous.spec.cells if c.workload_class == row.workload_class]
    served = {share.deployment for c in before for share in c.shares}
    former_groups = {c.sharing_group for c in before}
    models = decided.resolution.classes[row.workload_class].spec.model_keys
    is_alone = decided.cells.classes_of(cell.group) == (row.workload_class,)
    is_settled = cell.group in decided.settled_groups

    def stands_by(entry: PlannedDeployment) -> bool:
        if is_settled and entry.name in decided.given_back:
            return False  # its replicas stay when they serve no longer
        is_allowed = entry.model_key in models
        if entry.sharing_group == cell.group:
            is_going = not decided.plan.replicas.get(entry.name)
            is_left = entry.name in served and not is_settled
            return is_left or (is_going and (is_alone or is_allowed))
        is_former = entry.name in served or (entry.sharing_group in former_groups and is_allowed)
        return is_former and not is_settled

    return {entry.name: entry for entry in running if stands_by(entry)}
