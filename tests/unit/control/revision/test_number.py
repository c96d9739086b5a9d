"""The number of a new revision: higher than whatever Envoys, plans or the state directory have seen."""

from __future__ import annotations

from dataclasses import replace

import pytest
from small_fleet import World, a_class, a_fleet, a_model, a_pool, some_nodes

from argosy.control.decision import Decision
from argosy.control.revision.number import ADOPTED_LIMIT, is_known, next_revision
from argosy.control.state.routable import RECONNECT_S
from argosy.control.step import StepSettings, step
from argosy.snapshot.fleet import EnvoyState, FleetSnapshot, RoutingView


def a_world(num_revisions: int = 1) -> World:
    """Settled, with so many revisions."""
    world = World(some_nodes("l40s", 6), a_fleet(stabilizationSeconds=0), a_pool(), a_model(), a_class())
    world.settle()
    for number in range(1, num_revisions):
        world.apply(a_class(rate_per_s=8.0 + 4.0 * number))
        world.settle()
    assert world.applied.spec.revision == num_revisions
    return world


def with_envoys(snapshot: FleetSnapshot, *revisions: int, remembered: int = 0) -> FleetSnapshot:
    envoys = tuple(EnvoyState(f"e{n}", "v1", revision=n) for n in revisions)
    return replace(snapshot, routing=RoutingView("v1", envoys), remembered_revision=remembered)


@pytest.mark.parametrize(
    ("envoys", "remembered", "expected"),
    [
        pytest.param((), 0, 3, id="plans alone"),
        pytest.param((1, 2), 2, 3, id="nothing is ahead of the plans"),
        pytest.param((17, 4), 0, 18, id="an Envoy that has more: plans from a backup, or another cluster"),
        pytest.param((), 17, 18, id="the state directory remembers more"),
        pytest.param((17,), 20, 21, id="both"),
        pytest.param((ADOPTED_LIMIT,), 0, ADOPTED_LIMIT + 1, id="the largest number that is adopted"),
        pytest.param((ADOPTED_LIMIT + 1,), ADOPTED_LIMIT + 1, 3, id="numbers too large to be true"),
    ],
)
def test_the_next_number_is_above_all_that_was_seen(
    envoys: tuple[int, ...], remembered: int, expected: int
) -> None:
    snapshot = with_envoys(a_world(2).snapshot(), *envoys, remembered=remembered)
    assert next_revision(snapshot) == expected


def test_without_plans_the_envoys_numbers_go_on() -> None:
    world = a_world(2)
    world.plans = ()
    assert next_revision(world.snapshot()) == 1
    assert next_revision(with_envoys(world.snapshot(), 17)) == 18


def test_plans_that_are_deleted_come_back_with_a_higher_number_and_the_same_replicas() -> None:
    world = a_world()
    before, running = world.applied.spec, dict(world.deployments)
    world.plans = ()
    snapshot = with_envoys(world.snapshot(), before.revision)
    decision = step(snapshot, world.memory, StepSettings("a test", plan_time_limit_s=None), world.perf)
    assert decision.new_plan is not None
    assert decision.steps == ()
    assert decision.new_plan.spec.revision == before.revision + 1
    assert decision.new_plan.spec.deployments == before.deployments
    assert dict(world.deployments) == running


def test_an_envoy_that_is_ahead_is_no_reason_for_a_revision() -> None:
    """Two operators that share Envoys by mistake would else overtake each other without end."""
    ours, theirs = a_world(2), a_world(1)
    seen = 2
    for _ in range(5):
        for world in (theirs, ours):
            snapshot = with_envoys(world.snapshot(), seen)
            settings = StepSettings("a test", plan_time_limit_s=None)
            assert step(snapshot, world.memory, settings, world.perf).new_plan is None


def test_a_new_process_waits_for_the_envoys_of_running_engines_before_it_counts_from_one() -> None:
    """All plans and the state directory are lost: only Envoys can tell how far the numbers had come."""
    world = a_world()
    bare = replace(world.snapshot(), plans=(), routing=RoutingView(since_s=world.now_s))
    first = decide(world, bare)
    assert (first.new_plan, first.steps) == (None, ())
    assert first.waits_until_s == world.now_s + RECONNECT_S
    connected = replace(bare, routing=with_envoys(bare, 17).routing)
    assert new_revision(decide(world, connected)) == 18
    alone = replace(bare, routing=RoutingView(since_s=world.now_s - RECONNECT_S))
    assert new_revision(decide(world, alone)) == 1


def test_a_number_is_known_once_a_plan_an_envoy_or_the_state_directory_gives_it_or_nothing_runs() -> None:
    world = a_world()
    whole = replace(world.snapshot(), routing=RoutingView(since_s=world.now_s))
    bare = replace(whole, plans=())
    late = RoutingView(since_s=world.now_s - RECONNECT_S)
    loading = {key: replace(pod, ready=False) for key, pod in bare.pods.items()}
    assert not is_known(bare)
    assert is_known(whole)
    assert is_known(replace(bare, remembered_revision=17))
    assert is_known(replace(bare, routing=replace(bare.routing, envoys=(EnvoyState("edge", "v1"),))))
    assert is_known(replace(bare, routing=late))
    assert is_known(replace(bare, pods=loading))


def decide(world: World, snapshot: FleetSnapshot) -> Decision:
    return step(snapshot, world.memory, StepSettings("a test", plan_time_limit_s=None), world.perf)


def new_revision(decision: Decision) -> int:
    assert decision.new_plan is not None
    return decision.new_plan.spec.revision
