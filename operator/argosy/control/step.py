"""One decision of the planning loop: snapshot in, `Decision` out.

Owns the order of the flow: forecast, resolve, size, check, place, check, revise, roll out, report. A
plan or a placement that its independent check rejects is a bug of Argosy's: the decision is then an
alarm, and nothing is acted on. Input: a snapshot, the control memory, settings and a performance
model. Output: a `Decision`. Section 2 of docs/design/0001 draws the flow.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from argosy.api import Fleet, FleetPlan, WorkloadClass
from argosy.api.conditions import Reason
from argosy.api.fleet import FleetSpec, Mode, Recalibration
from argosy.control.candidates.groups import in_groups
from argosy.control.candidates.resolve import Known, resolve
from argosy.control.candidates.sharing import shared_cells
from argosy.control.cells import RouteCells, former_classes
from argosy.control.decision import Decision, EventRecord
from argosy.control.demand import class_forecasts
from argosy.control.memory import ControlMemory, PlanInputs, PlanningMemory
from argosy.control.picture.acknowledged import acknowledged_steps
from argosy.control.picture.doubt import doubt
from argosy.control.picture.held import PICTURE, held
from argosy.control.picture.remarks import remarked
from argosy.control.picture.removal import REMOVAL, Explanation, Guarded, cause_of, guarded, inputs_of
from argosy.control.picture.set_aside import SetAside, set_aside, taken_over, without
from argosy.control.revision.decided import Decided
from argosy.control.revision.edits import edits_digest
from argosy.control.revision.life import plan_life
from argosy.control.revision.number import is_known, next_revision
from argosy.control.revision.request_limits import request_limits
from argosy.control.revision.revision import Origin, demand_change, differs, excess, revision_of
from argosy.control.revision.window import last_revision, waiting
from argosy.control.routes import route_inputs
from argosy.control.sizing import Sizing, placement_problem, plan_problem
from argosy.control.state.counts import num_serving
from argosy.control.state.nodes import pool_nodes
from argosy.control.state.owners import owners_by_deployment
from argosy.control.state.routable import RECONNECT_S
from argosy.control.state.silence import doubted_pods
from argosy.control.state.waiting import uncounted_pods
from argosy.control.status.changes import change_events
from argosy.control.status.exchange.last_replica import interrupted_s
from argosy.control.status.fleet import alarm_statuses
from argosy.control.status.observed import observed_statuses
from argosy.control.status.reported import Reported
from argosy.control.status.updates import status_updates
from argosy.control.status.waiting import waiting_events
from argosy.control.steps import World, planned_steps
from argosy.keys import ClassKey
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
from argosy.snapshot.seen import ObjectRef

MOST_VIOLATIONS = 5
"""Violations that an alarm lists; of more it gives the number."""

Solver = Callable[[PlanProblem, SolveLimits], Plan]
"""Answers a sizing problem; a function of a module, so that it crosses to the worker process."""


@dataclass(frozen=True, slots=True)
class StepSettings:
    """How to decide: the solver's limits, and what caused the decision (for the revision).

    is_progress: the trigger is only an earlier step taking effect, or the timer; if a revision results,
        a change of demand is recorded as its cause instead
    cells: the route cells to plan for, of which a class that has none gets one; None: one for each
        class, where classes share groups by the rule of `candidates.sharing`
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
    """Decide on a snapshot. A plan that fails its check is an alarm in the `Decision`, not an exception.

    On a snapshot that cannot be believed the last plan is kept: `Decision.doubt` says why.
    """
    if why := doubt(snapshot):
        return held(snapshot, memory.planning, why)
    picture = _Picture(snapshot, set_aside(snapshot))
    snapshot = without(snapshot, picture.kept)
    sizing = _sizing(snapshot, memory, settings, perf)
    problem = plan_problem(sizing)
    limits = SolveLimits(time_limit_s=settings.plan_time_limit_s, seed=settings.seed)
    plan = solver(problem, limits)
    if broken := [str(v) for v in plan_check.violations(problem, plan)]:
        return _alarm(snapshot, "plan", broken)
    waits = waiting(sizing, problem, plan)
    plan = waits.kept if waits is not None else plan
    placing = placement_problem(sizing, problem, plan)
    placement = place_solve.solve(placing, seed=settings.seed)
    if broken := [str(v) for v in place_check.violations(placing, placement)]:
        return _alarm(snapshot, "placement", broken)
    running = num_serving(snapshot, sizing.lost)
    decided = Decided(problem, plan, placement, sizing.resolution, sizing.cells, running, waits)
    if too_many := excess(decided):
        return _alarm(snapshot, "plan", [too_many])
    return _decision(sizing, decided, memory, settings, picture)


@dataclass(frozen=True, slots=True)
class _Picture:
    """The whole snapshot, and what of it is kept as it is: planning sees the rest."""

    whole: FleetSnapshot
    kept: SetAside


def _sizing(
    snapshot: FleetSnapshot, memory: ControlMemory, settings: StepSettings, perf: PerfModel
) -> Sizing:
    """What the sizing problem is made of."""
    lost = uncounted_pods(snapshot)
    nodes = pool_nodes(snapshot, lost)
    applies = snapshot.fleet_spec.recalibration is Recalibration.APPLY
    known = Known.of(snapshot, nodes, perf, memory.traffic.calibration if applies else None)
    alone = resolve(known)
    table = settings.cells
    cells = shared_cells(alone, known) if table is None else table.covering(snapshot.classes)
    forecasts = class_forecasts(snapshot, memory.traffic)
    rates = {key: each.rate_per_s for key, each in forecasts.items()}
    return Sizing(snapshot, cells, in_groups(alone, cells, rates, known), forecasts, nodes, lost)


def _decision(
    sizing: Sizing, decided: Decided, memory: ControlMemory, settings: StepSettings, picture: _Picture
) -> Decision:
    """Everything that follows from a sound plan and placement."""
    snapshot, mode = sizing.snapshot, sizing.snapshot.fleet_spec.mode
    # Engines that stopped together are more often a fault of the network than dead: nothing changes.
    is_in_doubt = bool(doubted_pods(snapshot))
    new_plan = None if is_in_doubt else _new_revision(snapshot, decided, settings, picture)
    follow = new_plan if mode is Mode.AUTO and new_plan else picture.whole.applied_plan
    owners = owners_by_deployment(snapshot, {*sizing.cells.groups, *former_classes(snapshot)})
    reported = Reported(
        sizing=sizing,
        plan=decided.plan,
        placement=decided.placement,
        follow=follow,
        owners=owners,
        calibration=_shown(snapshot.fleet_spec, memory),
        history=memory.traffic.observed,
        waiting=decided.waiting,
        unread=memory.traffic.blind.unread,
        interrupted_s=memory.planning.interrupted_s,
    )
    inputs = _plan_inputs(sizing, decided, memory, follow)
    looks = memory.planning.first_seen_s
    world = World(snapshot, sizing.nodes, owners, sizing.lost)
    steps = planned_steps(world, decided, follow) if mode is Mode.AUTO and follow and not is_in_doubt else ()
    removal = guarded(steps, picture.whole, Explanation(inputs.cause, looks))
    known = acknowledged_steps(removal.steps, snapshot, sizing.lost, memory.planning.awaited_s)
    waiting = removal.waiting or known.waiting
    statuses = remarked(picture.whole, status_updates(reported), picture.kept, waiting)
    events = (*_events(snapshot, new_plan, decided), *_removal_event(snapshot, removal, looks), *known.events)
    return Decision(
        mode=mode,
        new_plan=new_plan,
        follow=follow,
        life=plan_life(snapshot, new_plan, mode),
        routes=compile_routes(route_inputs(picture.whole, follow)) if follow else None,
        steps=known.steps,
        statuses=statuses,
        events=(*events, *change_events(picture.whole, statuses)),
        why=decided.plan.reasons,
        observed=observed_statuses(reported),
        memory=replace(
            _remembered(reported, decided, memory, known.awaited_s),
            inputs=inputs,
            first_seen_s=_looks(snapshot, removal, looks),
        ),
        waiting=waiting,
        waits_until_s=_waits_until_s(snapshot, decided),
    )


def _remembered(
    reported: Reported, decided: Decided, memory: ControlMemory, awaited_s: Mapping[str, float]
) -> PlanningMemory:
    """What is remembered besides the inputs and the looks. awaited_s: of the removals that wait."""
    pods = reported.snapshot.pods
    return PlanningMemory(
        reported.sizing.forecasts,
        decided.problem.capacity_per_s,
        unrouted=frozenset(key for key in reported.unrouted if not pods[key].is_marked),
        awaited_s=awaited_s,
        interrupted_s=interrupted_s(reported, memory.planning.interrupted_s),
    )


def _waits_until_s(snapshot: FleetSnapshot, decided: Decided) -> float | None:
    """When to decide again, because a change waits, or the number of the next revision; else None."""
    if not is_known(snapshot):
        return snapshot.routing.since_s + RECONNECT_S
    return decided.waiting.until_s if decided.waiting is not None else None


def _plan_inputs(
    sizing: Sizing, decided: Decided, memory: ControlMemory, follow: FleetPlan | None
) -> PlanInputs:
    """What the followed plan was made for: kept until another plan is followed."""
    before, key = memory.planning.inputs, follow.key if follow else ""
    if before is not None and before.plan == key:
        return before
    row_of = {row.name: row.workload_class for row in decided.cells.rows}
    rates: dict[ClassKey, float] = {}
    for cell in decided.problem.cells:
        rates[row_of[cell.name]] = rates.get(row_of[cell.name], 0.0) + cell.rate_per_s
    now = inputs_of(sizing.snapshot, rates)
    return replace(now, plan=key, cause=cause_of(before, now))


def _looks(snapshot: FleetSnapshot, removal: Guarded, before: Mapping[str, float]) -> dict[str, float]:
    """The look at a large removal begins with it and ends with it; the picture is not in doubt."""
    others = {name: at_s for name, at_s in before.items() if name not in (REMOVAL, PICTURE)}
    return {**others, REMOVAL: before.get(REMOVAL, snapshot.monotonic_s)} if removal.is_large else others


def _removal_event(
    snapshot: FleetSnapshot, removal: Guarded, looks: Mapping[str, float]
) -> tuple[EventRecord, ...]:
    """A removal that begins to wait is an event of Fleet."""
    if not removal.waiting or REMOVAL in looks or snapshot.fleet is None:
        return ()
    reason = Reason.REMOVAL_WAITS
    sentence = reason.sentence(problem=removal.waiting)
    return (EventRecord(Fleet.KIND, snapshot.fleet.key, "Warning", reason.value, sentence),)


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


def _new_revision(
    snapshot: FleetSnapshot, decided: Decided, settings: StepSettings, picture: _Picture
) -> FleetPlan | None:
    has_anything = snapshot.classes or snapshot.plans or snapshot.deployments
    mode = snapshot.fleet_spec.mode
    if mode is Mode.OBSERVE or not has_anything or not is_known(snapshot):
        return None
    applied, last = picture.whole.applied_plan, last_revision(picture.whole)
    if last is not None and ObjectRef(FleetPlan.PLURAL, last.key) in snapshot.seen.unseen:
        last = None  # the API server has lost it: it is written again
    trigger = settings.trigger
    if settings.is_progress and snapshot.applied_plan is not None:
        trigger = demand_change(decided, snapshot.applied_plan) or trigger
    limits = request_limits(decided, len(snapshot.routing.envoys), last)
    origin = Origin(next_revision(snapshot), trigger, edits_digest(snapshot), limits)
    candidate = taken_over(revision_of(decided, snapshot.applied_plan, origin), applied, picture.kept)
    return candidate if differs(candidate, last) else None


def _events(snapshot: FleetSnapshot, new_plan: FleetPlan | None, decided: Decided) -> tuple[EventRecord, ...]:
    """A new plan is an event of Fleet; what it cannot serve, of the class that lacks it."""
    events = list(waiting_events(snapshot, decided.waiting))
    if new_plan is None:
        return tuple(events)
    if snapshot.fleet is not None:
        message = f"{new_plan.metadata.name}: {new_plan.spec.trigger}"
        events.append(EventRecord(Fleet.KIND, snapshot.fleet.key, "Normal", "NewPlan", message))
    for shortfall in decided.plan.shortfalls:
        row = decided.cells.find(shortfall.cell)
        assert row is not None  # the plan was checked: it names no other cells
        cause, message = shortfall.cause.value, shortfall.message
        events.append(EventRecord(WorkloadClass.KIND, row.workload_class, "Warning", cause, message))
    return tuple(events)
