"""An object that cannot be read reports it in its own status, and stale counters in their class's."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from small_fleet import World, a_class, a_fleet, a_model, a_pool, body_of, condition, some_nodes, verdict

from argosy.api import CustomResource, Fleet, GPUPool, InvalidObject, RouterPolicy, ServedModel, WorkloadClass
from argosy.api.kinds import USER_SPECS
from argosy.control.decision import Decision
from argosy.control.memory import BlindMemory
from argosy.control.step import StepSettings, step
from argosy.demand.forecast import STALE_S, DemandHistory, observe
from argosy.keys import CellName, ClassKey
from argosy.snapshot import RouteCounters, Sample, TelemetryReading

READY = {"type": "Ready", "status": "True", "reason": "Ready", "lastTransitionTime": "2026-01-01T00:00:00Z"}

BAD: list[tuple[type[CustomResource], str, dict[str, Any], str]] = [
    (WorkloadClass, "default", {"models": "llama"}, "spec.models"),
    (WorkloadClass, "default", {"slo": {"ttft": {"p95Milliseconds": -1}}}, "spec.slo"),
    (ServedModel, "default", {"modelId": 5, "engine": {"maxNumSeqs": "many"}}, "spec.engine.maxNumSeqs"),
    (GPUPool, "", {"gpu": "L40S", "gpusPerNode": 0}, "spec.gpusPerNode"),
    (RouterPolicy, "default", {"targetRefs": 1}, "spec.targetRefs"),
    (Fleet, "", {"mode": "Sometimes"}, "spec.mode"),
]


def an_invalid(
    kind: type[CustomResource], namespace: str, spec: dict[str, Any], **status: Any
) -> InvalidObject:
    metadata = {"name": "bad", "uid": "uid-bad", "generation": 7}
    if namespace:
        metadata["namespace"] = namespace
    found = kind.from_object({"metadata": metadata, "spec": spec, "status": status})
    assert isinstance(found, InvalidObject)
    return found


def a_world() -> World:
    world = World(some_nodes("l40s", 4), a_fleet(), a_pool(), a_model(), a_class())
    world.settle()
    return world


@pytest.fixture(scope="module")
def world() -> World:
    return a_world()


def decide(world: World, *invalid: InvalidObject) -> Decision:
    settings = StepSettings("a test", plan_time_limit_s=None)
    return step(replace(world.snapshot(), invalid=invalid), world.memory, settings, world.perf)


def test_every_kind_that_users_write_is_among_them() -> None:
    assert {kind.PLURAL for kind, *_ in BAD} == set(USER_SPECS)


@pytest.mark.parametrize(("kind", "namespace", "spec", "field"), BAD)
def test_an_object_that_cannot_be_read_reports_the_field_in_its_own_status(
    world: World, kind: type[CustomResource], namespace: str, spec: dict[str, Any], field: str
) -> None:
    item = an_invalid(kind, namespace, spec)
    decision = decide(world, item)
    assert verdict(decision, item.key, kind.PLURAL, "Accepted") == ("False", "InvalidSpec")
    assert field in condition(decision, item.key, kind.PLURAL, "Accepted")["message"]
    assert body_of(decision, item.key, kind.PLURAL)["observedGeneration"] == 7


@pytest.mark.parametrize(("kind", "namespace", "spec", "field"), BAD)
def test_its_other_conditions_and_fields_stay(
    world: World, kind: type[CustomResource], namespace: str, spec: dict[str, Any], field: str
) -> None:
    item = an_invalid(kind, namespace, spec, conditions=[READY], replicasReady=3)
    body = body_of(decide(world, item), item.key, kind.PLURAL)
    assert {c["type"]: c["status"] for c in body["conditions"]} == {"Ready": "True", "Accepted": "False"}
    assert body.keys() == {"observedGeneration", "conditions"}


def test_the_decision_about_everything_else_is_the_same(world: World) -> None:
    item = an_invalid(WorkloadClass, "default", {"models": "llama"})
    with_it, without = decide(world, item), decide(world)
    own = [s for s in with_it.statuses if s.key != item.key]
    assert (with_it.steps, with_it.new_plan, tuple(own)) == (without.steps, None, without.statuses)


def test_an_unchanged_fault_keeps_the_time_of_its_transition(world: World) -> None:
    first = body_of(decide(world, an_invalid(WorkloadClass, "default", {"models": 1})), "default/bad")
    again = an_invalid(WorkloadClass, "default", {"models": 1}, conditions=first["conditions"])
    world.now_s += 100.0
    assert body_of(decide(world, again), "default/bad") == first


# --- stale counters -----------------------------------------------------------------------------


def counted(now_s: float, total: float) -> TelemetryReading:
    counters = RouteCounters(total, errors_5xx_total=0, retries_total=0)
    return TelemetryReading(routes={("edge", CellName("default/chat")): Sample(counters, now_s)})


def observed(world: World, seconds: int) -> World:
    """A class whose requests were counted for a minute and then not for `seconds`."""
    history, class_by_cell = DemandHistory(), {CellName("default/chat"): ClassKey("default/chat")}
    for second in range(0, 62, 2):
        at_s = world.now_s + second
        history = observe(history, counted(at_s, 5.0 * second), class_by_cell, at_s)
    world.now_s += 60.0 + seconds
    world.memory = world.memory.with_traffic(replace(world.memory.traffic, demand=history))
    return world


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(2, ("True", "Ready")), (int(STALE_S) + 5, ("True", "ObservationStale"))],
)
def test_a_class_whose_counters_are_stale_stays_ready_and_says_that_its_forecast_is_held(
    seconds: int, expected: tuple[str, str]
) -> None:
    traffic = {"requestsPerSecond": 5.0, "lengths": {"archetype": "azure-conversation"}, "source": "Observed"}
    world = World(some_nodes("l40s", 4), a_fleet(), a_pool(), a_model(), a_class(traffic=traffic))
    world.settle()
    decision = observed(world, seconds).decide()
    assert verdict(decision, "default/chat") == expected
    assert verdict(decision, "default", "fleets") == ("True", "Ready")


def test_a_stale_class_has_one_message_however_long_it_lasts() -> None:
    traffic = {"requestsPerSecond": 5.0, "lengths": {"archetype": "azure-conversation"}, "source": "Observed"}
    world = World(some_nodes("l40s", 4), a_fleet(), a_pool(), a_model(), a_class(traffic=traffic))
    world.settle()
    first = observed(world, int(STALE_S) + 5).decide()
    world.now_s += 20.0
    later = world.decide()
    assert condition(first, "default/chat")["message"] == condition(later, "default/chat")["message"]
    assert "Envoy's request counters" in condition(first, "default/chat")["message"]


def test_while_telemetry_is_lost_a_class_stays_ready_and_says_so_though_its_rate_is_declared() -> None:
    world = World(some_nodes("l40s", 4), a_fleet(), a_pool(), a_model(), a_class())
    world.settle()
    blind = BlindMemory(unread="all engines", lasting=frozenset({"telemetry"}))
    world.memory = world.memory.with_traffic(replace(world.memory.traffic, blind=blind))
    decision = world.decide()
    for name, kind in (("default/chat", "workloadclasses"), ("default", "fleets")):
        assert verdict(decision, name, kind) == ("True", "ObservationStale")
    assert (
        "The last reading of all engines is more than 60 s old"
        in condition(decision, "default/chat")["message"]
    )
