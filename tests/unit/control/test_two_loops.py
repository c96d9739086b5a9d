"""Ten simulated minutes of both loops: what a discrete-event simulator can run without any I/O."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Mapping
from typing import Any, NoReturn

import pytest
from builders import a_class, a_fleet, a_model, a_pool, some_nodes
from small_fleet import LOAD_S, World
from two_loops import TwoLoops

from argosy.api.fleetplan import FleetPlanSpec
from argosy.keys import ClassKey

CHAT = ClassKey("default/chat")
MINUTES = 60.0
TEN_MINUTES = 10 * MINUTES
BURST_S, DEATH_S, PRICE_S = 2 * MINUTES, 4 * MINUTES, 7 * MINUTES


@pytest.fixture(autouse=True)
def no_io(monkeypatch: pytest.MonkeyPatch) -> None:
    """A loop that opens a socket, starts a thread or sleeps fails."""

    def refuse(*_: Any, **__: Any) -> NoReturn:
        raise AssertionError("the loops do no I/O, start no thread and never sleep")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(threading.Thread, "start", refuse)
    monkeypatch.setattr(time, "sleep", refuse)


def observed(rate_per_s: float) -> Mapping[str, object]:
    lengths = {"archetype": "azure-conversation"}
    return {"requestsPerSecond": rate_per_s, "lengths": lengths, "source": "LargerOfBoth"}


def chat_doubles(at_s: float) -> Mapping[ClassKey, float]:
    """8 requests/s, and 16 after two minutes."""
    return {CHAT: 16.0 if at_s >= BURST_S else 8.0}


def a_node_dies(world: World) -> None:
    [node] = {p.node for p in world.pods_of("l40s/chat")[:1]}
    world.kill_node(node)


def h100_becomes_cheap(world: World) -> None:
    world.apply(a_pool("h100", "H100", priceUsdPerHour=0.5))


def ten_minutes(latency_s: float = 2.0) -> TwoLoops:
    nodes = [*some_nodes("l40s", 6), *some_nodes("h100", 2)]
    dear = a_pool("h100", "H100", priceUsdPerHour=6.0)
    world = World(nodes, a_fleet(), a_pool(), dear, a_model(), a_class(traffic=observed(8.0)))
    loops = TwoLoops(world, chat_doubles, latency_s, {DEATH_S: a_node_dies, PRICE_S: h100_becomes_cheap})
    loops.run(TEN_MINUTES)
    return loops


@pytest.fixture(scope="module")
def loops() -> TwoLoops:
    return ten_minutes()


def replicas_at(loops: TwoLoops, at_s: float) -> Mapping[str, int]:
    return next(m.replicas for m in loops.history if m.at_s == at_s)


def test_the_fleet_follows_the_burst_the_dead_node_and_the_price(loops: TwoLoops) -> None:
    assert replicas_at(loops, BURST_S) == {"l40s/chat": 3}  # the mean of 8/s plus one standard error
    assert replicas_at(loops, DEATH_S - 1)["l40s/chat"] >= 4
    assert replicas_at(loops, TEN_MINUTES - 1) == {"h100/chat": 2}


def test_every_change_is_named_by_a_revision(loops: TwoLoops) -> None:
    named = " | ".join(plan.spec.trigger for plan in loops.revisions)
    assert "the operator started" in named
    assert "class default/chat asks for" in named
    assert "has fallen silent" in named
    assert "an object changed" in named
    assert len(loops.revisions) < 15


def test_once_the_first_replica_serves_no_request_is_refused(loops: TwoLoops) -> None:
    started_s = next(m.at_s for m in loops.history if m.num_unserved == 0)
    assert started_s <= LOAD_S + 10
    assert [m.at_s for m in loops.history if m.at_s > started_s and m.num_unserved > 0] == []


def decided(loops: TwoLoops) -> list[FleetPlanSpec]:
    """The revisions without the solver's account of its seconds, which no two runs share."""
    specs = [plan.spec for plan in loops.revisions]
    return [s.model_copy(update={"solver": s.solver.model_copy(update={"seconds": 0.0})}) for s in specs]


def test_the_same_ten_minutes_twice_are_the_same(loops: TwoLoops) -> None:
    again = ten_minutes()
    assert decided(again) == decided(loops)
    assert again.history == loops.history


def test_a_decision_that_takes_long_is_carried_out_step_by_step() -> None:
    slow = ten_minutes(latency_s=10.0)
    assert replicas_at(slow, TEN_MINUTES - 1) == {"h100/chat": 2}
    assert slow.num_left < 10


def test_memory_is_what_both_loops_left(loops: TwoLoops) -> None:
    memory = loops.world.memory
    assert memory.traffic.demand.observed_at_s == loops.world.now_s - 2.0
    assert memory.planning.forecasts[CHAT].rate_per_s >= 16.0
    assert set(memory.traffic.weights.by_cell) == {c.name for c in loops.world.applied.spec.cells}
