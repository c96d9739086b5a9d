"""Planning that a user pauses or sends back: what is kept, what still happens, and what users read of it."""

from __future__ import annotations

from typing import Any

import pytest
from builders import a_class, a_fleet, a_model, a_pool, some_nodes
from small_fleet import World, condition

from argosy.api import Fleet, FleetPlan
from argosy.api.conditions import Condition, ConditionStatus
from argosy.api.orders import PAUSED, ROLLBACK

FLEET = ("default", "fleets", "PlanCurrent")


def ordered(mode: str = "Auto", **annotations: str) -> Fleet:
    """The Fleet with annotations, by the end of their names."""
    names = {"paused": PAUSED, "rollback": ROLLBACK}
    fleet = a_fleet(mode, stabilizationSeconds=0)
    metadata = fleet.metadata.model_copy(
        update={"annotations": {names[k]: v for k, v in annotations.items()}}
    )
    return fleet.model_copy(update={"metadata": metadata})


def at_rest(rate_per_s: float = 8.0, *more: Any) -> World:
    world = World(
        some_nodes("l40s", 6), ordered(), a_pool(), a_model(), a_class(rate_per_s=rate_per_s), *more
    )
    world.settle()
    return world


def says(world: World) -> tuple[str, str, str]:
    found = condition(world.decisions[-1], *FLEET)
    return found["status"], found["reason"], found["message"]


def events(world: World) -> list[str]:
    return [
        e.reason for d in world.decisions for e in d.events if e.kind == "Fleet" and e.reason != "NewPlan"
    ]


def test_a_paused_fleet_keeps_its_replicas_whatever_is_asked_for() -> None:
    world = at_rest()
    before, revision = dict(world.replicas()), world.applied.spec.revision
    world.apply(ordered(paused="freeze until Monday."))
    world.apply(a_class(rate_per_s=40.0))
    world.settle()
    assert world.replicas() == before
    assert world.applied.spec.revision == revision
    status, reason, message = says(world)
    assert (status, reason) == ("False", "Paused")
    assert "argosy.dev/paused of Fleet/default (freeze until Monday): the replicas and shares of" in message
    assert "A new plan would have 10 x llama-l40s" in message
    ready = condition(world.decisions[-1], "default/chat")
    assert (ready["status"], ready["reason"]) == ("False", "PlanningHeld")
    assert (
        "lacks 32.0 req/s of 40.0 req/s: because of the annotation argosy.dev/paused of Fleet/default"
        in (ready["message"])
    )
    world.apply(ordered())
    world.settle()
    assert sum(world.replicas().values()) == 10
    assert says(world)[1] == "PlanCurrent"


def test_that_planning_goes_on_is_an_event_once() -> None:
    world = at_rest()
    world.apply(ordered(paused="x"))
    world.settle()
    held = Condition(type="PlanCurrent", status=ConditionStatus.TRUE, reason="Paused")
    fleet = ordered()
    world.apply(fleet.model_copy(update={"status": fleet.status.model_copy(update={"conditions": (held,)})}))
    world.act()
    assert events(world)[-1] == "Resumed"
    world.apply(fleet)
    assert [e for e in world.act().events if e.reason == "Resumed"] == []


def test_while_nothing_else_is_wanted_the_plan_is_current_and_paused() -> None:
    world = at_rest()
    world.apply(ordered(paused="true"))
    world.settle()
    status, reason, message = says(world)
    assert (status, reason) == ("True", "Paused")
    assert "A new plan would have the same replicas." in message
    assert events(world).count("Paused") == 1


def test_while_paused_a_replica_of_a_lost_node_starts_on_another() -> None:
    world = at_rest()
    world.apply(ordered(paused="x"))
    world.settle()
    node = next(iter(world.pods_of_class("default/chat"))).node
    world.kill_node(node)
    world.run(60.0)
    pods = world.pods_of_class("default/chat")
    assert len([p for p in pods if p.ready and p.node != node]) == 2
    assert says(world)[1] == "Paused"


def test_while_paused_a_class_that_is_deleted_goes_and_the_others_stay() -> None:
    world = at_rest(8.0, a_class("batch", 4.0, priority=5))
    before = sum(world.replicas().values())
    world.apply(ordered(paused="x"))
    world.settle()
    world.delete(type(a_class()), "default/batch")
    world.settle()
    after = sum(world.replicas().values())
    assert 0 < after < before
    assert {c.workload_class for c in world.applied.spec.cells} == {"default/chat"}


def test_while_paused_classes_that_would_share_replicas_otherwise_keep_theirs() -> None:
    world = at_rest(8.0, a_class("batch", 4.0))
    pods, groups = set(world.pods), {c.sharing_group for c in world.applied.spec.cells}
    assert len(groups) == 1, "they share"
    world.apply(ordered(paused="x"))
    world.apply(a_class("batch", 4.0, priority=5))
    world.settle()
    assert says(world)[1] == "Paused"
    world.kill_node(world.pods_of_class("default/chat")[0].node)
    world.run(60.0)
    assert says(world)[1] == "Paused"
    assert {c.sharing_group for c in world.applied.spec.cells} == groups
    assert len([p for p in world.pods.values() if p.ready and p.key not in world.silent]) == len(pods)


def test_where_an_edit_makes_the_held_replicas_impossible_nothing_is_changed_and_it_is_said() -> None:
    world = at_rest()
    before = dict(world.replicas())
    world.apply(ordered(paused="x"))
    world.apply(a_model(engine={"maxNumSeqs": 100}))
    world.settle()
    assert world.replicas() == before
    status, reason, message = says(world)
    assert (status, reason) == ("False", "HoldRefused")
    assert "cannot be made of the present objects" in message
    assert "nothing is planned meanwhile" in message


def rolled_back_world() -> tuple[World, FleetPlan, FleetPlan]:
    """At rest with a second plan; and both plans."""
    world = at_rest()
    first = world.applied
    world.apply(a_class(rate_per_s=40.0))
    world.settle()
    return world, first, world.applied


def test_going_back_plans_the_earlier_replicas_as_a_new_revision_and_holds_them() -> None:
    world, first, second = rolled_back_world()
    assert sum(world.replicas().values()) == 10
    world.apply(ordered(rollback=str(first.spec.revision), paused="a bad day"))
    world.settle()
    assert sum(world.replicas().values()) == 2
    held = world.applied
    assert held.spec.revision > second.spec.revision
    assert held.spec.restores == first.spec.revision
    assert [d.replicas for d in held.spec.deployments if d.replicas] == [2]
    status, reason, message = says(world)
    assert (status, reason) == ("False", "RolledBack")
    assert "annotations argosy.dev/paused and argosy.dev/rollback of" in message
    assert f"of revision {first.spec.revision} are held ($1.80 an hour)" in message
    world.apply(a_class(rate_per_s=30.0))
    world.settle()
    assert world.applied.spec.revision == held.spec.revision
    world.apply(ordered())
    world.settle()
    assert sum(world.replicas().values()) > 2
    assert world.applied.spec.restores is None


def test_it_needs_no_second_look_at_the_removal_that_was_ordered() -> None:
    world, first, _ = rolled_back_world()
    world.apply(ordered(rollback=str(first.spec.revision)))
    world.settle()
    assert not any(d.waiting for d in world.decisions)


def test_what_was_held_stays_once_the_revision_itself_was_removed() -> None:
    world, first, _ = rolled_back_world()
    world.apply(ordered(rollback=str(first.spec.revision)))
    world.settle()
    world.plans = tuple(plan for plan in world.plans if plan.key != first.key)
    world.settle()
    assert says(world)[1] == "RolledBack"
    assert sum(world.replicas().values()) == 2


@pytest.mark.parametrize(
    ("value", "words"),
    [("99", "there is no FleetPlan of revision 99"), ("plan-1", "has the value 'plan-1'")],
)
def test_an_order_that_names_no_revision_pauses_and_is_explained(value: str, words: str) -> None:
    world = at_rest()
    revision = world.applied.spec.revision
    world.apply(ordered(rollback=value))
    world.apply(a_class(rate_per_s=40.0))
    world.settle()
    assert world.applied.spec.revision == revision
    status, reason, message = says(world)
    assert (status, reason) == ("False", "HoldRefused")
    assert words in message
    assert f"revision {revision} is held instead" in message


def test_in_mode_recommend_no_other_plan_is_recommended_meanwhile() -> None:
    world = World(some_nodes("l40s", 6), ordered("Recommend"), a_pool(), a_model(), a_class())
    world.run(10.0)
    world.apply(ordered("Recommend", paused="x"))
    world.apply(a_class(rate_per_s=40.0))
    world.run(10.0)
    assert len(world.plans) == 1
    assert says(world)[1] == "Paused"


def test_before_the_first_plan_a_pause_keeps_everything_as_it_is_and_says_so() -> None:
    world = World(some_nodes("l40s", 6), ordered(paused="not yet"), a_pool(), a_model(), a_class())
    world.run(10.0)
    assert (world.replicas(), world.plans) == ({}, ())
    status, reason, message = says(world)
    assert (status, reason) == ("False", "HoldRefused")
    assert "there is no FleetPlan yet that could be held; nothing is planned meanwhile" in message
    world.apply(ordered())
    world.settle()
    assert sum(world.replicas().values()) == 2


def test_observe_holds_nothing() -> None:
    world = World(some_nodes("l40s", 6), ordered("Observe", paused="x"), a_pool(), a_model(), a_class())
    world.run(5.0)
    assert says(world)[1] == "ModeNotAuto"
