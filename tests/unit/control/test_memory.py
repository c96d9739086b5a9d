"""The memory's two parts are joined so that neither loop undoes what the other did meanwhile."""

from __future__ import annotations

from dataclasses import replace

from small_fleet import FakePerf, World, a_class, a_fleet, a_model, a_pool, some_nodes

from argosy.control.fast import ReactSettings, react
from argosy.control.memory import ControlMemory
from argosy.control.step import StepSettings, step
from argosy.keys import CellName, ClassKey
from argosy.snapshot import RouteCounters, Sample
from argosy.snapshot.fleet import FleetSnapshot

CHAT = ClassKey("default/chat")
SETTINGS = StepSettings("a test", plan_time_limit_s=None)


class Readings:
    """A settled fleet whose one Envoy is read every 2 s, with 24 requests/s for a class of 8/s declared."""

    def __init__(self) -> None:
        observed = {"requestsPerSecond": 8.0, "lengths": {"archetype": "azure-conversation"}}
        chat = a_class("chat", traffic={**observed, "source": "LargerOfBoth"})
        self.world = World(some_nodes("l40s", 3), a_fleet(), a_pool(), a_model(), chat)
        self.world.settle()
        self._total = 0.0

    def next(self) -> FleetSnapshot:
        self.world.now_s += 2.0
        self._total += 48.0
        snapshot = self.world.snapshot()
        sample = Sample(RouteCounters(self._total, 0.0, 0.0), snapshot.now_s)
        telemetry = replace(snapshot.telemetry, routes={("edge", CellName.of_class(CHAT)): sample})
        return replace(snapshot, telemetry=telemetry)


def test_five_iterations_of_the_traffic_loop_during_a_decision_are_kept_and_so_is_the_decision() -> None:
    readings = Readings()
    memory, reactions = readings.world.memory, []
    for _ in range(5):
        memory = memory.with_traffic(react(readings.next(), memory, ReactSettings(is_leader=True)).memory)
    # The decision starts with this memory; it ends after five more readings.
    at_start, snapshot = memory, readings.next()
    for _ in range(5):
        reaction = react(readings.next(), memory, ReactSettings(is_leader=True))
        reactions.append(reaction)
        memory = memory.with_traffic(reaction.memory)
    decision = step(snapshot, at_start, SETTINGS, FakePerf())
    memory = memory.with_planning(decision.memory)
    assert memory == ControlMemory(reactions[-1].memory, decision.memory)
    assert memory.traffic != at_start.traffic
    assert memory.planning != at_start.planning


def test_a_reading_sees_what_the_last_decision_was_made_for() -> None:
    readings = Readings()
    memory = readings.world.memory
    for _ in range(10):
        reaction = react(readings.next(), memory, ReactSettings(is_leader=True))
        memory = memory.with_traffic(reaction.memory)
    assert [trigger.message for trigger in reaction.triggers] == [
        "class default/chat asks for 24 requests/s, above the 8 forecast"
    ]
    memory = memory.with_planning(step(readings.next(), memory, SETTINGS, FakePerf()).memory)
    assert react(readings.next(), memory, ReactSettings(is_leader=True)).triggers == ()


def test_joining_one_part_leaves_the_other_as_it_was() -> None:
    readings = Readings()
    reaction = react(readings.next(), readings.world.memory, ReactSettings(is_leader=True))
    decision = step(readings.next(), readings.world.memory, SETTINGS, FakePerf())
    empty = ControlMemory()
    assert empty.with_traffic(reaction.memory) == ControlMemory(traffic=reaction.memory)
    assert empty.with_planning(decision.memory) == ControlMemory(planning=decision.memory)
    both = empty.with_traffic(reaction.memory).with_planning(decision.memory)
    assert both == empty.with_planning(decision.memory).with_traffic(reaction.memory)
