"""From candidates and forecasts to the sizing problem, and from the world to the placement problem.

Owns the translation: what `plan` and `place` take is made here. Input: what was resolved, forecast
and observed. Output: a `PlanProblem`, a `PlacementProblem`. An option is a Deployment; a class's
rate is divided among its cells as `RouteCells` says.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from argosy.api import GPUPool
from argosy.api.conditions import Reason
from argosy.api.fleet import Recalibration
from argosy.api.fleetplan import PlannedDeployment
from argosy.api.gpupool import PlacementMode
from argosy.control.candidates.autoscaled import with_autoscaled
from argosy.control.candidates.groups import in_groups
from argosy.control.candidates.resolve import Candidate, Known, Resolution, ResolvedClass, resolve
from argosy.control.candidates.sharing import shared_cells
from argosy.control.cells import RouteCell, RouteCells
from argosy.control.demand import class_forecasts
from argosy.control.memory import ControlMemory, Quarantines
from argosy.control.pools.room import most_on
from argosy.control.pools.to_come import with_nodes_to_come
from argosy.control.refused.limits import Refusing, with_refusals
from argosy.control.refused.quarantine import quarantined
from argosy.control.state.counts import num_alive
from argosy.control.state.nodes import PoolNodes, closed_pods, leaving_pods, pool_nodes
from argosy.control.state.waiting import is_without_room, uncounted_pods
from argosy.demand.forecast import ClassForecast
from argosy.keys import CellName, ClassKey, DeploymentKey, GroupName
from argosy.manifests import EngineWorkload
from argosy.perf.protocol import PerfModel
from argosy.place.problem import NodeRoom, PlacedReplica, PlacementProblem, WantedReplicas
from argosy.plan.problem import Cell, Option, PlanProblem, PoolLimit
from argosy.plan.quotas import with_room_for_least
from argosy.plan.solution import Plan
from argosy.snapshot.cluster import PodState
from argosy.snapshot.fleet import FleetSnapshot

_NOT_FOR_NODES = (Reason.NAMESPACE_ENDING,)
_PLACELESS = (
    *_NOT_FOR_NODES,
    Reason.NODES_NOT_COMING,
    Reason.NODES_NOT_READY,
    Reason.NO_NODES,
    Reason.NODES_CLOSED,
    Reason.UNPLACEABLE,
)
"""Why nothing that keeps the SLO has a node: the sentence of the first of them is the planner's, too."""


@dataclass(frozen=True, slots=True)
class Sizing:
    """What a sizing problem is made of.

    lost: keys of the pods whose capacity does not count
    quarantines: what the cluster refuses and planning cannot count
    """

    snapshot: FleetSnapshot
    cells: RouteCells
    resolution: Resolution
    forecasts: Mapping[ClassKey, ClassForecast]
    nodes: Mapping[str, PoolNodes]
    lost: frozenset[str]
    quarantines: Quarantines = field(default_factory=dict)

    def cells_of(self, resolved: ResolvedClass) -> tuple[RouteCell, ...]:
        """The cells of a class."""
        return self.cells.of_class(resolved.key)

    @property
    def served_classes(self) -> tuple[ResolvedClass, ...]:
        """The classes that requests can reach, by key."""
        return tuple(r for r in self.resolution.classes.values() if r.gets_requests)


@dataclass(frozen=True, slots=True)
class Basis:
    """What sizing rests on, whatever the cells are; alone: what can serve each class by itself."""

    known: Known
    alone: Resolution
    forecasts: Mapping[ClassKey, ClassForecast]
    lost: frozenset[str]
    quarantines: Quarantines

    @classmethod
    def of(cls, snapshot: FleetSnapshot, memory: ControlMemory, perf: PerfModel) -> Basis:
        """Of a snapshot, with the demand and, where plans use them, the calibrations that are remembered."""
        lost = uncounted_pods(snapshot)
        applies = snapshot.fleet_spec.recalibration is Recalibration.APPLY
        calibration = memory.traffic.calibration if applies else None
        nodes = with_nodes_to_come(pool_nodes(snapshot, lost), snapshot, memory.planning.nodes)
        known = Known.of(snapshot, nodes, perf, calibration)
        refused = quarantined(memory.planning.quarantines, snapshot)
        return cls(known, resolve(known), class_forecasts(snapshot, memory.traffic), lost, refused)

    def sized(self, table: RouteCells | None, *, may_merge: bool = True) -> Sizing:
        """For the cells of `table`; without one, for those of the groups that classes form now.

        may_merge: whether groups of the plan before may become one
        """
        known, snapshot = self.known, self.known.snapshot
        cells = (
            shared_cells(self.alone, known, may_merge=may_merge)
            if table is None
            else table.covering(snapshot.classes)
        )
        rates = {key: each.rate_per_s for key, each in self.forecasts.items()}
        resolution = in_groups(self.alone, cells, rates, known)
        return Sizing(snapshot, cells, resolution, self.forecasts, known.nodes, self.lost, self.quarantines)


def plan_problem(sizing: Sizing) -> PlanProblem:
    """How many replicas of what: the question, with all units resolved."""
    return _with_fixed(_planners_problem(sizing), sizing)


def _with_fixed(problem: PlanProblem, sizing: Sizing) -> PlanProblem:
    """With what is no choice of the planner's: what autoscalers set, and room for all that stays."""
    return with_room_for_least(with_autoscaled(problem, sizing.snapshot, sizing.lost))


def _planners_problem(sizing: Sizing) -> PlanProblem:
    """As if no autoscaler set any number."""
    refusing = Refusing(sizing.snapshot, sizing.quarantines, sizing.resolution.workloads(), sizing.lost)
    return with_refusals(_unlimited_problem(sizing), refusing)


def _unlimited_problem(sizing: Sizing) -> PlanProblem:
    """As if the cluster took whatever finds a node."""
    fleet, served = sizing.snapshot.fleet_spec, _served_now(sizing)
    return PlanProblem(
        cells=tuple(
            Cell(
                name=row.name,
                group=row.group,
                rate_per_s=sizing.forecasts[resolved.key].rate_per_s * row.rate_share,
                priority=resolved.spec.spec.priority,
                is_served=resolved.key in served,
                refusal=_refusal(resolved),
            )
            for resolved in sizing.served_classes
            for row in sizing.cells_of(resolved)
        ),
        options=_options(sizing),
        pools=tuple(_pool_limit(p, sizing.snapshot.pools[p.pool]) for p in sizing.nodes.values()),
        capacity_per_s=_capacities(sizing),
        min_replicas=_floors(sizing),
        max_replicas={key: m.spec.max_replicas for key, m in sizing.snapshot.models.items()},
        headroom=1.0 - fleet.robustness_margin,
        budget_usd_per_hour=fleet.budget_usd_per_hour,
        transition_horizon_s=float(fleet.transition_horizon_seconds),
    )


def with_staying(sizing: Sizing, planned: Iterable[PlannedDeployment]) -> PlanProblem:
    """The problem in which the replicas of these Deployments stay.

    A Deployment that can serve no cell any more is an option too: its replicas hold their GPUs and cost.
    """
    problem = _planners_problem(sizing)
    least = {entry.name: entry for entry in planned if entry.replicas}
    options = [
        replace(o, least_replicas=o.bounded(least[o.name].replicas)) if o.name in least else o
        for o in problem.options
    ]
    known, alive = {o.name for o in options}, _Alive.of(sizing)
    options += [_former_option(e, sizing, alive) for name, e in sorted(least.items()) if name not in known]
    return _with_fixed(replace(problem, options=tuple(options)), sizing)


def _former_option(entry: PlannedDeployment, sizing: Sizing, alive: _Alive) -> Option:
    pool, most = sizing.snapshot.pools[entry.pool], _most_replicas(entry.name, sizing)
    return Option(
        name=entry.name,
        group=entry.sharing_group,
        model=entry.model_key,
        pool=entry.pool,
        gpus=entry.gpus_per_replica,
        price_usd_per_hour=pool.spec.price_usd_per_hour * entry.gpus_per_replica,
        load_s=0.0,
        current_replicas=alive.total[entry.name] - alive.leaving[entry.name],
        closed_replicas=alive.closed[entry.name] - alive.leaving[entry.name],
        leaving_replicas=alive.leaving[entry.name],
        least_replicas=entry.replicas if most is None else min(entry.replicas, most),
        most_replicas=most,
        variant=entry.variant,
    )


def _most_replicas(key: DeploymentKey, sizing: Sizing) -> int | None:
    """Replicas of a user's Deployment that can serve: those that it asks for, but for the lost ones and those
    that find no room, because Argosy adds none. None for Argosy's own.
    """
    state = sizing.snapshot.deployments.get(key)
    if state is None or not state.is_adopted:
        return None
    pods = [p for p in sizing.snapshot.engine_pods if p.deployment == key and p.is_active and not p.deleting]
    num_without = sum(p.key in sizing.lost or is_without_room(p, sizing.snapshot.now_s) for p in pods)
    return max(0, state.replicas - num_without)


def _refusal(resolved: ResolvedClass) -> str:
    """Why nothing is planned for a class, where that is not its SLO; else empty."""
    reasons = _NOT_FOR_NODES if resolved.candidates else _PLACELESS
    found = (r.message for reason in reasons for r in resolved.refusals if r.reason is reason)
    return next(found, "")


def _served_now(sizing: Sizing) -> frozenset[ClassKey]:
    """The classes that the applied plan serves: of these only a higher priority takes the last replica.

    The plan decides this, not the pods: a class whose replica has just died is served all the same.
    """
    plan = sizing.snapshot.applied_plan
    cells = plan.spec.cells if plan is not None else ()
    return frozenset(c.workload_class for c in cells if any(s.share > 0 for s in c.shares))


def _pool_limit(nodes: PoolNodes, pool: GPUPool) -> PoolLimit:
    closed, spec = sum(node.gpus for node in nodes.running if not node.takes_new), pool.spec
    paid = spec.nodes.min * spec.gpus_per_node * spec.price_usd_per_hour if spec.nodes is not None else 0.0
    return PoolLimit(nodes.pool, tuple(node.gpus for node in nodes.open), closed, nodes.to_come, paid)


@dataclass(frozen=True, slots=True)
class _Alive:
    """Replicas of each Deployment that exist, are not drained and not lost.

    closed: those on nodes that take no new ones; leaving: of these, those on leaving nodes
    """

    total: Counter[DeploymentKey]
    closed: Counter[DeploymentKey]
    leaving: Counter[DeploymentKey]

    @classmethod
    def of(cls, sizing: Sizing) -> _Alive:
        """The three counts."""
        snapshot, lost, nodes = sizing.snapshot, sizing.lost, sizing.nodes
        return cls(
            total=num_alive(snapshot, lost),
            closed=num_alive(snapshot, lost, among=closed_pods(snapshot, nodes)),
            leaving=num_alive(snapshot, lost, among=leaving_pods(snapshot, nodes)),
        )


def _options(sizing: Sizing) -> tuple[Option, ...]:
    """One option for each Deployment, though several classes of its group name it."""
    alive = _Alive.of(sizing)
    found: dict[DeploymentKey, Option] = {}
    for candidate in _candidates(sizing):
        key = candidate.workload.key
        if key not in found:
            most = _most_replicas(key, sizing)
            found[key] = replace(_option(candidate, alive), most_replicas=most)
    return tuple(found.values())


def _option(candidate: Candidate, alive: _Alive) -> Option:
    workload = candidate.workload
    variant = workload.variant
    return Option(
        name=workload.key,
        group=workload.group,
        model=variant.model_key,
        pool=variant.pool,
        gpus=variant.gpus,
        price_usd_per_hour=workload.pool.spec.price_usd_per_hour * variant.gpus,
        load_s=candidate.load_s,
        variant=variant.name,
        current_replicas=alive.total[workload.key] - alive.leaving[workload.key],
        closed_replicas=alive.closed[workload.key] - alive.leaving[workload.key],
        leaving_replicas=alive.leaving[workload.key],
    )


def _capacities(sizing: Sizing) -> dict[tuple[CellName, DeploymentKey], float]:
    """Requests/s that one replica carries of a cell: that of the cell's class on the variant."""
    return {
        (row.name, candidate.workload.key): candidate.capacity.requests_per_s
        for resolved in sizing.resolution.classes.values()
        for row in sizing.cells_of(resolved)
        for candidate in resolved.candidates
        if candidate.workload.group == row.group
    }


def _floors(sizing: Sizing) -> dict[GroupName, int]:
    """The highest floor among the classes that share a group: each of them needs its own."""
    floors: dict[GroupName, int] = {}
    for resolved in sizing.served_classes:
        for group in sizing.cells.groups_of(resolved.key):
            floors[group] = max(floors.get(group, 0), resolved.spec.spec.min_replicas)
    return floors


def _candidates(sizing: Sizing) -> Iterable[Candidate]:
    return (c for resolved in sizing.resolution.classes.values() for c in resolved.candidates)


def placement_problem(sizing: Sizing, problem: PlanProblem, plan: Plan) -> PlacementProblem:
    """Where the plan's replicas run: the question.

    Pools that leave placement to the scheduler are not asked about; what runs there holds its
    GPUs on nodes of its own.
    """
    snapshot = sizing.snapshot
    placed_here = {n for n, p in snapshot.pools.items() if p.spec.placement is PlacementMode.ARGOSY}
    rooms = tuple(
        NodeRoom(
            name=node.name,
            pool=name,
            gpus=node.gpus,
            is_closed=not node.takes_new,
            is_leaving=bool(node.departure),
            is_last=node.is_candidate,
        )
        for name in sorted(placed_here)
        for node in sizing.nodes[name].running
    )
    by_option, workloads = {o.name: o for o in problem.options}, sizing.resolution.workloads()
    in_reach = {room.name for room in rooms}
    held = [
        p
        for p in snapshot.engine_pods
        if p.holds_devices and p.destination in in_reach and p.key not in sizing.lost
    ]
    return PlacementProblem(
        nodes=rooms,
        placed=tuple(_placed(p, snapshot.now_s) for p in held if not p.deleting),
        wanted=tuple(
            WantedReplicas(
                name, by_option[name].pool, by_option[name].gpus, replicas, _most_on(name, workloads, sizing)
            )
            for name, replicas in sorted(plan.replicas.items())
            if by_option[name].pool in placed_here
        ),
        draining=tuple((p.key, p.destination, sum(p.devices.values())) for p in held if p.deleting),
        most_gpus={
            name: max(o.gpus for o in problem.options if o.pool == name)
            for name in sorted({o.pool for o in problem.options})
        },
    )


def _most_on(
    name: DeploymentKey, workloads: Mapping[DeploymentKey, EngineWorkload], sizing: Sizing
) -> dict[str, int]:
    """Of what nothing is known any more, no replica is started."""
    workload = workloads.get(name)
    if workload is None:
        return {}
    return most_on(sizing.snapshot, sizing.nodes[workload.variant.pool], workload)


def _placed(pod: PodState, now_s: float) -> PlacedReplica:
    age_s = max(0.0, now_s - pod.created_s)
    gpus = sum(pod.devices.values())
    return PlacedReplica(pod.key, pod.deployment, pod.destination, gpus, pod.ready, age_s)
