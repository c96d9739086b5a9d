"""What the sizing problem says of a running fleet."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from small_fleet import World, a_class, a_fleet, a_model, a_pool, some_nodes

from argosy.control.step import StepSettings, step
from argosy.plan.problem import PlanProblem
from argosy.plan.solution import Plan
from argosy.plan.solve import solve
from argosy.plan.solver.search import SolveLimits
from argosy.snapshot.cluster import PodState
from argosy.snapshot.liveness import SILENT_AFTER_S


def a_settled_world() -> World:
    """Two replicas of one class, both serving for a minute."""
    world = World(some_nodes("l40s", 4), a_fleet(), a_pool(), a_model(), a_class())
    world.settle()
    world.now_s += 60.0
    return world


def current_replicas(world: World) -> list[int]:
    """Those of every option that the solver was asked about."""
    asked: list[PlanProblem] = []

    def recording(problem: PlanProblem, limits: SolveLimits) -> Plan:
        asked.append(problem)
        return solve(problem, limits)

    settings = StepSettings("a test", plan_time_limit_s=None)
    step(world.snapshot(), world.memory, settings, world.perf, recording)
    return [option.current_replicas for option in asked[0].options]


def change(world: World, **fields: Any) -> PodState:
    """Change the first pod."""
    first = min(world.pods)
    world.pods[first] = replace(world.pods[first], **fields)
    return world.pods[first]


def test_replicas_count_while_they_serve_and_while_they_load() -> None:
    world = a_settled_world()
    assert current_replicas(world) == [2]
    change(world, ready=False, ready_since_s=None)
    assert current_replicas(world) == [2]


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({"deleting": True}, id="it drains"),
        pytest.param({"phase": "Failed", "ready": False, "ready_since_s": None}, id="it has ended"),
        pytest.param({"node": "gone"}, id="its node is lost, and the engine is not heard"),
    ],
)
def test_a_replica_that_is_going_or_lost_is_not_a_current_one(fields: dict[str, Any]) -> None:
    world = a_settled_world()
    change(world, **fields)
    world.is_deaf = True
    assert current_replicas(world) == [1]


def test_a_replica_whose_engine_is_silent_is_not_a_current_one() -> None:
    world = a_settled_world()
    world.silence(min(world.pods))
    world.now_s += SILENT_AFTER_S
    assert current_replicas(world) == [1]


def test_a_replica_that_is_stuck_is_not_a_current_one() -> None:
    """Its node was given to it, and the scheduler finds no room there."""
    world = a_settled_world()
    node = change(world).node
    since_s = world.now_s - 60.0
    change(world, ready=False, ready_since_s=None, node="", assigned_node=node, unschedulable_since_s=since_s)
    assert current_replicas(world) == [1]
