"""Route cells: which class a cell belongs to, and which sharing group serves it.

Owns the relation class <-> cells <-> group: nothing else may take one for another, or read one from
another's name. Input: a snapshot, or a FleetPlan. Output: `RouteCells`, a table that is asked both
ways; and the weights that a plan's status publishes for its cells. So far a class is one cell and one
group; a class with several cells and a group of several classes are rows of the same table.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from argosy.api import FleetPlan
from argosy.api.fleetplan import PlannedCell
from argosy.checks import require_number, require_unique
from argosy.keys import CellName, ClassKey, DeploymentKey, GroupName
from argosy.snapshot.fleet import FleetSnapshot


@dataclass(frozen=True, slots=True)
class RouteCell:
    """One row: a cell, its class, the group whose replicas serve it.

    rate_share: share (0-1) of the class's requests that fall into the cell

    Raises ValueError for a share that is negative or not finite.
    """

    name: CellName
    workload_class: ClassKey
    group: GroupName
    rate_share: float = 1.0

    def __post_init__(self) -> None:
        require_number("rate_share", self.rate_share)


@dataclass(frozen=True)
class RouteCells:
    """The table of all cells, in the order of their names.

    Raises ValueError where two rows name one cell.
    """

    rows: tuple[RouteCell, ...]

    def __post_init__(self) -> None:
        require_unique("route cell", (row.name for row in self.rows))

    @cached_property
    def _by_name(self) -> dict[CellName, RouteCell]:
        return {row.name: row for row in self.rows}

    def find(self, cell: CellName) -> RouteCell | None:
        """The row of a cell; None where the table does not know it."""
        return self._by_name.get(cell)

    def of_class(self, workload_class: ClassKey) -> tuple[RouteCell, ...]:
        """The cells of a class."""
        return tuple(row for row in self.rows if row.workload_class == workload_class)

    def groups_of(self, workload_class: ClassKey) -> tuple[GroupName, ...]:
        """The groups that serve a class, each once."""
        return _distinct(row.group for row in self.of_class(workload_class))

    def classes_of(self, group: GroupName) -> tuple[ClassKey, ...]:
        """The classes that share a group's replicas, each once."""
        return tuple(dict.fromkeys(row.workload_class for row in self.rows if row.group == group))

    @property
    def groups(self) -> tuple[GroupName, ...]:
        """Every group, each once."""
        return _distinct(row.group for row in self.rows)

    def covering(self, classes: Iterable[ClassKey]) -> RouteCells:
        """The cells of exactly these classes: one cell for a class that the table does not know.

        The table may be older than the classes: one was deleted, another is new.

        Raises ValueError where the shares of a class's cells do not sum to 1, as a part of its requests
        would have no replicas; and where a group is outside its class's namespace, in which the ServedModel
        of its Deployments is.
        """
        existing = set(classes)
        known = [row for row in self.rows if row.workload_class in existing]
        shares: dict[ClassKey, float] = {}
        for row in known:
            if row.group.namespace != row.workload_class.namespace:
                raise ValueError(f"group {row.group} must be in the namespace of class {row.workload_class}")
            shares[row.workload_class] = shares.get(row.workload_class, 0.0) + row.rate_share
        for key, share in shares.items():
            if not math.isclose(share, 1.0, abs_tol=1e-6):
                raise ValueError(f"the shares of the cells of class {key} must sum to 1, got {share}")
        rows = (*known, *one_cell_each(existing - shares.keys()).rows)
        return RouteCells(tuple(sorted(rows, key=lambda row: row.name)))


def one_cell_each(classes: Iterable[ClassKey]) -> RouteCells:
    """One cell and one group for each class: what plans are made of so far."""
    return RouteCells(
        tuple(RouteCell(CellName.of_class(c), c, GroupName.of_class(c)) for c in sorted(classes))
    )


def cells_of_plan(plan: FleetPlan) -> RouteCells:
    """The cells as a plan has them, each with its part of its class's planned rate."""
    rates: dict[ClassKey, float] = {}
    for cell in plan.spec.cells:
        rates[cell.workload_class] = rates.get(cell.workload_class, 0.0) + cell.requests_per_second
    num_cells = Counter(cell.workload_class for cell in plan.spec.cells)

    def share(cell: PlannedCell) -> float:
        """Of a class without requests, the cells have equal shares."""
        rate_per_s = rates[cell.workload_class]
        return cell.requests_per_second / rate_per_s if rate_per_s > 0 else 1 / num_cells[cell.workload_class]

    return RouteCells(
        tuple(
            RouteCell(c.name, c.workload_class, c.sharing_group, share(c))
            for c in sorted(plan.spec.cells, key=lambda c: c.name)
        )
    )


def weights_of_plan(plan: FleetPlan) -> dict[CellName, dict[DeploymentKey, float]]:
    """The weights that every replica of the operator serves now, from the plan's status, by cell."""
    return {w.cell: {d.deployment: d.weight for d in w.weights} for w in plan.status.weights}


def known_cells(snapshot: FleetSnapshot) -> RouteCells:
    """Every cell that an Envoy may still count or serve: of all plans, and one for each class.

    An Envoy keeps the routes of an older plan until it has the new ones; of two plans that disagree
    about a cell, the row of the newer one is taken. The shares of a class's cells may sum to more than
    1, as cells of several plans are among them.
    """
    found = {row.name: row for row in one_cell_each(snapshot.classes).rows}
    for plan in sorted(snapshot.plans, key=lambda p: p.spec.revision):
        found |= {row.name: row for row in cells_of_plan(plan).rows}
    return RouteCells(tuple(found[name] for name in sorted(found)))


def former_classes(snapshot: FleetSnapshot) -> dict[GroupName, tuple[ClassKey, ...]]:
    """The classes of every group of any plan, those that no longer exist left out.

    Replicas of a group that is no longer planned serve its classes until their new replicas are ready.
    """
    rows = [*one_cell_each(snapshot.classes).rows]
    for plan in sorted(snapshot.plans, key=lambda p: p.spec.revision):
        rows += [row for row in cells_of_plan(plan).rows if row.workload_class in snapshot.classes]
    every = {row.group for row in rows}
    return {g: tuple(dict.fromkeys(r.workload_class for r in rows if r.group == g)) for g in sorted(every)}


def _distinct(groups: Iterable[GroupName]) -> tuple[GroupName, ...]:
    return tuple(dict.fromkeys(groups))
