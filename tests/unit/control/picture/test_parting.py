"""What still runs for deleted objects: until when, and what holds a replica whose time is over."""

from __future__ import annotations

from dataclasses import replace

import pytest
from small_fleet import World, a_class, a_fleet, a_model, a_pool, some_nodes

from argosy.api.schema.timestamp import rfc3339
from argosy.control.picture.parting import draining


def a_world() -> World:
    """The class `chat`, whose two replicas serve."""
    world = World(some_nodes("l40s", 4), a_fleet(), a_pool(), a_model(), a_class())
    world.settle()
    world.act()
    return world


@pytest.mark.parametrize(
    ("finalizers", "why"),
    [
        ((), "the kubelet of node {node} has not ended it"),
        (("user.example/keep",), "its finalizer user.example/keep holds it"),
    ],
)
def test_a_replica_whose_time_to_drain_is_over_is_not_said_to_finish_until_then(
    finalizers: tuple[str, ...], why: str
) -> None:
    world = a_world()
    pod = world.pods[min(world.pods)]
    world.deployments.clear()
    world.plans = ()
    going = replace(pod, deleting=True, ends_s=world.now_s + 60.0, finalizers=finalizers)
    world.pods = {pod.key: going}
    ends = rfc3339(world.now_s + 60.0)[11:19]
    assert draining(world.snapshot()).sentence == (
        f"1 replica of what was deleted finishes its requests, until {ends} at the latest"
    )
    world.now_s += 61.0
    assert draining(world.snapshot()).sentence == (
        f"1 replica of what was deleted has not ended, such as pod {pod.key}, whose time ended at {ends}: "
        + why.format(node=pod.node)
    )
