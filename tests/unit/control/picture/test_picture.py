"""Decisions on half a picture: what may be missing, and that it takes nothing away."""

from __future__ import annotations

from dataclasses import replace

import pytest
from small_fleet import World, a_class, a_fleet, a_model, a_pool, condition, some_nodes, verdict

from argosy.api import GPUPool, ServedModel, WorkloadClass
from argosy.api.kinds import WATCHED, kind_of
from argosy.control.decision import Decision
from argosy.control.memory import PlanInputs
from argosy.control.picture.doubt import routes_doubt
from argosy.control.picture.removal import cause_of, is_destructive
from argosy.control.step import StepSettings, step
from argosy.keys import ClassKey
from argosy.rollout import EndProtection, ProtectReplicas
from argosy.route.table import Claim, FormerRoutes, RequestMatch
from argosy.snapshot.cluster import Taint
from argosy.snapshot.fleet import FleetSnapshot
from argosy.snapshot.liveness import DOUBT_UNTIL_S, SILENT_AFTER_S
from argosy.snapshot.seen import SECOND_LOOK_S, KindSeen, KindState, ObjectRef, Seen

CHAT = "default/chat"


def a_world(rate_per_s: float = 8.0, num_nodes: int = 6) -> World:
    nodes = some_nodes("l40s", num_nodes)
    world = World(nodes, a_fleet(), a_pool(), a_model(), a_class(rate_per_s=rate_per_s))
    world.rest()
    return world


def decide(world: World, snapshot: FleetSnapshot) -> Decision:
    settings = StepSettings("a test", plan_time_limit_s=None)
    decision = step(snapshot, world.memory, settings, world.perf)
    world.memory = world.memory.with_planning(decision.memory)
    assert decision.alarm == ""
    return decision


def removals(decision: Decision, snapshot: FleetSnapshot) -> list[object]:
    return [each.step for each in decision.steps if is_destructive(each.step, snapshot)]


# --- kinds ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", [s for s in KindState if s is not KindState.SEEN])
@pytest.mark.parametrize("plural", [plural for plural in WATCHED if kind_of(plural).is_needed])
def test_a_kind_that_cannot_be_seen_keeps_the_last_plan_and_says_which(plural: str, state: KindState) -> None:
    world = a_world()
    whole = world.snapshot()
    seen = Seen({plural: KindSeen(plural, state)})
    empty = {
        "gpupools": {"pools": {}},
        "servedmodels": {"models": {}},
        "workloadclasses": {"classes": {}},
        "nodes": {"nodes": {}},
        "pods": {"pods": {}},
        "deployments": {"deployments": {}},
    }
    snapshot = replace(whole, seen=seen, **empty.get(plural, {}))  # type: ignore[arg-type]
    decision = decide(world, snapshot)
    assert (decision.new_plan, decision.life.statuses, decision.life.expired) == (None, (), ())
    assert (decision.follow, removals(decision, snapshot)) == (whole.applied_plan, [])
    assert verdict(decision, "default", "fleets") == ("Unknown", "PictureIncomplete")
    assert plural in decision.doubt or KindSeen(plural, state).sentence(0.0) in decision.doubt


def test_a_doubt_is_an_event_once_while_it_lasts() -> None:
    world = a_world()
    snapshot = replace(world.snapshot(), seen=Seen({"pods": KindSeen("pods", KindState.FORBIDDEN)}))
    reasons = [[event.reason for event in decide(world, snapshot).events] for _ in range(3)]
    assert reasons == [["PictureIncomplete"], [], []]
    assert decide(world, world.snapshot()).doubt == ""
    assert [event.reason for event in decide(world, snapshot).events] == ["PictureIncomplete"]


# --- everything at once ---------------------------------------------------------------------------


def test_nodes_that_are_all_not_ready_while_engines_answer_are_counted_and_change_nothing() -> None:
    world = a_world()
    plans = world.plans
    world.nodes = {name: replace(node, ready=False) for name, node in world.nodes.items()}
    decision = world.act()
    assert decision.doubt.startswith("6 nodes match and none is Ready, while 2 engines answer")
    assert (world.plans, world.replicas()) == (plans, {"l40s/chat": 2})


def test_what_answers_on_nodes_that_are_declared_dead_is_no_reason_to_doubt_it() -> None:
    world = a_world()
    dead = (Taint("node.kubernetes.io/out-of-service", "", "NoExecute"),)
    world.nodes = {name: replace(node, ready=False, taints=dead) for name, node in world.nodes.items()}
    decision = world.act()
    assert decision.doubt == ""
    assert verdict(decision, CHAT) == ("False", "NodesNotReady")


def test_nodes_that_are_all_not_ready_while_nothing_answers_are_reported_as_such() -> None:
    world = a_world()
    for name in list(world.nodes):
        world.kill_node(name)
    world.nodes = {name: replace(node, ready=False) for name, node in world.nodes.items()}
    world.run(int(DOUBT_UNTIL_S) + 5)
    found = condition(world.decisions[-1], CHAT)
    assert (found["status"], found["reason"]) == ("False", "NodesNotReady")
    assert "6 nodes match" in found["message"]
    assert world.replicas() != {}


def test_one_engine_that_falls_silent_is_replaced_at_once() -> None:
    world = a_world()
    world.silence(min(world.pods))
    world.run(int(SILENT_AFTER_S) + 5)
    assert len(world.pods) == 3


# --- what is named and not seen -------------------------------------------------------------------

OWNERS = [
    pytest.param(ObjectRef(WorkloadClass.PLURAL, CHAT), "classes", id="the class"),
    pytest.param(ObjectRef(ServedModel.PLURAL, "default/llama"), "models", id="the model"),
    pytest.param(ObjectRef(GPUPool.PLURAL, "l40s"), "pools", id="the pool"),
]


@pytest.mark.parametrize(("ref", "field"), OWNERS)
def test_what_an_absent_object_owns_is_kept_as_it_is_and_stays_in_the_plan(
    ref: ObjectRef, field: str
) -> None:
    world = a_world()
    whole = world.snapshot()
    snapshot = replace(whole, seen=Seen(absent=frozenset({ref})), **{field: {}})  # type: ignore[arg-type]
    decision = decide(world, snapshot)
    assert (decision.new_plan, decision.steps) == (None, ())
    assert decision.follow == whole.applied_plan
    assert (routes_doubt(snapshot, snapshot.applied_plan, None) == "") == (field == "pools")
    assert (routes_doubt(snapshot, snapshot.applied_plan, FormerRoutes()) == "") == (field != "classes")
    had = FormerRoutes((Claim(ref.key, RequestMatch()),))
    assert routes_doubt(snapshot, snapshot.applied_plan, had) == ""
    if field != "classes":
        assert verdict(decision, CHAT)[1] == "OwnerNotSeen"
        assert str(ref) in condition(decision, CHAT)["message"]


@pytest.mark.parametrize(("ref", "field"), OWNERS)
def test_others_are_planned_for_around_what_an_absent_object_owns(ref: ObjectRef, field: str) -> None:
    world = a_world()
    world.apply(a_model("other"), a_pool("h100", "H100", gpusPerNode=2))
    world.nodes |= {n.name: n for n in some_nodes("h100", 2)}
    world.apply(a_class("new", 16.0, models=[{"name": "other"}]))
    whole = world.snapshot()
    kept = {key: item for key, item in getattr(whole, field).items() if key != ref.key}
    snapshot = replace(whole, seen=Seen(absent=frozenset({ref})), **{field: kept})
    decision = decide(world, snapshot)
    plan = decision.new_plan
    assert plan is not None
    before = whole.applied_plan
    assert before is not None
    for entry in before.spec.deployments:
        assert entry in plan.spec.deployments
    # A pool that is not seen has no price.
    priced = [d for d in plan.spec.deployments if d.pool in snapshot.pools]
    usd_per_hour = sum(d.replicas * snapshot.pools[d.pool].spec.price_usd_per_hour for d in priced)
    assert plan.spec.cost_usd_per_hour == pytest.approx(usd_per_hour)
    kept_budgets = {d.name for d in before.spec.deployments}
    steps = [each.step for each in decision.steps]
    assert not [s for s in steps if isinstance(s, EndProtection | ProtectReplicas) and s.key in kept_budgets]
    assert {c.workload_class for c in plan.spec.cells} == {CHAT, "default/new"}
    assert removals(decision, snapshot) == []


# --- the limit on destruction ---------------------------------------------------------------------


def test_a_large_removal_that_nothing_explains_waits_for_a_second_look_and_says_so() -> None:
    world = a_world(rate_per_s=24.0)
    assert len(world.pods) == 6
    world.memory = world.memory.with_planning(replace(world.memory.planning, inputs=None))
    world.apply(a_class(rate_per_s=4.0))
    protected = dict(world.protected)
    first = world.act()
    assert world.protected == protected  # evictions wait, too
    assert first.waiting.startswith("5 of 6 ready replicas would go at once")
    assert verdict(first, "default", "fleets") == ("True", "RemovalWaits")
    told = {e.kind: e.message for e in first.events if e.reason == "RemovalWaits"}
    assert set(told) == {"Fleet", "FleetPlan"}
    assert told["FleetPlan"].startswith(
        "All 1 planned replicas get requests; 5 of the former plan still serve: 5 of 6 ready replicas"
    )
    world.run(int(SECOND_LOOK_S) - 10)
    assert len(world.pods) == 6
    world.run(40)
    assert world.replicas() == {"l40s/chat": 1}


def test_a_removal_that_a_lower_demand_explains_does_not_wait() -> None:
    world = a_world(rate_per_s=24.0)
    world.apply(a_class(rate_per_s=4.0))
    world.run(20)
    assert world.replicas() == {"l40s/chat": 1}


def test_a_removal_that_a_deleted_class_explains_does_not_wait() -> None:
    world = a_world(rate_per_s=24.0)
    world.memory = world.memory.with_planning(replace(world.memory.planning, inputs=None))
    world.delete(WorkloadClass, CHAT)
    world.run(20)
    assert world.replicas() == {}


def test_two_replicas_may_always_go() -> None:
    world = a_world(rate_per_s=12.0)
    world.memory = world.memory.with_planning(replace(world.memory.planning, inputs=None))
    world.apply(a_class(rate_per_s=4.0))
    world.run(20)
    assert world.replicas() == {"l40s/chat": 1}


@pytest.mark.parametrize(
    ("before", "now", "expected"),
    [
        pytest.param(None, PlanInputs(), "", id="nothing is known after a restart"),
        pytest.param(
            PlanInputs(rate_per_s={ClassKey(CHAT): 8.0}),
            PlanInputs(rate_per_s={ClassKey(CHAT): 4.0}),
            "Demand",
        ),
        pytest.param(
            PlanInputs(rate_per_s={ClassKey(CHAT): 8.0}), PlanInputs(rate_per_s={ClassKey(CHAT): 7.9}), ""
        ),
        pytest.param(PlanInputs(prices={"l40s": 1.0}), PlanInputs(prices={"l40s": 0.5}), "Price"),
        pytest.param(
            PlanInputs(prices={"l40s": 1.0}), PlanInputs(), "", id="a pool that is gone has no price"
        ),
    ],
)
def test_a_lower_demand_or_another_price_explains_a_smaller_fleet(
    before: PlanInputs | None, now: PlanInputs, expected: str
) -> None:
    assert cause_of(before, now) == expected
