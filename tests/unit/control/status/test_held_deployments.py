"""What users read while something holds what they have deleted, and what replicas cost all the while."""

from __future__ import annotations

from dataclasses import replace

import pytest
from small_fleet import World, a_class, a_fleet, a_model, a_pool, body_of, condition, some_nodes

from argosy.api.schema.timestamp import rfc3339


def a_world() -> World:
    """The class `chat`, whose two replicas serve."""
    world = World(some_nodes("l40s", 4), a_fleet(), a_pool(), a_model(), a_class())
    world.settle()
    world.act()
    return world


@pytest.mark.parametrize(("plural", "key"), [("workloadclasses", "chat"), ("servedmodels", "llama")])
def test_missing_replicas_of_a_deployment_that_a_finalizer_holds_are_not_called_loading(
    plural: str, key: str
) -> None:
    world = a_world()
    [(name, deployment)] = world.deployments.items()
    held = replace(deployment, deleted_s=world.now_s, finalizers=("user.example/keep",))
    world.deployments[name] = held
    served = condition(world.decide(), f"default/{key}", plural)
    assert (served["status"], served["reason"]) == ("True", "DeploymentHeld")
    assert served["message"] == (
        "It is served, by 2 replicas of a Deployment that cannot be changed: the deletion of Deployment"
        f" {name} was requested at {rfc3339(world.now_s)}, and finalizer user.example/keep holds it (remove"
        " it from metadata.finalizers). Its replicas end with it, and it is made again under the same name"
        " once it is gone."
    )
    del world.pods[min(world.pods)]
    found = condition(world.decide(), f"default/{key}", plural)
    assert (found["status"], found["reason"]) == ("False", "DeploymentHeld")
    assert found["message"].startswith(
        f"1 of 2 replicas get requests; the deletion of Deployment {name} was requested at"
        f" {rfc3339(world.now_s)}, and finalizer user.example/keep holds it"
    )


def test_a_replica_costs_what_its_pool_costs_also_on_a_node_without_the_pools_label() -> None:
    world = a_world()
    for name, node in world.nodes.items():
        world.nodes[name] = replace(node, labels={"kubernetes.io/hostname": name})
    decision = world.decide()
    assert body_of(decision, "l40s", "gpupools")["nodes"] == 0
    assert body_of(decision, "l40s", "gpupools")["costUsdPerHour"] == pytest.approx(1.8)
    assert body_of(decision, "default", "fleets")["costUsdPerHour"] == pytest.approx(1.8)
