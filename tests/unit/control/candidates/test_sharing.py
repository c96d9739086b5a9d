"""Which classes share replicas, what their group is called, and what it is planned for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest
from small_fleet import (
    FakePerf,
    World,
    a_class,
    a_fleet,
    a_model,
    a_pool,
    body_of,
    parsed,
    some_nodes,
    verdict,
)

from argosy.api import FleetPlan, GPUPool, RouterPolicy, WorkloadClass
from argosy.control.cells import RouteCells
from argosy.control.routes import route_inputs
from argosy.control.traffic.balance import balance
from argosy.keys import ClassKey, DeploymentKey
from argosy.perf.protocol import Capacity, OutOfRange
from argosy.route.compile import compile_routes
from argosy.route.weights import CellWeights
from argosy.snapshot import Mix, Slo, SloTerm, Term, Variant

BOUND = SloTerm(Term.TTFT, 0.95, 500.0)


@dataclass(frozen=True)
class BySlo(FakePerf):
    """A GPU serves a TTFT bound (its smallest, in ms) with this many requests/s, where it is listed."""

    listed: Mapping[tuple[str, float], float] = field(default_factory=dict)

    def capacity(self, variant: Variant, mix: Mix, slo: Slo) -> Capacity | OutOfRange:
        rate_per_s = self.listed.get((variant.gpu, min(term.bound_ms for term in slo.terms)))
        if rate_per_s is None:
            return super().capacity(variant, mix, slo)
        return Capacity(rate_per_s, BOUND)


def a_world(*objects: object, num_l40s: int = 6, num_h100: int = 0) -> World:
    world = World(
        [*some_nodes("l40s", num_l40s), *some_nodes("h100", num_h100)], a_fleet(), a_pool(), a_model()
    )
    if num_h100:
        world.apply(a_pool("h100", "H100", priceUsdPerHour=6.0))
    world.apply(*objects)  # type: ignore[arg-type]
    return world


def small_classes(count: int, rate_per_s: float = 0.1) -> list[WorkloadClass]:
    return [a_class(f"c{i:02}", rate_per_s=rate_per_s) for i in range(count)]


def groups_of(world: World) -> dict[str, str]:
    """The group of each class, by names."""
    return {c.workload_class.name: c.sharing_group.name for c in world.applied.spec.cells}


def a_policy(target: str, name: str = "", **spec: object) -> RouterPolicy:
    return parsed(
        RouterPolicy, name or f"for-{target}", {"targetRefs": [{"name": target}], **spec}, "default"
    )


def ttft(bound_ms: float) -> dict[str, object]:
    return {"slo": {"ttft": {"p95Milliseconds": bound_ms}}}


def test_fifty_small_classes_need_no_more_replicas_than_one_class_of_their_sum() -> None:
    fifty, one = a_world(*small_classes(50)), a_world(a_class(rate_per_s=5.0))
    for world in (fifty, one):
        world.settle()
    assert fifty.replicas() == {"l40s/c00": 2}
    assert sum(one.replicas().values()) == 2
    assert fifty.applied.spec.cost_usd_per_hour == one.applied.spec.cost_usd_per_hour
    assert {c.unserved_share for c in fifty.applied.spec.cells} == {0.0}
    for cell in fifty.applied.spec.cells:
        assert verdict(fifty.decisions[-1], cell.workload_class) == ("True", "Ready")


def test_a_class_shows_its_own_rate_and_the_replicas_of_its_group() -> None:
    world = a_world(a_class("chat", rate_per_s=5.0), a_class("code", rate_per_s=2.0))
    world.settle()
    found = {name: body_of(world.decide(), f"default/{name}") for name in ("chat", "code")}
    shown = ("requestsPerSecond", "replicasReady", "sharingGroup")
    assert [[body[field] for field in shown] for body in found.values()] == [
        [5.0, 2, "chat"],
        [2.0, 2, "chat"],
    ]


@pytest.mark.parametrize(
    ("other", "is_shared"),
    [
        pytest.param({}, True, id="alike"),
        pytest.param({"minReplicas": 3}, True, id="another floor"),
        pytest.param({"match": {"path": {"value": "/v1/completions"}}}, True, id="other requests"),
        pytest.param({"traffic": {"requestsPerSecond": 1, "lengths": {"archetype": "batch-documents"}}}, True,
                     id="other lengths"),
        pytest.param(ttft(1000), True, id="a stricter SLO that the replicas keep"),
        pytest.param({"slo": {"itl": {"p50Milliseconds": 90}}}, True, id="other terms"),
        pytest.param({"priority": 101}, False, id="another priority"),
        pytest.param({"models": [{"name": "llama"}, {"name": "mistral"}]}, False, id="a choice of models"),
        pytest.param({"models": [{"name": "mistral"}]}, False, id="another model"),
    ],
)  # fmt: skip
def test_compatible_classes_share(other: dict[str, object], is_shared: bool) -> None:
    world = a_world(a_model("mistral", "other"), a_class("chat"), a_class("code", rate_per_s=1.0, **other))
    world.settle()
    found = groups_of(world)
    assert (found["chat"] == found["code"]) is is_shared


@pytest.mark.parametrize(
    ("policy", "is_shared"),
    [
        pytest.param({"outlierDetection": {"consecutiveErrors": 3}}, False, id="ejects earlier"),
        pytest.param({"outlierDetection": {"ejectionSeconds": 9}}, False, id="ejects for a shorter time"),
        pytest.param({"weightCorrection": "Disabled"}, False, id="its weights are not corrected"),
        pytest.param({"outlierDetection": {"consecutiveErrors": 5}}, True, id="says what holds anyway"),
        pytest.param(
            {"retries": {"attempts": 0}, "perTryIdleSeconds": 9}, True, id="is about its routes only"
        ),
    ],
)
def test_classes_share_where_their_policies_agree_on_clusters(
    policy: dict[str, object], is_shared: bool
) -> None:
    world = a_world(a_class("chat"), a_class("code"), a_policy("code", **policy))
    world.settle()
    found = groups_of(world)
    assert (found["chat"] == found["code"]) is is_shared


def test_a_class_that_would_cost_the_others_more_than_half_of_a_replica_has_its_own() -> None:
    world = a_world(a_class("chat"), a_class("fast", rate_per_s=0.1, **ttft(100)))
    world.perf = BySlo(listed={("L40S", 100): 1.9})
    world.settle()
    assert world.replicas() == {"l40s/chat": 2, "l40s/fast": 1}
    half = a_world(a_class("chat"), a_class("fast", rate_per_s=0.1, **ttft(100)))
    half.perf = BySlo(listed={("L40S", 100): 2.0})
    half.settle()
    assert half.replicas() == {"l40s/chat": 5}  # 8.1 / 2


def test_a_class_that_only_a_faster_gpu_serves_moves_no_other_class_there() -> None:
    world = a_world(a_class("chat"), a_class("fast", rate_per_s=0.1, **ttft(100)), num_h100=1)
    world.perf = BySlo(listed={("L40S", 100): 0.0})
    world.settle()
    assert world.replicas() == {"h100/fast": 1, "l40s/chat": 2}


def test_a_class_whose_slo_nothing_keeps_spoils_no_group() -> None:
    world = a_world(*small_classes(3), a_class("wrong", **ttft(1)))
    world.settle()
    assert world.replicas() == {"l40s/c00": 1}
    assert verdict(world.decisions[-1], "default/c01") == ("True", "Ready")
    assert verdict(world.decisions[-1], "default/wrong") == ("False", "SloUnreachable")


def test_a_class_in_use_whose_slo_is_tightened_beyond_reach_is_still_served_by_its_group() -> None:
    world = a_world(*small_classes(3))
    world.settle()
    before = set(world.pods)
    world.apply(a_class("c01", rate_per_s=0.1, **ttft(1)))
    world.run(30)
    assert groups_of(world) == {"c00": "c00", "c01": "c00", "c02": "c00"}
    assert set(world.pods) == before
    routes = compile_routes(route_inputs(world.snapshot(), world.applied)).routes
    assert [r.class_key for r in routes if not r.backends] == []
    assert verdict(world.decisions[-1], "default/c01") == ("False", "SloUnreachable")
    assert verdict(world.decisions[-1], "default/c02") == ("True", "Ready")


# A group keeps its name, and so its replicas.


def test_whoever_joins_or_leaves_a_group_restarts_nothing() -> None:
    world = a_world(*small_classes(10))
    world.settle()
    before = set(world.pods)
    world.apply(a_class("a-new-one", rate_per_s=0.1))
    world.settle()
    assert groups_of(world)["a-new-one"] == "c00"
    world.delete(WorkloadClass, "default/c00")  # after which the group is named
    world.settle()
    assert set(groups_of(world).values()) == {"c00"}
    assert set(world.pods) == before
    assert {d.name for d in world.applied.spec.deployments} == set(world.deployments)


@pytest.mark.parametrize("is_applied_first", [True, False], ids=["applied, then deleted", "the other way"])
def test_a_class_that_is_renamed_takes_its_running_replicas_along(is_applied_first: bool) -> None:
    renamed = a_class("talk", rate_per_s=8.0, match={"headers": [{"name": "x-class", "value": "chat"}]})
    world = World(some_nodes("l40s", 6), a_fleet(), a_pool(), a_model(), a_class(rate_per_s=8.0))
    world.rest()
    before = {key: pod.uid for key, pod in world.pods.items()}
    if is_applied_first:
        world.apply(renamed)
        world.run(5)
        assert verdict(world.decisions[-1], "default/talk") == ("False", "Conflicted")
    else:
        world.delete_with_grace(WorkloadClass, "default/chat")
        world.run(3)
        world.apply(renamed)
    # Its grace ends at once: the snapshots see that all of its requests are the other's.
    world.parting.clear()
    world.delete(WorkloadClass, "default/chat")
    world.run(5)
    assert verdict(world.decisions[-1], "default/talk") == ("True", "Ready")
    world.run(120)
    assert {key: pod.uid for key, pod in world.pods.items()} == before
    assert all(pod.ready for pod in world.pods.values())
    assert verdict(world.decisions[-1], "default/talk") == ("True", "Ready")


def test_a_class_that_comes_back_joins_the_group_that_is_named_after_it() -> None:
    world = a_world(*small_classes(3))
    world.settle()
    before = set(world.pods)
    world.delete(WorkloadClass, "default/c00")
    world.settle()
    world.apply(a_class("c00", rate_per_s=0.1))
    world.settle()
    assert groups_of(world) == {"c00": "c00", "c01": "c00", "c02": "c00"}
    assert set(world.pods) == before


def test_a_policy_edit_that_keeps_classes_together_restarts_nothing() -> None:
    world = a_world(a_class("chat", rate_per_s=2.0), a_class("code", rate_per_s=1.0))
    world.settle()
    before = set(world.pods)
    both = {"targetRefs": [{"name": "chat"}, {"name": "code"}], "outlierDetection": {"consecutiveErrors": 2}}
    world.apply(parsed(RouterPolicy, "strict", both, "default"))
    world.settle()
    assert set(world.pods) == before
    [cluster] = compile_routes(route_inputs(world.snapshot(), world.applied)).clusters
    assert cluster.outlier.consecutive_errors == 2


def test_of_a_group_that_splits_the_part_with_more_requests_keeps_name_and_replicas() -> None:
    world = a_world(a_class("a", rate_per_s=1.0), a_class("b", rate_per_s=2.0), a_class("c", rate_per_s=6.0))
    world.settle()
    assert world.replicas() == {"l40s/a": 3}
    before = set(world.pods)
    for name, rate_per_s in (("a", 1.0), ("b", 2.0)):
        world.apply(a_class(name, rate_per_s=rate_per_s, priority=50))
    world.settle()
    assert groups_of(world) == {"a": "a-2", "b": "a-2", "c": "a"}
    assert world.replicas() == {"l40s/a": 2, "l40s/a-2": 1}
    assert len(before & set(world.pods)) == 2


def test_where_two_groups_merge_the_larger_ones_replicas_stay() -> None:
    world = a_world(a_class("a", rate_per_s=1.0, priority=50), a_class("b", rate_per_s=8.0))
    world.settle()
    before = {p.key for p in world.pods_of("l40s/b")}
    world.apply(a_class("a", rate_per_s=1.0))
    world.settle()
    assert groups_of(world) == {"a": "b", "b": "b"}
    assert world.replicas() == {"l40s/b": 3}
    assert before < set(world.pods)


def test_a_class_that_changes_its_group_is_served_throughout() -> None:
    world = a_world(a_class("a", rate_per_s=1.0), a_class("b", rate_per_s=1.0))
    world.settle()
    world.apply(a_class("a", rate_per_s=1.0, priority=50))
    for _ in range(60):
        world.act()
        routes = compile_routes(route_inputs(world.snapshot(), world.applied)).routes
        assert [bool(r.backends) for r in routes] == [True, True]
        world.now_s += 1.0
        world.reconcile()
    assert world.replicas() == {"l40s/a": 1, "l40s/b": 1}


def test_a_group_stays_together_while_its_nodes_are_away() -> None:
    world = a_world(*small_classes(4))
    world.settle()
    before, nodes = set(world.pods), dict(world.nodes)
    world.nodes = {}
    world.run(20)
    world.nodes = nodes
    world.settle()
    assert set(groups_of(world).values()) == {"c00"}
    assert set(world.pods) == before


def test_a_pool_that_is_deleted_and_applied_again_parts_no_group() -> None:
    world = a_world(*small_classes(4))
    world.settle()
    world.delete(GPUPool, "l40s")
    world.run(10)
    world.apply(a_pool())
    world.settle()
    assert set(groups_of(world).values()) == {"c00"}


def test_names_are_taken_up_again_from_pods_where_every_plan_is_lost() -> None:
    world = a_world(*small_classes(3))
    world.settle()
    world.delete(WorkloadClass, "default/c00")
    world.settle()
    before = set(world.pods)
    world.plans = ()
    world.settle()
    assert groups_of(world) == {"c01": "c00", "c02": "c00"}
    assert set(world.pods) == before


def test_today_s_groups_of_one_class_become_one_group_once_and_lose_nothing_on_the_way() -> None:
    """The applied plan of an earlier version, with a group for each class, and its replicas."""
    world = a_world(*small_classes(4))
    world.cells = RouteCells(())
    world.settle()
    assert sum(world.replicas().values()) == 4
    world.cells = None
    for _ in range(60):
        world.act()
        routes = compile_routes(route_inputs(world.snapshot(), world.applied)).routes
        assert [r.class_key for r in routes if not r.backends] == []
        world.now_s += 1.0
        world.reconcile()
    world.settle()
    assert world.replicas() == {"l40s/c00": 1}
    pods, revision = set(world.pods), world.applied.spec.revision
    world.run(60)
    assert (set(world.pods), world.applied.spec.revision) == (pods, revision)


# Routes, weights and theft.


def test_a_group_is_one_cluster_with_a_route_and_counters_for_each_class() -> None:
    world = a_world(*small_classes(3))
    world.settle()
    table = compile_routes(route_inputs(world.snapshot(), world.applied))
    [cluster] = table.clusters
    assert {r.stat_prefix for r in table.routes} == {"default_c00", "default_c01", "default_c02"}
    assert {b.cluster for r in table.routes for b in r.backends} == {cluster.name}


def two_clusters() -> World:
    """Two small classes on a replica of each of two pools."""
    world = a_world(a_class("a", rate_per_s=6.0), a_class("b", rate_per_s=12.0), num_l40s=1, num_h100=1)
    world.nodes = {n.name: n for n in (*some_nodes("l40s", 1), *some_nodes("h100", 1, gpus=1))}
    world.settle()
    return world


def test_the_classes_of_a_group_have_the_weights_of_the_group() -> None:
    world = two_clusters()
    cells = world.applied.spec.cells
    assert len({tuple((s.deployment, s.share) for s in c.shares) for c in cells}) == 1
    assert len(cells[0].shares) == 2
    first, other = (s.deployment for s in cells[0].shares)
    share = cells[0].shares[0].share
    near: Mapping[DeploymentKey, float] = {first: share + 0.005, other: 1 - share - 0.005}
    # The second class has just joined: nothing is known of its own weights.
    found = balance(
        world.snapshot(), world.applied, {cells[0].name: CellWeights(near)},
        world.decisions[-1].memory.capacity_per_s,
    )  # fmt: skip
    assert [dict(found[c.name].weights) for c in cells] == [near, near]


def test_a_running_class_reads_who_took_its_last_replica() -> None:
    world = a_world(a_class("batch", rate_per_s=1.0, priority=50))
    world.nodes = {n.name: n for n in some_nodes("l40s", 1, gpus=1)}
    world.settle()
    world.apply(
        a_class("new", rate_per_s=1.0, priority=50, **{"models": [{"name": "other"}]}), a_model("other")
    )
    equal = world.act()
    assert verdict(equal, "default/batch") == ("True", "Ready")
    world.apply(a_class("new", rate_per_s=1.0, priority=60, **{"models": [{"name": "other"}]}))
    decision = world.act()
    [event] = [e for e in decision.events if e.key == "default/batch"]
    word = "the last replica that serves it is taken for default/new (priority 60), as its own priority is 50"
    assert word in event.message
    assert event.type == "Warning"
    [ready] = [c for c in body_of(decision, "default/batch")["conditions"] if c["type"] == "Ready"]
    assert (ready["status"], ready["reason"]) == ("False", "CapacityShort")
    assert word in ready["message"]


def test_fifty_classes_in_a_pool_that_is_too_small_are_told_the_total() -> None:
    world = a_world(*(a_class(f"c{i:02}", rate_per_s=4.0, priority=i) for i in range(48)), num_l40s=5)
    decision = world.act()
    short = [e.message for e in decision.events if e.reason == "PoolFull"]
    assert len(short) == 38
    assert all("pool l40s has 10 GPUs and 48 are needed" in message for message in short)


def test_a_plan_written_by_one_replica_is_the_plan_that_another_would_write() -> None:
    worlds = [a_world(*order) for order in (small_classes(5), small_classes(5)[::-1])]
    for world in worlds:
        world.settle()
    one, other = (FleetPlan.to_object(w.applied)["spec"] for w in worlds)
    assert {**one, "solver": 0} == {**other, "solver": 0}


def test_keys_of_classes_are_never_taken_for_groups() -> None:
    """A class that nothing can serve, named as a group is, does not slip into that group."""
    world = a_world(*small_classes(3))
    world.settle()
    world.delete(WorkloadClass, "default/c00")
    world.settle()
    world.apply(a_class("c00", **ttft(1)))
    world.act()
    assert groups_of(world) == {"c00": "c00-2", "c01": "c00", "c02": "c00"}
    assert ClassKey("default/c00") in world.snapshot().classes
