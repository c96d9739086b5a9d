"""Engines that end: what is told of a crash, and of a drain that was too short."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest
from small_fleet import World, a_class, a_fleet, a_model, a_pool, some_nodes

from argosy.api.fleet import Mode
from argosy.control.fast import Reaction, ReactSettings, react
from argosy.control.memory import PodEnds
from argosy.control.traffic.engine_ends import EngineEnds, engine_ends
from argosy.snapshot import EngineReading, Sample
from argosy.snapshot.cluster import PodState

LLAMA = "default/llama"


class Story:
    """A pod of a small fleet, read every two seconds."""

    def __init__(self, mode: str = "Auto") -> None:
        self.world = World(some_nodes("l40s", 4), a_fleet(mode), a_pool(), a_model(), a_class())
        if mode == "Auto":
            self.world.settle()
        self.memory: Mapping[str, PodEnds] = {}

    @property
    def pod(self) -> PodState:
        return self.world.pods[min(self.world.pods)]

    def read(self, after_s: float = 2.0, *, running: int = 0) -> EngineEnds:
        self.world.now_s += after_s
        snapshot = self.world.snapshot()
        sample = Sample(EngineReading(running, 0, 0.1, 0, 0, 0), snapshot.now_s)
        engines = {p.address: sample for p in snapshot.engine_pods}
        snapshot = replace(snapshot, telemetry=replace(snapshot.telemetry, engines=engines))
        found = engine_ends(snapshot, self.memory)
        self.memory = found.memory
        return found

    def change(self, **fields: object) -> None:
        self.world.pods[self.pod.key] = replace(self.pod, **fields)  # type: ignore[arg-type]

    def drain(self, grace_s: int = 300) -> str:
        key = self.pod.key
        self.change(deleting=True, ends_s=self.world.now_s + grace_s, grace_s=grace_s)
        return key


def test_an_engine_that_crashed_is_told_once_with_how_it_ended() -> None:
    story = Story()
    assert story.read().events == ()
    story.change(exits=1, last_exit="exit code 137 (OOMKilled)", ready=False)
    (event,) = story.read().events
    assert (event.kind, event.key, event.type, event.reason) == (
        "ServedModel",
        LLAMA,
        "Warning",
        "EngineRestarted",
    )
    assert event.message.startswith(f"{story.pod.key}: its engine ended with exit code 137 (OOMKilled)")
    assert "kubectl logs -n default" in event.message
    assert story.read().events == ()
    story.change(exits=2)
    assert len(story.read().events) == 1


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({"deleting": True}, id="it is being deleted"),
        pytest.param({"phase": "Failed"}, id="its pod has ended"),
    ],
)
def test_an_engine_that_ends_with_its_pod_has_not_crashed(fields: dict[str, object]) -> None:
    story = Story()
    story.read()
    story.change(exits=1, **fields)
    assert story.read().events == ()


def test_a_pod_that_is_seen_for_the_first_time_has_not_crashed_just_now() -> None:
    story = Story()
    story.change(exits=7)
    assert story.read().events == ()


def test_requests_that_still_ran_at_the_end_of_a_drain_are_counted_and_told_once() -> None:
    story = Story()
    story.read(running=2)
    key = story.drain(300)
    story.read(298.0, running=2)
    del story.world.pods[key]
    found = story.read(3.0)
    assert found.cut == {LLAMA: 2}
    (event,) = found.events
    assert (event.kind, event.key, event.reason) == ("ServedModel", LLAMA, "StreamsCut")
    assert event.message == (
        f"{key}: 2 requests still ran when its drain ended after 300 s, and did not finish; set"
        " spec.engine.drainSeconds above your longest answer."
    )
    assert story.read().cut == {}


@pytest.mark.parametrize(
    ("last_s", "running", "gone_s"),
    [
        pytest.param(100.0, 2, 2.0, id="they finished, and the pod was gone in time"),
        pytest.param(298.0, 0, 3.0, id="nothing ran any more"),
        pytest.param(200.0, 2, 101.0, id="it fell silent long before its end"),
    ],
)
def test_a_drain_that_cut_nothing_that_is_known_is_not_reported(
    last_s: float, running: int, gone_s: float
) -> None:
    story = Story()
    story.read(running=2)
    key = story.drain(300)
    story.read(last_s, running=running)
    del story.world.pods[key]
    found = story.read(gone_s)
    assert (found.cut, found.events) == ({}, ())


def test_a_pod_that_outlives_its_limit_is_judged_once() -> None:
    story = Story()
    story.drain(300)
    story.read(299.0, running=1)
    cuts = [dict(story.read(2.0, running=1).cut) for _ in range(5)]
    assert cuts.count({LLAMA: 1}) == 1
    assert cuts.count({}) == 4


def reaction(mode: str, *, is_leader: bool) -> Reaction:
    story = Story()
    story.world.apply(a_fleet(mode))
    story.read()
    story.change(exits=1)
    memory = story.world.memory.with_traffic(replace(story.world.memory.traffic, ends=story.memory))
    return react(story.world.snapshot(), memory, ReactSettings(is_leader))


def test_only_the_leader_tells_and_not_in_observe() -> None:
    told = {
        (mode.value, is_leader): len(reaction(mode.value, is_leader=is_leader).events)
        for mode in Mode
        for is_leader in (True, False)
    }
    assert [key for key, num in told.items() if num] == [("Recommend", True), ("Auto", True)]
