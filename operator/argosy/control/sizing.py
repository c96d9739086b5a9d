"""From candidates and forecasts to the sizing problem, and from the world to the placement problem.

Owns the translation, in both directions of the flow: what `plan` and `place` take is made here.
Never solves. One cell and one sharing group per class so far; an option is a Deployment's key.
"""

from __future__ import annotations

from collections.abc import Mapping

from argosy.control.nodes import PoolNodes
from argosy.control.resolve import Resolution
from argosy.demand.forecast import ClassForecast
from argosy.keys import CellName, DeploymentKey, GroupName, ModelKey
from argosy.place.problem import NodeRoom, PlacedReplica, PlacementProblem, WantedReplicas
from argosy.plan.problem import Cell, Option, PlanProblem, PoolLimit
from argosy.plan.solution import Plan
from argosy.snapshot.cluster import PodState
from argosy.snapshot.fleet import FleetSnapshot


def plan_problem(
    snapshot: FleetSnapshot,
    resolution: Resolution,
    forecasts: Mapping[str, ClassForecast],
    nodes: Mapping[str, PoolNodes],
    lost: frozenset[str],
) -> PlanProblem:
    """How many replicas of what: the question, with all units resolved."""
    fleet = snapshot.fleet_spec
    alive = _alive_by_deployment(snapshot, lost)
    options: list[Option] = []
    capacity: dict[tuple[CellName, DeploymentKey], float] = {}
    for key, resolved in resolution.classes.items():
        for candidate in resolved.candidates:
            workload = candidate.workload
            price = workload.pool.spec.price_usd_per_hour * workload.variant.gpus
            options.append(
                Option(
                    name=DeploymentKey(workload.key),
                    group=GroupName(key),
                    model=ModelKey(workload.variant.model_key),
                    pool=workload.variant.pool,
                    gpus=workload.variant.gpus,
                    price_usd_per_hour=price,
                    load_s=candidate.load_s,
                    variant=workload.variant.name,
                    current_replicas=len(alive.get(workload.key, ())),
                )
            )
            capacity[CellName(key), DeploymentKey(workload.key)] = candidate.capacity.requests_per_s
    return PlanProblem(
        cells=tuple(
            Cell(CellName(key), GroupName(key), forecasts[key].rate_per_s, r.spec.spec.priority)
            for key, r in resolution.classes.items()
            if r.gets_requests
        ),
        options=tuple(options),
        pools=tuple(PoolLimit(name, tuple(n.gpus for n in p.usable)) for name, p in nodes.items()),
        capacity_per_s=capacity,
        min_replicas={
            GroupName(key): r.spec.spec.min_replicas
            for key, r in resolution.classes.items()
            if r.gets_requests
        },
        max_replicas={ModelKey(key): m.spec.max_replicas for key, m in snapshot.models.items()},
        headroom=1.0 - fleet.robustness_margin,
        budget_usd_per_hour=fleet.budget_usd_per_hour,
        transition_horizon_s=float(fleet.transition_horizon_seconds),
    )


def placement_problem(
    snapshot: FleetSnapshot,
    problem: PlanProblem,
    plan: Plan,
    nodes: Mapping[str, PoolNodes],
    lost: frozenset[str],
) -> PlacementProblem:
    """Where the plan's replicas run: the question.

    Pools that leave placement to the scheduler are not asked about; what runs there holds its
    GPUs on nodes of its own.
    """
    placed_here = {n for n, p in snapshot.pools.items() if p.spec.placement == "Argosy"}
    rooms = tuple(
        NodeRoom(node.name, name, node.gpus) for name in sorted(placed_here) for node in nodes[name].usable
    )
    by_option = {o.name: o for o in problem.options}
    in_reach = {room.name for room in rooms}
    held = [
        p for p in snapshot.engine_pods if p.holds_devices and p.destination in in_reach and p.key not in lost
    ]
    return PlacementProblem(
        nodes=rooms,
        placed=tuple(_placed(p, snapshot.now_s) for p in held if not p.deleting),
        wanted=tuple(
            WantedReplicas(name, by_option[name].pool, by_option[name].gpus, replicas)
            for name, replicas in sorted(plan.replicas.items())
            if by_option[name].pool in placed_here
        ),
        draining=tuple((p.key, p.destination, sum(p.devices.values())) for p in held if p.deleting),
    )


def _placed(pod: PodState, now_s: float) -> PlacedReplica:
    age_s = max(0.0, now_s - pod.created_s)
    gpus = sum(pod.devices.values())
    return PlacedReplica(pod.key, DeploymentKey(pod.deployment), pod.destination, gpus, pod.ready, age_s)


def _alive_by_deployment(snapshot: FleetSnapshot, lost: frozenset[str]) -> dict[str, list[PodState]]:
    alive: dict[str, list[PodState]] = {}
    for pod in snapshot.engine_pods:
        if not pod.deleting and pod.key not in lost and pod.is_active:
            alive.setdefault(pod.deployment, []).append(pod)
    return alive
