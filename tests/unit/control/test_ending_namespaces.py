"""Classes in a namespace that is being deleted: nothing is planned for them, and that is the reason given."""

from __future__ import annotations

import pytest
from small_fleet import World, a_class, a_fleet, a_model, a_pool, body_of, condition, some_nodes

from argosy.api.schema.timestamp import rfc3339
from argosy.rollout import CreateDeployment, ProtectReplicas

CHAT, LLAMA = "default/chat", "default/llama"


def an_ending_world() -> tuple[World, str]:
    """A class that was applied while its namespace was going, and the words for that."""
    world = World(some_nodes("l40s", 4), a_fleet(), a_pool(), a_model(), a_class())
    world.ending["default"] = world.now_s - 5.0
    since = rfc3339(world.now_s - 5.0)
    return world, f"Namespace default is being deleted since {since}: nothing is made in it any more"


def test_nothing_is_planned_in_a_namespace_that_is_being_deleted_and_the_demand_is_unserved() -> None:
    world, sentence = an_ending_world()
    decision = world.act()
    assert not any(isinstance(each.step, CreateDeployment | ProtectReplicas) for each in decision.steps)
    spec = world.applied.spec
    assert [d for d in spec.deployments if d.replicas] == []
    assert ([cell.unserved_share for cell in spec.cells], spec.cost_usd_per_hour) == ([1.0], 0.0)
    [event] = [
        e for e in decision.events if e.key == CHAT and e.reason == "NamespaceEnding" and "lacks" in e.message
    ]
    assert event.message.startswith("default/chat lacks 8.0 req/s of 8.0 req/s: ")
    assert sentence in event.message
    assert body_of(decision, CHAT)["unservedShare"] == 1.0


@pytest.mark.parametrize(("plural", "key"), [("workloadclasses", CHAT), ("servedmodels", LLAMA)])
def test_a_class_and_a_model_say_since_when_their_namespace_is_going(plural: str, key: str) -> None:
    world, sentence = an_ending_world()
    found = condition(world.decide(), key, plural)
    assert (found["status"], found["reason"]) == ("False", "NamespaceEnding")
    assert found["message"].startswith(sentence)


def test_replicas_of_a_namespace_that_begins_to_go_are_not_replaced_and_their_gpus_become_free() -> None:
    world = World(some_nodes("l40s", 1), a_fleet(), a_pool(), a_model(), a_class())
    world.rest()
    world.ending["default"] = world.now_s
    world.run(5)
    assert sum(world.serving().values()) == 2, "they serve until the namespace takes them"
    world.deployments.clear()
    world.pods.clear()
    world.run(60)
    assert world.deployments == {}
    assert world.applied.spec.cells[0].unserved_share == 1.0


def test_a_namespace_that_ends_within_the_window_of_a_revision_keeps_nothing_planned() -> None:
    """What the revision has just started there holds no GPU, costs nothing and is not made again."""
    world = World(some_nodes("l40s", 3), a_fleet(), a_pool(), a_model(), a_class())
    world.rest()
    world.apply(a_class(rate_per_s=16.0))
    world.run(3)
    world.ending["default"] = world.now_s
    world.run(2)
    world.deployments.clear()
    world.pods.clear()
    world.run(2)
    assert [d for d in world.applied.spec.deployments if d.replicas] == []
    assert world.applied.spec.cells[0].unserved_share == 1.0
    assert world.deployments == {}
