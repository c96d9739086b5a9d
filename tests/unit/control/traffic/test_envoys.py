"""What is posted about an Envoy that is ahead of the API server, and once it was led back."""

from __future__ import annotations

from dataclasses import replace

from small_fleet import START_S, World, a_class, a_fleet, a_model, a_pool, some_nodes

from argosy.control.fast import ReactSettings, react
from argosy.control.memory import ControlMemory
from argosy.snapshot.fleet import EnvoyState, FleetSnapshot, RoutingView

AHEAD = EnvoyState("edge", "00000017-0", revision=17, is_ahead=True, served_at_s=START_S + 15.0)
LED_BACK = EnvoyState("edge", "00000001-0", revision=1, left_revision=17)


def seen(envoy: EnvoyState, at_s: float) -> FleetSnapshot:
    world = World(some_nodes("l40s", 4), a_fleet(), a_pool(), a_model(), a_class())
    world.now_s = START_S + at_s
    return replace(world.snapshot(), routing=RoutingView("v1", (EnvoyState("near", "v1"), envoy)))


def test_it_is_posted_once_that_it_waits_and_once_that_it_was_led_back() -> None:
    memory, posted = ControlMemory(), []
    for at_s, envoy in ((0, AHEAD), (2, AHEAD), (16, LED_BACK), (18, LED_BACK)):
        reaction = react(seen(envoy, at_s), memory, ReactSettings(is_leader=True))
        memory = memory.with_traffic(reaction.memory)
        posted += [(at_s, e.kind, e.key, e.reason, e.message) for e in reaction.events]
    assert [p[:4] for p in posted] == [
        (0, "Fleet", "default", "EnvoyAhead"),
        (16, "Fleet", "default", "EnvoyLedBack"),
    ]
    assert all(message.startswith("edge: ") and "revision 17" in message for *_, message in posted)


def test_a_standby_and_a_cluster_without_a_fleet_post_nothing() -> None:
    snapshot = seen(AHEAD, 0)
    assert react(snapshot, ControlMemory(), ReactSettings(is_leader=False)).events == ()
    nobody = replace(snapshot, fleet=None)
    assert react(nobody, ControlMemory(), ReactSettings(is_leader=True)).events == ()
