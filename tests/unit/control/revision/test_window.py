"""Prices, declared rates and SLOs that come and go make few revisions; what is in danger does not wait."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

import pytest
from fake_perf import StrictPerf
from small_fleet import LOAD_S, World, a_class, a_fleet, a_model, a_pool, body_of, some_nodes

from argosy.api import CustomResource, FleetPlan
from argosy.api.crd.resource import status_body
from argosy.control.decision import Decision
from argosy.control.memory import ControlMemory
from argosy.control.revision.window import LOAD_TIMES, last_revision
from argosy.snapshot.cluster import Taint
from argosy.snapshot.liveness import SILENT_AFTER_S

WINDOW_S = 20
Flip = Callable[[int], CustomResource]


def a_world(*others: CustomResource, window_s: int = WINDOW_S) -> World:
    """Chat on two L40S, quiet for longer than the window; one H100 would be dearer."""
    nodes = [*some_nodes("l40s", 4), *some_nodes("h100", 4)]
    fleet = a_fleet(stabilizationSeconds=window_s)
    world = World(nodes, fleet, a_pool(), a_pool("h100", "H100", priceUsdPerHour=6.0), a_model(), a_class())
    world.perf = StrictPerf()
    world.apply(*others)
    world.rest()
    world.now_s += LOAD_TIMES * LOAD_S
    return world


def price(number: int) -> CustomResource:
    return a_pool("h100", "H100", priceUsdPerHour=6.0 if number % 2 else 0.5)


def rate(number: int) -> CustomResource:
    return a_class(rate_per_s=8.0 if number % 2 else 4.0)


def slo(number: int) -> CustomResource:
    """A bound under which `StrictPerf` lets replicas carry less, and one under which it does not."""
    return a_class(slo={"ttft": {"p95Milliseconds": 2000 if number % 2 else 300}})


def flips(world: World, flip: Flip, seconds: int = 60, every_s: int = 5) -> list[float]:
    """Flip every few seconds; returns when revisions of other counts were made, seconds after the first flip.

    A revision of the same counts follows where room for a replica has come free: steps take effect.
    """
    began_s, made_s = world.now_s, []
    for second in range(seconds):
        if second % every_s == 0:
            world.apply(flip(second // every_s))
        before = counts(last_revision(world.snapshot()))
        plan = act(world).new_plan
        if plan is not None and counts(plan) != before:
            made_s.append(world.now_s - began_s)
        world.now_s += 1.0
        world.reconcile()
    return made_s


def counts(plan: FleetPlan | None) -> dict[str, int]:
    assert plan is not None
    return {d.name: d.replicas for d in plan.spec.deployments if d.replicas}


def act(world: World) -> Decision:
    """One decision, carried out, with Fleet's status as the API server would keep it."""
    decision = world.act()
    fleet = world.of(type(a_fleet()))["default"]
    status = next(s.status for s in decision.statuses if s.kind == "fleets")
    body = {**fleet.to_object(), "status": status_body(status)}
    world.apply(type(fleet).from_object(body))  # type: ignore[arg-type]
    return decision


@pytest.mark.parametrize("window_s", [10, 20, 60])
@pytest.mark.parametrize("flip", [price, rate, slo])
def test_twelve_flips_in_a_minute_make_one_revision_and_one_more_per_window(
    flip: Flip, window_s: int
) -> None:
    made_s = flips(a_world(window_s=window_s), flip)
    assert 1 <= len(made_s) <= 1 + 60 // window_s
    assert made_s[0] == 0.0 or flip is not price, "the first after a quiet window is obeyed at once"


def test_without_a_window_each_flip_is_obeyed() -> None:
    assert len(flips(a_world(window_s=0), price)) >= 10


def test_no_replica_is_started_that_a_flip_removes_before_it_serves() -> None:
    world = a_world(window_s=10)  # shorter than a replica loads
    started, served, began_s = set[str](), set[str](), world.now_s
    for second in range(90):
        if second % 5 == 0:
            world.apply(price(second // 5))
        act(world)
        started |= {key for key, pod in world.pods.items() if pod.created_s >= began_s}
        gone = [key for key in started if key not in world.pods or world.pods[key].deleting]
        assert set(gone) <= served
        served |= {key for key, pod in world.pods.items() if pod.ready}
        world.now_s += 1.0
        world.reconcile()
    assert started & served


def test_a_change_that_waited_is_made_when_the_window_has_passed_if_it_is_still_wanted() -> None:
    world = a_world()
    world.apply(price(0))
    assert act(world).new_plan is not None
    moved_s = world.now_s
    world.apply(price(1))
    while (decision := act(world)).new_plan is None:
        assert decision.waits_until_s is not None
        assert decision.waits_until_s >= moved_s + WINDOW_S
        world.now_s += 1.0
        world.reconcile()
    assert world.now_s - moved_s == pytest.approx(LOAD_TIMES * LOAD_S, abs=1.1)


def held(world: World) -> Decision:
    """A move to the H100, and the wish to go back, which waits."""
    world.apply(price(0))
    assert act(world).new_plan is not None
    world.now_s += 1.0
    world.reconcile()
    world.apply(price(1))
    decision = act(world)
    assert (decision.new_plan, decision.waits_until_s is None) == (None, False)
    return decision


def test_the_fleet_says_what_waits_why_and_until_when_in_a_sentence_that_stays() -> None:
    world = a_world()
    first = condition_of(held(world))
    assert (first["status"], first["reason"]) == ("False", "ChangeWaits")
    for part in (
        "waits until 20",
        "revision 2",
        "2 x llama-l40s",
        "$1.80 an hour",
        "($6.00 an hour)",
        "20 s",
    ):
        assert part in first["message"], part
    world.now_s += 5.0
    assert condition_of(act(world)) == first
    world.now_s += 60.0
    world.settle()
    assert condition_of(act(world))["reason"] == "PlanCurrent"


def condition_of(decision: Decision) -> dict[str, str]:
    rows: Iterable[dict[str, str]] = body_of(decision, "default", "fleets")["conditions"]
    return next(row for row in rows if row["type"] == "PlanCurrent")


def test_one_event_says_it_however_often_the_price_comes_and_goes() -> None:
    world = a_world(window_s=60)
    decision = held(world)
    events = [e for e in decision.events if e.kind == "Fleet"]
    for number in range(2, 12):
        world.now_s += 5.0
        world.reconcile()
        world.apply(price(number))
        events += [e for e in act(world).events if e.kind == "Fleet"]
    assert [event.reason for event in events] == ["ChangeWaits"]
    assert events[0].message == condition_of(decision)["message"]


def test_a_restarted_operator_remembers_the_window() -> None:
    world = a_world()
    held(world)
    world.memory = ControlMemory()
    assert act(world).new_plan is None


DANGERS = [
    pytest.param(lambda w: w.apply(a_class(rate_per_s=30.0)), id="a rate that the replicas cannot carry"),
    pytest.param(
        lambda w: w.apply(a_class(slo={"ttft": {"p95Milliseconds": 300}})), id="an SLO that they cannot keep"
    ),
    pytest.param(lambda w: w.apply(a_class(minReplicas=3)), id="a floor"),
    pytest.param(lambda w: w.apply(a_class("new", 1.0)), id="a class more"),
    pytest.param(lambda w: w.apply(a_model(engine={"maxNumSeqs": 64})), id="another engine"),
    pytest.param(
        lambda w: w.apply(a_fleet(stabilizationSeconds=WINDOW_S, budgetUsdPerHour=5.0)), id="a budget"
    ),
    pytest.param(lambda w: w.delete(type(a_pool()), "h100"), id="a deleted pool"),
]


@pytest.mark.parametrize("danger", DANGERS)
def test_what_puts_a_promise_in_danger_or_a_user_edits_is_obeyed_at_once(
    danger: Callable[[World], None],
) -> None:
    world = a_world(window_s=600)
    world.apply(price(0))
    act(world)
    world.settle()
    world.apply(price(1))
    assert act(world).new_plan is None
    danger(world)
    assert act(world).new_plan is not None


def test_replicas_lost_with_their_node_are_replaced_at_once_and_at_the_present_prices() -> None:
    nodes = [*some_nodes("l40s", 4), *some_nodes("h100", 4, gpus=1)]
    world = World(
        nodes, a_fleet(stabilizationSeconds=600), a_pool(), price(1), a_model(), a_class("chat", 24.0)
    )
    world.rest()
    world.apply(price(0))
    act(world)
    world.settle()
    world.apply(price(1))
    assert act(world).new_plan is None
    assert set(world.replicas()) == {"h100/chat"}
    world.kill_node(world.pods_of("h100/chat")[0].node)
    world.now_s += SILENT_AFTER_S + 1.0
    world.reconcile()
    assert act(world).new_plan is not None


@pytest.mark.parametrize("placement", ["Argosy", "Scheduler"])
@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"unschedulable": True}, id="leaving"),
        pytest.param({"taints": (Taint("node.kubernetes.io/disk-pressure", "", "NoSchedule"),)}, id="closed"),
    ],
)
def test_a_change_does_not_wait_where_a_node_of_the_plan_takes_no_replicas_any_more(
    change: dict[str, object], placement: str
) -> None:
    world = a_world(a_pool(placement=placement), window_s=600)
    held(world)
    node = world.pods_of("h100/chat")[0].destination or "h100-0"
    for name in {node} if placement == "Argosy" else [n for n in world.nodes if n.startswith("h100")]:
        world.nodes[name] = replace(world.nodes[name], **change)  # type: ignore[arg-type]
    assert act(world).new_plan is not None


def test_a_price_that_breaks_the_budget_is_obeyed_at_once() -> None:
    fleet = a_fleet(stabilizationSeconds=600, budgetUsdPerHour=4.0)
    world = a_world(fleet)
    world.apply(price(0))
    act(world)
    world.settle()
    world.apply(price(1))
    assert act(world).new_plan is not None


def test_recommendations_wait_as_plans_do() -> None:
    world = a_world(a_fleet("Recommend", stabilizationSeconds=WINDOW_S))
    made = flips(world, price, seconds=30)
    assert len(made) <= 2


def test_a_clock_that_was_set_back_by_an_hour_holds_nothing_back() -> None:
    world = a_world()
    held(world)
    world.now_s -= 3600.0
    assert act(world).new_plan is not None


def test_flips_do_not_flush_the_history() -> None:
    world = a_world(a_fleet(stabilizationSeconds=60, revisionHistoryLimit=5))
    first = world.plans[0].key
    flips(world, price)
    assert first in {plan.key for plan in world.plans}
    assert all(isinstance(plan, FleetPlan) for plan in world.plans)
