"""A decision is a function of its picture: no order of a mapping and no process changes it."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, TypeVar

from hypothesis import given, settings
from hypothesis import strategies as st
from small_fleet import FakePerf, World, a_class, a_fleet, a_model, a_pool, some_nodes

from argosy.control.decision import Decision
from argosy.control.step import StepSettings, step
from argosy.snapshot.fleet import FleetSnapshot

V = TypeVar("V")


def decide(world: World, snapshot: FleetSnapshot) -> Decision:
    return step(snapshot, world.memory, StepSettings("a test", plan_time_limit_s=None), FakePerf())


def without_times(decision: Decision) -> Decision:
    """The solver's own account of its time differs from run to run; nothing else may."""
    if decision.new_plan is None:
        return decision
    spec = decision.new_plan.spec
    quiet = spec.model_copy(update={"solver": spec.solver.model_copy(update={"seconds": 0.0})})
    plan = decision.new_plan.model_copy(update={"spec": quiet})
    follow = plan if decision.follow == decision.new_plan else decision.follow
    return replace(decision, new_plan=plan, follow=follow)


def shuffled(items: Mapping[str, V], data: st.DataObject) -> dict[str, V]:
    return dict(data.draw(st.permutations(list(items.items()))))


@given(
    rates=st.lists(st.floats(0, 30), min_size=1, max_size=3),
    elapsed_s=st.integers(0, 25),
    dead=st.booleans(),
    data=st.data(),
)
@settings(max_examples=25, deadline=None)
def test_the_order_of_a_snapshots_maps_does_not_matter(
    rates: list[float], elapsed_s: int, dead: bool, data: st.DataObject
) -> None:
    objects: list[Any] = [a_class(f"c{i}", rate_per_s=rate) for i, rate in enumerate(rates)]
    world = World(
        [*some_nodes("l40s", 4), *some_nodes("h100", 2)],
        a_fleet(),
        a_pool(),
        a_pool("h100", "H100", priceUsdPerHour=3.0),
        a_model(parallelShapes=[{"tensorParallel": 1}, {"tensorParallel": 2}]),
        *objects,
    )
    world.run(elapsed_s, period_s=5.0)
    if dead and world.pods:
        world.nodes["l40s-0"] = replace(world.nodes["l40s-0"], ready=False)
    world.apply(a_class("c0", rate_per_s=rates[0] / 2))
    picture = world.snapshot()
    other = replace(
        picture,
        pools=shuffled(picture.pools, data),
        models=shuffled(picture.models, data),
        classes=shuffled(picture.classes, data),
        nodes=shuffled(picture.nodes, data),
        pods=shuffled(picture.pods, data),
        deployments=shuffled(picture.deployments, data),
        plans=tuple(reversed(picture.plans)),
    )
    expected = without_times(decide(world, picture))
    assert without_times(decide(world, other)) == expected
    crossed = decide(world, pickle.loads(pickle.dumps(picture)))
    assert without_times(pickle.loads(pickle.dumps(crossed))) == expected
