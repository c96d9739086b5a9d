"""Ready for Kubernetes is not yet served: what Envoys say of a replica decides what may go for its sake."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_fleet import World, a_class, a_fleet, a_model, a_pool, condition, some_nodes, verdict

from argosy.control.recheck import changed_since
from argosy.control.state.routable import PATIENCE_S, PORTLESS, RECONNECT_S, ROUTED_WITHIN_S, unrouted
from argosy.rollout import ScaleDeployment
from argosy.snapshot import EndpointHealth, Sample
from argosy.snapshot.fleet import EnvoyState, FleetSnapshot, RoutingView
from argosy.snapshot.liveness import ENVOY_FRESH_S

CHAT = "default/chat"


def a_world(rate_per_s: float = 8.0) -> World:
    """Chat on two L40S; a second model's engine settings are one edit away."""
    world = World(some_nodes("l40s", 6), a_fleet(), a_pool(), a_model(), a_class(rate_per_s=rate_per_s))
    world.rest()
    return world


@dataclass(frozen=True)
class Case:
    """What Envoys say of one pod that became ready `ready_s` ago.

    acks: seconds since each Envoy acknowledged it, None: it has not; seen: what a reading of it shows, by
    node id, and how old the reading is
    """

    acks: Mapping[str, float | None] = field(default_factory=dict)
    seen: Mapping[str, tuple[EndpointHealth | None, float]] = field(default_factory=dict)
    gone: Mapping[str, float] = field(default_factory=dict)
    ready_s: float = 30.0
    since_s: float = 3600.0


GOOD, BAD, NEW = EndpointHealth.HEALTHY, EndpointHealth.UNHEALTHY, EndpointHealth.PENDING

CASES = [
    pytest.param(Case({"a": None}, {"a": (GOOD, 1.0)}), "", id="Envoy finds it healthy"),
    pytest.param(Case({"a": 9.0}, {"a": (BAD, 1.0)}), "Envoy a finds it unhealthy", id="it does not"),
    pytest.param(Case({"a": 9.0}, {"a": (NEW, 1.0)}), "Envoy a finds it pending", id="not checked yet"),
    pytest.param(Case({"a": 9.0}, {"a": (None, 1.0)}), "Envoy a does not have it", id="it has not got it"),
    pytest.param(Case({"a": None}), "has not acknowledged it", id="no reading, not acknowledged"),
    pytest.param(Case({"a": 0.5}), "acknowledged it as an endpoint a moment ago", id="not checked since"),
    pytest.param(Case({"a": 2.5}), "", id="acknowledged two checks ago"),
    pytest.param(
        Case({"a": None}, {"a": (GOOD, ENVOY_FRESH_S + 1)}), "has not acknowledged", id="a reading too old"
    ),
    pytest.param(Case({"a": 9.0, "b": None}), "Envoy b has not", id="one of two has not got it"),
    pytest.param(
        Case({"a": 9.0, "b": None}, ready_s=PATIENCE_S), "", id="one of two has not got it, for long"
    ),
    pytest.param(
        Case({"a": None}, ready_s=3600.0), "Envoy a has not", id="the only one has not got it, for long"
    ),
    pytest.param(Case(gone={"a": 5.0}), "Envoy a is not connected any more", id="the only one has gone"),
    pytest.param(Case(gone={"a": PATIENCE_S}), "", id="the only one has gone for long"),
    pytest.param(
        Case({"a": 9.0}, gone={"b": 5.0}, ready_s=3.0),
        "Envoy b is not connected",
        id="one went before it came",
    ),
    pytest.param(Case({"a": 9.0}, gone={"b": 5.0}, ready_s=30.0), "", id="one went after it came"),
    pytest.param(
        Case(since_s=RECONNECT_S - 1), "no Envoy has connected yet", id="the operator has just started"
    ),
    pytest.param(Case(), "", id="there is no Envoy"),
]


def seen_by_envoys(world: World, case: Case) -> FleetSnapshot:
    """The world, with one pod as in the case; all others are known to every Envoy."""
    snapshot, now_s = world.snapshot(), world.now_s
    pods = {key: replace(pod, ready_since_s=now_s - case.ready_s) for key, pod in snapshot.pods.items()}
    first, *others = sorted(p.address for p in pods.values())
    routing = RoutingView(
        "v1",
        tuple(
            EnvoyState(
                name,
                "v1",
                endpoints_version="without" if ack_s is None else "with",
                endpoints_since_s=now_s - (ack_s or 0.0),
            )
            for name, ack_s in case.acks.items()
        ),
        {"with": frozenset([first, *others]), "without": frozenset(others)},
        {name: now_s - gone_s for name, gone_s in case.gone.items()},
        now_s - case.since_s,
    )
    views = {
        name: Sample({a: h for a, h in ((first, health), *((o, GOOD) for o in others)) if h}, now_s - age_s)
        for name, (health, age_s) in case.seen.items()
    }
    telemetry = replace(snapshot.telemetry, envoys=views)
    return replace(snapshot, pods=pods, routing=routing, telemetry=telemetry)


@pytest.mark.parametrize(("case", "why"), CASES)
def test_a_pod_is_routed_to_when_every_envoy_that_counts_sends_requests_there(case: Case, why: str) -> None:
    world = a_world()
    found = unrouted(seen_by_envoys(world, case))
    if not why:
        assert found == {}
        return
    reasons = [each.why for each in found.values()]
    assert reasons != []
    assert why in reasons[0]


def test_without_a_plan_in_force_nothing_is_expected_of_envoys() -> None:
    world = a_world()
    world.apply(a_fleet("Recommend"))
    assert unrouted(seen_by_envoys(world, Case({"a": None}))) == {}


def test_a_replica_that_no_envoy_routes_to_is_not_ready_and_nothing_goes_for_its_sake() -> None:
    world = a_world()
    old = set(world.pods)
    world.apply(a_model(engine={"maxNumSeqs": 128}))
    world.act()
    world.unknown = set(world.pods) - old
    assert len(world.unknown) == 2
    world.run(120)
    assert all(pod.ready for pod in world.pods.values())
    assert old <= set(world.pods), "the former replicas stay"
    found = condition(world.decisions[-1], CHAT)
    assert (found["status"], found["reason"]) == ("False", "Exchanging")
    assert found["message"].startswith("0 of 2 planned replicas get requests; 2 replicas of the former plan")
    world.unknown = set()
    world.settle()
    assert not old & set(world.pods)
    assert verdict(world.decisions[-1], CHAT) == ("True", "Ready")


def test_a_class_whose_only_replicas_are_not_routed_to_names_pod_and_envoy() -> None:
    world = a_world()
    world.unknown = set(world.pods)
    found = condition(world.decide(), CHAT)
    assert (found["status"], found["reason"]) == ("False", "NotRouted")
    pod = min(world.pods)
    assert f"0 of 2 replicas get requests; pod {pod} is ready and Envoy edge has not" in found["message"]


@pytest.mark.parametrize(
    ("ready_s", "reason"),
    [(0.0, "Loading"), (ROUTED_WITHIN_S - 0.1, "Loading"), (ROUTED_WITHIN_S, "NotRouted")],
)
def test_a_replica_that_became_ready_a_moment_ago_is_still_starting(ready_s: float, reason: str) -> None:
    world = a_world()
    world.unknown = set(world.pods)
    world.pods = {key: replace(pod, ready_since_s=world.now_s - ready_s) for key, pod in world.pods.items()}
    assert condition(world.decide(), CHAT)["reason"] == reason


@settings(deadline=None, max_examples=40)
@given(st.data())
def test_whatever_envoys_have_acknowledged_those_that_serve_stay_enough(data: st.DataObject) -> None:
    """By any Envoy's view there are never fewer replicas than before, or than planned."""
    world = a_world()
    world.apply(a_model(engine={"maxNumSeqs": 128}))
    for _ in range(data.draw(st.integers(1, 25))):
        world.unknown = {key for key in world.pods if data.draw(st.booleans())}
        known = [p for p in world.pods.values() if p.ready and not p.deleting and p.key not in world.unknown]
        decision = world.decide()
        for planned in decision.steps:
            if isinstance(planned.step, ScaleDeployment):
                left = sum(p.deployment != planned.step.key for p in known) + planned.step.replicas
                assert left >= min(2, len(known))
        world.publish(decision)
        for planned in decision.steps:
            if changed_since(planned, world.snapshot()) == "":  # Kubernetes might remove one that serves
                world.take(planned.step)
        world.now_s += 3.0
        world.reconcile()


@pytest.mark.parametrize("mode", ["Auto", "Recommend"])
def test_a_pod_without_a_port_named_http_is_never_routed_to(mode: str) -> None:
    world = a_world()
    first = min(world.pods)
    world.pods[first] = replace(world.pods[first], port=0, portless=("proxy", "vllm"))
    world.apply(a_fleet(mode))
    world.now_s += 10 * PATIENCE_S
    assert unrouted(world.snapshot())[first].why == PORTLESS


def test_replicas_without_a_port_named_http_leave_their_class_not_ready_and_the_former_ones_in_place() -> (
    None
):
    world = a_world()
    old = set(world.pods)
    world.apply(a_model(engine={"maxNumSeqs": 128}))

    def reach_nothing() -> None:
        new = {k: p for k, p in world.pods.items() if k not in old}
        world.pods |= {k: replace(p, port=0, portless=("proxy", "vllm")) for k, p in new.items()}

    for _ in range(120):
        world.act()
        reach_nothing()
        world.now_s += 1.0
        world.reconcile()
    decision = world.act()
    assert old <= set(world.pods)
    found = condition(decision, CHAT)
    assert (found["status"], found["reason"]) == ("False", "EnginePortMissing")
    assert found["message"].startswith("0 of ")
    pod = min(set(world.pods) - old)
    assert f"no container of pod {pod} has a container port named http" in found["message"]
    assert "(it has the containers proxy, vllm)" in found["message"]
