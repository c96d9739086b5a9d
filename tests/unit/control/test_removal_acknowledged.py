"""A count falls once no Envoy sends requests to the replicas that go; one that is silent holds nothing up."""

from __future__ import annotations

from dataclasses import replace

import pytest
from rotation import in_rotation
from small_fleet import World, a_class, a_fleet, a_model, a_pool, some_nodes, steps_of

from argosy.api import Fleet, ServedModel, WorkloadClass
from argosy.api.conditions import Reason
from argosy.control.fast import removal_triggers
from argosy.control.state.routable import PATIENCE_S, RECONNECT_S
from argosy.control.state.silence import doubted_pods
from argosy.rollout import MarkVictim, ScaleDeployment


def a_world() -> World:
    """Class chat with two replicas or more, and nothing that waits."""
    world = World([*some_nodes("l40s", 3)], a_fleet(), a_pool(), a_model(), a_class(rate_per_s=16.0))
    world.rest()
    return world


def counts(decision: object) -> list[int]:
    return [s.replicas for s in steps_of(decision) if isinstance(s, ScaleDeployment)]  # type: ignore[arg-type]


def test_a_victim_leaves_the_endpoints_before_its_count_falls() -> None:
    world = a_world()
    before = in_rotation(world.snapshot())
    world.apply(a_class(rate_per_s=8.0))
    marked = {s.pod for s in steps_of(world.act()) if isinstance(s, MarkVictim)}
    assert marked
    assert in_rotation(world.snapshot()) == before - marked
    assert not any(p.deleting for p in world.pods.values())
    assert list(removal_triggers(world.snapshot(), world.memory))
    world.act()
    assert {p.key for p in world.pods.values() if p.deleting} == marked


def test_an_envoy_that_does_not_acknowledge_holds_a_removal_up_for_a_minute_and_that_is_said() -> None:
    world = a_world()
    world.is_envoy_frozen = True
    world.apply(a_class(rate_per_s=8.0))
    decision = world.act()
    began_s = world.now_s
    assert (counts(decision), decision.waiting) == ([], "")
    while not counts(decision := world.act()):
        if world.now_s - began_s >= RECONNECT_S:
            assert "Envoy edge has not acknowledged that it takes no requests any more" in decision.waiting
        world.now_s += 1.0
    assert world.now_s - began_s == PATIENCE_S
    [first, *_] = [e for e in decision.events if e.reason == "RemovalUnacknowledged"]
    assert (first.kind, first.type) == (Fleet.KIND, "Warning")
    assert "is removed although it was waited for 60 s and Envoy edge" in first.message


def test_engines_that_are_doubted_for_a_moment_do_not_make_a_removal_wait_anew() -> None:
    world = a_world()
    world.is_envoy_frozen = True
    world.apply(a_class(rate_per_s=8.0))
    world.act()
    began_s = world.now_s
    world.run(PATIENCE_S / 2)
    for pod in world.pods:
        world.silence(pod)
    while not doubted_pods(world.snapshot()):
        world.now_s += 1.0
    assert not steps_of(world.act()), "nothing is done while the engines are doubted"
    for pod in world.pods:
        world.awaken(pod)
    while not counts(world.act()):
        world.now_s += 1.0
    assert world.now_s - began_s == PATIENCE_S


def test_a_victim_that_was_back_in_rotation_while_argosy_did_not_act_is_waited_for_anew() -> None:
    world = a_world()
    before = in_rotation(world.snapshot())
    world.is_envoy_frozen = True
    world.apply(a_class(rate_per_s=8.0))
    world.act()
    world.apply(a_fleet("Observe"))
    world.run(2 * PATIENCE_S)
    assert in_rotation(world.snapshot()) == before
    world.apply(a_fleet())
    began_s = world.now_s
    while not counts(world.act()):
        world.now_s += 1.0
    assert world.now_s - began_s == PATIENCE_S


def test_fleet_says_which_pod_waits_for_which_envoy() -> None:
    world = a_world()
    world.is_envoy_frozen = True
    world.apply(a_class(rate_per_s=8.0))
    world.run(RECONNECT_S + 1.0)
    [fleet] = [u for u in world.act().statuses if u.kind == Fleet.PLURAL]
    [ready] = [c for c in fleet.status.conditions if c.type == "Ready"]
    assert (ready.status, ready.reason) == ("True", Reason.REMOVAL_WAITS)
    assert "takes no new requests where others can" in ready.message


def test_a_mark_that_is_taken_back_puts_the_endpoint_back() -> None:
    world = a_world()
    before = in_rotation(world.snapshot())
    world.is_envoy_frozen = True
    world.apply(a_class(rate_per_s=8.0))
    world.act()
    assert in_rotation(world.snapshot()) < before
    world.apply(a_class(rate_per_s=16.0))
    world.act()
    assert in_rotation(world.snapshot()) == before
    assert world.decisions[-1].memory.awaited_s == {}


def test_what_is_lost_waits_for_no_envoy() -> None:
    world = a_world()
    world.is_envoy_frozen = True
    world.kill_node(next(p.node for p in world.pods.values()))
    world.run(60.0)
    assert counts_over_time(world)


def counts_over_time(world: World) -> list[int]:
    """The counts that fell because lost replicas were replaced."""
    return [n for d in world.decisions for n in counts(d)]


@pytest.mark.parametrize("gone", [ServedModel, WorkloadClass])
def test_the_last_replica_leaves_the_rotation_where_its_class_or_model_is_gone(gone: type) -> None:
    world = a_world()
    world.delete(gone, next(iter(world.of(gone))))
    world.act()
    assert in_rotation(world.snapshot()) == set()
    world.settle()
    assert world.pods == {}


def test_a_mark_does_not_take_the_last_endpoint_of_a_planned_class_out_of_rotation() -> None:
    world = a_world()
    world.pods = {key: replace(pod, deletion_cost=-1000) for key, pod in world.pods.items()}
    assert in_rotation(world.snapshot()) == set(world.pods)


def test_marks_mean_nothing_where_argosy_does_not_act() -> None:
    world = a_world()
    before = in_rotation(world.snapshot())
    first = min(world.pods)
    world.pods[first] = replace(world.pods[first], deletion_cost=-1000)
    assert in_rotation(world.snapshot()) == before - {first}
    world.apply(a_fleet("Observe"))
    assert in_rotation(world.snapshot()) == before
