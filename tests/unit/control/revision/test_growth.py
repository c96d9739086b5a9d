"""Within the window after a revision replicas are added and none removed, whatever is missing."""

from __future__ import annotations

from dataclasses import replace

import pytest
from fake_perf import StrictPerf
from restarted import restarted
from small_fleet import LOAD_S, World, a_class, a_fleet, a_model, a_pool, some_nodes

from argosy.api import CustomResource, FleetPlan
from argosy.control.memory import ControlMemory
from argosy.control.revision.window import LOAD_TIMES
from argosy.control.step import StepSettings, step
from argosy.plan.problem import PlanProblem
from argosy.plan.solution import Plan
from argosy.plan.solve import solve
from argosy.plan.solver.search import SolveLimits

WINDOW_S = 20


def a_world(*others: CustomResource, num_nodes: int = 4, rate_per_s: float = 8.0) -> World:
    """Chat on L40S, quiet for longer than the window; one H100 is dearer at first."""
    nodes = [*some_nodes("l40s", num_nodes), *some_nodes("h100", 4)]
    fleet = a_fleet(stabilizationSeconds=WINDOW_S)
    pools = (a_pool(), a_pool("h100", "H100", priceUsdPerHour=6.0))
    world = World(nodes, fleet, *pools, a_model(), a_class(rate_per_s=rate_per_s))
    world.perf = StrictPerf()
    world.apply(*others)
    world.rest()
    world.now_s += LOAD_TIMES * LOAD_S
    return world


def tick(world: World, seconds: int = 1) -> None:
    """Decide every second; where the end of minutes is what counts, every fourth."""
    period_s = 4 if seconds >= 60 else 1
    for _ in range(seconds // period_s):
        world.act()
        world.now_s += period_s
        world.reconcile()


def counts(plan: FleetPlan) -> dict[str, int]:
    return {d.name: d.replicas for d in plan.spec.deployments if d.replicas}


def strict(name: str, rate_per_s: float, bound_ms: int) -> CustomResource:
    return a_class(name, rate_per_s, slo={"ttft": {"p95Milliseconds": bound_ms}})


def test_what_is_missing_is_added_at_once_and_what_is_too_much_goes_after_the_window() -> None:
    world = a_world()
    world.apply(a_pool("h100", "H100", priceUsdPerHour=0.5))
    tick(world)
    moved = counts(world.applied)
    assert set(world.replicas()) == {"h100/chat", "l40s/chat"}
    world.apply(a_pool("h100", "H100", priceUsdPerHour=9.0), a_class(rate_per_s=20.0))
    tick(world)
    grown = counts(world.applied)
    assert grown != moved
    assert all(grown.get(name, 0) >= count for name, count in moved.items())
    tick(world, 120)
    assert set(world.replicas()) == {"l40s/chat"}


def test_groups_that_would_merge_stay_apart_until_the_window_has_closed() -> None:
    world = a_world(a_class("batch", 4.0))
    assert len(world.applied.spec.cells) == 2
    assert len({c.sharing_group for c in world.applied.spec.cells}) == 1
    world.apply(strict("chat", 8.0, 300))
    tick(world)
    apart = counts(world.applied)
    assert len({c.sharing_group for c in world.applied.spec.cells}) == 2
    world.apply(strict("chat", 8.0, 2000))
    tick(world, WINDOW_S - 5)
    assert counts(world.applied) == apart
    tick(world, 92)
    assert len({c.sharing_group for c in world.applied.spec.cells}) == 1


def test_replicas_that_no_class_can_use_any_more_stay_until_the_window_has_closed() -> None:
    world = a_world(rate_per_s=4.0)
    world.apply(a_class(rate_per_s=8.0))
    tick(world)
    [(name, count)] = counts(world.applied).items()
    world.apply(strict("chat", 8.0, 60))  # an L40S carries nothing within it
    tick(world)
    assert counts(world.applied)[name] == count == 2
    assert len(counts(world.applied)) == 2
    tick(world, 120)
    assert set(world.replicas()) == {"h100/chat"}


def test_a_restart_that_is_ordered_within_the_window_is_obeyed_at_once() -> None:
    world = a_world(rate_per_s=4.0)
    world.apply(a_class(rate_per_s=8.0))
    tick(world)
    [name] = counts(world.applied)
    world.deployments[name] = restarted(world.deployments[name], "2026-01-01T12:00:00Z")
    tick(world)
    assert name not in counts(world.applied)


@pytest.mark.parametrize("is_young", [False, True])
def test_on_a_full_pool_a_higher_priority_takes_replicas_but_none_that_was_just_started(
    is_young: bool,
) -> None:
    """Six GPUs: three replicas of each class, one of batch just started or not."""
    batch = a_class("batch", 8.0 if is_young else 12.0, priority=100)
    world = a_world(batch, a_class(rate_per_s=12.0, priority=200), num_nodes=3, rate_per_s=12.0)
    world.apply(a_pool("h100", "H100", priceUsdPerHour=6.0, nodeSelector={"no": "node"}))
    world.rest()
    if is_young:
        world.apply(a_class("batch", 12.0, priority=100))
        tick(world)
    assert world.replicas() == {"l40s/batch": 3, "l40s/chat": 3}
    world.apply(a_class(rate_per_s=16.0, priority=200))
    tick(world)
    planned = {d.sharing_group.name: d.replicas for d in world.applied.spec.deployments if d.replicas}
    assert planned == ({"batch": 3, "chat": 3} if is_young else {"batch": 2, "chat": 4})


@pytest.mark.parametrize("leaves", ["cordoned", "left its pool"])
def test_replicas_that_leave_a_node_and_find_no_room_are_not_taken_within_the_window(leaves: str) -> None:
    """Four other GPUs for five replicas: where it should leave, one could not be started again."""
    world = a_world(num_nodes=3, rate_per_s=20.0)
    world.apply(a_pool("h100", "H100", priceUsdPerHour=6.0, nodeSelector={"no": "node"}))
    world.rest()
    name = max(world.nodes, key=lambda name: sum(p.node == name for p in world.pods.values()))
    node = world.nodes[name]
    world.nodes[name] = (
        replace(node, unschedulable=True) if leaves == "cordoned" else replace(node, labels={})
    )
    tick(world, 60)
    world.apply(a_class(rate_per_s=24.0))
    tick(world, 5)
    world.apply(a_class(rate_per_s=12.0))
    tick(world, 10)
    assert world.replicas() == {"l40s/chat": 5}
    tick(world, 120)
    assert world.replicas() == {"l40s/chat": 3}


@pytest.mark.parametrize("is_restarted", [False, True])
def test_a_node_that_is_cordoned_within_the_window_is_emptied_at_once(is_restarted: bool) -> None:
    """An H100 has room: what was closed while no process ran is no reason to wait either."""
    world = a_world(num_nodes=2, rate_per_s=8.0)
    world.apply(a_class(rate_per_s=16.0))
    tick(world, 2)
    assert world.replicas() == {"l40s/chat": 4}
    world.nodes["l40s-0"] = replace(world.nodes["l40s-0"], unschedulable=True)
    if is_restarted:
        world.memory = ControlMemory()
    tick(world, 3)
    assert "h100/chat" in world.replicas()


def test_a_class_that_stays_short_and_whose_rate_flips_does_not_hold_what_another_has_too_much() -> None:
    """On a full pool: every flip changes what stays unserved, and nothing that runs."""
    batch = a_class("batch", 8.0, priority=500)
    unused = a_pool("h100", "H100", nodeSelector={"no": "node"})
    world = a_world(unused, batch, num_nodes=2, rate_per_s=40.0)
    assert world.replicas() == {"l40s/batch": 2, "l40s/chat": 2}
    before = world.applied.spec.revision
    for second in range(6 * WINDOW_S):
        if second % 5 == 0:
            world.apply(a_class(rate_per_s=40.0 if second % 10 else 60.0))
        if second == WINDOW_S:
            world.apply(a_class("batch", 1.0, priority=500))
        tick(world)
    assert world.replicas() == {"l40s/batch": 1, "l40s/chat": 3}
    assert world.applied.spec.revision - before <= 6


def test_a_decision_that_solves_twice_takes_no_more_than_a_quarter_longer_than_the_limit() -> None:
    world = a_world()
    world.apply(a_pool("h100", "H100", priceUsdPerHour=0.5))
    tick(world)
    world.apply(a_pool("h100", "H100", priceUsdPerHour=9.0), a_class(rate_per_s=20.0))
    limits_s: list[float | None] = []

    def slow(problem: PlanProblem, limits: SolveLimits | None = None) -> Plan:
        assert limits is not None
        limits_s.append(limits.time_limit_s)
        plan = solve(problem, replace(limits, time_limit_s=None))
        return replace(plan, report=replace(plan.report, seconds=10.0))

    settings = StepSettings("a test", plan_time_limit_s=10.0)
    assert step(world.snapshot(), world.memory, settings, world.perf, slow).new_plan is not None
    assert limits_s == [10.0, 2.5]
