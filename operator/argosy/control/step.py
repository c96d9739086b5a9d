"""One decision of the planning loop: snapshot in, `Decision` out.

Owns the order of the flow: forecast, resolve, size, check, place, check, revise, roll out, report. A
plan or a placement that its independent check rejects is a bug of Argosy's: the decision is then an
alarm, and nothing is acted on. Input: a snapshot, the control memory, settings and a performance
model. Output: a `Decision`. Section 2 of docs/design/0001 draws the flow.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from argosy.api import Fleet, FleetPlan, WorkloadClass
from argosy.api.fleet import FleetSpec, Mode, Recalibration
from argosy.control.candidates.resolve import resolve
from argosy.control.cells import RouteCells, former_classes
from argosy.control.decision import Decision, EventRecord
from argosy.control.demand import class_forecasts
from argosy.control.memory import ControlMemory, PlanningMemory
from argosy.control.revision.decided import Decided
from argosy.control.revision.life import plan_life
from argosy.control.revision.revision import demand_change, differs, excess, revision_of
from argosy.control.routes import route_inputs
from argosy.control.sizing import Sizing, placement_problem, plan_problem
from argosy.control.state.nodes import pool_nodes
from argosy.control.state.owners import owners_by_deployment
from argosy.control.state.waiting import uncounted_pods
from argosy.control.status.changes import change_events
from argosy.control.status.fleet import alarm_statuses
from argosy.control.status.reported import Reported
from argosy.control.status.updates import status_updates
from argosy.control.steps import World, planned_steps
from argosy.keys import DeploymentKey
from argosy.perf.protocol import PerfModel
from argosy.perf.recalibration.memory import CalibrationMemory
from argosy.place import check as place_check
from argosy.place import solve as place_solve
from argosy.plan import check as plan_check
from argosy.plan import solve as plan_solve
from argosy.plan.problem import PlanProblem
from argosy.plan.solution import Plan
from argosy.plan.solver.search import SolveLimits
from argosy.route.compile import compile_routes
from argosy.snapshot.fleet import FleetSnapshot
from argosy.snapshot.serving import takes_requests

MOST_VIOLATIONS = 5
"""Violations that an alarm lists; of more it gives the number."""

Solver = Callable[[PlanProblem, SolveLimits], Plan]
"""Answers a sizing problem; a function of a module, so that it crosses to the worker process."""


@dataclass(frozen=True, slots=True)
class StepSettings:
    """How to decide: the solver's limits, and what caused the decision (for the revision).

    is_progress: the trigger is only an earlier step taking effect, or the timer; if a revision results,
        a change of demand is recorded as its cause instead
    cells: the route cells to plan for; a class of which there are none gets one
    """

    trigger: str
    is_progress: bool = False
    plan_time_limit_s: float | None = 10.0
    seed: int = 0
    cells: RouteCells | None = None


def step(
    snapshot: FleetSnapshot,
    memory: ControlMemory,
    settings: StepSettings,
    perf: PerfModel,
    solver: Solver = plan_solve.solve,
) -> Decision:
    """Decide on a snapshot. A plan that fails its check is an alarm in the `Decision`, not an exception."""
    sizing = _sizing(snapshot, memory, settings, perf)
    problem = plan_problem(sizing)
    limits = SolveLimits(time_limit_s=settings.plan_time_limit_s, seed=settings.seed)
    plan = solver(problem, limits)
    if broken := [str(v) for v in plan_check.violations(problem, plan)]:
        return _alarm(snapshot, "plan", broken)
    placing = placement_problem(sizing, problem, plan)
    placement = place_solve.solve(placing, seed=settings.seed)
    if broken := [str(v) for v in place_check.violations(placing, placement)]:
        return _alarm(snapshot, "placement", broken)
    running = _running(snapshot, sizing.lost)
    decided = Decided(problem, plan, placement, sizing.resolution, sizing.cells, running)
    if too_many := excess(decided):
        return _alarm(snapshot, "plan", [too_many])
    return _decision(sizing, decided, memory, settings)


def _sizing(
    snapshot: FleetSnapshot, memory: ControlMemory, settings: StepSettings, perf: PerfModel
) -> Sizing:
    """What the sizing problem is made of."""
    lost = uncounted_pods(snapshot)
    nodes = pool_nodes(snapshot, lost)
    cells = (settings.cells or RouteCells(())).covering(snapshot.classes)
    applies = snapshot.fleet_spec.recalibration is Recalibration.APPLY
    calibration = memory.traffic.calibration if applies else None
    resolution = resolve(snapshot, nodes, cells, perf, calibration)
    forecasts = class_forecasts(snapshot, memory.traffic)
    return Sizing(snapshot, cells, resolution, forecasts, nodes, lost)


def _decision(sizing: Sizing, decided: Decided, memory: ControlMemory, settings: StepSettings) -> Decision:
    """Everything that follows from a sound plan and placement."""
    snapshot, mode = sizing.snapshot, sizing.snapshot.fleet_spec.mode
    new_plan = _new_revision(snapshot, decided, settings)
    follow = new_plan if mode is Mode.AUTO and new_plan else snapshot.applied_plan
    owners = owners_by_deployment(snapshot, {*sizing.cells.groups, *former_classes(snapshot)})
    world = World(snapshot, sizing.nodes, owners, sizing.lost)
    reported = Reported(
        sizing=sizing,
        plan=decided.plan,
        placement=decided.placement,
        follow=follow,
        owners=owners,
        calibration=_shown(snapshot.fleet_spec, memory),
    )
    statuses = status_updates(reported)
    return Decision(
        mode=mode,
        new_plan=new_plan,
        follow=follow,
        life=plan_life(snapshot, new_plan, mode),
        routes=compile_routes(route_inputs(snapshot, follow)) if follow else None,
        steps=planned_steps(world, decided, follow) if mode is Mode.AUTO and follow else (),
        statuses=statuses,
        events=(*_events(snapshot, new_plan, decided), *change_events(snapshot, statuses)),
        why=decided.plan.reasons,
        memory=PlanningMemory(sizing.forecasts, decided.problem.capacity_per_s),
    )


def _shown(fleet: FleetSpec, memory: ControlMemory) -> CalibrationMemory:
    """The calibrations that statuses show."""
    is_off = fleet.recalibration is Recalibration.DISABLED
    return CalibrationMemory() if is_off else memory.traffic.calibration


def _alarm(snapshot: FleetSnapshot, what: str, broken: list[str]) -> Decision:
    """Nothing is acted on; Fleet reports it, because there is no FleetPlan that could."""
    num_more = len(broken) - MOST_VIOLATIONS
    more = f"; and {num_more} more" if num_more > 0 else ""
    found = "; ".join(broken[:MOST_VIOLATIONS]) + more
    return Decision(
        mode=snapshot.fleet_spec.mode,
        statuses=alarm_statuses(snapshot, found),
        alarm=f"the {what} failed its independent check: {found}",
    )


def _running(snapshot: FleetSnapshot, lost: frozenset[str]) -> dict[DeploymentKey, int]:
    """Replicas that take requests, by Deployment; 0 where its pods only load."""
    running: dict[DeploymentKey, int] = {}
    for pod in snapshot.engine_pods:
        if not pod.deleting:
            running[pod.deployment] = running.get(pod.deployment, 0) + takes_requests(pod, lost)
    return running


def _new_revision(snapshot: FleetSnapshot, decided: Decided, settings: StepSettings) -> FleetPlan | None:
    has_anything = snapshot.classes or snapshot.plans or snapshot.deployments
    mode = snapshot.fleet_spec.mode
    if mode is Mode.OBSERVE or not has_anything:
        return None
    newest = max(snapshot.plans, key=lambda p: p.spec.revision, default=None)
    # What Auto must differ from is what it follows; a recommendation, from the last one made.
    last = snapshot.applied_plan if mode is Mode.AUTO else newest
    number = newest.spec.revision + 1 if newest else 1
    trigger = settings.trigger
    if settings.is_progress and snapshot.applied_plan is not None:
        trigger = demand_change(decided, snapshot.applied_plan) or trigger
    candidate = revision_of(decided, snapshot.applied_plan, number, trigger)
    return candidate if differs(candidate, last) else None


def _events(snapshot: FleetSnapshot, new_plan: FleetPlan | None, decided: Decided) -> tuple[EventRecord, ...]:
    """A new plan is an event of Fleet; what it cannot serve, of the class that lacks it."""
    if new_plan is None:
        return ()
    events: list[EventRecord] = []
    if snapshot.fleet is not None:
        message = f"{new_plan.metadata.name}: {new_plan.spec.trigger}"
        events.append(EventRecord(Fleet.KIND, snapshot.fleet.key, "Normal", "NewPlan", message))
    for shortfall in decided.plan.shortfalls:
        row = decided.cells.find(shortfall.cell)
        assert row is not None  # the plan was checked: it names no other cells
        cause, message = shortfall.cause.value, shortfall.message
        events.append(EventRecord(WorkloadClass.KIND, row.workload_class, "Warning", cause, message))
    return tuple(events)
