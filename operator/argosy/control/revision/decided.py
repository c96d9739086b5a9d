"""What one iteration decided, before it has a number.

Owns the shapes of `Decided`, from which revisions and roll-outs are made, of a change that waits (`window`
says which does), and of planning that is paused (`hold`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from argosy.api.orders import Orders
from argosy.control.candidates.resolve import Resolution
from argosy.control.cells import RouteCells
from argosy.control.revision.keeping import Keeping
from argosy.keys import ClassKey, DeploymentKey, GroupName
from argosy.manifests import EngineWorkload
from argosy.place.solution import Placement
from argosy.plan.problem import PlanProblem
from argosy.plan.solution import Plan, ShortfallCause

_NO_ROOM = (ShortfallCause.POOL_FULL, ShortfallCause.NO_NODES)


@dataclass(frozen=True, slots=True)
class Waiting:
    """A change that waits.

    kept:     the last revision's replicas and shares, as the plan of the present problem
    wanted:   the plan that would replace it
    variants: its replicas by variant, for sentences
    workloads: what runs its replicas, by Deployment
    revision: of the FleetPlan that is kept
    until_s:  when the wait ends (seconds since the epoch), if nothing ends it before
    """

    kept: Plan
    wanted: Plan
    variants: Mapping[str, int]
    workloads: Mapping[DeploymentKey, EngineWorkload]
    revision: int
    until_s: float


@dataclass(frozen=True, slots=True)
class Hold:
    """Planning that a user has paused (`hold` says what is held).

    orders:   the annotations that hold it
    revision: whose replicas and shares are held
    plan:     these as the plan of the present problem; None where it does not allow them: nothing is planned
    problem:  what of the order cannot be done, in a sentence without its full stop; else empty
    wanted:   the plan that would be made instead
    variants: its replicas by variant, for sentences
    is_same:  whether it has the held replicas
    """

    orders: Orders
    revision: int
    plan: Plan | None
    problem: str
    wanted: Plan
    variants: Mapping[str, int]
    is_same: bool


@dataclass(frozen=True)
class Decided:
    """A plan and its placement, with what they were made of.

    running: replicas that take requests, by Deployment: each one with a pod that does not drain
    waiting: the change that waits; `plan` is then the one that is kept meanwhile
    hold:    planning that a user has paused; `plan` is then the one that is held, if it can be
    is_stuck: the plan that is followed cannot be made of the present objects: nothing else is done for it
    kept:    replicas beyond the plan that stay, because nothing can be planned for a class of theirs
    unplannable: the classes of each Deployment that is kept, for which nothing can be planned
    former:  what runs replicas of the last plan that no class can use now, while their removal waits
    awaited: replicas by Deployment for which nodes have to come; placement counts them as placed
    given_back: Deployments that users want back: they serve until others do, and stay
    kept_autoscaled: those of `kept` whose number an autoscaler sets
    """

    problem: PlanProblem
    plan: Plan
    placement: Placement
    resolution: Resolution
    cells: RouteCells
    running: Mapping[DeploymentKey, int]
    waiting: Waiting | None = None
    hold: Hold | None = None
    is_stuck: bool = False
    kept: Mapping[DeploymentKey, Keeping] = field(default_factory=dict)
    unplannable: Mapping[DeploymentKey, tuple[ClassKey, ...]] = field(default_factory=dict)
    former: Mapping[DeploymentKey, EngineWorkload] = field(default_factory=dict)
    awaited: Mapping[DeploymentKey, int] = field(default_factory=dict)
    given_back: frozenset[DeploymentKey] = frozenset()
    kept_autoscaled: frozenset[DeploymentKey] = frozenset()

    @cached_property
    def workloads(self) -> Mapping[DeploymentKey, EngineWorkload]:
        """What runs the replicas of the plan, and of every candidate, by Deployment."""
        return {**self.former, **self.resolution.workloads()}

    @cached_property
    def autoscaled(self) -> frozenset[DeploymentKey]:
        """Deployments whose number of replicas an autoscaler sets: as planning takes it, or kept."""
        return frozenset(o.name for o in self.problem.options if o.fixed_by) | self.kept_autoscaled

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
