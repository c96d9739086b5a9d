"""Pools whose nodes an autoscaler brings: from zero nodes to replicas that serve, and back."""

from __future__ import annotations

from dataclasses import replace

import pytest
from autoscaled_world import AutoscaledWorld
from builders import NVIDIA, a_class, a_fleet, a_model, a_node, a_pool, some_nodes
from small_fleet import World, body_of, condition, verdict

from argosy.api import GPUPool
from argosy.api.gpupool import GPUPoolStatus
from argosy.control.memory import NodeMemory
from argosy.control.pools.to_come import with_nodes_to_come
from argosy.control.recheck import changed_since
from argosy.control.refused.evidence import evidence
from argosy.control.state.nodes import pool_nodes
from argosy.control.state.waiting import provisioning_s
from argosy.rollout import ReleasePod
from argosy.snapshot.cluster import NodeState, Taint

DELAY_S = 90.0


def a_growing_pool(most: int = 4, name: str = "l40s", **spec: object) -> GPUPool:
    return a_pool(name, **{"nodes": {"max": most}, "provisioningSeconds": 60, **spec})


def a_world(pool: GPUPool, *, delay_s: float | None = DELAY_S, rate_per_s: float = 8.0) -> AutoscaledWorld:
    objects = (a_fleet(), pool, a_model(), a_class(rate_per_s=rate_per_s))
    return AutoscaledWorld(*objects, delay_s=delay_s)


@pytest.mark.parametrize("placement", ["Argosy", "Scheduler"])
def test_replicas_start_on_nodes_that_did_not_exist_and_their_delay_is_learnt(placement: str) -> None:
    world = a_world(a_growing_pool(placement=placement))
    first = world.act()
    planned = sum(d.replicas for d in world.applied.spec.deployments)
    assert planned >= 2
    assert [(n.pool, n.nodes) for n in world.applied.spec.nodes_to_come] == [("l40s", -(-planned // 2))]
    assert verdict(first, "l40s", "gpupools") == ("True", "NodesMayCome")
    world.run(4)
    waits = world.act()
    assert all(not pod.gated and not pod.destination for pod in world.pods.values()), "autoscalers see them"
    assert verdict(waits, "default/chat") == ("False", "NodesToCome")
    message = condition(waits, "default/chat")["message"]
    assert f"0 of {planned} replicas get requests; {planned} wait since " in message
    assert "GPUPool l40s that do not exist yet: an autoscaler brings one in about 60 s" in message
    world.settle()
    done = world.act()
    assert verdict(done, "default/chat") == ("True", "Ready")
    assert sum(world.serving().values()) == planned
    learnt = body_of(done, "l40s", "gpupools")
    assert (learnt["nodesToCome"], learnt["provisioningSeconds"]) == (0, pytest.approx(DELAY_S, abs=3.0))


def test_the_plan_says_how_many_nodes_do_not_exist_yet_and_how_long_one_takes() -> None:
    world = a_world(a_growing_pool(provisioningSeconds=180), rate_per_s=14.0)
    world.nodes["there"] = a_node("there")
    decision = world.act()
    [reason] = [r.message for r in decision.why if r.code == "NodesToCome"]
    assert reason.startswith(
        "1 of 2 nodes of pool l40s does not exist yet: an autoscaler brings one in about 180 s"
    )


@pytest.mark.parametrize("num_nodes", [1, 2])
def test_none_is_to_come_where_there_are_as_many_nodes_as_may_be_or_more(num_nodes: int) -> None:
    world = World(some_nodes("l40s", num_nodes), a_growing_pool(most=1))
    snapshot = world.snapshot()
    nodes = with_nodes_to_come(pool_nodes(snapshot, frozenset()), snapshot, NodeMemory())
    assert nodes["l40s"].to_come is None


def test_no_more_replicas_are_planned_than_the_nodes_that_may_come_hold() -> None:
    world = a_world(a_growing_pool(most=1), rate_per_s=60.0)
    decision = world.act()
    assert sum(d.replicas for d in world.applied.spec.deployments) == 2
    assert verdict(decision, "default/chat") == ("False", "CapacityShort")
    assert "(2 of them on nodes that do not exist yet)" in condition(decision, "default/chat")["message"]
    assert "raise spec.nodes.max of GPUPool l40s" in condition(decision, "default/chat")["message"]


def test_where_no_node_comes_other_hardware_is_used_and_the_pool_is_asked_again_after_a_pause() -> None:
    world = a_world(a_growing_pool(), delay_s=None)
    world.run(30, period_s=15)
    assert {d.pool for d in world.applied.spec.deployments if d.replicas} == {"l40s"}
    world.apply(a_pool("h100", "H100", priceUsdPerHour=6.0))
    world.nodes |= {n.name: n for n in some_nodes("h100", 2)}
    world.run(200, period_s=20)
    told = [e for d in world.decisions for e in d.events if e.reason == "NodesNotComing"]
    assert [(e.kind, e.key) for e in told][:1] == [("GPUPool", "l40s")]
    assert "no node came for them (spec.nodes.max is 4, 0 exist)" in told[0].message
    world.settle()
    assert verdict(world.act(), "default/chat")[0] == "True"
    assert {world.label(p.deployment).split("/")[0] for p in world.pods.values() if p.ready} == {"h100"}


def test_a_class_that_has_nothing_else_reads_that_no_node_came_and_until_when_none_is_asked_for() -> None:
    world = a_world(a_growing_pool(), delay_s=None)
    world.run(260, period_s=20)
    decision = world.decisions[-1]
    assert verdict(decision, "l40s", "gpupools") == ("False", "NodesNotComing")
    assert verdict(decision, "default/chat") == ("False", "NodesNotComing")
    held = decision.memory.nodes.held["l40s"]
    world.now_s = held.until_s + 1.0
    again = world.act()
    assert verdict(again, "l40s", "gpupools") == ("True", "NodesMayCome")
    world.run(260, period_s=20)
    second = world.decisions[-1].memory.nodes.held["l40s"]
    assert (second.failures, second.until_s - second.held_s) == (2, 2 * (held.until_s - held.held_s))


def test_nodes_that_are_paid_for_anyhow_are_used_before_cheaper_ones() -> None:
    cheap = a_pool("l4", "L4", priceUsdPerHour=0.5)
    world = a_world(a_growing_pool(nodes={"min": 2, "max": 2}))
    world.apply(cheap)
    world.nodes |= {n.name: n for n in (*some_nodes("l4", 4), *some_nodes("l40s", 2))}
    world.act()
    assert {d.pool for d in world.applied.spec.deployments if d.replicas} == {"l40s"}


def test_a_rate_that_falls_leaves_nodes_empty_for_the_autoscaler_to_take_away() -> None:
    world = a_world(a_growing_pool(), rate_per_s=14.0)
    world.settle()
    before = len(world.nodes)
    world.now_s += 700.0
    world.apply(a_class(rate_per_s=1.0))
    world.run(400, period_s=20)
    assert before == 2
    assert len(world.nodes) == 1


def may_come(pool: GPUPool, *nodes: NodeState, now_s: float = 0.0) -> tuple[int, int] | None:
    """How many nodes, and of how many GPUs each."""
    snapshot = replace(World(nodes, pool).snapshot(), now_s=now_s)
    found = with_nodes_to_come(pool_nodes(snapshot, frozenset()), snapshot, NodeMemory())["l40s"].to_come
    return None if found is None else (found.most, found.gpus)


NODE = a_node("n", gpus=1)
CLOSED = replace(NODE, taints=(Taint("a", "b", "NoSchedule"),))


@pytest.mark.parametrize(
    ("nodes", "expected"),
    [
        pytest.param((), (4, 2), id="none exists: as the pool says"),
        pytest.param((NODE,), (3, 1), id="as on the one that exists"),
        pytest.param((CLOSED,), None, id="the next would have the same taint"),
        pytest.param((replace(NODE, allocatable={}),), None, id="the next would count no GPUs either"),
        pytest.param((replace(NODE, unschedulable=True),), (3, 2), id="a cordoned one is no example"),
        pytest.param(
            (replace(NODE, ready=False, created_s=90.0),), (4, 2), id="it has registered and is not Ready yet"
        ),
        pytest.param(
            (replace(NODE, allocatable={}, created_s=90.0),), (4, 2), id="its device plugin is not up yet"
        ),
        pytest.param((replace(CLOSED, created_s=90.0),), (4, 2), id="a taint of its start is still there"),
        pytest.param(
            (replace(NODE, ready=False, created_s=-900.0),), (3, 2), id="an old one that is not Ready exists"
        ),
        pytest.param((replace(NODE, allocatable={NVIDIA: 0}, capacity={NVIDIA: 2}),), (3, 2), id="ill GPUs"),
    ],
)
def test_which_nodes_may_come_is_seen_from_those_that_exist(
    nodes: tuple[NodeState, ...], expected: tuple[int, int] | None
) -> None:
    assert may_come(a_growing_pool(), *nodes, now_s=100.0) == expected


def test_a_pool_without_bounds_gets_no_nodes() -> None:
    assert may_come(a_pool()) is None


def test_the_delay_that_was_observed_before_a_restart_is_used() -> None:
    pool = a_growing_pool().model_copy(update={"status": GPUPoolStatus(provisioning_seconds=240.0)})
    assert [provisioning_s(each) for each in (pool, a_growing_pool(), a_pool())] == [240.0, 60.0, 300.0]


def test_replicas_on_a_node_that_is_drained_are_succeeded_on_one_that_comes() -> None:
    world = a_world(a_growing_pool())
    world.settle()
    [old] = world.nodes
    serving, world.serving_over_time = sum(world.serving().values()), []
    world.nodes[old] = replace(world.nodes[old], taints=(Taint("karpenter.sh/disrupted", "", "NoSchedule"),))
    world.settle()
    assert {pod.node for pod in world.pods.values()} == {"l40s-came-1"}
    assert min(world.serving_over_time) == serving


def test_a_release_is_void_once_the_pod_has_lost_its_gate() -> None:
    world = a_world(a_growing_pool(), delay_s=None)
    world.act()
    decision = world.decide()
    [first, *_] = [each for each in decision.steps if isinstance(each.step, ReleasePod)]
    assert changed_since(first, world.snapshot()) == ""
    world.take(first.step)
    assert changed_since(first, world.snapshot()) == f"pod {first.step.pod} has its node already"


def test_a_pod_that_waits_for_a_node_to_come_is_not_taken_for_refused_by_the_cluster() -> None:
    world = a_world(a_growing_pool(placement="Scheduler"), delay_s=None)
    world.act()
    for pod in list(world.pods.values()):
        words = "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector."
        world.pods[pod.key] = replace(pod, unschedulable=words)
    world.now_s += 60.0
    assert evidence(world.snapshot()) == {}
    world.apply(a_pool(placement="Scheduler"))
    assert len(evidence(world.snapshot())) == 1


@pytest.mark.parametrize("placement", ["Argosy", "Scheduler"])
def test_a_pod_that_waits_for_its_volume_is_not_taken_for_one_that_waits_for_a_node(placement: str) -> None:
    world = a_world(a_growing_pool(placement=placement), delay_s=None)
    world.run(10)
    for _ in range(10):
        for pod in [p for p in world.pods.values() if p.unschedulable_since_s is not None]:
            words = '0/1 nodes are available: persistentvolumeclaim "cache" not found'
            world.pods[pod.key] = replace(pod, unschedulable=words)
        world.run(20, period_s=20)
    decision = world.decisions[-1]
    assert decision.memory.nodes.held == {}, "the pool is not to blame"
    message = condition(decision, "default/chat")["message"]
    assert 'persistentvolumeclaim "cache" not found' in message
    assert "Create or bind the PersistentVolumeClaim" in message


def test_nodes_that_came_with_a_taint_are_named_and_not_taken_for_nodes_that_did_not_come() -> None:
    world = a_world(a_growing_pool(), delay_s=None)
    world.run(30, period_s=15)
    taint = Taint("nvidia.com/gpu", "present", "NoSchedule")
    world.nodes["came"] = a_node("came", gpus=0, taints=(taint,), created_s=world.now_s)
    world.run(220, period_s=20)
    message = condition(world.decisions[-1], "l40s", "gpupools")["message"]
    assert "(spec.nodes.max is 4, 1 exist: its only node came has the taint nvidia.com/gpu=present" in message
    assert "add {key: nvidia.com/gpu, operator: Equal" in message
    assert condition(world.decisions[-1], "default/chat")["message"] == message
