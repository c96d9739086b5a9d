"""Replicas that ask for more CPU, memory or disk than any node of their pool has."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from builders import a_class, a_fleet, a_model, a_node, a_pool
from small_fleet import World, condition, verdict

GIB = 1000 * 2**30


def a_world(*rooms: dict[str, int], engine: dict[str, Any] | None = None, **pool: Any) -> World:
    nodes = [a_node(f"l40s-{i}", room=room) for i, room in enumerate(rooms)]
    requests = {"resources": {"requests": {"cpu": "8", "memory": "16Gi"}}}
    model = a_model(engine=requests if engine is None else engine)
    return World(nodes, a_fleet(), a_pool(**pool), model, a_class())


@pytest.mark.parametrize(
    ("room", "sentence"),
    [
        ({"cpu": 7_999}, "have at most 7.99 cpu, and a replica of {variant} asks for 8 ("),
        (
            {"cpu": 9_000, "memory": 15 * GIB},
            "have at most 15 GiB of memory, and a replica of {variant} asks for 16 (",
        ),
    ],
)
def test_a_class_whose_replicas_fit_on_no_node_names_what_they_ask_for_and_what_nodes_have(
    room: dict[str, int], sentence: str
) -> None:
    world = a_world(room, room)
    decision = world.act()
    assert not any(d.replicas for d in world.applied.spec.deployments)
    assert verdict(decision, "default/chat") == ("False", "NodesClosed")
    message = condition(decision, "default/chat")["message"]
    [variant] = {word for word in message.split() if word.startswith("llama-l40s-")}
    assert "2 of 2 nodes (l40s-0, l40s-1) " + sentence.format(variant=variant) in message
    assert "in spec.engine.resources.requests of ServedModel default/llama" in message


@pytest.mark.parametrize("room", [{"cpu": 8_000, "memory": 16 * GIB}, {}, {"cpu": 8_000}])
def test_one_node_that_has_enough_or_does_not_say_what_it_has_is_enough(room: dict[str, int]) -> None:
    decision = a_world({"cpu": 1_000}, room).act()
    assert verdict(decision, "default/chat")[1] != "NodesClosed"


def test_what_a_patch_adds_to_the_pod_counts() -> None:
    sidecar = {"name": "log", "image": "log", "resources": {"requests": {"cpu": "64"}}}
    engine = {"podTemplatePatch": {"spec": {"containers": [sidecar]}}}
    decision = a_world({"cpu": 32_000}, engine=engine).act()
    assert "asks for 66 (" in condition(decision, "default/chat")["message"]


def test_an_autoscaler_may_bring_a_node_that_is_large_enough() -> None:
    decision = a_world({"cpu": 1_000}, nodes={"max": 2}).act()
    assert verdict(decision, "default/chat")[1] != "NodesClosed"


def test_replicas_go_to_the_nodes_that_have_enough() -> None:
    large = {"cpu": 20_000, "memory": 64 * GIB}
    world = a_world({"cpu": 1_000}, {"cpu": 1_000}, large, large)
    world.settle()
    assert {pod.node for pod in world.pods.values()} == {"l40s-2", "l40s-3"}


def test_of_replicas_for_which_nodes_have_gpus_and_no_cpu_users_are_told() -> None:
    world = a_world({"cpu": 9_000})
    world.run(90, period_s=10)
    decision = world.act()
    assert verdict(decision, "default/chat") == ("False", "Unplaceable")
    message = condition(decision, "default/chat")["message"]
    assert "where 1 GPUs of pool l40s are free together, CPU, memory or disk is for fewer; lower" in message
    assert sum(world.serving().values()) == 1


def test_a_larger_node_ends_it() -> None:
    world = a_world({"cpu": 1_000})
    world.act()
    world.nodes["l40s-0"] = replace(world.nodes["l40s-0"], room={"cpu": 64_000, "memory": 64 * GIB})
    world.settle()
    assert sum(world.serving().values()) >= 1
