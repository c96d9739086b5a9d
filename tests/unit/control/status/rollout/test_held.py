"""Former Deployments that a user's finalizer holds: what stays, what has no room, and what is deleted."""

from __future__ import annotations

from dataclasses import replace

from small_fleet import World, a_class, a_fleet, a_model, a_pool, condition, some_nodes, verdict

from argosy.api import WorkloadClass
from argosy.api.conditions import Condition, find_condition
from argosy.api.schema.timestamp import rfc3339

CHAT, LLAMA = "default/chat", "default/llama"
FASTER_BATCHES = a_model(engine={"maxNumSeqs": 128})


def a_held_world(num_nodes: int, exchange: str = "Wait") -> tuple[World, str, str]:
    """Two replicas of chat at rest, whose Deployment is being deleted and held; and the words for that."""
    model = a_model(exchange=exchange)
    world = World(some_nodes("l40s", num_nodes), a_fleet(), a_pool(), model, a_class(rate_per_s=8.0))
    world.rest()
    [(name, deployment)] = world.deployments.items()
    held = replace(deployment, deleted_s=world.now_s, finalizers=("user.example/keep",))
    world.deployments[name] = held
    said = (
        f"the deletion of Deployment {name} was requested at {rfc3339(world.now_s)}, and finalizer"
        " user.example/keep holds it (remove it from metadata.finalizers)"
    )
    return world, name, said


def of_plan(world: World, type: str) -> Condition:
    found = find_condition(world.applied.status.conditions, type)
    assert found is not None
    return found


def let_go(world: World, name: str) -> None:
    """The user removes the finalizer: Kubernetes removes the Deployment and its pods."""
    del world.deployments[name]
    for key in [key for key, pod in world.pods.items() if pod.deployment == name]:
        del world.pods[key]


def test_replicas_of_a_held_former_deployment_are_not_said_to_finish_their_requests() -> None:
    world, name, said = a_held_world(4)
    world.apply(FASTER_BATCHES)
    world.run(60)
    progressing = of_plan(world, "Progressing")
    assert (progressing.status, progressing.reason) == ("False", "DeploymentHeld")
    assert progressing.message == (
        f"All 2 planned replicas get requests; 2 replicas of the former plan cannot be removed: {said}."
    )
    assert verdict(world.decide(), CHAT) == ("True", "Ready")
    let_go(world, name)
    world.settle()
    assert of_plan(world, "RolledOut").status == "True"


def test_a_held_former_deployment_that_keeps_the_room_is_named_by_class_model_and_plan() -> None:
    for exchange in ("Wait", "BriefOutage"):
        world, _, said = a_held_world(1, exchange)
        world.apply(a_model(exchange=exchange, engine={"maxNumSeqs": 128}))
        world.run(30)
        decision = world.decide()
        sentence = (
            "0 of 2 planned replicas get requests, and there is no room for the others: 2 replicas of the"
            f" former plan keep the GPUs, because {said}."
        )
        for key, kind in ((CHAT, "workloadclasses"), (LLAMA, "servedmodels")):
            found = condition(decision, key, kind)
            assert (found["status"], found["reason"]) == ("False", "DeploymentHeld")
            assert found["message"] == sentence
        assert (of_plan(world, "Progressing").status, of_plan(world, "Progressing").message) == (
            "False",
            sentence,
        )


def test_replicas_of_a_deleted_class_whose_deployment_is_held_are_not_said_to_finish() -> None:
    world, _, said = a_held_world(4)
    world.delete_with_grace(WorkloadClass, CHAT)
    world.run(60)
    draining = of_plan(world, "Draining")
    assert (draining.status, draining.message) == (
        "True",
        f"2 replicas of what was deleted cannot be removed: {said}.",
    )
