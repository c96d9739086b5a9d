"""A solver's answer is not trusted: a plan that breaks a rule is an alarm that a person understands."""

from __future__ import annotations

import math
import pickle
import re
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import pytest
from small_fleet import World, a_class, a_fleet, a_model, a_pool, condition, some_nodes, verdict

from argosy.api import Fleet
from argosy.control import step as step_module
from argosy.control.decision import Decision
from argosy.control.step import Solver, StepSettings, step
from argosy.keys import CellName, DeploymentKey
from argosy.plan.problem import PlanProblem
from argosy.plan.solution import Plan, Shortfall, ShortfallCause
from argosy.plan.solve import solve
from argosy.plan.solver.search import SolveLimits
from argosy.snapshot.fleet import FleetSnapshot

UNKNOWN = DeploymentKey("default/no-such-deployment")
CHAT = CellName("default/chat")

REPR = re.compile(r"\w+\(\w+=|<[\w.]+ object|\bNone\b|DeploymentKey|frozenset|\{'")
"""What a dataclass, an enum or a map looks like where it is printed as Python prints it."""


def any_of(plan: Plan) -> DeploymentKey:
    """A Deployment that has replicas in it."""
    return next(name for name, count in plan.replicas.items() if count)


def with_replicas(plan: Plan, count: int) -> Plan:
    return replace(plan, replicas={**plan.replicas, any_of(plan): count})


MUTATIONS: dict[str, Callable[[Plan], Plan]] = {
    "an unknown Deployment": lambda p: replace(p, replicas={**p.replicas, UNKNOWN: 1}),
    "a share of an unknown Deployment": lambda p: replace(p, shares={**p.shares, (CHAT, UNKNOWN): 0.5}),
    "a share of an unknown cell": lambda p: replace(
        p, shares={**p.shares, (CellName("a/b"), any_of(p)): 1.0}
    ),
    "a missing Deployment": lambda p: replace(p, replicas={}),
    "shares that sum to a half": lambda p: replace(p, shares={key: s / 2 for key, s in p.shares.items()}),
    "shares that sum to two": lambda p: replace(p, shares={key: s * 2 for key, s in p.shares.items()}),
    "no shares": lambda p: replace(p, shares={}),
    "a share of NaN": lambda p: replace(p, shares=dict.fromkeys(p.shares, math.nan)),
    "more replicas than the pool holds": lambda p: with_replicas(p, 60),
    "no replica": lambda p: with_replicas(p, 0),
    "a negative count": lambda p: with_replicas(p, -1),
    "half a replica": lambda p: with_replicas(p, 1.5),  # type: ignore[arg-type]
    "a count of NaN": lambda p: with_replicas(p, math.nan),  # type: ignore[arg-type]
    "a cost of NaN": lambda p: replace(p, cost_usd_per_hour=math.nan),
    "a cost of nothing": lambda p: replace(p, cost_usd_per_hour=0.0),
    "an infinite cost": lambda p: replace(p, cost_usd_per_hour=math.inf),
    "a needless shortfall": lambda p: replace(
        p, shortfalls=(Shortfall(CHAT, 4.0, ShortfallCause.POOL_FULL, "the pool is full"),)
    ),
    "a shortfall of an unknown cell": lambda p: replace(
        p, shortfalls=(Shortfall(CellName("a/b"), 4.0, ShortfallCause.POOL_FULL, "the pool is full"),)
    ),
    "an unmet floor of an unknown group": lambda p: replace(p, unmet_floors={"a/b": 1}),  # type: ignore[dict-item]
}


def mutating(change: Callable[[Plan], Plan]) -> Solver:
    """The real solver, with one mistake."""

    def solver(problem: PlanProblem, limits: SolveLimits) -> Plan:
        return change(solve(problem, limits))

    return solver


def a_world(*more: Fleet) -> World:
    return World(some_nodes("l40s", 4), a_pool(), a_model(), a_class(), *more)


def decide(world: World, solver: Solver, snapshot: FleetSnapshot | None = None) -> Decision:
    settings = StepSettings("a test", plan_time_limit_s=None)
    return step(snapshot or world.snapshot(), world.memory, settings, world.perf, solver)


@pytest.fixture(scope="module")
def running() -> World:
    """Settled: a plan is applied, and two replicas serve it."""
    world = a_world(a_fleet())
    world.settle()
    return world


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_a_plan_that_breaks_a_rule_is_an_alarm_and_nothing_is_done(running: World, mutation: str) -> None:
    decision = decide(running, mutating(MUTATIONS[mutation]))
    assert decision.alarm.startswith("the plan failed its independent check: ")
    assert (decision.new_plan, decision.follow, decision.routes) == (None, None, None)
    assert (decision.steps, decision.life.statuses, decision.life.expired) == ((), (), ())
    assert str(decision).startswith("nothing is done: the plan failed")


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_a_person_understands_the_alarm(running: World, mutation: str) -> None:
    decision = decide(running, mutating(MUTATIONS[mutation]))
    assert REPR.findall(decision.alarm) == []
    for sentence in decision.alarm.partition(": ")[2].split("; "):
        assert len(sentence.split()) >= 5, sentence


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_fleet_reports_the_alarm_in_its_conditions(running: World, mutation: str) -> None:
    decision = decide(running, mutating(MUTATIONS[mutation]))
    (update,) = decision.statuses
    assert (update.kind, update.key) == ("fleets", "default")
    assert verdict(decision, "default", "fleets") == ("False", "CheckFailed")
    found = decision.alarm.partition(": ")[2]
    assert found[:400] in condition(decision, "default", "fleets")["message"]


def test_other_conditions_and_fields_of_fleet_stay(running: World) -> None:
    before = running.decide()
    fleet = running.of(Fleet)["default"]
    status = next(s.status for s in before.statuses if s.kind == "fleets")
    snapshot = replace(running.snapshot(), fleet=fleet.model_copy(update={"status": status}))
    decision = decide(running, mutating(MUTATIONS["no shares"]), snapshot)
    types = [c.type for c in decision.statuses[0].status.conditions]  # type: ignore[union-attr]
    assert sorted(types) == ["Accepted", "PlanCurrent", "Programmed", "Ready"]
    assert verdict(decision, "default", "fleets", "Programmed") == verdict(
        before, "default", "fleets", "Programmed"
    )
    assert decision.statuses[0].status.model_fields_set == {"observed_generation", "conditions"}


def test_without_a_fleet_object_an_alarm_has_no_status() -> None:
    decision = decide(a_world(), mutating(MUTATIONS["no shares"]))
    assert decision.alarm != ""
    assert decision.statuses == ()


def test_of_many_violations_an_alarm_names_five_and_counts_the_others() -> None:
    names = [f"c{number}" for number in range(12)]
    world = World(some_nodes("l40s", 8), a_fleet(), a_pool(), a_model(), *map(a_class, names))
    decision = decide(world, mutating(MUTATIONS["no shares"]))
    *named, last = decision.alarm.partition(": ")[2].split("; ")
    assert len(named) == step_module.MOST_VIOLATIONS
    assert re.fullmatch(r"and \d+ more", last)


def test_the_decision_after_an_alarm_is_the_one_that_would_have_been_made(running: World) -> None:
    decide(running, mutating(MUTATIONS["no shares"]))
    assert decide(running, solve).alarm == ""


def a_broken_solver(problem: PlanProblem, limits: SolveLimits) -> Plan:
    """Of a module, so that it crosses to the worker process."""
    return replace(solve(problem, limits), shares={})


def test_a_step_with_a_solver_crosses_to_another_process() -> None:
    assert pickle.loads(pickle.dumps(step)) is step
    assert pickle.loads(pickle.dumps(partial(step, solver=solve))).keywords == {"solver": solve}


def test_an_alarm_crosses_back(running: World) -> None:
    decision = decide(running, a_broken_solver)
    assert pickle.loads(pickle.dumps(decision)) == decision
