"""What one iteration decided, before it has a number.

Owns the shape of `Decided`, from which revisions and roll-outs are made.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from argosy.control.candidates.resolve import Resolution
from argosy.control.cells import RouteCells
from argosy.keys import DeploymentKey, GroupName
from argosy.place.solution import Placement
from argosy.plan.problem import PlanProblem
from argosy.plan.solution import Plan, ShortfallCause

_NO_ROOM = (ShortfallCause.POOL_FULL, ShortfallCause.NO_NODES)


@dataclass(frozen=True)
class Decided:
    """A plan and its placement, with what they were made of.

    running: replicas that take requests, by Deployment: each one with a pod that does not drain
    """

    problem: PlanProblem
    plan: Plan
    placement: Placement
    resolution: Resolution
    cells: RouteCells
    running: Mapping[DeploymentKey, int]

    @cached_property
    def groups(self) -> frozenset[GroupName]:
        """Sharing groups that have at least one replica in the plan."""
        return frozenset(self._group_by_option[name] for name, n in self.plan.replicas.items() if n > 0)

    @cached_property
    def settled_groups(self) -> frozenset[GroupName]:
        """Sharing groups of which every planned replica takes requests."""
        loading = {
            self._group_by_option[name]
            for name, n in self.plan.replicas.items()
            if self.running.get(name, 0) < n
        }
        return self.groups - loading

    @cached_property
    def short_groups(self) -> frozenset[GroupName]:
        """Sharing groups that are not served whole because no node has room for more replicas."""
        group_of = {cell.name: cell.group for cell in self.problem.cells}
        return frozenset(group_of[s.cell] for s in self.plan.shortfalls if s.cause in _NO_ROOM)

    @cached_property
    def _group_by_option(self) -> dict[DeploymentKey, GroupName]:
        return {o.name: o.group for o in self.problem.options}
