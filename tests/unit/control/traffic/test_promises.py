"""A class whose requests begin to miss its SLO: one decision, so that its status tells it at once."""

from __future__ import annotations

from dataclasses import replace

from builders import a_class, a_fleet, a_model, a_pool, some_nodes
from small_fleet import World

from argosy.api.conditions import Condition, ConditionStatus, ConditionType
from argosy.control.fast import Reaction, ReactSettings, react
from argosy.control.memory import ControlMemory
from argosy.demand.observed import ObservedHistory, Requests
from argosy.keys import ClassKey
from argosy.snapshot.fleet import FleetSnapshot

CHAT = ClassKey("default/chat")
KEPT, REFUSED = Requests(80.0), Requests(80.0, refused=80.0)
LONG_AGO = "2026-01-01T00:00:00Z"
MISSES = "requests of default/chat miss its SLO"


def seen(status: ConditionStatus) -> FleetSnapshot:
    """A fleet in which class chat is served, and its status has this condition Ready."""
    world = World(some_nodes("l40s", 3), a_fleet(), a_pool(), a_model(), a_class())
    world.settle()
    snapshot = world.snapshot()
    item = snapshot.classes[CHAT]
    ready = Condition(
        type=ConditionType.READY, status=status, reason="Ready", message="", last_transition_time=LONG_AGO
    )
    known = item.status.model_copy(update={"conditions": (ready,)})
    return replace(snapshot, classes={CHAT: item.model_copy(update={"status": known})})


def after(snapshot: FleetSnapshot, requests: Requests, memory: ControlMemory) -> Reaction:
    """The reaction where the last minutes had these requests."""
    slot = int(snapshot.now_s // 15)
    history = ObservedHistory(started_s=snapshot.now_s - 100.0, requests={CHAT: {slot: requests}})
    counted = replace(memory.traffic, observed=history)
    return react(snapshot, memory.with_traffic(counted), ReactSettings(is_leader=True))


def triggers(reaction: Reaction) -> list[tuple[str, bool]]:
    return [(t.message, t.is_progress) for t in reaction.triggers if "SLO" in t.message]


def test_a_class_that_begins_to_miss_its_slo_calls_for_one_decision() -> None:
    snapshot, memory = seen(ConditionStatus.TRUE), ControlMemory()
    found = []
    for requests in (KEPT, REFUSED, REFUSED):
        reaction = after(snapshot, requests, memory)
        memory = memory.with_traffic(reaction.memory)
        found.append(triggers(reaction))
    assert found == [[], [(MISSES, True)], []]
    assert memory.traffic.missing_slo == {CHAT}


def test_a_class_whose_status_says_already_that_it_is_not_ready_calls_for_none() -> None:
    assert triggers(after(seen(ConditionStatus.FALSE), REFUSED, ControlMemory())) == []
