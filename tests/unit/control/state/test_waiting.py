"""Who waits for room, who waits in vain, and whose a Deployment is."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from builders import a_class, a_model, a_pending_pod, a_pool
from small_fleet import START_S, World

from argosy.control.state.owners import Owners, group_by_deployment, owners_by_deployment
from argosy.control.state.waiting import replicas_without_room, stuck_pods
from argosy.keys import DeploymentKey, GroupName, ModelKey
from argosy.place.solution import Placement, Unplaced
from argosy.snapshot.cluster import LABEL_GROUP, LABEL_MODEL, LABEL_POOL, PodState, label_value
from argosy.snapshot.fleet import FleetSnapshot

POD = a_pending_pod()
NOTHING_UNPLACED = Placement({}, {}, (), ())


def snapshot_of(*pods: PodState, **objects: Any) -> FleetSnapshot:
    world = World([], a_pool(), a_model(), a_class())
    world.pods = {p.key: p for p in pods}
    return replace(world.snapshot(), **objects)


@pytest.mark.parametrize(
    ("pod", "is_stuck"),
    [
        pytest.param(POD, False, id="no node yet"),
        pytest.param(replace(POD, assigned_node="n"), False, id="the scheduler has not said anything"),
        pytest.param(
            replace(POD, assigned_node="n", unschedulable_since_s=START_S - 29),
            False,
            id="its predecessor may still drain",
        ),
        pytest.param(
            replace(POD, assigned_node="n", unschedulable_since_s=START_S - 30), True, id="no room for 30 s"
        ),
        pytest.param(
            replace(POD, assigned_node="n", unschedulable_since_s=START_S - 99, node="n"),
            False,
            id="it runs now: an old condition",
        ),
        pytest.param(
            replace(POD, unschedulable_since_s=START_S - 99), False, id="the scheduler chooses its node"
        ),
        pytest.param(
            replace(POD, assigned_node="n", unschedulable_since_s=START_S - 99, deployment=""),
            False,
            id="a foreign pod is not our business",
        ),
    ],
)
def test_a_pod_is_stuck_where_its_node_has_no_room_for_it(pod: PodState, is_stuck: bool) -> None:
    assert stuck_pods(snapshot_of(pod)) == (frozenset({"default/p"}) if is_stuck else frozenset())


@pytest.mark.parametrize(
    ("pod", "count"),
    [
        pytest.param(replace(POD, unschedulable_since_s=START_S - 9), 0, id="the scheduler has just looked"),
        pytest.param(replace(POD, unschedulable_since_s=START_S - 10), 1, id="it finds no node"),
        pytest.param(replace(POD, unschedulable_since_s=START_S - 10, gated=True), 0, id="ours to place"),
        pytest.param(replace(POD, unschedulable_since_s=START_S - 10, deleting=True), 0, id="on its way out"),
        pytest.param(replace(POD, unschedulable_since_s=START_S + 50), 0, id="the clock jumped"),
    ],
)
def test_the_scheduler_says_which_replicas_lack_room(pod: PodState, count: int) -> None:
    expected = {"default/d": count} if count else {}
    assert replicas_without_room(snapshot_of(pod), NOTHING_UNPLACED) == expected


def test_placement_says_which_replicas_lack_room_where_argosy_places() -> None:
    placement = Placement({}, {}, (), (Unplaced("default/d", 3, "no room"),))
    assert replicas_without_room(snapshot_of(), placement) == {"default/d": 3}


LONG = "a" * 253


def labelled(name: str, deployment: str, **names: str) -> PodState:
    given = {"group": LABEL_GROUP, "model": LABEL_MODEL, "pool": LABEL_POOL}
    labels = {given[kind]: label_value(value) for kind, value in names.items()}
    return replace(POD, name=name, deployment=DeploymentKey(deployment), labels=labels)


def test_a_deployments_owners_are_found_by_its_pods_labels() -> None:
    pods = (
        labelled("p1", "default/a", group="chat", model="llama", pool="l40s"),
        labelled("p2", "default/b", group="gone", model="llama", pool="l40s"),
    )
    found = owners_by_deployment(snapshot_of(*pods), [GroupName("default/chat")])
    assert found == {
        "default/a": Owners(GroupName("default/chat"), ModelKey("default/llama"), "l40s"),
        "default/b": Owners(None, ModelKey("default/llama"), "l40s"),
    }
    assert [o.all_exist for o in found.values()] == [True, False]


def test_a_name_longer_than_a_label_is_found_again() -> None:
    pod = labelled("p", "default/a", group=LONG)
    groups = [
        GroupName.of("default", LONG),
        GroupName.of("default", f"{LONG[:-1]}b"),
        GroupName.of("other", LONG),
    ]
    assert group_by_deployment([pod], groups) == {"default/a": f"default/{LONG}"}


def test_a_group_of_another_namespace_is_not_the_owner() -> None:
    pod = labelled("p", "default/a", group="chat")
    assert group_by_deployment([pod], [GroupName("other/chat")]) == {}
