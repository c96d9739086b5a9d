"""A decision on a picture that is not believed, part by part."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from builders import a_class, a_fleet, a_model, a_pod, a_pool
from pictures import AWAKE_S, Entry, a_picture, a_plan

from argosy.api.conditions import Condition, ConditionStatus
from argosy.api.fleetplan import NodeReplicas
from argosy.control.memory import PlanningMemory
from argosy.control.picture.doubt import Doubt
from argosy.control.picture.held import PICTURE, held
from argosy.rollout import PlacePod
from argosy.snapshot.fleet import FleetSnapshot

READY = Condition(type="Ready", status=ConditionStatus.TRUE, reason="Ready")
WHY = Doubt("no pod was listed")
PLAN = a_plan(Entry("d", "chat", ("chat",)))


def ready(item: Any) -> Any:
    return item.model_copy(update={"status": type(item.status)(conditions=(READY,))})


def a_world(**fields: Any) -> FleetSnapshot:
    chosen = {
        "pools": [ready(a_pool())],
        "models": [ready(a_model())],
        "classes": [ready(a_class())],
        "fleet": ready(a_fleet()),
        "plans": (PLAN,),
    }
    return a_picture(**{**chosen, **fields})


def test_every_object_of_the_users_says_that_the_picture_is_not_complete() -> None:
    found = held(a_world(), PlanningMemory(), WHY)
    assert [(u.kind, u.key) for u in found.statuses] == [
        ("fleets", "default"),
        ("workloadclasses", "default/chat"),
        ("servedmodels", "default/llama"),
        ("gpupools", "l40s"),
    ]
    for update in found.statuses:
        [condition] = update.status.conditions
        assert (condition.status, condition.reason) == ("Unknown", "PictureIncomplete")
        assert WHY.sentence in condition.message


def test_what_is_served_all_the_same_stays_ready() -> None:
    found = held(a_world(), PlanningMemory(), Doubt("no node matches any more", is_served=True))
    assert {c.status.value for u in found.statuses for c in u.status.conditions} == {"True"}


def test_the_applied_plan_holds_with_its_routes_and_no_other_plan_is_made() -> None:
    found = held(a_world(), PlanningMemory(), WHY)
    assert (found.follow, found.new_plan, found.doubt) == (PLAN, None, WHY.sentence)
    assert found.routes is not None
    assert [route.class_key for route in found.routes.routes] == ["default/chat"]
    without = held(a_world(plans=()), PlanningMemory(), WHY)
    assert (without.follow, without.routes) == (None, None)


def test_the_mode_is_the_fleets() -> None:
    assert held(a_world(fleet=a_fleet("Recommend")), PlanningMemory(), WHY).mode == "Recommend"


def test_a_doubt_is_remembered_from_its_first_decision_on_and_reported_by_that_one_alone() -> None:
    memory = PlanningMemory(first_seen_s={"another look": 1.0})
    first = held(a_world(), memory, WHY)
    assert [(e.kind, e.key, e.type, e.reason) for e in first.events] == [
        ("Fleet", "default", "Warning", "PictureIncomplete")
    ]
    assert WHY.sentence in first.events[0].message
    assert first.memory == replace(memory, first_seen_s={"another look": 1.0, PICTURE: AWAKE_S})
    later = held(a_world(monotonic_s=AWAKE_S + 10.0), first.memory, WHY)
    assert later.events == ()
    assert later.memory == first.memory


@pytest.mark.parametrize("fleet", [None, a_fleet("Observe")], ids=["no Fleet object", "mode Observe"])
def test_there_is_no_event_without_a_fleet_or_where_argosy_only_observes(fleet: Any) -> None:
    assert held(a_world(fleet=fleet), PlanningMemory(), WHY).events == ()


def test_without_a_fleet_object_the_others_say_it() -> None:
    found = held(a_world(fleet=None), PlanningMemory(), WHY)
    assert "fleets" not in [u.kind for u in found.statuses]
    assert len(found.statuses) == 3


@pytest.mark.parametrize(("place", "expected"), [("n", [PlacePod("default/p", "n")]), (None, [])])
def test_a_pod_for_which_the_plan_has_a_node_gets_it_and_no_other(
    place: str | None, expected: list[PlacePod]
) -> None:
    [entry] = PLAN.spec.deployments
    nodes = (NodeReplicas(node=place, replicas=1),) if place else ()
    spec = PLAN.spec.model_copy(update={"deployments": (entry.model_copy(update={"nodes": nodes}),)})
    gated = a_pod("p", node="", gated=True, ready=False, phase="Pending", deployment=entry.name)
    world = a_world(pods=[gated], plans=(PLAN.model_copy(update={"spec": spec}),))
    assert [each.step for each in held(world, PlanningMemory(), WHY).steps] == expected
