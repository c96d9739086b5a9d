"""Why nodes cannot be used: the real cause is named, node by node."""

from __future__ import annotations

from dataclasses import replace

import pytest
from small_fleet import World, a_class, a_fleet, a_model, a_pool, some_nodes

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
