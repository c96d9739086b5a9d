"""A decision is complete: what it holds is what others would work out from the world after it."""

from __future__ import annotations

from builders import a_class, a_fleet, a_model, a_pool, some_nodes
from small_fleet import World

from argosy.control.routes import route_inputs
from argosy.plan.solution import PlanReasonCode
from argosy.route.compile import compile_routes


def a_settled_world() -> World:
    world = World(some_nodes("l40s", 6), a_fleet(), a_pool(), a_model(), a_class())
    world.settle()
    return world


def test_its_routes_are_those_that_are_published_once_it_is_written() -> None:
    world = a_settled_world()
    world.apply(a_class(rate_per_s=16.0))
    decision = world.decide()
    world.publish(decision)
    published = compile_routes(route_inputs(world.snapshot(), world.applied))
    assert decision.new_plan is not None
    assert decision.routes == published
    assert published.revision == decision.new_plan.spec.revision


def test_it_says_why_in_typed_reasons_that_the_plan_repeats_in_words() -> None:
    world = a_settled_world()
    world.apply(a_class(rate_per_s=16.0))
    decision = world.decide()
    assert decision.new_plan is not None
    assert [r.message for r in decision.why] == [r.message for r in decision.new_plan.spec.reasons]
    assert {reason.code for reason in decision.why} <= set(PlanReasonCode)
    assert decision.why


def test_carried_out_it_leaves_nothing_for_the_next() -> None:
    world = a_settled_world()
    again = world.decide()
    assert (again.new_plan, again.steps, again.life.statuses, again.life.expired) == (None, (), (), ())
