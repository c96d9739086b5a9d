"""Both control loops on simulated time, against the fake Kubernetes of `small_fleet`.

What decides is the operator's own code: `control.fast.react` every two seconds, `control.step.step`
when something asks for it, with a latency between a decision's snapshot and its first step, as in the
shell. The far side is the `World`, and clients that ask Envoy's routes for answers. No clock is read,
nothing sleeps and no socket is opened: time is a number that the driver adds to.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from small_fleet import START_S, World
from solved_once import solve_once

from argosy.api import FleetPlan
from argosy.control.candidates.running import RunningVariants
from argosy.control.decision import Decision
from argosy.control.fast import Reaction, ReactSettings, react
from argosy.control.recheck import changed_since
from argosy.control.routes import route_inputs
from argosy.control.step import StepSettings, step
from argosy.control.steps import gate_steps
from argosy.control.traffic.balance import weights_status
from argosy.control.triggers import Trigger, merged
from argosy.keys import CellName, ClassKey
from argosy.route.compile import compile_routes
from argosy.snapshot import RouteCounters, Sample
from argosy.snapshot.fleet import FleetSnapshot

TICK_S = 1.0
TRAFFIC_PERIOD_S = 2.0
PLANNING_PERIOD_S = 30.0
ENVOY = "edge"

RatePerS = Callable[[float], Mapping[ClassKey, float]]
"""Requests/s of each class, at so many seconds after the start."""


@dataclass(frozen=True)
class Moment:
    """What is true at one instant: `at_s` after the start."""

    at_s: float
    replicas: Mapping[str, int]
    num_unserved: float


@dataclass
class TwoLoops:
    """A leader's two loops. `latency_s`: from a decision's snapshot to its first step."""

    world: World
    rate_per_s: RatePerS
    latency_s: float = 2.0
    at: Mapping[float, Callable[[World], None]] = field(default_factory=dict)
    totals: Counter[CellName] = field(default_factory=Counter)
    reactions: list[Reaction] = field(default_factory=list)
    history: list[Moment] = field(default_factory=list)
    triggers: list[Trigger] = field(default_factory=lambda: [Trigger("the operator started")])
    revisions: list[FleetPlan] = field(default_factory=list)
    num_left: int = 0
    _variants: RunningVariants = field(init=False)
    _pending: tuple[float, Decision] | None = None
    _last_decision_s: float = START_S

    def __post_init__(self) -> None:
        traffic = replace(self.world.memory.traffic, started_s=self.world.now_s)
        self.world.memory = self.world.memory.with_traffic(traffic)
        self._variants = RunningVariants(self.world.perf)

    def run(self, seconds: float) -> None:
        """Let so much time pass."""
        end_s = self.world.now_s + seconds
        while self.world.now_s < end_s:
            at_s = self.world.now_s - START_S
            for change in [change for when, change in self.at.items() if when == at_s]:
                change(self.world)
                self.triggers.append(Trigger("an object changed"))
            self._serve(at_s)
            if at_s % TRAFFIC_PERIOD_S == 0:
                self._react()
            self._plan()
            self.world.now_s += TICK_S
            self.world.reconcile()

    def snapshot(self) -> FleetSnapshot:
        """The world with what Envoy has counted."""
        found = self.world.snapshot()
        routes = {
            (ENVOY, cell): Sample(RouteCounters(float(total), 0.0, 0.0), self.world.now_s)
            for cell, total in self.totals.items()
        }
        return replace(found, telemetry=replace(found.telemetry, routes=routes))

    def _serve(self, at_s: float) -> None:
        """Clients ask for a second; a cell whose route leads nowhere answers 503."""
        world = self.world.snapshot()
        table = compile_routes(route_inputs(world, world.applied_plan))
        rates, num_unserved = self.rate_per_s(at_s), 0.0
        for route in table.routes:
            num = rates.get(route.class_key, 0.0) * TICK_S
            self.totals[route.cell] += num  # type: ignore[assignment]  # requests are a flow here
            num_unserved += 0.0 if route.backends else num
        self.history.append(Moment(at_s, self.world.replicas(), num_unserved))

    def _react(self) -> None:
        snapshot = self.snapshot()
        settings = ReactSettings(is_leader=True, variants=self._variants.of(snapshot))
        reaction = react(snapshot, self.world.memory, settings)
        assert reaction.faults == ()
        self.world.memory = self.world.memory.with_traffic(reaction.memory)
        self.reactions.append(reaction)
        self.triggers += reaction.triggers
        if reaction.weights is not None:
            self._write_weights(reaction)

    def _write_weights(self, reaction: Reaction) -> None:
        assert reaction.weights is not None
        rows = weights_status(reaction.weights).weights
        plan = self.world.applied
        status = plan.status.model_copy(update={"weights": rows})
        written = plan.model_copy(update={"status": status})
        self.world.plans = tuple(written if p.key == plan.key else p for p in self.world.plans)

    def _plan(self) -> None:
        now_s = self.world.now_s
        if self._pending is not None:
            due_s, decision = self._pending
            if now_s >= due_s:
                self._pending = None
                self._carry_out(decision)
            return
        for planned in gate_steps(self.world.snapshot()):
            self.world.take(planned.step)
        if self.triggers or now_s - self._last_decision_s >= PLANNING_PERIOD_S:
            trigger, self.triggers = merged(self.triggers), []
            settings = StepSettings(trigger.message, trigger.is_progress, plan_time_limit_s=None)
            decision = step(self.snapshot(), self.world.memory, settings, self.world.perf, solve_once)
            assert decision.alarm == ""
            self._pending = (now_s + self.latency_s, decision)
            self._last_decision_s = now_s

    def _carry_out(self, decision: Decision) -> None:
        self.world.memory = self.world.memory.with_planning(decision.memory)
        self.world.publish(decision)
        if decision.new_plan is not None:
            self.revisions.append(decision.new_plan)
        for planned in decision.steps:
            if changed_since(planned, self.world.snapshot()):
                self.num_left += 1
            else:
                self.world.take(planned.step)
                self.triggers.append(Trigger("a step took effect", is_progress=True))
