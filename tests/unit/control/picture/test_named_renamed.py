"""What a Deployment was made for, where no plan is applied or several plans name it."""

from __future__ import annotations

from dataclasses import replace

from small_fleet import World, a_class, a_fleet, a_model, a_pool, some_nodes

from argosy.api import FleetPlan, WorkloadClass
from argosy.api.fleetplan import FleetPlanStatus
from argosy.control.picture.named import makers_by_deployment
from argosy.snapshot.fleet import FleetSnapshot


def renamed_twice() -> World:
    """`chat` became `chat2`, and `chat` again."""
    world = World(some_nodes("l40s", 6), a_fleet(), a_pool(), a_model(), a_class("chat"))
    world.rest()
    for before, after in (("chat", "chat2"), ("chat2", "chat")):
        world.apply(a_class(after))
        world.delete(WorkloadClass, f"default/{before}")
        world.run(120)
    return world


def unapplied(plan: FleetPlan) -> FleetPlan:
    return plan.model_copy(update={"status": FleetPlanStatus()})


def missing(snapshot: FleetSnapshot) -> set[str]:
    return {str(ref) for each in makers_by_deployment(snapshot).values() for ref in each.missing}


def test_a_class_that_was_renamed_away_is_not_missed_by_the_plans_that_are_left() -> None:
    world = renamed_twice()
    whole = world.snapshot()
    named = {cell.workload_class for plan in whole.plans for cell in plan.spec.cells}
    assert named == {"default/chat", "default/chat2"}
    assert missing(whole) == set()
    assert missing(replace(whole, plans=tuple(map(unapplied, whole.plans)))) == set()


def test_a_class_of_the_newest_plan_that_lists_a_deployment_is_missed() -> None:
    whole = renamed_twice().snapshot()
    bare = replace(whole, classes={}, plans=tuple(map(unapplied, whole.plans)))
    assert missing(bare) == {"WorkloadClass default/chat"}


def test_a_group_of_which_no_plan_lists_the_deployment_has_the_classes_of_the_newest_plan() -> None:
    whole = renamed_twice().snapshot()
    plans = tuple(
        plan.model_copy(update={"spec": plan.spec.model_copy(update={"deployments": ()})})
        for plan in map(unapplied, whole.plans)
    )
    assert missing(replace(whole, plans=plans)) == set()
