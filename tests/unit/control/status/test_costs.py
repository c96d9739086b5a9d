"""What running replicas cost, by class, model and pool."""

from __future__ import annotations

import math

from builders import a_class, a_fleet, a_model, a_pool, some_nodes
from small_fleet import World, body_of

from argosy.control.decision import Decision
from argosy.keys import ModelKey

LLAMA = ModelKey("default/llama")


def shown(decision: Decision) -> dict[tuple[str, str, str], float]:
    return {(c.workload_class, c.model, c.pool): round(c.usd_per_hour, 6) for c in decision.costs}


def a_world(*classes: tuple[str, float], nodes: int = 4) -> World:
    objects = [a_class(name, rate) for name, rate in classes]
    world = World(some_nodes("l40s", nodes), a_fleet(budgetUsdPerHour=50), a_pool(), a_model(), *objects)
    world.settle()
    return world


def test_classes_that_share_replicas_share_their_price_by_planned_rates() -> None:
    world = a_world(("chat", 6.0), ("batch", 2.0))
    decision = world.decide()
    total = body_of(decision, "default", "fleets")["costUsdPerHour"]
    costs = shown(decision)
    assert costs.keys() == {(f"default/{name}", LLAMA, "l40s") for name in ("chat", "batch")}
    assert math.isclose(costs["default/chat", LLAMA, "l40s"], total * 0.75)
    assert math.isclose(costs["default/batch", LLAMA, "l40s"], total * 0.25)


def test_classes_without_requests_share_it_in_equal_parts() -> None:
    costs = shown(a_world(("chat", 0.0), ("batch", 0.0)).decide())
    assert len(set(costs.values())) == 1
    assert len(costs) == 2


def test_what_is_shown_adds_up_to_what_the_fleet_costs_whatever_happens() -> None:
    world = a_world(("chat", 8.0))
    for act in (
        lambda: world.kill_node("l40s-0"),
        lambda: world.apply(a_class("chat", 16.0)),
        lambda: world.apply(a_pool(name="spare", gpu="H100")),
    ):
        act()
        for _ in range(4):
            decision = world.act()
            cost = body_of(decision, "default", "fleets")["costUsdPerHour"]
            assert math.isclose(sum(shown(decision).values()), cost, abs_tol=1e-3)
            world.run(20.0)


def test_a_decision_carries_the_budget() -> None:
    assert a_world(("chat", 8.0)).decide().budget_usd_per_hour == 50
    world = World(some_nodes("l40s", 2), a_fleet(), a_pool(), a_model(), a_class())
    world.settle()
    assert world.decide().budget_usd_per_hour is None
