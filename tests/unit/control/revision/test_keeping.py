"""Replicas that stay though nothing can be planned for their class: what the plan says of them."""

from __future__ import annotations

from typing import Any

from builders import a_class, a_fleet, a_model, a_pool, some_nodes
from small_fleet import World, body_of, condition

from argosy.api import WorkloadClass
from argosy.api.fleetplan import PlannedCell
from argosy.control.routes import route_inputs
from argosy.route.compile import compile_routes

CHAT = "default/chat"
OUT_OF_REACH: dict[str, Any] = {"slo": {"ttft": {"p95Milliseconds": 1}}}
BATCH = a_class("batch", models=[{"name": "mistral"}])
MISTRAL = a_model("mistral")


def a_resting_fleet(*classes: WorkloadClass) -> World:
    """Two replicas for each class."""
    world = World(some_nodes("l40s", 4), a_fleet(), a_pool(), a_model(), MISTRAL, *classes)
    world.rest()
    return world


def cell_of(world: World, key: str = CHAT) -> PlannedCell:
    return next(c for c in world.applied.spec.cells if c.workload_class == key)


def cost_of_fleet(world: World) -> float:
    return float(body_of(world.decisions[-1], "default", "fleets")["costUsdPerHour"])


def test_the_plan_of_an_slo_out_of_reach_costs_what_runs_and_serves_what_is_served() -> None:
    world = a_resting_fleet(a_class(), BATCH)
    world.decisions.clear()
    world.apply(a_class(**OUT_OF_REACH))
    world.run(30.0)
    spec = world.applied.spec
    assert sum(world.serving().values()) == 4
    assert spec.cost_usd_per_hour == cost_of_fleet(world) == 3.6
    assert sorted((d.replicas, d.kept_replicas) for d in spec.deployments) == [(0, 2), (2, 0)]
    cell = cell_of(world)
    assert (cell.unserved_share, cell.kept_share, cell.capacity_requests_per_second) == (0.0, 1.0, 0.0)
    assert body_of(world.decisions[-1], CHAT)["unservedShare"] == 0.0
    assert [d.new_plan is not None for d in world.decisions].count(True) == 1
    routes = compile_routes(route_inputs(world.snapshot(), world.applied)).routes
    assert all(route.backends for route in routes)


def test_the_reason_the_event_and_the_class_say_that_replicas_are_kept_and_what_they_cost() -> None:
    world = a_resting_fleet(a_class(), BATCH)
    world.apply(a_class(**OUT_OF_REACH))
    decision = world.act()
    [reason] = [r for r in world.applied.spec.reasons if r.code == "Kept"]
    assert "2 replicas of llama-l40s-tp1-" in reason.message
    assert "($1.80/h) more than planned are kept: nothing can be planned for default/chat" in reason.message
    [event] = [e for e in decision.events if e.key == CHAT and e.reason == "NoVariant"]
    assert event.message.endswith("The replicas that run are kept and serve it without that promise.")
    ready = condition(decision, CHAT)
    assert ready["reason"] == "SloUnreachable"
    assert "it keeps the 2 replicas that it has" in ready["message"]


def test_of_a_group_only_the_replicas_beyond_the_plan_of_its_other_classes_are_kept() -> None:
    world = a_resting_fleet(a_class(), a_class("other"))
    world.apply(a_class(**OUT_OF_REACH))
    world.run(30.0)
    [entry] = world.applied.spec.deployments
    assert (entry.replicas, entry.kept_replicas) == (2, 2)
    assert world.applied.spec.cost_usd_per_hour == cost_of_fleet(world) == 3.6
    assert (cell_of(world).kept_share, cell_of(world, "default/other").kept_share) == (1.0, 0.0)


def test_a_class_that_nothing_serves_yet_is_unserved_and_costs_nothing() -> None:
    world = World(some_nodes("l40s", 4), a_fleet(), a_pool(), a_model(), a_class(**OUT_OF_REACH))
    world.act()
    assert world.applied.spec.cost_usd_per_hour == 0.0
    assert (cell_of(world).unserved_share, cell_of(world).kept_share) == (1.0, 0.0)


def test_an_slo_within_reach_again_plans_the_kept_replicas_and_starts_none() -> None:
    world = a_resting_fleet(a_class(), BATCH)
    pods = set(world.pods)
    world.apply(a_class(**OUT_OF_REACH))
    world.run(30.0)
    world.apply(a_class())
    world.settle()
    assert set(world.pods) == pods
    assert [(d.replicas, d.kept_replicas) for d in world.applied.spec.deployments] == [(2, 0), (2, 0)]
    assert (cell_of(world).kept_share, world.applied.spec.cost_usd_per_hour) == (0.0, 3.6)
