"""Nodes that are about to go: successors serve before the replicas on them go, or those stay."""

from __future__ import annotations

from dataclasses import replace

import pytest
from builders import GPU_LABEL
from small_fleet import World, a_class, a_fleet, a_model, a_node, a_pool, condition, some_nodes, status_of

from argosy.rollout import ProtectReplicas
from argosy.snapshot.cluster import NodeState, Taint

ANNOUNCED = [
    pytest.param({"unschedulable": True}, id="cordon"),
    pytest.param({"taints": (Taint("karpenter.sh/disrupted", "", "NoSchedule"),)}, id="Karpenter"),
    pytest.param({"taints": (Taint("ToBeDeletedByClusterAutoscaler", "1", "NoSchedule"),)}, id="autoscaler"),
    pytest.param({"announcement": "its Node object is being deleted"}, id="deletion"),
]


def change(world: World, name: str, **fields: object) -> None:
    world.nodes[name] = replace(world.nodes[name], **fields)


def a_world(nodes: list[NodeState], *more: object, rate_per_s: float = 3.0, **pool: object) -> World:
    """One replica of chat for each 4 requests/s, settled."""
    world = World(nodes, a_fleet(), a_pool(**pool), a_model(), a_class("chat", rate_per_s=rate_per_s), *more)
    world.settle()
    world.serving_over_time.clear()
    return world


def nodes_of(world: World) -> list[str]:
    """The nodes of the replicas that serve."""
    return sorted(p.node for p in world.pods.values() if p.ready and not p.deleting)


def ready(world: World, key: str = "default/chat", kind: str = "workloadclasses") -> tuple[str, str, str]:
    found = condition(world.decide(), key, kind)
    return found["status"], found["reason"], found["message"]


@pytest.mark.parametrize("announced", ANNOUNCED)
@pytest.mark.parametrize("placement", ["Argosy", "Scheduler"])
def test_the_successor_of_an_only_replica_serves_before_it_goes(
    announced: dict[str, object], placement: str
) -> None:
    world = a_world(some_nodes("l40s", 2), placement=placement)
    [left] = nodes_of(world)
    change(world, left, **announced)
    world.run(15)
    assert nodes_of(world) == [left]
    world.settle()
    [moved] = nodes_of(world)
    assert moved != left
    assert min(world.serving_over_time) == 1
    assert max(world.serving_over_time) == 2


def test_evictions_wait_for_the_successor_and_pass_once_it_serves() -> None:
    world = a_world(some_nodes("l40s", 2))
    [deployment] = world.deployments
    change(world, *nodes_of(world), unschedulable=True)
    world.run(10)
    assert world.protected == {deployment: 1}
    while sum(world.serving().values()) < 2:
        assert sum(world.serving().values()) == world.protected[deployment]
        world.run(1)


def test_a_surplus_is_protected_until_what_replaces_it_serves() -> None:
    world = a_world(some_nodes("l40s", 2) + some_nodes("h100", 1))
    world.apply(a_pool("h100", "H100", priceUsdPerHour=0.1))
    [old] = world.deployments
    world.run(10)
    assert world.protected[old] == 1
    world.settle()
    assert world.protected.keys() == world.deployments.keys() != {old}


def test_one_replica_of_several_is_replaced_before_it_goes() -> None:
    world = a_world(some_nodes("l40s", 4), rate_per_s=12.0)
    left = nodes_of(world)[1]
    change(world, left, unschedulable=True)
    world.settle()
    assert left not in nodes_of(world)
    assert (min(world.serving_over_time), nodes_of(world)) == (3, ["l40s-0", "l40s-2", "l40s-3"])


def test_another_pool_takes_over_where_the_own_one_has_no_other_node() -> None:
    world = a_world(
        some_nodes("l40s", 1) + some_nodes("h100", 1), a_pool("h100", "H100", priceUsdPerHour=6.0)
    )
    assert nodes_of(world) == ["l40s-0"]
    change(world, "l40s-0", unschedulable=True)
    world.settle()
    assert (nodes_of(world), min(world.serving_over_time)) == (["h100-0"], 1)


def test_replicas_stay_where_no_other_node_has_room_and_the_condition_says_what_to_add() -> None:
    world = a_world(some_nodes("l40s", 2), rate_per_s=16.0)
    before = set(world.pods)
    change(world, "l40s-1", taints=(Taint("karpenter.sh/disrupted", "", "NoSchedule"),))
    world.run(60)
    assert (set(world.pods), set(world.serving_over_time)) == (before, {4})
    [deployment] = world.deployments
    sentence = (
        "It is served, and node l40s-1 of GPUPool l40s is leaving: Karpenter is removing it (taint"
        f" karpenter.sh/disrupted); no other node has room for the successors of 2 replicas of {deployment}:"
        " add a node to GPUPool l40s."
    )
    assert ready(world) == ("True", "NodesLeaving", sentence)
    assert ready(world, "l40s", "gpupools") == ("True", "NodesLeaving", sentence)
    [leaving] = status_of(world.decide(), "l40s", "gpupools").status.leaving
    assert (leaving.name, leaving.replicas) == ("l40s-1", 2)
    world.nodes["l40s-2"] = a_node("l40s-2")
    world.settle()
    assert nodes_of(world) == ["l40s-0", "l40s-0", "l40s-2", "l40s-2"]
    assert set(world.serving_over_time) <= {4, 5, 6}
    assert ready(world)[:2] == ("True", "Ready")


@pytest.mark.parametrize("placement", ["Argosy", "Scheduler"])
def test_nothing_drains_where_all_nodes_are_cordoned(placement: str) -> None:
    world = a_world(some_nodes("l40s", 2), rate_per_s=8.0, placement=placement)
    pods, plan = set(world.pods), world.applied
    for name in world.nodes:
        change(world, name, unschedulable=True)
    world.run(120)
    assert ({p for p in world.pods if world.pods[p].node}, set(world.serving_over_time)) == (pods, {2})
    assert world.applied.spec.cells[0].unserved_share == plan.spec.cells[0].unserved_share == 0.0
    assert ready(world)[:2] == ("True", "NodesLeaving")
    assert ready(world, "l40s", "gpupools") == (
        "False",
        "NodesClosed",
        "pool l40s: no node takes new replicas: 2 of 2 nodes (l40s-0, l40s-1) are cordoned (kubectl uncordon"
        " l40s-0 l40s-1). Mend one of these, or add a node to GPUPool l40s.",
    )


def test_a_roll_out_waits_where_all_nodes_are_cordoned_and_arrives_once_one_is_not() -> None:
    world = a_world(some_nodes("l40s", 2), rate_per_s=8.0)
    former = world.serving()
    for name in world.nodes:
        change(world, name, unschedulable=True)
    world.apply(a_model(engine={"maxNumSeqs": 64}))
    world.run(120)
    assert (world.serving(), set(world.serving_over_time)) == (former, {2})
    assert ready(world)[:2] == ("False", "NodesClosed")
    change(world, "l40s-1", unschedulable=False)
    world.settle()
    assert (world.serving().keys() & former.keys(), nodes_of(world)) == (set(), ["l40s-1", "l40s-1"])
    assert min(world.serving_over_time) >= 1


def test_a_roll_out_beside_a_cordoned_node_goes_to_a_pool_that_has_room() -> None:
    world = a_world(
        some_nodes("l40s", 1) + some_nodes("h100", 1),
        a_pool("h100", "H100", priceUsdPerHour=6.0),
        rate_per_s=8.0,
    )
    assert nodes_of(world) == ["l40s-0", "l40s-0"]
    change(world, "l40s-0", unschedulable=True)
    world.apply(a_model(engine={"maxNumSeqs": 64}))
    world.settle()
    assert nodes_of(world) == ["h100-0"]
    assert min(world.serving_over_time) >= 1


def test_a_former_replica_on_a_cordoned_node_serves_on_while_its_successors_lack_room() -> None:
    world = a_world(some_nodes("l40s", 2), rate_per_s=16.0)
    former = set(world.deployments)
    change(world, "l40s-0", unschedulable=True)
    world.apply(a_model(engine={"maxNumSeqs": 64}))
    world.run(300)
    assert {p.node for p in world.pods.values() if p.deployment in former} == {"l40s-0"}
    assert nodes_of(world) == ["l40s-0", "l40s-0", "l40s-1", "l40s-1"]
    assert min(world.serving_over_time) >= 3
    assert ready(world)[:2] == ("False", "CapacityShort")
    world.nodes["l40s-2"] = a_node("l40s-2")
    world.settle()
    assert nodes_of(world) == ["l40s-1", "l40s-1", "l40s-2", "l40s-2"]
    assert not set(world.deployments) & former


@pytest.mark.parametrize(
    "taint",
    [
        pytest.param(
            Taint("node.kubernetes.io/out-of-service", "nodeshutdown", "NoExecute"), id="declared dead"
        ),
        pytest.param(Taint("example.com/broken", "", "NoExecute"), id="evicts what does not tolerate it"),
    ],
)
def test_capacity_that_is_lost_at_once_is_replaced_at_once(taint: Taint) -> None:
    world = a_world(some_nodes("l40s", 2))
    [left] = nodes_of(world)
    change(world, left, taints=(taint,))
    world.run(3)
    [new] = [p for p in world.pods.values() if not p.ready]
    assert new.destination not in ("", left)
    assert not world.decide().steps


def test_a_candidate_of_the_autoscaler_keeps_its_replicas_and_is_the_last_to_get_one() -> None:
    candidate = Taint("DeletionCandidateOfClusterAutoscaler", "1", "PreferNoSchedule")
    world = a_world(some_nodes("l40s", 1))
    pods = set(world.pods)
    change(world, "l40s-0", taints=(candidate,))
    world.nodes["l40s-00"] = a_node("l40s-00", taints=(candidate,))
    world.nodes["l40s-9"] = a_node("l40s-9")
    world.run(60)
    assert set(world.pods) == pods
    world.apply(a_class("chat", rate_per_s=8.0))
    world.settle()
    assert nodes_of(world) == ["l40s-0", "l40s-9"]


@pytest.mark.parametrize(
    "taint",
    [
        pytest.param(Taint("node.kubernetes.io/disk-pressure", "", "NoSchedule"), id="pressure passes"),
        pytest.param(Taint("kubernetes.azure.com/scalesetpriority", "spot", "NoSchedule"), id="always there"),
        pytest.param(Taint("team", "a", "NoSchedule"), id="reserved for others"),
    ],
)
def test_replicas_stay_on_a_node_that_only_takes_no_new_ones(taint: Taint) -> None:
    world = a_world(some_nodes("l40s", 2))
    pods = set(world.pods)
    change(world, *nodes_of(world), taints=(taint,))
    world.run(60)
    assert (set(world.pods), ready(world)[:2]) == (pods, ("True", "Ready"))


def test_a_replica_that_answers_on_a_node_that_is_not_ready_stays_and_its_node_gets_no_other() -> None:
    world = a_world(some_nodes("l40s", 2), a_class("batch", rate_per_s=1.0, priority=50))
    [quiet] = {p.node for p in world.pods_of_class("default/chat")}
    pods = set(world.pods)
    change(world, quiet, ready=False)
    world.apply(a_class("batch", rate_per_s=7.0, priority=50))
    world.run(60)
    assert pods <= set(world.pods)
    assert {p.node for p in world.pods_of_class("default/batch")} == {"l40s-0", "l40s-1"} - {quiet}
    assert ready(world)[:2] == ("True", "Ready")


def test_a_class_whose_last_replica_is_on_a_leaving_node_keeps_it_against_a_new_one_of_its_priority() -> None:
    world = a_world(some_nodes("l40s", 1, gpus=1))
    change(world, "l40s-0", unschedulable=True)
    world.apply(a_model("other"), a_class("new", rate_per_s=30.0, models=[{"name": "other"}]))
    world.run(60)
    assert (world.serving().total(), set(world.serving_over_time)) == (1, {1})
    assert ready(world)[:2] == ("True", "NodesLeaving")
    assert ready(world, "default/new")[:2] == ("False", "NodesClosed")


def test_single_replicas_of_two_classes_get_nodes_of_their_own() -> None:
    world = a_world(some_nodes("l40s", 4), a_class("batch", rate_per_s=1.0), rate_per_s=12.0)
    assert nodes_of(world) == ["l40s-0", "l40s-1", "l40s-2", "l40s-3"]


def test_a_budget_that_was_changed_or_deleted_by_hand_is_put_right() -> None:
    world = a_world(some_nodes("l40s", 2))
    [deployment] = world.deployments
    for by_hand in ({}, {deployment: 0}, {deployment: -1}):
        world.protected = dict(by_hand)
        assert [planned.step for planned in world.decide().steps] == [ProtectReplicas(deployment, 1)]


# --- nodes that left their pool -------------------------------------------------------------------


def relabel(world: World, name: str, **labels: str) -> None:
    change(world, name, labels={"kubernetes.io/hostname": name, **labels})


LEFT = "it has no label nvidia.com/gpu.product, and spec.nodeSelector asks for nvidia.com/gpu.product=l40s"


@pytest.mark.parametrize("placement", ["Argosy", "Scheduler"])
def test_a_replica_on_a_node_that_lost_its_pools_label_is_replaced_before_it_goes(placement: str) -> None:
    world = a_world(some_nodes("l40s", 2), placement=placement)
    [left] = nodes_of(world)
    relabel(world, left)
    world.run(3)
    events = {e for d in world.decisions for e in d.events if e.reason == "NodeLeaving"}
    [event] = events
    assert (event.kind, event.key, event.message) == (
        "GPUPool",
        "l40s",
        f"Node {left} is leaving: {LEFT}; 1 replica on it serves until a successor does.",
    )
    pool = status_of(world.decide(), "l40s", "gpupools").status
    assert ([(n.name, n.reason, n.replicas) for n in pool.leaving], pool.nodes) == ([(left, LEFT, 1)], 1)
    world.settle()
    [moved] = nodes_of(world)
    assert moved != left
    assert (min(world.serving_over_time), max(world.serving_over_time)) == (1, 2)
    assert status_of(world.decide(), "l40s", "gpupools").status.leaving == ()


def test_a_replica_on_a_node_that_another_pool_selects_by_now_is_replaced_and_the_node_changes_hands() -> (
    None
):
    world = a_world(some_nodes("l40s", 2), a_pool("h100", "H100", priceUsdPerHour=60.0), rate_per_s=3.0)
    [left] = nodes_of(world)
    relabel(world, left, **{GPU_LABEL: "h100"})
    world.run(3)
    [leaving] = status_of(world.decide(), "l40s", "gpupools").status.leaving
    asks = "spec.nodeSelector asks for nvidia.com/gpu.product=l40s"
    assert leaving.reason == f"its label nvidia.com/gpu.product is h100, and {asks}"
    world.settle()
    [moved] = nodes_of(world)
    assert moved != left
    assert min(world.serving_over_time) == 1
    assert status_of(world.decide(), "h100", "gpupools").status.nodes == 1


def test_replicas_outside_their_pool_stay_where_it_has_no_room_and_the_condition_says_what_to_add() -> None:
    world = a_world(some_nodes("l40s", 2), rate_per_s=16.0)
    before, nodes = set(world.pods), dict(world.nodes)
    for name in nodes:
        relabel(world, name)
    world.run(60)
    assert (set(world.pods), set(world.serving_over_time)) == (before, {4})
    status, reason, message = ready(world)
    assert (status, reason) == ("True", "NodesLeaving")
    assert f"node l40s-0 of GPUPool l40s is leaving: {LEFT}; node l40s-1 of GPUPool" in message
    assert message.endswith("add a node to GPUPool l40s.")
    assert ready(world, "l40s", "gpupools")[:2] == ("False", "NoNodes")
    world.nodes = nodes
    world.settle()
    assert (set(world.pods), ready(world)[:2]) == (before, ("True", "Ready"))


def test_replicas_of_a_pool_whose_selector_matches_nothing_any_more_stay_until_it_does() -> None:
    world = a_world(some_nodes("l40s", 2), rate_per_s=16.0)
    before = set(world.pods)
    world.apply(a_pool(nodeSelector={GPU_LABEL: "typo"}))
    world.run(60)
    assert (set(world.pods), set(world.serving_over_time)) == (before, {4})
    status, reason, message = ready(world)
    assert (status, reason) == ("False", "NoNodes")
    assert "nvidia.com/gpu.product=typo; add such a node, correct spec.nodeSelector, or set" in message
    world.apply(a_pool())
    world.settle()
    assert (set(world.pods), ready(world)[:2]) == (before, ("True", "Ready"))


def test_a_pool_whose_selector_leaves_a_node_out_moves_what_runs_there() -> None:
    nodes = some_nodes("l40s", 3)
    world = a_world([replace(n, labels={**n.labels, "zone": n.name[-1]}) for n in nodes], rate_per_s=8.0)
    left = nodes_of(world)
    world.apply(a_pool(nodeSelector={GPU_LABEL: "l40s", "zone": "2"}))
    world.settle()
    assert (left, nodes_of(world)) == (["l40s-0", "l40s-1"], ["l40s-2", "l40s-2"])
    assert min(world.serving_over_time) == 2
