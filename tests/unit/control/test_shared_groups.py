"""Two classes whose requests are served by the same replicas."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

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
    steps_of,
    verdict,
)

from argosy.api import RouterPolicy, WorkloadClass
from argosy.api.fleetplan import PlannedCell
from argosy.control.cells import RouteCell, RouteCells
from argosy.control.recheck import changed_since
from argosy.control.routes import route_inputs
from argosy.control.traffic.balance import balance
from argosy.keys import CellName, ClassKey, GroupName
from argosy.perf.protocol import Capacity, OutOfRange
from argosy.rollout import CreateDeployment
from argosy.route.compile import compile_routes
from argosy.route.table import RouteTable
from argosy.snapshot import Mix, Slo, SloTerm, Term, Variant

CHAT, BATCH = ClassKey("default/chat"), ClassKey("default/batch")
SHARED = GroupName("default/shared")
TOGETHER = RouteCells(tuple(RouteCell(CellName.of_class(c), c, SHARED) for c in (BATCH, CHAT)))


@dataclass(frozen=True)
class ByModelAndSlo(FakePerf):
    """Some model ids serve some TTFT bounds only: (model id, bound in ms) -> requests/s of a replica."""

    known: Mapping[tuple[str, float], float] = field(default_factory=dict)

    def capacity(self, variant: Variant, mix: Mix, slo: Slo) -> Capacity | OutOfRange:
        rate_per_s = self.known.get((variant.model_id, slo.terms[0].bound_ms))
        if rate_per_s is None:
            return super().capacity(variant, mix, slo)
        return Capacity(rate_per_s, SloTerm(Term.TTFT, 0.95, 500.0))


def a_world(*objects: object, cells: RouteCells | None = TOGETHER, num_l40s: int = 4) -> World:
    """Chat at 8 requests/s and batch at 4, with 4 requests/s for each L40S."""
    world = World(some_nodes("l40s", num_l40s), a_fleet(), a_pool(), a_model())
    world.apply(a_class(), a_class("batch", rate_per_s=4.0))
    world.apply(*objects)  # type: ignore[arg-type]
    world.cells = cells
    return world


def cells_by_class(world: World) -> dict[ClassKey, PlannedCell]:
    return {c.workload_class: c for c in world.applied.spec.cells}


def table_of(world: World) -> RouteTable:
    return compile_routes(route_inputs(world.snapshot(), world.applied))


def backends_of(world: World) -> dict[ClassKey, list[str]]:
    return {r.class_key: [b.cluster for b in r.backends] for r in table_of(world).routes}


def test_two_classes_of_a_group_need_replicas_for_the_sum_of_their_load() -> None:
    world = a_world()
    world.settle()
    assert world.replicas() == {"l40s/shared": 3}
    assert {key: c.requests_per_second for key, c in cells_by_class(world).items()} == {CHAT: 8.0, BATCH: 4.0}
    assert {c.sharing_group for c in world.applied.spec.cells} == {SHARED}
    assert [d.sharing_group for d in world.applied.spec.deployments] == [SHARED]


def test_half_a_replica_for_each_of_two_classes_is_one_replica() -> None:
    world = a_world(a_class(rate_per_s=2.0), a_class("batch", rate_per_s=2.0))
    world.settle()
    assert world.replicas() == {"l40s/shared": 1}


def test_a_group_is_planned_with_the_strictest_slo_of_its_classes() -> None:
    slow = a_class("batch", rate_per_s=2.0, slo={"ttft": {"p95Milliseconds": 700}})
    world = a_world(slow)
    world.perf = ByModelAndSlo(known={("small", 700.0): 2.0})
    world.settle()
    capacity = {cell: rate for (cell, _), rate in world.decisions[-1].memory.capacity_per_s.items()}
    assert capacity == {CellName.of_class(CHAT): 2.0, CellName.of_class(BATCH): 2.0}
    assert world.replicas() == {"l40s/shared": 5}  # (8 + 2) / 2


def test_both_classes_have_a_status_of_their_own() -> None:
    world = a_world()
    world.settle()
    decision = world.decide()
    found = {key: body_of(decision, key) for key in (CHAT, BATCH)}
    assert {k: (b["requestsPerSecond"], b["replicasReady"]) for k, b in found.items()} == {
        CHAT: (8.0, 3),
        BATCH: (4.0, 3),
    }
    assert [verdict(decision, key) for key in (CHAT, BATCH)] == [("True", "Ready")] * 2


def test_of_two_floors_of_a_group_the_higher_one_holds() -> None:
    world = a_world(a_class(rate_per_s=0.0, minReplicas=1), a_class("batch", rate_per_s=0.0, minReplicas=3))
    world.settle()
    assert world.replicas() == {"l40s/shared": 3}


def test_in_a_full_pool_the_class_of_higher_priority_is_served_and_the_events_name_the_other() -> None:
    chat, batch = a_class(rate_per_s=8.0, priority=200), a_class("batch", rate_per_s=8.0, priority=50)
    world = a_world(chat, batch, num_l40s=1)
    first = world.act()
    assert [(e.kind, e.key) for e in first.events if e.reason == "PoolFull"] == [("WorkloadClass", BATCH)]
    world.run(60)
    assert {k: c.unserved_share for k, c in cells_by_class(world).items()} == {CHAT: 0.0, BATCH: 1.0}
    last = world.decisions[-1]
    assert verdict(last, CHAT) == ("True", "Ready")
    assert verdict(last, BATCH) == ("False", "CapacityShort")


def test_the_first_class_by_key_that_has_a_policy_decides_when_a_shared_replica_is_ejected() -> None:
    def policy(name: str, target: str, errors: int) -> RouterPolicy:
        spec = {"targetRefs": [{"name": target}], "outlierDetection": {"consecutiveErrors": errors}}
        return parsed(RouterPolicy, name, spec, "default")

    world = a_world(policy("for-chat", "chat", 9))
    world.settle()
    [cluster] = table_of(world).clusters
    assert cluster.outlier.consecutive_errors == 9
    world.apply(policy("for-batch", "batch", 3))
    [cluster] = table_of(world).clusters
    assert cluster.outlier.consecutive_errors == 3


def test_a_deleted_class_leaves_the_replicas_that_the_other_one_needs() -> None:
    world = a_world()
    world.settle()
    before = set(world.pods)
    world.delete(WorkloadClass, BATCH)
    world.settle()
    assert world.replicas() == {"l40s/shared": 2}
    assert set(world.pods) < before
    assert [c.workload_class for c in world.applied.spec.cells] == [CHAT]


def test_a_class_for_which_nothing_can_be_planned_keeps_the_replicas_it_shares() -> None:
    world = a_world()
    world.settle()
    world.apply(a_class("batch", rate_per_s=4.0, slo={"ttft": {"p95Milliseconds": 1}}))
    world.run(30)
    assert verdict(world.decisions[-1], BATCH) == ("False", "SloUnreachable")
    assert verdict(world.decisions[-1], CHAT) == ("True", "Ready")
    assert world.replicas() == {"l40s/shared": 3}
    assert all(backends_of(world).values())


def test_a_creation_is_void_only_once_every_class_of_the_group_is_gone() -> None:
    world = a_world()
    decision = world.decide()
    [planned] = decision.steps
    assert isinstance(planned.step, CreateDeployment)
    assert decision.new_plan is not None
    world._carry_out(replace(decision, steps=()))
    world.delete(WorkloadClass, BATCH)
    assert changed_since(planned, world.snapshot()) == ""
    world.delete(WorkloadClass, CHAT)
    assert changed_since(planned, world.snapshot()) == "WorkloadClass default/batch, default/chat is gone"


# Classes of one group that allow different models.

MISTRAL = {"models": [{"name": "mistral"}]}
BOTH = {"models": [{"name": "llama"}, {"name": "mistral"}]}


def a_world_of_two_models(**batch: object) -> World:
    """Chat may run llama only, batch mistral only unless told otherwise."""
    spec = {**MISTRAL, **batch}
    world = a_world(a_model("mistral", "other"), a_class("batch", rate_per_s=4.0, **spec), num_l40s=6)
    world.settle()
    return world


def by_model(world: World) -> dict[str, str]:
    return {d.model: d.name for d in world.applied.spec.deployments if d.replicas}


def test_each_class_of_a_group_is_planned_and_routed_only_to_replicas_of_its_models() -> None:
    world = a_world_of_two_models()
    found = by_model(world)
    assert set(found) == {"llama", "mistral"}
    assert backends_of(world) == {CHAT: [found["llama"]], BATCH: [found["mistral"]]}
    shares = {k: [s.deployment for s in c.shares] for k, c in cells_by_class(world).items()}
    assert shares == {CHAT: [found["llama"]], BATCH: [found["mistral"]]}


def test_a_class_counts_only_replicas_of_its_models_as_its_own() -> None:
    world = a_world_of_two_models()
    decision = world.decide()
    assert {key: body_of(decision, key)["replicasReady"] for key in (CHAT, BATCH)} == {CHAT: 2, BATCH: 1}
    [pod] = [p for p in world.pods.values() if p.deployment == by_model(world)["mistral"]]
    world.pods[pod.key] = replace(pod, ready=False)
    decision = world.decide()
    assert [verdict(decision, key)[0] for key in (CHAT, BATCH)] == ["True", "False"]


def test_without_a_ready_replica_of_its_models_a_class_is_refused_and_not_sent_to_another_model() -> None:
    world = a_world_of_two_models()
    for pod in list(world.pods.values()):
        if pod.deployment == by_model(world)["mistral"]:
            world.pods[pod.key] = replace(pod, ready=False)
    assert backends_of(world) == {CHAT: [by_model(world)["llama"]], BATCH: []}


def test_weights_never_send_a_class_to_replicas_that_are_planned_for_the_other() -> None:
    world = a_world_of_two_models()
    [pod] = [p for p in world.pods.values() if p.deployment == by_model(world)["mistral"]]
    world.pods[pod.key] = replace(pod, ready=False)
    found = balance(world.snapshot(), world.applied, {}, world.decisions[-1].memory.capacity_per_s)
    assert {cell: set(w.weights) for cell, w in found.items()} == {
        CellName.of_class(CHAT): {by_model(world)["llama"]},
        CellName.of_class(BATCH): {by_model(world)["mistral"]},
    }


def test_replicas_that_keep_only_the_other_classs_slo_take_nothing_over_by_weight() -> None:
    world = a_world(a_model("mistral", "other"), num_l40s=6)
    world.perf = ByModelAndSlo(known={("other", 2000.0): 0.0, ("small", 700.0): 0.0})
    slo = {"ttft": {"p95Milliseconds": 700}}
    world.apply(a_class(rate_per_s=8.0, **BOTH), a_class("batch", rate_per_s=4.0, slo=slo, **BOTH))
    world.settle()
    found = by_model(world)
    pod = next(p for p in world.pods.values() if p.deployment == found["llama"])
    world.pods[pod.key] = replace(pod, ready=False)
    weights = balance(world.snapshot(), world.applied, {}, world.decisions[-1].memory.capacity_per_s)
    assert weights[CellName.of_class(CHAT)].weights == {found["llama"]: 1.0}
    # Only where none of its own is ready they answer: late is better than never.
    world.pods = {
        k: replace(p, ready=p.ready and p.deployment != found["llama"]) for k, p in world.pods.items()
    }
    assert backends_of(world)[CHAT] == [found["mistral"]]


def test_an_outgoing_replica_stands_by_only_for_the_classes_of_its_model() -> None:
    world = a_world_of_two_models()
    old = by_model(world)["llama"]
    world.apply(a_model(engine={"maxNumSeqs": 64}))
    world.act()
    shares = {k: [s.deployment for s in c.shares] for k, c in cells_by_class(world).items()}
    assert old in shares[CHAT]
    assert old not in shares[BATCH]
    assert backends_of(world)[CHAT] == [old]


def test_a_model_that_a_class_no_longer_allows_serves_it_until_the_new_one_is_ready() -> None:
    world = a_world_of_two_models(**BOTH, priority=100)
    world.apply(a_class(rate_per_s=8.0, **MISTRAL))
    for _ in range(40):
        world.act()
        assert all(backends_of(world).values())
        world.now_s += 1.0
        world.reconcile()
    world.settle()
    assert backends_of(world)[CHAT] == [by_model(world)["mistral"]]


def test_the_last_replica_that_serves_a_class_of_a_group_stays_where_its_successor_has_no_room() -> None:
    world = a_world_of_two_models()
    # No room is left for another replica: what serves batch must not give way for chat's new variant.
    world.nodes = {
        name: node for name, node in world.nodes.items() if any(p.node == name for p in world.pods.values())
    }
    mistral = by_model(world)["mistral"]
    world.apply(a_model("mistral", "other", engine={"maxNumSeqs": 64}), a_model(engine={"maxNumSeqs": 64}))
    for _ in range(150):
        world.act()
        assert all(backends_of(world).values())
        world.now_s += 1.0
        world.reconcile()
    assert world.serving()[mistral] + sum(
        n for name, n in world.serving().items() if name != mistral and "mistral" in name
    )


def test_a_deleted_model_of_a_group_takes_only_its_own_replicas_along() -> None:
    world = a_world_of_two_models()
    llama = by_model(world)["llama"]
    world.delete(type(a_model()), "default/mistral")
    world.settle()
    assert set(world.deployments) == {llama}
    assert verdict(world.decisions[-1], BATCH) == ("False", "ModelNotFound")
    assert verdict(world.decisions[-1], CHAT) == ("True", "Ready")


APART = RouteCells(())


@pytest.mark.parametrize(
    ("before", "after"), [(APART, TOGETHER), (TOGETHER, APART)], ids=["joined", "parted again"]
)
def test_classes_that_are_joined_or_parted_lose_no_serving_replica_before_its_successor_serves(
    before: RouteCells, after: RouteCells
) -> None:
    world = a_world(cells=before, num_l40s=6)
    world.settle()
    world.cells = after
    world.serving_over_time.clear()
    for _ in range(60):
        world.act()
        assert all(backends_of(world).values())
        world.now_s += 1.0
        world.reconcile()
        world.serving_over_time.append(sum(world.serving().values()))
    assert min(world.serving_over_time) >= 3
    world.settle()
    expected = {"l40s/shared": 3} if after is TOGETHER else {"l40s/batch": 1, "l40s/chat": 2}
    assert world.replicas() == expected
    assert steps_of(world.decisions[-1]) == []


def test_a_class_that_leaves_a_group_is_served_by_it_until_its_own_replicas_are_ready() -> None:
    world = a_world(num_l40s=6)
    world.settle()
    [shared] = world.deployments
    alone = RouteCells(
        (
            RouteCell(CellName.of_class(BATCH), BATCH, GroupName("default/batch")),
            RouteCell(CellName.of_class(CHAT), CHAT, SHARED),
        )
    )
    world.cells = alone
    world.act()
    assert backends_of(world) == {CHAT: [shared], BATCH: [shared]}
    found = balance(world.snapshot(), world.applied, {}, world.decisions[-1].memory.capacity_per_s)
    assert found[CellName.of_class(BATCH)].weights[shared] == 1.0
    for _ in range(60):
        world.act()
        assert all(backends_of(world).values())
        world.now_s += 1.0
        world.reconcile()
    world.settle()
    assert world.replicas() == {"l40s/batch": 1, "l40s/shared": 2}
    assert shared not in backends_of(world)[BATCH]
