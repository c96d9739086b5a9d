"""One decision of the planning loop: snapshot in, `Decision` out.

Owns the order of the flow: forecast, resolve, size, check, place, check, revise, roll out, report. A
plan or a placement that its independent check rejects is a bug of Argosy's: the decision is then an
alarm, and nothing is acted on. Input: a snapshot, the control memory, settings and a performance
model. Output: a `Decision`. Section 2 of docs/design/0001 draws the flow.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from argosy.api import FleetPlan
from argosy.api.fleet import FleetSpec, Mode, Recalibration
from argosy.control.cells import RouteCells, former_classes
from argosy.control.decision import Decision, EventRecord, PlanLife, PlannedStep, StatusUpdate
from argosy.control.edits.autoscaled import autoscaled_events, with_autoscaled
from argosy.control.edits.found import template_edits
from argosy.control.edits.mending import Mending, mended
from argosy.control.edits.pods import with_pods
from argosy.control.edits.report import edit_events, sentence, with_contested
from argosy.control.memory import ControlMemory, PlanInputs, PlanningMemory
from argosy.control.picture.acknowledged import Acknowledged, acknowledged_steps
from argosy.control.picture.doubt import doubt
from argosy.control.picture.fleet_gone import gone_event, gone_sentence, with_remark
from argosy.control.picture.held import held, looks
from argosy.control.picture.new_plan import new_plan_events
from argosy.control.picture.notes import noted
from argosy.control.picture.parting import Draining, draining, draining_event
from argosy.control.picture.remarks import remarked
from argosy.control.picture.removal import (
    ORDERED,
    Explanation,
    Guarded,
    cause_of,
    guarded,
    inputs_of,
    removal_event,
)
from argosy.control.picture.set_aside import SetAside, set_aside, taken_over, without
from argosy.control.pools.awaited import split_awaited, with_observed_nodes
from argosy.control.refused.quarantine import look_again_s
from argosy.control.refused.report import refused_counts, refused_events
from argosy.control.revision.decided import Decided
from argosy.control.revision.edits import edits_digest
from argosy.control.revision.growth import Choice, chosen
from argosy.control.revision.hold import followed, hold
from argosy.control.revision.keeping import keepings, unplannable_classes
from argosy.control.revision.life import (
    approval_event,
    approval_statuses,
    as_applied,
    is_by_order,
    newly_approved,
    plan_life,
)
from argosy.control.revision.number import is_known, next_revision
from argosy.control.revision.request_limits import envoy_count, request_limits
from argosy.control.revision.revision import (
    Origin,
    demand_change,
    differs,
    excess,
    revision_of,
    runs_differently,
)
from argosy.control.revision.window import last_revision
from argosy.control.routes import route_inputs
from argosy.control.sizing import Basis, Sizing, placement_problem, plan_problem
from argosy.control.state.counts import num_serving
from argosy.control.state.nodes import closed_nodes, outside_places
from argosy.control.state.owners import Owners, owners_by_deployment
from argosy.control.state.routable import RECONNECT_S
from argosy.control.state.silence import doubted_pods
from argosy.control.status.changes import change_events
from argosy.control.status.fleet import alarm_statuses
from argosy.control.status.observed import observed_statuses
from argosy.control.status.pools import running_costs
from argosy.control.status.reported import Reported
from argosy.control.status.rollout.adopted import lowered_events
from argosy.control.status.rollout.awaited import not_coming_events
from argosy.control.status.rollout.progress import progress_events, progress_updates, progress_verdicts
from argosy.control.status.rollout.unacted import applied_changes
from argosy.control.status.updates import status_updates
from argosy.control.status.verdict import Verdict, conditions_of
from argosy.control.steps import World, gate_steps, planned_steps
from argosy.errors import InvariantError
from argosy.keys import ClassKey, DeploymentKey
from argosy.perf.protocol import PerfModel
from argosy.perf.recalibration.memory import CalibrationMemory
from argosy.place import check as place_check
from argosy.place import solve as place_solve
from argosy.place.solution import Placement
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
    approved = newly_approved(snapshot)
    snapshot = as_applied(snapshot, approved) if approved is not None else snapshot
    picture = _Picture(snapshot, set_aside(snapshot), approved)
    snapshot = without(snapshot, picture.kept)
    memory = with_observed_nodes(snapshot, memory)
    basis = Basis.of(snapshot, memory, perf)
    sizing = basis.sized(settings.cells)
    problem = plan_problem(sizing)
    limits = SolveLimits(time_limit_s=settings.plan_time_limit_s, seed=settings.seed)
    plan = solver(problem, limits)
    if broken := [str(v) for v in plan_check.violations(problem, plan)]:
        return _alarm(snapshot, "plan", broken)

    def resize(cells: RouteCells | None) -> Sizing:
        return basis.sized(settings.cells or cells, may_merge=False)

    found = Choice(sizing, problem, plan)
    paused, choice = hold(found, resize)
    if paused is None:
        made_for = memory.planning.inputs or PlanInputs()
        left = limits.after(plan.report.seconds)
        choice = chosen(found, resize, lambda again: solver(again, left), made_for)
    placing = placement_problem(choice.sizing, choice.problem, choice.plan)
    placement = place_solve.solve(placing, seed=settings.seed)
    if broken := [str(v) for v in place_check.violations(placing, placement)]:
        return _alarm(snapshot, "placement", broken)
    is_stuck = paused is not None and paused.plan is None
    decided = replace(_decided(choice, placement), hold=paused, is_stuck=is_stuck)
    if too_many := excess(decided):
        return _alarm(snapshot, "plan", [too_many])
    return _decision(choice.sizing, decided, memory, settings, picture)


def _decided(choice: Choice, placement: Placement) -> Decided:
    sizing, problem, plan = choice.sizing, choice.problem, choice.plan
    awaited, placement = split_awaited(problem, plan, placement, sizing.snapshot)
    snapshot = sizing.snapshot
    running = num_serving(snapshot, sizing.lost)
    unplannable = unplannable_classes(sizing.resolution, sizing.cells, snapshot, _owners(sizing))
    kept = keepings(snapshot, plan.replicas, unplannable)
    return Decided(
        problem,
        plan,
        placement,
        sizing.resolution,
        sizing.cells,
        running,
        choice.waiting,
        former=choice.former,
        kept=kept,
        kept_autoscaled=frozenset(kept.keys() & snapshot.count_owners.keys()),
        unplannable=unplannable,
        awaited=awaited,
        given_back=frozenset(key for key, each in snapshot.deployments.items() if each.is_given_back),
    )


def _carried_out(sizing: Sizing, decided: Decided, seed: int) -> Decided:
    """What is carried out: in mode Recommend the plan that a user approved, whatever is recommended.

    Raises InvariantError where its placement fails the independent check.
    """
    snapshot = sizing.snapshot
    if snapshot.fleet_spec.mode is Mode.AUTO or not snapshot.acts:
        return decided
    plan = followed(sizing, decided.problem, decided.plan)
    if plan is None:
        return replace(decided, is_stuck=True)
    placing = placement_problem(sizing, decided.problem, plan)
    placement = place_solve.solve(placing, seed=seed)
    if broken := place_check.violations(placing, placement):
        raise InvariantError(f"the placement of the approved plan failed its independent check: {broken[0]}")
    return _decided(Choice(sizing, decided.problem, plan), placement)


def _owners(sizing: Sizing) -> dict[DeploymentKey, Owners]:
    groups = {*sizing.cells.groups, *former_classes(sizing.snapshot)}
    return owners_by_deployment(sizing.snapshot, groups)


@dataclass(frozen=True, slots=True)
class _Picture:
    """The whole snapshot, and what of it is kept as it is: planning sees the rest.

    approved: the plan that Argosy begins to act on; it is the applied one already
    """

    whole: FleetSnapshot
    kept: SetAside
    approved: FleetPlan | None = None


def _decision(
    sizing: Sizing, decided: Decided, memory: ControlMemory, settings: StepSettings, picture: _Picture
) -> Decision:
    """Everything that follows from a sound plan and placement."""
    snapshot, mode = sizing.snapshot, sizing.snapshot.fleet_spec.mode
    # Engines that stopped together are more often a fault of the network than dead: nothing changes.
    is_in_doubt = bool(doubted_pods(snapshot))
    new_plan = None if is_in_doubt else _new_revision(sizing, decided, settings, picture)
    follow = new_plan if mode is Mode.AUTO and new_plan else picture.whole.applied_plan
    acted = _carried_out(sizing, decided, settings.seed)
    drains = draining(picture.whole)
    made = _Made(sizing, acted, decided, memory, picture, new_plan, follow, is_in_doubt, drains)
    reported = _reported(made)
    inputs = _plan_inputs(sizing, decided, memory, follow)
    done = _done(made, reported, inputs.cause)
    progress = progress_verdicts(reported, follow, done.waiting) if follow else ()
    statuses = _statuses(made, reported, done)
    return Decision(
        mode=mode,
        new_plan=new_plan,
        follow=follow,
        life=_life(made, progress),
        routes=compile_routes(route_inputs(picture.whole, follow)) if follow else None,
        steps=done.acknowledged.steps,
        statuses=statuses,
        events=(
            *_events(made, done),
            *(progress_events(follow, progress) if follow else ()),
            *change_events(picture.whole, statuses),
        ),
        why=decided.plan.reasons,
        observed=observed_statuses(reported),
        costs=running_costs(reported),
        budget_usd_per_hour=snapshot.fleet_spec.budget_usd_per_hour,
        memory=_remembered(made, reported, done, inputs),
        set_back=tuple((edit.about, sentence(edit)) for edit in done.mending.edits),
        num_contested=len(done.mending.contested),
        num_autoscaled=len(decided.autoscaled),
        nodes_to_come=decided.plan.to_come,
        provisioning_s=memory.planning.nodes.delay_s,
        waiting=done.waiting,
        draining=made.drains.replicas,
        fleet_gone=gone_sentence(picture.whole),
        waits_until_s=_waits_until_s(snapshot, decided),
        look_again_s=look_again_s(sizing.quarantines, picture.whole),
        is_held=decided.hold is not None,
        refused=refused_counts(sizing.quarantines, snapshot.now_s),
    )


@dataclass(frozen=True, slots=True)
class _Made:
    """What a decision is put together from, besides its settings.

    decided: what is carried out; planned: what a new revision is made of
    """

    sizing: Sizing
    decided: Decided
    planned: Decided
    memory: ControlMemory
    picture: _Picture
    new_plan: FleetPlan | None
    follow: FleetPlan | None
    is_in_doubt: bool
    drains: Draining


@dataclass(frozen=True, slots=True)
class _Done:
    """The steps, as each of the three that may hold some back leaves them to the next."""

    removal: Guarded
    mending: Mending
    acknowledged: Acknowledged

    @property
    def waiting(self) -> str:
        """Why a removal waits, in a sentence; empty where none does."""
        return self.removal.waiting or self.acknowledged.waiting


def _reported(made: _Made) -> Reported:
    sizing, memory = made.sizing, made.memory
    return Reported(
        sizing=sizing,
        plan=made.decided.plan,
        placement=made.decided.placement,
        follow=made.follow,
        owners=_owners(sizing),
        calibration=_shown(sizing.snapshot.fleet_spec, memory),
        history=memory.traffic.observed,
        adapters=memory.traffic.adapters,
        waiting=made.decided.waiting,
        unread=memory.traffic.blind.unread,
        edits=_unmended(made),
        unplannable=made.decided.unplannable,
        hold=made.planned.hold,
        nodes=memory.planning.nodes,
    )


def _unmended(made: _Made) -> dict[DeploymentKey, str]:
    """Edits by hand in a mode in which nothing sets them back."""
    snapshot = made.sizing.snapshot
    return {} if snapshot.acts else template_edits(snapshot, made.decided.workloads)


def _done(made: _Made, reported: Reported, cause: str) -> _Done:
    """What is safe to do now, as far as nothing of it waits."""
    sizing, planning, follow = made.sizing, made.memory.planning, made.follow
    snapshot, workloads = sizing.snapshot, made.decided.workloads
    steps: tuple[PlannedStep, ...] = ()
    plan = ""
    if follow is not None and snapshot.acts and not made.is_in_doubt:
        steps, plan = _steps(made, reported, follow), follow.key
    removal = guarded(steps, made.picture.whole, Explanation(cause, planning.first_seen_s))
    mending = mended(removal.steps, snapshot, workloads, plan, planning.edits)
    mending = with_pods(mending, snapshot, sizing.lost, plan, planning.edits)
    acknowledged = acknowledged_steps(mending.steps, snapshot, sizing.lost, planning.chosen_s)
    return _Done(removal, mending, acknowledged)


def _steps(made: _Made, reported: Reported, follow: FleetPlan) -> tuple[PlannedStep, ...]:
    """What carries the plan out; only places for its pods where objects no longer allow it."""
    sizing = made.sizing
    if made.decided.is_stuck:
        return gate_steps(sizing.snapshot)
    world = World(sizing.snapshot, sizing.nodes, reported.owners, sizing.lost)
    return planned_steps(world, made.decided, follow)


def _statuses(made: _Made, reported: Reported, done: _Done) -> tuple[StatusUpdate, ...]:
    """Of the users' objects, with remarks on what is kept, gone, waited for or contested."""
    whole = made.picture.whole
    statuses = remarked(whole, status_updates(reported), made.picture.kept, done.waiting)
    statuses = with_contested(whole, with_remark(statuses, gone_sentence(whole)), done.mending.contested)
    return with_autoscaled(whole, statuses, made.planned)


def _events(made: _Made, done: _Done) -> tuple[EventRecord, ...]:
    """What begins with this decision, besides what changes in statuses."""
    whole, snapshot = made.picture.whole, made.sizing.snapshot
    return (
        *edit_events(whole, done.mending),
        *autoscaled_events(whole, made.planned),
        *new_plan_events(snapshot, made.new_plan, made.planned),
        *removal_event(snapshot, done.removal, made.memory.planning.first_seen_s),
        *done.acknowledged.events,
        *lowered_events(snapshot, done.acknowledged.steps),
        *refused_events(snapshot, made.memory.planning.quarantines, made.sizing.quarantines),
        *gone_event(whole, gone_sentence(whole)),
        *draining_event(whole, made.drains),
        *approval_event(whole, made.picture.approved),
        *not_coming_events(made.sizing),
    )


def _remembered(made: _Made, reported: Reported, done: _Done, inputs: PlanInputs) -> PlanningMemory:
    snapshot, planning = reported.snapshot, made.memory.planning
    return PlanningMemory(
        forecasts=made.sizing.forecasts,
        capacity_per_s=made.decided.problem.capacity_per_s,
        inputs=inputs,
        first_seen_s=looks(snapshot, done.removal, planning.first_seen_s),
        unrouted=frozenset(key for key in reported.unrouted if not snapshot.pods[key].is_marked),
        edits=done.mending.memory,
        awaited_s=done.acknowledged.awaited_s,
        chosen_s=done.acknowledged.chosen_s,
        nodes=planning.nodes,
        quarantines=made.sizing.quarantines,
    )


def _life(made: _Made, progress: tuple[Verdict, ...]) -> PlanLife:
    """Everything that is written to the statuses of plans: each at most once, because a list is replaced."""
    picture, new_plan, follow = made.picture, made.new_plan, made.follow
    snapshot = picture.whole
    mode, is_followed = snapshot.fleet_spec.mode, follow is not None and follow is new_plan
    own = conditions_of(progress, snapshot.now_s) if is_followed else ()
    life = plan_life(snapshot, new_plan, mode, own)
    if picture.approved is not None:
        own = conditions_of(progress, snapshot.now_s)
        taken = approval_statuses(snapshot, picture.approved, own)
        life = replace(life, statuses=(*life.statuses, *taken))
    elif follow is not None and not is_followed:
        now = (*applied_changes(follow, snapshot.acting_mode), *progress)
        life = replace(life, statuses=(*life.statuses, *progress_updates(snapshot, follow, now)))
    return noted(snapshot, life, new_plan, made.drains)


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
    is_ordered = follow is not None and is_by_order(follow)
    cause = ORDERED if is_ordered else cause_of(before, now)
    return replace(now, plan=key, closed=closed_nodes(sizing.nodes), cause=cause)


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
    sizing: Sizing, decided: Decided, settings: StepSettings, picture: _Picture
) -> FleetPlan | None:
    snapshot = sizing.snapshot
    has_anything = snapshot.classes or snapshot.plans or snapshot.deployments
    mode = snapshot.fleet_spec.mode
    if mode is Mode.OBSERVE or not has_anything or not is_known(snapshot):
        return None
    paused = decided.hold
    if decided.is_stuck:
        return None
    applied, last = picture.whole.applied_plan, last_revision(picture.whole)
    if last is not None and ObjectRef(FleetPlan.PLURAL, last.key) in snapshot.seen.unseen:
        last = None  # the API server has lost it: it is written again
    trigger = settings.trigger
    if settings.is_progress and snapshot.applied_plan is not None:
        trigger = demand_change(decided, snapshot.applied_plan) or trigger
    limits = request_limits(decided, envoy_count(snapshot), last)
    restores = paused.orders.rollback if paused is not None and not paused.problem else None
    origin = Origin(next_revision(snapshot), trigger, edits_digest(snapshot), limits, restores)
    revision = revision_of(decided, snapshot.applied_plan, origin)
    candidate = taken_over(revision, applied, picture.kept, picture.whole.pools)
    outside = outside_places(snapshot, sizing.nodes, sizing.lost)
    if last is None or (restores is not None and last.spec.restores != restores):
        return candidate
    # While a change waits, other shares of what stays unserved would begin the window again and again.
    stays = paused is not None or decided.waiting is not None
    changes = runs_differently if stays else differs
    return candidate if changes(candidate, last, outside) else None
