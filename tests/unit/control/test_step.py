"""Stories of the decision: a small fleet, a change, and what `control.step` makes of it."""

from __future__ import annotations

import pickle
from dataclasses import replace

import pytest
from builders import with_condition
from small_fleet import (
    World,
    a_class,
    a_fleet,
    a_model,
    a_node,
    a_pool,
    condition,
    some_nodes,
    started,
    steps_of,
    verdict,
)

from argosy.api import CustomResource, FleetPlan, GPUPool, ServedModel, WorkloadClass
from argosy.api.conditions import ConditionStatus
from argosy.control.demand import class_forecasts
from argosy.control.step import StepSettings, step
from argosy.rollout import CreateDeployment, MarkVictim, ScaleDeployment
from argosy.snapshot.liveness import SILENT_AFTER_S

CHEAP_H100 = a_pool("h100", "H100", priceUsdPerHour=0.5)
DEAR_H100 = a_pool("h100", "H100", priceUsdPerHour=6.0)


def a_world(*objects: object, num_l40s: int = 4, num_h100: int = 2) -> World:
    """Two pools, one model, class chat at 8 requests/s (two L40S at 4 each), unless told otherwise."""
    nodes = [*some_nodes("l40s", num_l40s), *some_nodes("h100", num_h100)]
    world = World(nodes, a_fleet(), a_pool(), DEAR_H100, a_model(), a_class())
    world.apply(*objects)  # type: ignore[arg-type]
    return world


def test_the_first_plan_creates_what_the_cheapest_pool_needs() -> None:
    world = a_world()
    decision = world.act("the operator started")
    assert decision.new_plan is not None
    spec = decision.new_plan.spec
    assert (spec.revision, decision.new_plan.metadata.name) == (1, "plan-000001")
    assert (spec.trigger, spec.cost_usd_per_hour) == ("the operator started", 1.8)
    assert [(d.pool, d.replicas, len(d.nodes)) for d in spec.deployments] == [("l40s", 2, 2)]
    assert [type(s) for s in steps_of(decision)] == [CreateDeployment]
    assert str(decision).startswith("revision 1 (the operator started): default/chat: 2 x llama-l40s-tp1-")


def test_replicas_get_their_nodes_and_then_nothing_changes_any_more() -> None:
    world = a_world()
    world.settle()
    assert {p.node for p in world.pods_of("l40s/chat")} == {"l40s-0", "l40s-1"}
    again = world.decide("the regular look at the fleet")
    assert (again.new_plan, again.steps) == (None, ())
    assert (again.follow, str(again)) == (world.applied, "revision 1 goes on: no step is due")
    assert verdict(again, "default/chat") == ("True", "Ready")


@pytest.mark.parametrize("rate_per_s", [8.0, 7.0, 4.1])
def test_a_rate_that_the_same_replicas_carry_makes_no_revision(rate_per_s: float) -> None:
    world = a_world()
    world.settle()
    world.apply(a_class(rate_per_s=rate_per_s))
    decision = world.decide()
    assert (decision.new_plan, decision.steps) == (None, ())


@pytest.mark.parametrize(("rate_per_s", "replicas"), [(8.1, 3), (16.0, 4), (4.0, 1), (0.0, 1)])
def test_a_rate_that_needs_other_counts_makes_a_revision(rate_per_s: float, replicas: int) -> None:
    world = a_world()
    world.rest()
    world.apply(a_class(rate_per_s=rate_per_s))
    world.settle()
    assert world.replicas() == {"l40s/chat": replicas}
    assert world.applied.spec.revision == 2


def test_a_price_change_moves_the_class_and_breaks_nothing_before_the_new_replica_serves() -> None:
    world = a_world()
    world.rest()
    [old] = world.deployments
    world.apply(CHEAP_H100)
    decision = world.act("the price of pool h100 changed")
    # The old Deployment stays in the plan, without replicas and share, as long as it has pods.
    assert decision.new_plan is not None
    assert {d.pool: d.replicas for d in decision.new_plan.spec.deployments} == {"l40s": 0, "h100": 1}
    [cell] = decision.new_plan.spec.cells
    assert sorted(s.share for s in cell.shares) == [0.0, 1.0]
    assert [type(s) for s in steps_of(decision)] == [CreateDeployment]
    assert world.replicas() == {"h100/chat": 1, "l40s/chat": 2}

    world.serving_over_time.clear()
    world.run(15)
    assert world.replicas() == {"h100/chat": 1, "l40s/chat": 2}  # still loading
    world.settle()
    assert world.replicas() == {"h100/chat": 1}
    assert old not in world.deployments
    assert min(world.serving_over_time) >= 1
    assert world.serving_over_time[:15] == [2] * 15
    assert world.applied.spec.revision == 2  # the old one's leaving is no news


def test_victims_are_marked_before_the_count_goes_down() -> None:
    world = a_world(a_class(rate_per_s=16.0))
    world.rest()
    world.apply(a_class(rate_per_s=8.0))
    decision = world.act()
    kinds = [[type(s).__name__ for s in steps_of(each)] for each in (decision, world.act())]
    assert kinds == [["ProtectReplicas", "MarkVictim", "MarkVictim"], ["ScaleDeployment"]]
    going = {p.key for p in world.pods.values() if p.deleting}
    assert going == {s.pod for s in steps_of(decision) if isinstance(s, MarkVictim)}


def test_a_dead_nodes_replica_is_replaced_on_another_node_before_its_condition_says_so() -> None:
    world = a_world()
    world.settle()
    [dead, other] = sorted(p.node for p in world.pods.values())
    world.kill_node(dead)
    world.now_s += SILENT_AFTER_S
    decision = world.act("the engine fell silent")
    assert world.nodes[dead].ready
    assert [s.replicas for s in steps_of(decision) if isinstance(s, ScaleDeployment)] == [3]
    assert decision.new_plan is not None
    assert dead not in {n.node for d in decision.new_plan.spec.deployments for n in d.nodes}
    assert verdict(decision, "default/chat") == ("False", "EngineSilent")
    assert decision.new_plan.spec.cost_usd_per_hour == 1.8
    world.run(30)
    assert sorted(world.serving().values()) == [2]
    # Later the node's condition follows, and what is left of the dead pod is not asked for any more.
    world.nodes[dead] = replace(world.nodes[dead], ready=False)
    world.run(30)
    assert world.replicas() == {"l40s/chat": 2}
    assert {p.node for p in world.pods.values() if p.ready and not p.deleting} == {other, "l40s-2"}


def test_a_node_that_is_not_ready_costs_its_replicas_though_no_engine_was_ever_heard() -> None:
    world = a_world()
    world.settle()
    [pod, _] = world.pods_of("l40s/chat")
    world.nodes[pod.node] = replace(world.nodes[pod.node], ready=False)
    world.is_deaf = True
    decision = world.act("node l40s-0 became unavailable")
    assert [s.replicas for s in steps_of(decision) if isinstance(s, ScaleDeployment)] == [3]


def test_a_cordoned_node_keeps_what_runs_there_and_gets_nothing_new() -> None:
    world = a_world(a_class(rate_per_s=16.0), num_l40s=2, num_h100=0)
    world.settle()
    world.nodes["l40s-0"] = replace(world.nodes["l40s-0"], unschedulable=True)
    decision = world.decide("node l40s-0 changed")
    assert (decision.new_plan, decision.steps) == (None, ())
    world.delete_pod(world.pods_of("l40s/chat")[0].key)  # drained
    world.run(5)
    assert verdict(world.decisions[-1], "default/chat") == ("False", "CapacityShort")
    assert world.replicas() == {"l40s/chat": 3}


def test_a_full_pool_serves_the_more_important_class_and_says_what_the_other_lacks() -> None:
    chat, batch = (
        a_class(rate_per_s=16.0, priority=200),
        a_class("batch", rate_per_s=8.0, priority=50, minReplicas=0),
    )
    world = a_world(chat, batch, num_l40s=2, num_h100=0)
    world.run(60)
    last = world.decisions[-1]
    assert world.replicas() == {"l40s/chat": 4}
    assert verdict(last, "default/chat") == ("True", "Ready")
    assert verdict(last, "default/batch") == ("False", "CapacityShort")
    message = condition(last, "default/batch")["message"]
    assert "lacks 8.0 req/s of 8.0 req/s" in message
    assert "add nodes to GPUPool l40s" in message
    assert [(e.kind, e.key, e.type, e.reason) for e in world.decisions[0].events] == [
        ("Fleet", "default", "Normal", "NewPlan"),
        ("WorkloadClass", "default/batch", "Warning", "PoolFull"),
        ("FleetPlan", "plan-000001", "Normal", "Starting"),
        ("GPUPool", "h100", "Warning", "NoNodes"),
    ]


def test_a_budget_that_is_too_small_leaves_the_rest_unserved_and_says_so() -> None:
    world = a_world(a_fleet(budgetUsdPerHour=1.0))
    world.run(40)
    last = world.decisions[-1]
    assert world.replicas() == {"l40s/chat": 1}
    assert verdict(last, "default/chat") == ("False", "BudgetShort")
    assert world.applied.spec.cells[0].unserved_share == 0.5


@pytest.mark.parametrize(
    ("mode", "num_plans", "num_deployments"),
    [("Observe", 0, 0), ("Recommend", 1, 0), ("Auto", 1, 1)],
)
def test_a_mode_goes_as_far_as_it_says(mode: str, num_plans: int, num_deployments: int) -> None:
    world = a_world(a_fleet(mode))
    for _ in range(3):
        decision = world.act()
    assert (len(world.plans), len(world.deployments)) == (num_plans, num_deployments)
    assert decision.mode == mode
    if mode != "Auto":
        assert verdict(decision, "default/chat") == ("False", "ModeNotAuto")
        assert decision.steps == ()


def test_without_a_fleet_object_plans_are_recommended() -> None:
    world = a_world()
    world.delete(type(a_fleet()), "default")
    decision = world.act()
    assert (decision.mode, decision.steps, len(world.plans)) == ("Recommend", (), 1)
    assert decision.follow is None


def test_a_recommendation_is_repeated_only_when_it_changes() -> None:
    world = a_world(a_fleet("Recommend"))
    world.act()
    assert world.act().new_plan is None
    world.apply(a_class(rate_per_s=16.0))
    world.act()
    assert [p.spec.revision for p in world.plans] == [1, 2]


def test_a_recommendation_is_acted_on_as_a_revision_of_its_own_once_the_mode_is_auto() -> None:
    world = a_world(a_fleet("Recommend"))
    world.act()
    world.apply(a_fleet("Auto"))
    decision = world.act()
    assert decision.new_plan is not None
    assert decision.new_plan.spec.revision == 2
    assert len(decision.steps) == 1


def test_observing_keeps_following_the_plan_that_was_applied() -> None:
    world = a_world()
    world.settle()
    world.apply(a_fleet("Observe"), a_class(rate_per_s=16.0))
    spec = (decision := world.act()).follow and decision.follow.spec
    assert (spec, decision.new_plan, decision.steps) == (world.applied.spec, None, ())
    assert verdict(decision, "default/chat") == ("False", "ModeNotAuto")


def test_a_deleted_model_is_emptied_and_then_removed() -> None:
    world = a_world()
    world.settle()
    world.delete(ServedModel, "default/llama")
    _, decision = world.act(), world.act()
    assert [s.replicas for s in steps_of(decision) if isinstance(s, ScaleDeployment)] == [0]
    world.settle()
    assert (world.deployments, world.pods) == ({}, {})
    assert verdict(world.decisions[-1], "default/chat") == ("False", "ModelNotFound")


@pytest.mark.parametrize(
    ("kind", "key", "left"), [(WorkloadClass, "default/chat", {}), (GPUPool, "l40s", {"h100/chat": 1})]
)
def test_a_deleted_class_or_pool_takes_its_replicas_along(
    kind: type[CustomResource], key: str, left: dict[str, int]
) -> None:
    world = a_world()
    world.settle()
    world.delete(kind, key)
    world.settle()
    assert world.replicas() == left


def test_a_leftover_of_a_deleted_class_does_not_wait_for_one_of_another_model_that_cannot_start() -> None:
    world = a_world(a_class("old", priority=70), num_l40s=2, num_h100=0)
    world.settle()
    world.delete(WorkloadClass, "default/old")
    world.apply(a_model("other"), a_class("new", rate_per_s=8.0, priority=50, models=[{"name": "other"}]))
    world.settle()
    assert world.replicas() == {"l40s/chat": 2, "l40s/new": 2}


@pytest.mark.parametrize(
    "loss",
    [
        pytest.param("nodes", id="every node is NotReady, and no engine is heard"),
        pytest.param("slo", id="the SLO was tightened beyond reach"),
    ],
)
def test_what_runs_is_left_alone_while_nothing_can_be_planned_for_its_class(loss: str) -> None:
    world = a_world()
    world.settle()
    if loss == "nodes":
        world.nodes = {name: replace(n, ready=False) for name, n in world.nodes.items()}
        world.is_deaf = True
    else:
        world.apply(a_class(slo={"ttft": {"p95Milliseconds": 1}}))
    world.run(20)
    assert world.replicas() == {"l40s/chat": 2}
    expected = {"nodes": ("False", "NodesNotReady"), "slo": ("False", "SloUnreachable")}[loss]
    assert verdict(world.decisions[-1], "default/chat") == expected


def test_a_class_that_comes_back_takes_its_replicas_up_again() -> None:
    world = a_world()
    world.settle()
    before = set(world.pods)
    nodes = world.nodes
    world.nodes = {name: replace(n, ready=False) for name, n in nodes.items()}
    world.run(5)
    world.nodes = nodes
    world.settle()
    assert set(world.pods) == before


def test_a_new_variant_in_a_full_pool_replaces_the_old_one_replica_at_a_time() -> None:
    world = a_world(a_class(rate_per_s=16.0), num_l40s=2, num_h100=0)
    world.settle()
    [old] = world.deployments
    world.serving_over_time.clear()
    world.apply(a_model(engine={"maxNumSeqs": 128}))
    world.act("ServedModel default/llama changed (engine)")
    assert verdict(world.decisions[-1], "default/chat") == ("False", "Exchanging")
    message = condition(world.decisions[-1], "default/chat")["message"]
    assert message.startswith("0 of 4 planned replicas get requests; 4 replicas of the former plan serve")
    world.settle()
    assert world.replicas() == {"l40s/chat": 4}
    assert old not in world.deployments
    assert min(world.serving_over_time) == 3


def test_a_new_variant_never_takes_the_last_serving_replicas_room() -> None:
    world = a_world(a_class(rate_per_s=4.0), num_l40s=0, num_h100=0)
    world.nodes["only"] = a_node("only", gpus=1)
    world.settle()
    world.apply(a_model(engine={"maxNumSeqs": 128}))
    world.run(120)
    assert sum(world.serving().values()) == 1
    assert verdict(world.decisions[-1], "default/chat") == ("False", "ExchangeWaits")


def test_a_broken_variant_gives_way_to_its_repair_though_nothing_else_serves() -> None:
    world = a_world(a_class(rate_per_s=4.0), num_l40s=0, num_h100=0)
    world.nodes["only"] = a_node("only", gpus=1)
    world.act()
    world.broken_deployments = set(world.deployments)
    world.run(60)
    assert not world.serving()
    world.apply(a_model(engine={"maxNumSeqs": 128}))
    world.settle()
    assert world.replicas() == {"l40s/chat": 1}


def test_a_pod_whose_node_was_taken_by_another_is_replaced_elsewhere() -> None:
    world = a_world(a_class(rate_per_s=4.0))
    world.act()
    [gated] = world.pods.values()
    node = next(n.node for n in world.applied.spec.deployments[0].nodes)
    foreign = replace(
        gated, name="foreign", deployment="", node=node, gated=False, devices={"nvidia.com/gpu": 2}
    )
    world.pods[gated.key] = replace(gated, gated=False, assigned_node=node)
    world.pods[foreign.key] = foreign
    world.run(80)
    [serving] = [p for p in world.pods.values() if p.ready and p.deployment]
    assert serving.node != node
    assert world.replicas() == {"l40s/chat": 1}


def test_a_process_that_has_just_started_takes_no_replicas_away() -> None:
    world = a_world(a_class(rate_per_s=1.0, traffic=_observed(16.0)))
    world.rest()
    assert world.replicas() == {"l40s/chat": 4}
    # The declared rate would be less; nothing has been observed yet.
    world.apply(a_class(traffic=_observed(1.0)))
    world.memory = started(world.now_s - 20)
    assert world.decide().steps == ()
    world.memory = started(world.now_s - 61)
    assert world.decide().new_plan is not None


def test_a_declared_rate_counts_at_once_also_for_a_process_that_has_just_started() -> None:
    world = a_world(a_class(rate_per_s=16.0))
    world.settle()
    world.apply(a_class(rate_per_s=1.0))
    world.memory = started(world.now_s)
    assert class_forecasts(world.snapshot(), world.memory.traffic)["default/chat"].rate_per_s == 1.0


def _observed(rate_per_s: float) -> dict[str, object]:
    lengths = {"archetype": "azure-conversation"}
    return {"requestsPerSecond": rate_per_s, "lengths": lengths, "source": "LargerOfBoth"}


def test_nothing_is_planned_where_there_is_nothing() -> None:
    world = World([], a_fleet())
    decision = world.act()
    assert (decision.new_plan, decision.steps, decision.events) == (None, (), ())
    assert [s.kind for s in decision.statuses] == ["fleets"]


def test_what_is_left_of_a_deleted_fleet_is_removed_though_no_plan_is_left_either() -> None:
    world = a_world()
    world.settle()
    for kind, key in list(world.objects):
        if kind is not type(a_fleet()):
            world.delete(kind, key)
    world.plans = ()
    world.settle()
    assert world.deployments == {}


def test_a_plan_whose_deployment_was_deleted_is_carried_out_again() -> None:
    world = a_world()
    world.settle()
    world.deployments.clear()
    world.pods.clear()
    decision = world.act()
    assert decision.new_plan is None
    assert [type(s) for s in steps_of(decision)] == [CreateDeployment]


def test_two_pools_that_claim_the_same_nodes_stop_no_decision() -> None:
    twin = a_pool("twin", nodeSelector={"nvidia.com/gpu.product": "l40s"}, priceUsdPerHour=0.1)
    world = a_world(twin)
    world.settle()
    assert world.replicas() == {"l40s/chat": 2}
    last = world.decisions[-1]
    assert verdict(last, "twin", "gpupools", "Accepted") == ("False", "Conflicted")
    assert "GPUPool l40s" in condition(last, "twin", "gpupools", "Accepted")["message"]
    assert verdict(last, "l40s", "gpupools", "Accepted") == ("True", "Accepted")


def test_a_class_that_no_request_can_reach_costs_nothing_and_says_why() -> None:
    match = {"headers": [{"name": "x-class", "value": "chat"}]}
    world = a_world(a_class("zz-copy", match=match))
    world.settle()
    assert world.replicas() == {"l40s/chat": 2}
    last = world.decisions[-1]
    assert verdict(last, "default/zz-copy", type="Accepted") == ("False", "Conflicted")
    assert verdict(last, "default/zz-copy") == ("False", "Conflicted")
    assert [c.name for c in world.applied.spec.cells] == ["default/chat"]


def test_a_pool_that_the_scheduler_places_gets_replicas_without_a_gate() -> None:
    world = a_world(a_pool(placement="Scheduler"))
    world.settle()
    assert world.replicas() == {"l40s/chat": 2}
    assert [d.nodes for d in world.applied.spec.deployments] == [()]


def test_a_full_pool_that_the_scheduler_places_is_no_deadlock_either() -> None:
    world = a_world(a_pool(placement="Scheduler"), a_class(rate_per_s=16.0), num_l40s=2, num_h100=0)
    world.settle()
    world.serving_over_time.clear()
    world.apply(a_model(engine={"maxNumSeqs": 128}))
    world.settle()
    assert world.replicas() == {"l40s/chat": 4}
    assert min(world.serving_over_time) == 3


def test_a_class_without_pools_waits_and_says_so() -> None:
    world = a_world()
    world.delete(GPUPool, "l40s")
    world.delete(GPUPool, "h100")
    decision = world.act()
    assert verdict(decision, "default/chat") == ("False", "NoNodes")
    assert "GPUPool" in condition(decision, "default/chat")["message"]


def test_a_lost_recommendation_number_is_never_used_twice() -> None:
    world = a_world(a_fleet("Recommend"))
    world.act()
    world.plans = tuple(with_condition(p, "Recommended", ConditionStatus.FALSE) for p in world.plans)
    world.apply(a_fleet("Auto"))
    world.act()
    names = [p.metadata.name for p in world.plans]
    assert names == ["plan-000001", "plan-000002"]


def test_a_class_too_many_for_a_plan_is_an_alarm_in_a_sentence() -> None:
    world = World(some_nodes("l40s", 2), a_fleet(), a_pool(), a_model())
    world.apply(*(a_class(f"c{i}", rate_per_s=0.0, minReplicas=0) for i in range(513)))
    settings = StepSettings("a test", plan_time_limit_s=None)
    decision = step(world.snapshot(), world.memory, settings, world.perf)
    assert (
        "a FleetPlan holds 512 Deployments and 512 route cells, and the plan has 0 and 513" in decision.alarm
    )


def test_snapshots_and_decisions_cross_processes() -> None:
    world = a_world()
    world.run(3)
    for value in (world.snapshot(), world.decisions[0], world.memory):
        assert pickle.loads(pickle.dumps(value)) == value


def test_a_plan_survives_its_way_through_the_api_server() -> None:
    world = a_world()
    plan = world.act().new_plan
    assert plan is not None
    read = FleetPlan.from_object(plan.to_object())
    assert isinstance(read, FleetPlan)
    assert read.spec == plan.spec
