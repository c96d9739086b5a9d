"""Pods that another client deletes or takes from their ReplicaSet: told apart, reported once, healed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from small_fleet import LOAD_S, World, a_class, a_fleet, a_model, a_pool, some_nodes

from argosy.control.decision import Decision
from argosy.rollout import DeletePod, MarkVictim
from argosy.snapshot.cluster import LABEL_DEPLOYMENT, LABEL_TEMPLATE_HASH, PodState
from argosy.snapshot.kubernetes import pod_state

DEPLOYMENT = "llama-bcdfghj"
LABELS = {
    "app.kubernetes.io/managed-by": "argosy",
    LABEL_DEPLOYMENT: DEPLOYMENT,
    LABEL_TEMPLATE_HASH: "5d4f",
    "argosy.dev/model": "llama",
}


def a_world(num_nodes: int = 4, gpus: int = 2) -> World:
    """The class `chat`, whose two replicas serve."""
    world = World(some_nodes("l40s", num_nodes, gpus), a_fleet(), a_pool(), a_model(), a_class())
    world.settle()
    world.act()
    return world


def notes(*decisions: Decision) -> list[str]:
    return [e.message for d in decisions for e in d.events if e.reason == "ChangedByHand"]


def run(world: World, seconds: int = 60) -> list[Decision]:
    begun = len(world.decisions)
    world.run(float(seconds))
    return world.decisions[begun:]


def first_pod(world: World) -> PodState:
    return min(world.pods.values(), key=lambda p: p.key)


# --- a pod that is deleted ------------------------------------------------------------------------


@pytest.mark.parametrize("is_seen_draining", [True, False], ids=["with its grace", "by force"])
def test_a_pod_deleted_by_hand_is_reported_once_and_counted(is_seen_draining: bool) -> None:
    world = a_world()
    pod, plans = first_pod(world), world.plans
    world.delete_pod(pod.key)
    if not is_seen_draining:
        del world.pods[pod.key]
    decisions = run(world)
    assert notes(*decisions) == [f"pod {pod.name} was deleted by another client: its successor starts"]
    assert [about for d in decisions for about, _ in d.set_back] == ["pod"]
    assert [p.key for p in world.plans] == [p.key for p in plans]
    assert sum(world.serving().values()) == 2


def with_node(**fields: Any) -> Callable[[World, PodState], None]:
    def change(world: World, pod: PodState) -> None:
        world.nodes[pod.node] = replace(world.nodes[pod.node], **fields)

    return change


def evicted(world: World, pod: PodState) -> None:
    world.pods[pod.key] = replace(pod, evicted=True)


def without_node(world: World, pod: PodState) -> None:
    del world.nodes[pod.node]


@pytest.mark.parametrize(
    "reason",
    [
        pytest.param(evicted, id="it is evicted"),
        pytest.param(with_node(unschedulable=True), id="its node is cordoned and drained"),
        pytest.param(with_node(ready=False), id="its node is not ready"),
        pytest.param(without_node, id="its node is gone"),
    ],
)
def test_a_pod_that_something_else_ends_is_no_edit(reason: Callable[[World, PodState], None]) -> None:
    world = a_world()
    pod = first_pod(world)
    reason(world, pod)
    world.delete_pod(pod.key)
    assert notes(*run(world)) == []


def test_what_argosy_scales_down_is_no_edit() -> None:
    world = a_world()
    world.apply(a_class(minReplicas=4))
    world.settle()
    world.apply(a_class())
    world.rest()
    assert sum(world.serving().values()) == 2
    assert notes(*world.decisions) == []


def test_a_new_revision_of_the_model_makes_no_edit_of_the_pods_that_go() -> None:
    world = a_world()
    world.apply(a_model(engine={"maxNumSeqs": 64}))
    world.rest()
    assert notes(*world.decisions) == []


def test_pods_of_an_exchange_of_templates_are_no_edit() -> None:
    """Kubernetes ends the pod of the former template; pods of both are there."""
    world = a_world()
    pod = first_pod(world)
    world.pods[pod.key] = replace(pod, labels={**pod.labels, LABEL_TEMPLATE_HASH: "other"})
    world.act()
    world.delete_pod(pod.key)
    assert notes(*run(world)) == []


def test_pods_that_go_with_a_count_that_another_client_lowered_are_no_edit() -> None:
    world = a_world()
    [key] = world.deployments
    world.deployments[key] = replace(world.deployments[key], replicas=1)
    world.reconcile()
    assert not [n for n in notes(*run(world)) if n.startswith("pod ")]


def test_a_deletion_is_reported_only_once_its_successor_exists() -> None:
    world = a_world()
    pod = first_pod(world)
    world.delete_pod(pod.key)
    assert notes(world.decide(), world.decide()) == []
    world.reconcile()
    assert len(notes(world.decide(), world.decide())) == 1


# --- an orphan ------------------------------------------------------------------------------------


def test_an_orphan_is_reported_once_and_goes_after_its_successor_serves() -> None:
    world = a_world()
    pod = first_pod(world)
    world.release_pod(pod.key)
    world.reconcile()  # its ReplicaSet makes a successor
    decisions = run(world, int(LOAD_S) - 2)
    assert notes(*decisions) == [
        f"label {LABEL_DEPLOYMENT} of pod {pod.name} was removed or changed by another client: no replica of"
        f" Deployment {pod.deployment.name} any more, it is drained and deleted once its successor serves"
    ]
    assert [about for d in decisions for about, _ in d.set_back] == ["orphan"]
    assert not world.pods[pod.key].deleting
    later = run(world)
    assert notes(*later) == []
    assert DeletePod(pod.key) in [planned.step for d in later for planned in d.steps]
    assert pod.key not in world.pods
    assert sum(world.serving().values()) == 2


@pytest.mark.parametrize("gpus", [1, 2])
def test_an_orphan_on_a_full_pool_gives_its_gpus_to_its_successor(gpus: int) -> None:
    world = a_world(num_nodes=2 // gpus, gpus=gpus)
    pod = first_pod(world)
    world.release_pod(pod.key)
    world.reconcile()
    world.run(180.0)
    assert pod.key not in world.pods
    assert sum(world.serving().values()) == 2
    assert not [c for c in world.applied.spec.cells if c.unserved_share]


def test_an_orphan_that_still_takes_requests_is_marked_and_goes_once_the_others_are_enough() -> None:
    """Only the hash is gone: its ReplicaSet has released it, and by its labels it is a replica."""
    world = a_world()
    pod = first_pod(world)
    orphan = replace(pod, origin=pod.deployment, lacking=(LABEL_TEMPLATE_HASH,))
    world.pods[pod.key] = orphan
    assert [s.step for s in world.decide().steps if isinstance(s.step, MarkVictim | DeletePod)] == []
    spare = replace(first_pod(world), name=f"{pod.name}-successor", uid="s", ip="10.9.9.9", lacking=())
    world.pods[spare.key] = spare
    assert MarkVictim(pod.key, -1000) in [s.step for s in world.act().steps]
    assert DeletePod(pod.key) in [s.step for s in world.act().steps]


def test_an_orphan_of_a_deployment_that_is_gone_goes_at_once() -> None:
    world = a_world()
    pod = first_pod(world)
    stray = replace(pod, name="stray", uid="x", ip="10.8.8.8", node=pod.node)
    world.pods[stray.key] = stray
    world.release_pod(stray.key)
    world.pods[stray.key] = replace(
        world.pods[stray.key], origin=pod.deployment.of("default", "gone-bcdfghj")
    )
    assert DeletePod(stray.key) in [s.step for s in world.act().steps]


# --- whose pod it is ------------------------------------------------------------------------------


def a_pod(labels: dict[str, str], generated: str = f"{DEPLOYMENT}-5d4f-", owner: str = "") -> dict[str, Any]:
    owners = [{"kind": "ReplicaSet", "name": owner, "controller": True}] if owner else []
    metadata = {"name": f"{generated}x1", "namespace": "default", "generateName": generated, "uid": "u"}
    return {"metadata": {**metadata, "labels": labels, "ownerReferences": owners}, "spec": {}, "status": {}}


def without(*names: str) -> dict[str, str]:
    return {name: value for name, value in LABELS.items() if name not in names}


OWN = f"{DEPLOYMENT}-5d4f"


@pytest.mark.parametrize(
    ("labels", "generated", "owner", "expected"),
    [
        pytest.param(LABELS, f"{OWN}-", OWN, False, id="a replica"),
        pytest.param(LABELS, f"{OWN}-", "", False, id="whole labels: a ReplicaSet adopts it"),
        pytest.param(without(LABEL_DEPLOYMENT), f"{OWN}-", "", True, id="the selected label is gone"),
        pytest.param({**LABELS, LABEL_DEPLOYMENT: "x"}, f"{OWN}-", "", True, id="it was changed"),
        pytest.param({**LABELS, LABEL_TEMPLATE_HASH: "y"}, f"{OWN}-", "", True, id="the hash was changed"),
        pytest.param({"argosy.dev/model": "llama"}, f"{OWN}-", "", True, id="one label is left"),
        pytest.param({}, f"{OWN}-", "", False, id="no label is left: it is the user's"),
        pytest.param({"app": "x"}, f"{OWN}-", "", False, id="only labels of the user's"),
        pytest.param(without("app.kubernetes.io/managed-by"), f"{OWN}-", OWN, True, id="counted, not known"),
        pytest.param(without(LABEL_DEPLOYMENT), f"{OWN}-", OWN, False, id="about to be released"),
        pytest.param(without(LABEL_DEPLOYMENT), f"{OWN}-", "mine-77", False, id="the user has adopted it"),
        pytest.param({"argosy.dev/model": "llama"}, "", "", False, id="a pod that the user made"),
        pytest.param(
            {"argosy.dev/adopt": "llama"}, f"{OWN}-", OWN, False, id="of a user's adopted Deployment"
        ),
        pytest.param({"argosy.dev/model": "llama"}, "mine-77-", "", False, id="released by the user's own"),
    ],
)
def test_an_orphan_is_known_by_what_remains_of_its_labels(
    labels: dict[str, str], generated: str, owner: str, expected: bool
) -> None:
    world = a_world()
    pod = pod_state(a_pod(labels, generated, owner))
    world.pods[pod.key] = pod
    deleted = [s.step.pod for s in world.decide().steps if isinstance(s.step, DeletePod)]
    assert deleted == ([pod.key] if expected else [])


def test_a_pod_with_another_deployments_label_gets_none_of_its_requests() -> None:
    assert pod_state(a_pod({**LABELS, LABEL_DEPLOYMENT: "qwen-bcdfghj"})).deployment == ""
    assert pod_state(a_pod(LABELS)).deployment == f"default/{DEPLOYMENT}"


def test_an_eviction_is_known_by_its_condition() -> None:
    row = {"type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI"}
    item = a_pod(LABELS)
    assert not pod_state(item).evicted
    assert pod_state({**item, "status": {"conditions": [row]}}).evicted
