"""Why nodes cannot be used: the real cause is named, node by node."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from builders import NVIDIA
from small_fleet import World, a_class, a_fleet, a_model, a_pool, body_of, some_nodes

from argosy.api import GPUPool
from argosy.api.gpupool import GPUPoolStatus
from argosy.control.state.nodes import unusable_text
from argosy.snapshot.cluster import Taint


def a_world() -> World:
    world = World(some_nodes("l40s", 6), a_fleet(), a_pool(), a_model(), a_class())
    world.settle()
    return world


@pytest.mark.parametrize(
    ("deleting", "expected"),
    [
        (False, "the engine in pod {pod} answers nothing"),
        (True, "pod {pod} is Terminating and has not ended"),
    ],
)
def test_gpus_that_pods_hold_are_not_blamed_on_their_nodes(deleting: bool, expected: str) -> None:
    world = a_world()
    pod = world.pods[min(world.pods)]
    world.pods[pod.key] = replace(pod, deleting=deleting)
    on_it = frozenset(p.key for p in world.pods.values() if p.node == pod.node)
    text = unusable_text(world.snapshot(), "l40s", on_it)
    assert text == f"node {pod.node}: " + expected.format(pod=pod.key)


def test_nodes_that_are_not_ready_or_evict_are_named_up_to_three() -> None:
    world = a_world()
    free = sorted(world.nodes.keys() - {p.node for p in world.pods.values()})
    for name in free[:2]:
        world.nodes[name] = replace(world.nodes[name], ready=False)
    world.nodes[free[2]] = replace(world.nodes[free[2]], taints=(Taint("x", "", "NoExecute"),))
    world.nodes[free[3]] = replace(world.nodes[free[3]], ready=False)
    assert unusable_text(world.snapshot(), "l40s", frozenset()) == (
        f"node {free[0]}: it is not Ready, node {free[1]}: it is not Ready, node {free[2]}: a taint with"
        " NoExecute that spec.tolerations does not name and 1 more"
    )


def test_a_gpu_that_fell_off_its_node_is_told_counted_and_planned_without() -> None:
    world = World(some_nodes("l40s", 2), a_fleet(), a_pool(), a_model(), a_class(rate_per_s=14.0))
    world.settle()
    before = len(world.pods)
    known = world.of(GPUPool)["l40s"].model_copy(update={"status": GPUPoolStatus(nodes=2, gpus_unhealthy=0)})
    world.apply(known)
    name = world.pods[min(world.pods)].node
    node = world.nodes[name]
    world.nodes[name] = replace(node, allocatable={NVIDIA: 1}, capacity={NVIDIA: 2})
    decision = world.act()
    assert body_of(decision, "l40s", "gpupools")["gpusUnhealthy"] == 1
    told = [event.message for event in decision.events if event.reason == "GpusUnusable"]
    assert told == [
        f"1 GPU more cannot be used: node {name}: 1 of its 2 {NVIDIA} are unhealthy; 1 of 4 in all."
    ]
    assert decision.follow is not None
    places = sum((d.places for d in decision.follow.spec.deployments), Counter[str]())
    assert (before, places[name] <= 1) == (4, True)
