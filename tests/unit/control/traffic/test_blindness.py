"""What counts as lost of sight, and for how long."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from builders import a_class, a_fleet, a_model, a_pool, some_nodes
from small_fleet import World

from argosy.control.memory import BlindMemory
from argosy.control.traffic.blindness import LIMIT_S, Blind, Blindness, look
from argosy.snapshot import EngineReading, Sample, TelemetryReading
from argosy.snapshot.fleet import EnvoyState, FleetSnapshot, RoutingView

EDGE = EnvoyState("edge", "v1", stats_url="http://10.0.0.9:9902")


@pytest.fixture(scope="module")
def world() -> World:
    found = World(some_nodes("l40s", 4), a_fleet(), a_pool(), a_model(), a_class())
    found.settle()
    return found


def seen_at(
    world: World, at_s: float, *, engines: bool = True, envoys: bool = True, **fields: Any
) -> FleetSnapshot:
    """The world `at_s` later, in which engines and Envoys were just read, or were last at the beginning."""
    snapshot = world.snapshot()
    start_s = snapshot.now_s
    addresses = [pod.address for pod in snapshot.engine_pods if pod.should_answer]
    assert addresses
    engine = Sample(EngineReading(1, 0, 0.1, 0, 0, 0), start_s + at_s * engines)
    reading = TelemetryReading(
        engines=dict.fromkeys(addresses, engine),
        arrivals={"edge": Sample(1.0, start_s + at_s * envoys)},
    )
    given = {"telemetry": reading, "routing": RoutingView("v1", (EDGE,)), **fields}
    return replace(snapshot, now_s=start_s + at_s, monotonic_s=snapshot.monotonic_s + at_s, **given)


def looks(snapshots: list[FleetSnapshot], due_since_s: float | None = None) -> Blindness:
    memory = BlindMemory()
    for snapshot in snapshots:
        found = look(snapshot, memory, due_since_s)
        memory = found.memory
    return found


@pytest.mark.parametrize(
    ("parts", "named"),
    [
        pytest.param({"engines": False}, "all engines", id="no engine"),
        pytest.param({"envoys": False}, "all Envoys", id="no Envoy"),
        pytest.param({"engines": False, "envoys": False}, "all engines and Envoys", id="neither"),
    ],
)
def test_telemetry_is_lost_where_none_of_a_kind_was_read_for_a_minute(
    world: World, parts: dict[str, bool], named: str
) -> None:
    times = [0.0, 11.0, 11.0 + LIMIT_S[Blind.TELEMETRY] - 1.0]
    assert not looks([seen_at(world, t, **parts) for t in times]).lasting
    found = looks([seen_at(world, t, **parts) for t in (*times, times[-1] + 1.0)])
    assert list(found.lasting) == [Blind.TELEMETRY]
    assert f"the last readings of {named} are" in found.lasting[Blind.TELEMETRY]
    assert (found.memory.unread, [t.is_progress for t in found.triggers()]) == (named, [True])
    (event,) = found.events(world.snapshot())
    assert (event.kind, event.type, event.reason) == ("Fleet", "Warning", "TelemetryLost")


def test_one_engine_and_one_envoy_that_can_be_read_are_enough(world: World) -> None:
    assert not looks([seen_at(world, t) for t in (0.0, 100.0, 200.0)]).memory.since_s


def test_telemetry_that_comes_back_ends_it_and_is_told_once(world: World) -> None:
    lost = [seen_at(world, t, engines=False) for t in (11.0, 71.0)]
    found = looks([*lost, seen_at(world, 72.0)])
    assert (dict(found.lasting), found.changed, found.memory.unread) == ({}, {Blind.TELEMETRY}, "")


def test_an_envoy_without_a_listener_counts_nothing_and_is_not_lost(world: World) -> None:
    routing = RoutingView("v1", (replace(EDGE, acknowledged_version=""),))
    times = (0.0, 20.0, 200.0)
    found = []
    for t in times:
        snapshot = seen_at(world, t, routing=routing)
        found.append(replace(snapshot, telemetry=replace(snapshot.telemetry, arrivals={})))
    assert not looks(found).lasting


def test_every_envoy_that_was_connected_is_missed_after_a_minute_and_one_that_never_was_is_not(
    world: World,
) -> None:
    gone = [seen_at(world, t, routing=RoutingView("v1", ())) for t in (1.0, 61.0)]
    assert not looks(gone).lasting
    assert list(looks([seen_at(world, 0.0), *gone]).lasting) == [Blind.ENVOYS]
    unused = [replace(snapshot, classes={}) for snapshot in gone]
    assert not looks([seen_at(world, 0.0), *unused]).lasting


@pytest.mark.parametrize(("age_s", "is_lost"), [(119.0, False), (120.0, True)])
def test_a_plan_counts_as_not_applied_two_minutes_after_a_decision_was_due(
    world: World, age_s: float, is_lost: bool
) -> None:
    snapshot = seen_at(world, 0.0)
    found = looks([snapshot], snapshot.monotonic_s - age_s)
    assert (Blind.PLAN in found.lasting) is is_lost
    assert not looks([snapshot]).lasting
