"""Plans that users approve in mode Recommend: Argosy acts on these, and on no other."""

from __future__ import annotations

from dataclasses import replace

from builders import a_class, a_fleet, a_model, a_pool, some_nodes
from small_fleet import World, condition

from argosy.api.conditions import find_condition
from argosy.api.orders import APPROVED
from argosy.control.teardown.remains import mode_of


def recommending() -> World:
    """Nothing runs; one plan is recommended."""
    fleet = a_fleet("Recommend", stabilizationSeconds=0)
    world = World(some_nodes("l40s", 6), fleet, a_pool(), a_model(), a_class())
    world.run(5.0)
    assert world.replicas() == {}
    return world


def approve(world: World, revision: int) -> None:
    def marked(plan: object) -> object:
        metadata = plan.metadata.model_copy(update={"annotations": {APPROVED: "true"}})  # type: ignore[attr-defined]
        return plan.model_copy(update={"metadata": metadata})  # type: ignore[attr-defined]

    world.plans = tuple(marked(p) if p.spec.revision == revision else p for p in world.plans)


def approved() -> World:
    world = recommending()
    approve(world, 1)
    world.settle()
    return world


def says(world: World) -> tuple[str, str, str]:
    found = condition(world.decisions[-1], "default", "fleets", "PlanCurrent")
    return found["status"], found["reason"], found["message"]


def plan_of(world: World, revision: int) -> tuple[str | None, dict[str, str]]:
    (plan,) = (p for p in world.plans if p.spec.revision == revision)
    found = (find_condition(plan.status.conditions, t) for t in ("Applied", "RolledOut"))
    return plan.status.phase, {c.type: c.reason for c in found if c is not None}


def test_an_approved_plan_is_carried_out_to_its_end() -> None:
    world = approved()
    assert sum(world.replicas().values()) == 2
    assert plan_of(world, 1) == ("Applied", {"Applied": "Applied", "RolledOut": "RolledOut"})
    assert says(world)[:2] == ("True", "PlanCurrent")
    messages = [e.message for d in world.decisions for e in d.events if e.reason == "Approved"]
    assert messages == ["plan-000001 was approved: Argosy acts on it ($1.80 an hour)."]
    ready = condition(world.decisions[-1], "default/chat")
    assert (ready["status"], ready["reason"]) == ("True", "Ready")


def test_the_next_recommendation_waits_for_its_own_approval() -> None:
    world = approved()
    world.apply(a_class(rate_per_s=40.0))
    world.settle()
    assert sum(world.replicas().values()) == 2
    assert plan_of(world, 2) == ("Recommended", {"Applied": "Recommended"})
    status, reason, message = says(world)
    assert (status, reason) == ("False", "ApprovalWaits")
    assert "(argosy approve 2); until then Argosy acts on revision 1 ($1.80 an hour)" in message
    approve(world, 2)
    world.settle()
    assert sum(world.replicas().values()) == 10
    assert plan_of(world, 1)[0] == "Superseded"
    assert plan_of(world, 2)[0] == "Applied"


def test_a_smaller_plan_that_is_approved_needs_no_second_look() -> None:
    world = approved()
    world.apply(a_class(rate_per_s=40.0))
    world.settle()
    approve(world, 2)
    world.settle()
    world.apply(a_class(rate_per_s=8.0))
    world.settle()
    approve(world, 3)
    world.settle()
    assert sum(world.replicas().values()) == 2
    assert not any(d.waiting for d in world.decisions)


def test_a_replica_that_is_lost_with_its_pod_is_replaced_in_place() -> None:
    world = approved()
    pod = world.pods_of_class("default/chat")[0]
    world.delete_pod(pod.key)
    world.run(60.0)
    assert len([p for p in world.pods_of_class("default/chat") if p.ready]) == 2


def test_an_edit_that_the_approved_plan_does_not_allow_for_changes_nothing_until_the_next_approval() -> None:
    world = approved()
    before = set(world.deployments)
    world.apply(a_model(engine={"maxNumSeqs": 100}))
    world.settle()
    assert set(world.deployments) == before
    assert sum(world.replicas().values()) == 2
    assert says(world)[1] == "ApprovalWaits"
    approve(world, 2)
    world.settle()
    assert set(world.deployments) != before
    assert sum(world.replicas().values()) == 2


def test_approval_means_nothing_in_observe_and_auto_makes_its_own_plans() -> None:
    world = recommending()
    approve(world, 1)
    world.apply(a_fleet("Observe"))
    world.run(5.0)
    assert world.replicas() == {}
    world.apply(a_fleet("Auto", stabilizationSeconds=0))
    world.settle()
    assert world.applied.spec.revision == 2


def test_an_operator_that_acts_on_an_approved_plan_makes_again_what_is_removed() -> None:
    world = approved()
    fleet = {"metadata": {"name": "default"}, "spec": {"mode": "Recommend"}}
    plans = [plan.to_object() for plan in world.plans]
    assert mode_of([fleet], plans, is_fleet_installed=True) == "Auto"
    unapproved = [replace_annotations(plan) for plan in plans]
    assert mode_of([fleet], unapproved, is_fleet_installed=True) == "Recommend"
    assert replace(world.snapshot(), plans=()).acting_mode == "Recommend"


def replace_annotations(plan: dict[str, dict[str, object]]) -> dict[str, dict[str, object]]:
    return {**plan, "metadata": {**plan["metadata"], "annotations": {}}}
