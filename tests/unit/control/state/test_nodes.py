"""Which nodes a pool has, and how much of each is left for engines."""

from __future__ import annotations

from dataclasses import replace

import pytest
from builders import NVIDIA, a_node, a_pod, a_pool
from small_fleet import World

from argosy.api import GPUPool
from argosy.control.state.nodes import PoolNodes, SharedNodes, UsableNode, pool_nodes
from argosy.snapshot.cluster import NodeState, PodState, Taint
from argosy.snapshot.fleet import FleetSnapshot


def snapshot_of(nodes: list[NodeState], *pods: PodState, pools: tuple[GPUPool, ...] = ()) -> FleetSnapshot:
    world = World(nodes, *(pools or (a_pool(),)))
    world.pods = {p.key: p for p in pods}
    return world.snapshot()


def usable_gpus(node: NodeState, *pods: PodState, pool: GPUPool | None = None, lost: str = "") -> int | None:
    """GPUs of the only node; None where it is not usable."""
    snapshot = snapshot_of([node], *pods, pools=(pool or a_pool(),))
    found = pool_nodes(snapshot, frozenset(f"default/{name}" for name in lost.split()))["l40s"]
    return found.usable[0].gpus if found.usable else None


NODE = a_node("n")


@pytest.mark.parametrize(
    ("node", "gpus"),
    [
        pytest.param(NODE, 2, id="a healthy node"),
        pytest.param(replace(NODE, ready=False), None, id="not ready"),
        pytest.param(replace(NODE, unschedulable=True), 0, id="cordoned and empty"),
        pytest.param(replace(NODE, allocatable={}), 0, id="its device plugin has not come up"),
        pytest.param(replace(NODE, allocatable={NVIDIA: 8}), 2, id="more GPUs than the pool says"),
        pytest.param(replace(NODE, allocatable={NVIDIA: 1}), 1, id="a GPU fell ill"),
        pytest.param(replace(NODE, taints=(Taint("team", "a", "NoSchedule"),)), 0, id="reserved for others"),
        pytest.param(replace(NODE, taints=(Taint("team", "a", "PreferNoSchedule"),)), 2, id="rather not"),
        pytest.param(
            replace(NODE, taints=(Taint("node.kubernetes.io/unschedulable", "", "NoSchedule"),)),
            2,
            id="a taint that says what the node's own field says, which has changed already",
        ),
        pytest.param(
            replace(NODE, taints=(Taint("node.kubernetes.io/out-of-service", "", "NoSchedule"),)),
            None,
            id="an administrator has declared it dead",
        ),
        pytest.param(
            replace(NODE, taints=(Taint("broken", "", "NoExecute"),)), None, id="it evicts engines at once"
        ),
        pytest.param(
            replace(NODE, taints=(Taint("karpenter.sh/disrupted", "", "NoSchedule"),)), 0, id="disrupted"
        ),
        pytest.param(
            replace(NODE, taints=(Taint("DeletionCandidateOfClusterAutoscaler", "1", "PreferNoSchedule"),)),
            2,
            id="the autoscaler may remove it if it stays empty",
        ),
        pytest.param(
            replace(NODE, taints=(Taint("node.kubernetes.io/disk-pressure", "", "NoSchedule"),)),
            0,
            id="a taint that neither readiness nor cordon shows",
        ),
    ],
)
def test_a_node_offers_what_engines_may_use(node: NodeState, gpus: int | None) -> None:
    assert usable_gpus(node) == gpus


@pytest.mark.parametrize(
    ("toleration", "gpus"),
    [
        pytest.param({"key": "team", "value": "a"}, 2, id="the same value"),
        pytest.param({"key": "team", "value": "b"}, 0, id="another value"),
        pytest.param({"key": "team", "operator": "Exists"}, 2, id="any value"),
        pytest.param({"key": "team", "value": "a", "effect": "NoExecute"}, 0, id="another effect"),
        pytest.param({"key": "crew", "operator": "Exists"}, 0, id="another key"),
    ],
)
def test_a_pools_tolerations_open_tainted_nodes(toleration: dict[str, str], gpus: int) -> None:
    node = replace(NODE, taints=(Taint("team", "a", "NoSchedule"),))
    assert usable_gpus(node, pool=a_pool(tolerations=[toleration])) == gpus


@pytest.mark.parametrize(
    ("pods", "lost", "gpus"),
    [
        pytest.param([a_pod("a")], "", 2, id="our own engines' GPUs are ours to plan"),
        pytest.param([a_pod("a", deployment="")], "", 1, id="a foreign pod's are not"),
        pytest.param(
            [a_pod("a", deployment="", phase="Succeeded")], "", 2, id="a foreign job that has ended"
        ),
        pytest.param(
            [a_pod("a", node="", deployment="", assigned_node="n")], "", 2, id="a foreign pod not bound yet"
        ),
        pytest.param([a_pod("a"), a_pod("b")], "a", 1, id="a lost engine beside an answering one"),
        pytest.param([a_pod("a"), a_pod("b")], "a b", None, id="every engine is lost: the node is"),
        pytest.param([a_pod("a", deployment="", gpus=3)], "", 0, id="overcommitted"),
    ],
)
def test_pods_take_their_part(pods: list[PodState], lost: str, gpus: int | None) -> None:
    assert usable_gpus(NODE, *pods, lost=lost) == gpus


@pytest.mark.parametrize(
    ("pod", "gpus"),
    [
        pytest.param(a_pod("a"), 1, id="it serves"),
        pytest.param(a_pod("a", ready=False), 1, id="it loads"),
        pytest.param(a_pod("a", deleting=True), 0, id="it is being evicted"),
        pytest.param(a_pod("a", deployment=""), 0, id="it is not ours"),
        pytest.param(a_pod("a", node="", assigned_node="n"), 0, id="it has not been bound"),
    ],
)
def test_a_cordoned_node_keeps_the_engines_that_it_has(pod: PodState, gpus: int) -> None:
    assert usable_gpus(replace(NODE, unschedulable=True), pod) == gpus


def test_a_node_belongs_to_the_oldest_pool_that_names_it() -> None:
    def born(pool: GPUPool, when: str) -> GPUPool:
        return pool.model_copy(
            update={"metadata": pool.metadata.model_copy(update={"creation_timestamp": when})}
        )

    wide = born(a_pool("wide", nodeSelector={"kubernetes.io/os": "linux"}), "2026-01-02T00:00:00Z")
    narrow = born(a_pool("narrow", nodeSelector={"nvidia.com/gpu.product": "L40S"}), "2026-01-01T00:00:00Z")
    labels = {"kubernetes.io/os": "linux"}
    nodes = [
        NodeState("both", {**labels, "nvidia.com/gpu.product": "L40S"}, {NVIDIA: 2}, ready=True),
        NodeState("one", labels, {NVIDIA: 2}, ready=True),
    ]
    shared = (SharedNodes("narrow", "wide", ("both",)),)
    assert pool_nodes(snapshot_of(nodes, pools=(wide, narrow)), frozenset()) == {
        "narrow": PoolNodes("narrow", ("both",), (UsableNode("both", 2),), 2, shared=shared),
        "wide": PoolNodes("wide", ("one",), (UsableNode("one", 2),), 2, "narrow", shared=shared),
    }


def test_a_replica_has_room_where_one_node_holds_it_whole() -> None:
    found = pool_nodes(snapshot_of([a_node("a"), a_node("b")]), frozenset())["l40s"]
    assert [found.has_room_for(gpus) for gpus in (1, 2, 3, 4)] == [True, True, False, False]


def test_a_tolerated_disruption_is_a_departure_all_the_same() -> None:
    pool = a_pool(tolerations=[{"key": "karpenter.sh/disrupted", "operator": "Exists"}])
    node = replace(NODE, taints=(Taint("karpenter.sh/disrupted", "", "NoSchedule"),))
    [found] = pool_nodes(snapshot_of([node], pools=(pool,)), frozenset())["l40s"].usable
    assert (found.takes_new, found.departure) == (
        False,
        "Karpenter is removing it (taint karpenter.sh/disrupted)",
    )


def test_a_node_that_is_not_ready_though_its_engine_answers_is_closed_unless_it_is_declared_dead() -> None:
    node, dead = replace(NODE, ready=False), Taint("node.kubernetes.io/out-of-service", "", "NoExecute")
    answering = a_pod("a", ip="10.0.0.1", port=8000)
    found = pool_nodes(snapshot_of([node], answering), frozenset())["l40s"]
    assert (found.usable[0].gpus, found.open, found.leaving) == (1, (), ())
    declared = replace(node, taints=(dead,))
    assert pool_nodes(snapshot_of([declared], answering), frozenset())["l40s"].usable == ()


def test_the_engine_of_a_gpu_that_fell_ill_does_not_take_a_healthy_one_from_the_others() -> None:
    node = a_node("n", gpus=3)
    pods = [a_pod(name) for name in "abcd"]
    pool = a_pool(gpusPerNode=4)
    assert usable_gpus(node, *pods, pool=pool, lost="a") == 2, "nothing shows which GPU the lost engine has"
    ill = replace(node, capacity={NVIDIA: 4})
    assert usable_gpus(ill, *pods, pool=pool, lost="a") == 3
    assert usable_gpus(ill, *pods, pool=pool, lost="a b") == 2
