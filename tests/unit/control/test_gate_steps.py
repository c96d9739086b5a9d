"""Nodes for gated pods between two decisions: those of the applied plan, if they still take new pods."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from small_fleet import World, a_class, a_fleet, a_model, a_pool, some_nodes

from argosy.control.steps import gate_steps
from argosy.rollout import PlacePod
from argosy.snapshot.cluster import Taint


def gated_world() -> World:
    """The one replica of a class waits for the node that the applied plan gives it."""
    world = World(some_nodes("l40s", 3), a_fleet(), a_pool(), a_model(), a_class(rate_per_s=4.0))
    world.act()
    assert [p.gated for p in world.pods.values()] == [True]
    return world


def test_a_gated_pod_gets_its_node_between_two_decisions() -> None:
    world = gated_world()
    [pod], [node] = world.pods, {n.node for d in world.applied.spec.deployments for n in d.nodes}
    assert [planned.step for planned in gate_steps(world.snapshot())] == [PlacePod(pod, node)]


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({"unschedulable": True}, id="cordoned"),
        pytest.param({"ready": False}, id="not ready"),
        pytest.param({"taints": (Taint("gpu", "", "NoSchedule"),)}, id="tainted"),
    ],
)
def test_a_gated_pod_gets_no_node_that_takes_no_new_pods(fields: dict[str, Any]) -> None:
    world = gated_world()
    for name in {n.node for d in world.applied.spec.deployments for n in d.nodes}:
        world.nodes[name] = replace(world.nodes[name], **fields)
    assert gate_steps(world.snapshot()) == ()
