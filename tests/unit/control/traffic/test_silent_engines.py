"""Engines that fall silent: which events and conditions report them, in which words, and how often."""

from __future__ import annotations

import pytest
from small_fleet import World, a_class, a_fleet, a_model, a_pool, condition, some_nodes

from argosy.control.decision import EventRecord
from argosy.control.fast import Reaction, ReactSettings, react
from argosy.control.traffic.silent_engines import FELL_SILENT
from argosy.snapshot.liveness import SILENT_AFTER_S

CHAT = "default/chat"


class Readings:
    """A small fleet of two replicas on two nodes, read by the traffic loop."""

    def __init__(self, mode: str = "Auto") -> None:
        self.world = World(some_nodes("l40s", 4), a_fleet(), a_pool(), a_model(), a_class())
        self.world.settle()
        self.world.apply(a_fleet(mode))
        self.pod = self.world.pods[min(self.world.pods)]

    def read(self, after_s: float = 0.0, *, is_leader: bool = True) -> Reaction:
        self.world.now_s += after_s
        found = react(self.world.snapshot(), self.world.memory, ReactSettings(is_leader))
        self.world.memory = self.world.memory.with_traffic(found.memory)
        return found

    def told(self, after_s: float = 0.0, *, is_leader: bool = True) -> list[EventRecord]:
        events = self.read(after_s, is_leader=is_leader).events
        return [event for event in events if event.reason == FELL_SILENT]


def test_a_node_that_hangs_is_named_with_its_pod_since_when_and_what_follows() -> None:
    readings = Readings()
    assert readings.told() == []
    readings.world.kill_node(readings.pod.node)
    since = "2023-11-1"  # the world's first day
    assert readings.told(SILENT_AFTER_S - 1.0) == []
    (event,) = readings.told(1.0)
    assert (event.kind, event.key, event.type) == ("ServedModel", "default/llama", "Warning")
    for part in (readings.pod.key, f"on node {readings.pod.node}", f"since {since}", "starts others"):
        assert part in event.message
    assert readings.told(2.0) == [], "once"


def test_the_decision_that_follows_names_the_pod_and_its_node() -> None:
    readings = Readings()
    readings.read()
    readings.world.kill_node(readings.pod.node)
    triggers = [each.message for each in readings.read(SILENT_AFTER_S).triggers]
    pod = readings.pod
    assert f"the engine of pod {pod.key} on node {pod.node} has fallen silent" in triggers


def test_an_engine_that_answers_again_and_falls_silent_again_is_told_again() -> None:
    readings = Readings()
    readings.world.silence(readings.pod.key)
    assert len(readings.told(SILENT_AFTER_S)) == 1
    readings.world.awaken(readings.pod.key)
    assert readings.told(2.0) == []
    readings.world.silence(readings.pod.key)
    assert len(readings.told(SILENT_AFTER_S)) == 1


def test_only_the_leader_tells_it() -> None:
    readings = Readings()
    readings.world.silence(readings.pod.key)
    assert readings.told(SILENT_AFTER_S, is_leader=False) == []


@pytest.mark.parametrize("kind", ["workloadclasses", "servedmodels"])
@pytest.mark.parametrize("is_routed", [True, False])
def test_ready_names_the_silent_engine_its_node_since_when_and_what_follows(
    kind: str, is_routed: bool
) -> None:
    readings = Readings()
    readings.world.kill_node(readings.pod.node)
    if not is_routed:
        readings.world.unknown.add(readings.pod.key)
    readings.world.now_s += SILENT_AFTER_S
    decision = readings.world.act("the engine fell silent")
    key = CHAT if kind == "workloadclasses" else "default/llama"
    ready = condition(decision, key, kind=kind)
    assert (ready["status"], ready["reason"]) == ("False", "EngineSilent")
    assert ready["message"].startswith(
        f"1 of 2 replicas serve; 1 engine has fallen silent, such as pod {readings.pod.key} on node"
        f" {readings.pod.node}, whose engine has answered no scrape, health check or request since 2023-11-1"
    )
    assert "Argosy starts others in their place, and removes them once those serve" in ready["message"]


def test_in_another_mode_nothing_is_promised() -> None:
    readings = Readings("Recommend")
    readings.world.silence(readings.pod.key)
    (event,) = readings.told(SILENT_AFTER_S)
    assert "spec.mode Recommend of Fleet/default starts none in their place" in event.message
    ready = condition(readings.world.act("the engine fell silent"), CHAT)
    assert "spec.mode Recommend of Fleet/default starts none in their place" in ready["message"]
