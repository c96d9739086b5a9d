"""One decision: picture in, `Decision` out.

Owns the order of the flow (design, section 3): forecast, resolve, size, check, place, check,
revise, roll out, report. Never awaits, never reads a clock and never acts. A plan or placement
that its independent check rejects is our bug: the decision is then an alarm, and nothing is done.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from argosy.api import FleetPlan
from argosy.api.fleet import FleetSpec, Recalibration
from argosy.control.decision import ControlMemory, Decision, EventRecord
from argosy.control.nodes import PoolNodes, pool_nodes
from argosy.control.owners import Owners, owners_by_deployment
from argosy.control.resolve import resolve
from argosy.control.revision import Decided, demand_change, differs, excess, revision_of
from argosy.control.room import replicas_without_room, stuck_pods
from argosy.control.silence import lost_pods
from argosy.control.sizing import placement_problem, plan_problem
from argosy.control.status import Reported, status_updates
from argosy.demand.forecast import Basis, ClassForecast, ClassTraffic, forecast
from argosy.keys import DeploymentKey, GroupName
from argosy.perf.protocol import PerfModel
from argosy.perf.recalibration.memory import CalibrationMemory
from argosy.place import check as place_check
from argosy.place import solve as place_solve
from argosy.place.solution import Placement
from argosy.plan import check as plan_check
from argosy.plan import solve as plan_solve
from argosy.plan.search import SolveLimits
from argosy.rollout import RolloutInputs, Step, Target, assign_nodes, rollout_steps
from argosy.snapshot.fleet import FleetSnapshot

LEARNING_S = 30.0
"""A process younger than this has not seen enough traffic to take replicas away."""


@dataclass(frozen=True, slots=True)
class StepSettings:
    """How to decide: the solver's limits, and what made us decide now (for the revision).

    is_progress: the trigger is but a step of ours that took effect, or the clock; if a revision comes
        of it, a change of demand says better why
    """

    trigger: str
    is_progress: bool = False
    plan_time_limit_s: float | None = 10.0
    seed: int = 0


def step(snapshot: FleetSnapshot, memory: ControlMemory, settings: StepSettings, perf: PerfModel) -> Decision:
    """Decide on a picture of the world."""
    fleet = snapshot.fleet_spec
    mode = str(fleet.mode.value)
    lost = lost_pods(snapshot) | stuck_pods(snapshot)
    nodes = pool_nodes(snapshot, lost)
    applied = memory.calibration if fleet.recalibration is Recalibration.APPLY else None
    resolution = resolve(snapshot, nodes, perf, applied)
    forecasts = class_forecasts(snapshot, memory)
    problem = plan_problem(snapshot, resolution, forecasts, nodes, lost)
    plan = plan_solve.solve(problem, SolveLimits(time_limit_s=settings.plan_time_limit_s, seed=settings.seed))
    broken = [str(v) for v in plan_check.violations(problem, plan)]
    placing = placement_problem(snapshot, problem, plan, nodes, lost)
    placement = place_solve.solve(placing, seed=settings.seed)
    broken += [str(v) for v in place_check.violations(placing, placement)]
    if broken:
        return _alarm(mode, f"the plan failed its independent check: {'; '.join(broken[:5])}")
    decided = Decided(problem, plan, placement, resolution, _running(snapshot))
    if too_many := excess(decided):
        return _alarm(mode, too_many)
    new_plan = _new_revision(snapshot, decided, settings, mode)
    follow = new_plan if mode == "Auto" and new_plan else snapshot.applied_plan
    owners = owners_by_deployment(snapshot)
    world = _World(snapshot, nodes, owners, lost)
    steps = _steps(world, decided, follow) if mode == "Auto" and follow else ()
    reported = Reported(
        snapshot, resolution, nodes, plan, placement, follow, mode, lost, owners, _shown(fleet, memory)
    )
    return Decision(
        mode=mode,
        new_plan=new_plan,
        follow=follow,
        steps=steps,
        statuses=status_updates(reported),
        events=_events(snapshot, new_plan, decided),
        forecasts=forecasts,
        capacity_per_s={option: value for (_, option), value in problem.capacity_per_s.items()},
    )


def _shown(fleet: FleetSpec, memory: ControlMemory) -> CalibrationMemory:
    """The calibrations that statuses show."""
    return CalibrationMemory() if fleet.recalibration is Recalibration.DISABLED else memory.calibration


def class_forecasts(snapshot: FleetSnapshot, memory: ControlMemory) -> dict[str, ClassForecast]:
    """What each class will ask for, by class key."""
    stabilization_s = float(snapshot.fleet_spec.stabilization_seconds)
    traffic = tuple(
        ClassTraffic(key, c.spec.traffic.requests_per_second, c.spec.traffic.source)
        for key, c in sorted(snapshot.classes.items())
    )
    forecasts = forecast(memory.demand, traffic, stabilization_s, snapshot.now_s)
    if snapshot.now_s - memory.started_s >= max(stabilization_s, LEARNING_S):
        return dict(forecasts)
    return {key: _not_below(each, snapshot.applied_plan, key) for key, each in forecasts.items()}


def _not_below(found: ClassForecast, applied: FleetPlan | None, key: str) -> ClassForecast:
    """A process that has just started has seen little: what was planned for still counts."""
    if applied is None or found.basis is Basis.DECLARED:
        return found
    planned = max((c.requests_per_second for c in applied.spec.cells if c.workload_class == key), default=0.0)
    return replace(found, rate_per_s=max(found.rate_per_s, planned))


def _alarm(mode: str, message: str) -> Decision:
    return Decision(
        mode=mode,
        new_plan=None,
        follow=None,
        steps=(),
        statuses=(),
        events=(),
        alarm=message,
    )


def _running(snapshot: FleetSnapshot) -> frozenset[str]:
    return frozenset(p.deployment for p in snapshot.engine_pods if not p.deleting)


def _new_revision(
    snapshot: FleetSnapshot, decided: Decided, settings: StepSettings, mode: str
) -> FleetPlan | None:
    has_anything = snapshot.classes or snapshot.plans or snapshot.deployments
    if mode == "Observe" or not has_anything:
        return None
    newest = max(snapshot.plans, key=lambda p: p.spec.revision, default=None)
    # What Auto must differ from is what it follows; a recommendation, from the last one made.
    last = snapshot.applied_plan if mode == "Auto" else newest
    number = newest.spec.revision + 1 if newest else 1
    trigger = settings.trigger
    if settings.is_progress and snapshot.applied_plan is not None:
        trigger = demand_change(decided, snapshot.applied_plan) or trigger
    candidate = revision_of(decided, snapshot.applied_plan, number, trigger)
    return candidate if differs(candidate, last) else None


@dataclass(frozen=True, slots=True)
class _World:
    """The snapshot, with what was read from it."""

    snapshot: FleetSnapshot
    nodes: Mapping[str, PoolNodes]
    owners: Mapping[str, Owners]
    lost: frozenset[str]


def _steps(world: _World, decided: Decided, follow: FleetPlan) -> tuple[Step, ...]:
    snapshot = world.snapshot
    scaling = rollout_steps(
        RolloutInputs(
            targets=(*_planned(decided, follow), *_unplanned(world, decided, follow)),
            deployments=snapshot.deployments,
            pods=snapshot.engine_pods,
            victims=decided.placement.victims,
            lost=world.lost,
            without_room=replicas_without_room(snapshot, decided.placement),
        )
    )
    alive = frozenset(node.name for pool in world.nodes.values() for node in pool.usable)
    places = {**placed_nodes(decided.placement), **planned_nodes(follow)}
    gates = assign_nodes(places, snapshot.engine_pods, alive, world.lost)
    return (*scaling, *gates)


def _planned(decided: Decided, follow: FleetPlan) -> Iterator[Target]:
    workloads = decided.resolution.workloads()
    for entry in follow.spec.deployments:
        workload = workloads.get(entry.name)
        group = GroupName(entry.workload_class)
        yield Target(DeploymentKey(entry.name), group, entry.replicas, workload, entry.pool)


def _unplanned(world: _World, decided: Decided, follow: FleetPlan) -> Iterator[Target]:
    """Deployments of ours that the plan does not name: emptied, then removed.

    What serves a class for which nothing can be planned (its nodes are all gone for a moment, its
    SLO was tightened beyond reach) is left alone: no plan is a reason to lose requests.
    """
    planned = {entry.name for entry in follow.spec.deployments}
    for key in sorted(world.snapshot.deployments.keys() - planned):
        owners = world.owners.get(key, Owners())
        resolved = decided.resolution.classes.get(owners.workload_class)
        is_kept = owners.all_exist and resolved is not None and resolved.is_unplannable
        group = GroupName(owners.workload_class)
        yield Target(DeploymentKey(key), group, 0, None, owners.pool, is_kept)


def placed_nodes(placement: Placement) -> dict[str, dict[str, int]]:
    """The same from a placement: for what a large plan had to leave out."""
    found: dict[str, dict[str, int]] = {}
    for (option, node), replicas in sorted(placement.counts.items()):
        found.setdefault(option, {})[node] = replicas
    return found


def planned_nodes(plan: FleetPlan) -> dict[str, dict[str, int]]:
    """Deployment -> node -> replicas, as the plan has them."""
    return {d.name: {n.node: n.replicas for n in d.nodes} for d in plan.spec.deployments if d.nodes}


def _events(snapshot: FleetSnapshot, new_plan: FleetPlan | None, decided: Decided) -> tuple[EventRecord, ...]:
    events: list[EventRecord] = []
    if new_plan is not None and snapshot.fleet is not None:
        message = f"{new_plan.metadata.name}: {new_plan.spec.trigger}"
        events.append(EventRecord("Fleet", snapshot.fleet.key, "Normal", "NewPlan", message))
    if new_plan is not None:
        events += [
            EventRecord("WorkloadClass", s.cell, "Warning", s.cause.value, s.message)
            for s in decided.plan.shortfalls
        ]
    return tuple(events)
