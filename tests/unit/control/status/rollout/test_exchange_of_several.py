"""Exchanges of several classes on one full pool: what each of them, the Fleet and the plan say meanwhile."""

from __future__ import annotations

from small_fleet import World, a_class, a_fleet, a_model, a_pool, condition, some_nodes, steps_of, verdict

from argosy.api import WorkloadClass
from argosy.api.conditions import find_condition
from argosy.rollout import MarkVictim

CHAT, ZETA = "default/chat", "default/zz"
FASTER_BATCHES = a_model(engine={"maxNumSeqs": 128})
# Of another priority: it shares no replicas with chat.
ONE_REPLICA = a_class("zz", rate_per_s=4.0, priority=50)


def a_full_pool(num_nodes: int, *classes: WorkloadClass) -> World:
    """As many replicas at rest as the nodes have GPUs, of classes that exchange the same model's."""
    world = World(some_nodes("l40s", num_nodes), a_fleet(), a_pool(), a_model(), *classes)
    world.rest()
    assert len(world.pods) == 2 * num_nodes
    return world


def said(world: World, seconds: float) -> list[dict[str, tuple[str, str]]]:
    """Ready of the classes and the Fleet, and Progressing of the plan, after each decision."""
    found: list[dict[str, tuple[str, str]]] = []
    for _ in range(round(seconds)):
        world.run(1)
        decision = world.decisions[-1]
        progressing = find_condition(world.applied.status.conditions, "Progressing")
        assert progressing is not None
        found.append(
            {
                "chat": verdict(decision, CHAT),
                "zeta": verdict(decision, ZETA),
                "fleet": verdict(decision, "default", "fleets"),
                "plan": (progressing.status.value, progressing.reason),
            }
        )
    return found


def test_while_exchanges_go_on_no_class_is_unplaceable_and_the_plan_progresses() -> None:
    world = a_full_pool(3, a_class(rate_per_s=20.0), ONE_REPLICA)
    world.apply(FASTER_BATCHES)
    seen = said(world, 250.0)
    assert {reason for each in seen for reason in (each["chat"][1], each["fleet"][1])} <= {
        "Exchanging",
        "ExchangeQueued",
        "Loading",
        "Ready",
    }
    assert seen[0]["zeta"] == ("False", "ExchangeQueued")
    assert {each["zeta"][1] for each in seen} == {"ExchangeQueued", "Exchanging", "Ready"}
    assert {each["plan"] for each in seen} == {
        ("True", "Exchanging"),
        ("True", "Starting"),
        ("True", "RolledOut"),
    }
    assert seen[-1]["fleet"] == ("True", "Ready")


def test_a_class_whose_turn_has_not_come_names_the_one_that_goes_first_and_asks_for_nothing() -> None:
    world = a_full_pool(3, a_class(rate_per_s=20.0), ONE_REPLICA)
    world.apply(FASTER_BATCHES)
    found = condition(world.act(), ZETA)
    assert found["message"] == (
        "It waits for the exchange of default/chat, which goes first in GPUPool l40s; the last replica of the"
        " former plan serves until its successor does."
    )
    events = [e for d in world.decisions for e in d.events if e.key == ZETA and e.reason == "ExchangeWaits"]
    assert events == []


def test_a_class_whose_room_went_to_another_one_is_still_exchanging() -> None:
    """One of chat's replicas has gone, the other class loads in its place, and chat's next one is not marked
    yet: the API server took its time, say.
    """
    world = a_full_pool(3, a_class(rate_per_s=20.0), ONE_REPLICA)
    world.apply(FASTER_BATCHES)
    world.act()
    marked = next(p.key for p in world.pods.values() if p.is_marked)
    while marked in world.pods:
        world.now_s += 1.0
        world.reconcile()
        without_marks(world)
    world.reconcile()
    assert sorted(p.ready for p in world.pods_of("l40s/zz")) == [False, True]
    decision = world.decide()
    assert verdict(decision, CHAT) == ("False", "Exchanging")
    assert condition(decision, CHAT)["message"].startswith(
        "0 of 5 planned replicas get requests; 4 replicas of"
    )
    assert verdict(decision, "default", "fleets") == ("False", "Exchanging")


def test_a_class_whose_new_replica_envoys_have_yet_to_find_is_still_exchanging() -> None:
    world = a_full_pool(2, a_class(rate_per_s=16.0))
    world.apply(FASTER_BATCHES)
    former = set(world.pods)
    while not any(p.node for key, p in world.pods.items() if key not in former):
        world.run(1)
    [new] = [key for key, p in world.pods.items() if key not in former and p.node]
    world.unknown.add(new)
    while not world.pods[new].ready:
        world.run(1)
    decision = world.decide()
    assert verdict(decision, CHAT) == ("False", "Exchanging")
    assert condition(decision, CHAT)["message"].startswith(
        "0 of 4 planned replicas get requests; 3 replicas of"
    )


def without_marks(world: World) -> None:
    """One decision, carried out but for its marks."""
    decision = world.decide()
    world.publish(decision)
    for step in steps_of(decision):
        if not isinstance(step, MarkVictim):
            world.take(step)


def test_of_two_last_replicas_none_goes_first_and_both_say_what_would_let_them() -> None:
    world = a_full_pool(1, a_class(rate_per_s=4.0), ONE_REPLICA)
    world.apply(FASTER_BATCHES)
    last = said(world, 60.0)[-1]
    assert (last["chat"], last["zeta"]) == (("False", "ExchangeWaits"), ("False", "ExchangeWaits"))
    assert last["plan"] == ("False", "ExchangeWaits")


def test_a_class_without_a_former_replica_is_unplaceable_beside_another_ones_exchange() -> None:
    """Each node has one free GPU, and a replica of zeta needs two of one node."""
    large = a_model("large", parallelShapes=[{"tensorParallel": 2}])
    zeta = a_class("zz", rate_per_s=8.0, models=[{"name": "large"}])
    world = World(some_nodes("l40s", 2), a_fleet(), a_pool(), a_model(), large, a_class())
    world.rest()
    assert len({p.node for p in world.pods.values()}) == 2
    world.apply(zeta, FASTER_BATCHES)
    seen = said(world, 15.0)
    assert ("False", "Exchanging") in {each["chat"] for each in seen}
    assert {each["zeta"] for each in seen if each["chat"][1] == "Exchanging"} == {("False", "Unplaceable")}
