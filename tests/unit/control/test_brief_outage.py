"""One replica on a full pool: its exchange waits and says how to go on, or interrupts as chosen."""

from __future__ import annotations

import pytest
from small_fleet import LOAD_S, World, a_class, a_fleet, a_model, a_pool, condition, some_nodes

from argosy.control.candidates import resolve
from argosy.control.memory import ControlMemory
from argosy.control.routes import route_inputs
from argosy.keys import ClassKey
from argosy.route.compile import compile_routes

CHAT, BATCH = "default/chat", "default/batch"


def a_full_world(exchange: str, *more: str) -> World:
    """One node with one GPU, and one replica on it that serves class chat (and others), being edited."""
    others = [a_class(name, rate_per_s=0.5) for name in more]
    model = a_model(exchange=exchange)
    world = World(some_nodes("l40s", 1, gpus=1), a_fleet(), a_pool(), model, a_class(rate_per_s=1.0), *others)
    world.rest()
    world.apply(a_model(exchange=exchange, engine={"maxNumSeqs": 128}))
    return world


def refusals(world: World) -> dict[str, str]:
    snapshot = world.snapshot()
    routes = compile_routes(route_inputs(snapshot, snapshot.applied_plan)).routes
    return {entry.class_key: entry.refusal for entry in routes if not entry.backends}


def test_an_exchange_that_waits_names_the_field_and_the_remedy() -> None:
    world = a_full_world("Wait")
    [old] = world.pods
    world.run(120.0)
    assert world.pods[old].ready
    assert not world.pods[old].deleting
    found = condition(world.act(), CHAT)
    assert (found["status"], found["reason"]) == ("False", "ExchangeWaits")
    assert "spec.exchange of ServedModel default/llama is Wait" in found["message"]
    assert "set spec.exchange to BriefOutage" in found["message"]
    assert refusals(world) == {}


@pytest.mark.parametrize("others", [(), ("batch",)], ids=["one class", "a group of two classes"])
def test_a_brief_outage_exchanges_the_last_replica_and_says_since_when_no_request_is_taken(
    others: tuple[str, ...],
) -> None:
    world = a_full_world("BriefOutage", *others)
    [old] = world.pods
    seen = set()
    for _ in range(round(3 * LOAD_S) + 60):
        decision = world.act()
        found = condition(decision, CHAT)
        if found["reason"] == "Interrupted":
            seen.add(found["message"].partition(": ")[0])
            assert {CHAT, *(f"default/{name}" for name in others)} == set(refusals(world))
        world.now_s += 1.0
        world.reconcile()
    [said] = seen  # one time, that of the interruption
    assert said.startswith("No replica has taken requests since 20")
    assert old not in world.pods
    assert condition(world.act(), CHAT)["status"] == "True"
    assert sum(world.serving().values()) == 1
    assert refusals(world) == {}
    assert since(world) is None


def since(world: World) -> str | None:
    return world.snapshot().classes[ClassKey(CHAT)].status.interrupted_since


def interrupted(world: World) -> None:
    """Until the last former replica is gone and its successor loads."""
    for _ in range(60):
        if condition(world.act(), CHAT)["reason"] == "Interrupted" and len(world.pods) == 1:
            return
        world.now_s += 1.0
        world.reconcile()
    raise AssertionError("never interrupted")


def test_clients_read_that_the_replica_is_being_exchanged_and_since_when() -> None:
    world = a_full_world("BriefOutage")
    interrupted(world)
    [refusal] = refusals(world).values()
    assert refusal == (
        f"The replica that serves {CHAT} has been in exchange for another since {since(world)}, which is not"
        " ready yet; try again in a minute."
    )


def test_an_outage_is_still_called_one_where_the_field_is_set_to_wait_in_its_middle() -> None:
    world = a_full_world("BriefOutage")
    interrupted(world)
    before = since(world)
    world.apply(a_model(exchange="Wait", engine={"maxNumSeqs": 128}))
    found = condition(world.act(), CHAT)
    assert (found["reason"], since(world)) == ("Interrupted", before)
    assert "BriefOutage of ServedModel default/llama allowed (it is Wait now)" in found["message"]
    world.run(3 * LOAD_S)
    assert condition(world.act(), CHAT)["status"] == "True"
    assert since(world) is None


def test_a_restarted_operator_knows_since_when_an_outage_lasts() -> None:
    world = a_full_world("BriefOutage")
    interrupted(world)
    before = since(world)
    assert before
    world.now_s += 5.0
    world.memory = ControlMemory()
    assert f"since {before}: the last former" in condition(world.act(), CHAT)["message"]


@pytest.mark.parametrize(
    ("load_s", "limit_s"), [(LOAD_S, 600.0), (400.0, 1200.0)], ids=["10 min", "3 x load"]
)
def test_a_successor_that_does_not_become_ready_is_reported_late_with_what_to_do(
    load_s: float, limit_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resolve, "load_delay_s", lambda weight_bytes: load_s)
    world = a_full_world("BriefOutage")
    world.act()
    [old] = {p.deployment for p in world.pods.values() if p.ready}
    world.broken_deployments = set(world.deployments) - {old}
    world.run(limit_s - 60.0, period_s=20.0)
    assert "for more than" not in condition(world.act(), CHAT)["message"]
    world.run(120.0, period_s=20.0)
    found = condition(world.act(), CHAT)
    assert found["reason"] == "Interrupted"
    assert f"for more than {limit_s:.0f} s: the last" in found["message"]
    [pod] = world.pods.values()
    assert f"look at kubectl describe pod {pod.name} -n default and at its logs" in found["message"]
    assert "set the last edit of ServedModel default/llama back" in found["message"]


def test_the_remedy_of_a_late_successor_brings_a_replica_as_before() -> None:
    world = a_full_world("BriefOutage")
    world.act()
    [old] = {p.deployment for p in world.pods.values() if p.ready}
    world.broken_deployments = set(world.deployments) - {old}
    world.run(660.0, period_s=20.0)
    world.apply(a_model(exchange="BriefOutage"))
    world.run(60.0 + 3 * LOAD_S)
    assert set(world.serving()) == {old}
    assert since(world) is None


def test_while_there_is_room_a_brief_outage_is_not_needed() -> None:
    world = World(
        some_nodes("l40s", 2, gpus=1),
        a_fleet(),
        a_pool(),
        a_model(exchange="BriefOutage"),
        a_class(rate_per_s=1.0),
    )
    world.rest()
    world.apply(a_model(exchange="BriefOutage", engine={"maxNumSeqs": 128}))
    served = []
    for _ in range(120):
        world.act()
        served.append(sum(world.serving().values()))
        world.now_s += 1.0
        world.reconcile()
    assert min(served) == 1


def test_a_successor_that_would_not_fit_where_the_last_replica_is_takes_it_nothing() -> None:
    world = a_full_world("BriefOutage")
    shapes = [{"tensorParallel": 2}]
    world.apply(a_model(exchange="BriefOutage", parallelShapes=shapes))
    world.run(60.0)
    assert sum(world.serving().values()) == 1
