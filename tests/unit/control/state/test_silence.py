"""How an engine does: what speaks for it, what against it, and what only looks like silence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest
from small_fleet import World, a_class, a_fleet, a_model, a_pool, some_nodes

from argosy.control.state.silence import (
    Expected,
    Liveness,
    doubted_pods,
    idle_pods,
    liveness,
    lost_pods,
    silent_pods,
)
from argosy.snapshot import EndpointHealth, EngineReading, Sample, TelemetryReading
from argosy.snapshot.cluster import Taint
from argosy.snapshot.liveness import DOUBT_UNTIL_S, ENVOY_EJECTS_AFTER_S, HEALTH_TIMEOUT_S, SILENT_AFTER_S

NOW_S = 1000.0
ENGINE = EngineReading(1, 0, 0.1, 0.0, 0.0, 0.0)
UNHEALTHY, HEALTHY, PENDING = EndpointHealth.UNHEALTHY, EndpointHealth.HEALTHY, EndpointHealth.PENDING
ANSWERS, BUSY, DEAD = Liveness.ANSWERS, Liveness.BUSY, Liveness.DEAD
SILENT, DOUBTED = Liveness.SILENT, Liveness.DOUBTED


def reading(
    unanswered: Mapping[str, float] | None = None,
    envoy: Mapping[str, tuple[EndpointHealth, float]] | None = None,
    requests: Mapping[str, float] | None = None,
    refused: Mapping[str, float] | None = None,
) -> TelemetryReading:
    """All times are seconds ago."""
    refused_since_s = {name: NOW_S - ago for name, ago in (refused or {}).items()}
    return TelemetryReading(
        unanswered_since_s={name: NOW_S - ago for name, ago in (unanswered or {}).items()} | refused_since_s,
        refused_since_s=refused_since_s,
        endpoints={name: Sample(health, NOW_S - ago) for name, (health, ago) in (envoy or {}).items()},
        answered_at_s={name: NOW_S - ago for name, ago in (requests or {}).items()},
    )


def verdicts(seen: TelemetryReading, *engines: str, node: str = "") -> dict[str, Liveness]:
    """Of the engines named, each on a node of its own unless `node` is given."""
    return liveness(seen, NOW_S, {name: Expected(0.0, node or f"node-{name}") for name in engines})


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        pytest.param(reading(), ANSWERS, id="it answers"),
        pytest.param(reading({"a": 1.5}), BUSY, id="a scrape takes 1.5 s"),
        pytest.param(reading({"a": 8.0}), BUSY, id="a scrape takes 8 s"),
        pytest.param(reading({"a": 16.0}), SILENT, id="no answer for 16 s, no Envoy is read"),
        pytest.param(reading({"a": 16.0}, {"a": (UNHEALTHY, 1)}), SILENT, id="Envoy agrees"),
        pytest.param(reading({"a": 500.0}, {"a": (HEALTHY, 1)}), BUSY, id="only /health answers, in time"),
        pytest.param(reading({"a": 16.0}, {"a": (HEALTHY, 60)}), SILENT, id="Envoy's word is a minute old"),
        pytest.param(
            reading({"a": 500.0}, {"a": (UNHEALTHY, 1)}, {"a": 4.0}), BUSY, id="only requests are answered"
        ),
        pytest.param(
            reading({"a": 500.0}, {"a": (UNHEALTHY, 1)}, {"a": 400.0}), SILENT, id="requests were, once"
        ),
        pytest.param(
            reading(envoy={"a": (UNHEALTHY, 1)}), BUSY, id="it answers the scrape and is too late for Envoy"
        ),
        pytest.param(reading(envoy={"a": (PENDING, 1)}), ANSWERS, id="Envoy has not checked it yet"),
        pytest.param(reading(refused={"a": 2.0}), BUSY, id="one scrape was refused"),
        pytest.param(reading(refused={"a": 4.0}), DEAD, id="two in a row were refused"),
        pytest.param(reading(refused={"a": 16.0}), SILENT, id="its kubelet does not start it again"),
        pytest.param(
            reading(refused={"a": 9.0}, envoy={"a": (HEALTHY, 1)}),
            BUSY,
            id="a port that only we are refused",
        ),
    ],
)
def test_anything_that_speaks_for_an_engine_keeps_it(seen: TelemetryReading, expected: Liveness) -> None:
    assert verdicts(seen, "a", "b") == {"a": expected, "b": ANSWERS}


def test_the_time_of_an_engine_that_became_ready_runs_from_then_on() -> None:
    seen = reading({"a": 500.0})
    for ready_for_s, expected in ((SILENT_AFTER_S - 1, BUSY), (SILENT_AFTER_S, SILENT)):
        engines = {"a": Expected(NOW_S - ready_for_s), "b": Expected(0.0)}
        assert liveness(seen, NOW_S, engines)["a"] is expected


def test_an_engine_is_silent_only_after_envoy_has_had_the_time_to_find_out() -> None:
    assert HEALTH_TIMEOUT_S < ENVOY_EJECTS_AFTER_S < SILENT_AFTER_S < DOUBT_UNTIL_S


OUT = dict.fromkeys("abc", (UNHEALTHY, 1.0))


@pytest.mark.parametrize(
    ("seen", "engines", "expected"),
    [
        pytest.param(
            reading({"a": 16.0}), "a", {"a": BUSY}, id="a fleet of one, and the scrape may be at fault"
        ),
        pytest.param(reading({"a": 16.0}, OUT), "a", {"a": SILENT}, id="a fleet of one, dead, says Envoy"),
        pytest.param(
            reading({"a": 16.0, "b": 15.0}, OUT), "ab", {"a": DOUBTED, "b": DOUBTED}, id="both at once"
        ),
        pytest.param(
            reading({"a": 40.0, "b": 16.0}, OUT), "ab", {"a": SILENT, "b": SILENT}, id="one, then the other"
        ),
        pytest.param(
            reading({"a": 6.0, "b": 5.0}, {"a": (HEALTHY, 1), "b": (HEALTHY, 1)}),
            "ab",
            {"a": DOUBTED, "b": DOUBTED},
            id="both for five seconds, before Envoy has found out",
        ),
        pytest.param(
            reading({"a": 6.0, "b": 5.0}, requests={"a": 1.0, "b": 2.0}),
            "ab",
            {"a": BUSY, "b": BUSY},
            id="both are saturated: requests are answered",
        ),
        pytest.param(
            reading({"a": 16.0, "b": 15.0, "c": 17.0}, OUT),
            "abcdef",
            {"a": DOUBTED, "b": DOUBTED, "c": DOUBTED, "d": ANSWERS, "e": ANSWERS, "f": ANSWERS},
            id="three of six at once",
        ),
        pytest.param(
            reading({"a": 16.0, "b": 15.0, "c": 17.0}, OUT),
            "abcdefg",
            {**dict.fromkeys("abc", SILENT), **dict.fromkeys("defg", ANSWERS)},
            id="three of seven at once",
        ),
        pytest.param(
            reading({"a": 61.0, "b": 60.0}, OUT), "ab", {"a": SILENT, "b": SILENT}, id="both for a minute"
        ),
        pytest.param(
            reading({"a": 61.0, "b": 60.0}),
            "ab",
            {"a": BUSY, "b": BUSY},
            id="both for a minute, and Envoy says nothing: our own network",
        ),
    ],
)
def test_engines_that_stop_together_are_doubted_before_they_are_lost(
    seen: TelemetryReading, engines: str, expected: dict[str, Liveness]
) -> None:
    assert verdicts(seen, *engines) == expected


def test_the_engines_of_one_node_that_stop_together_are_that_nodes_failure() -> None:
    seen = reading({"a": 16.0, "b": 15.0, "c": 17.0}, OUT)
    engines = {name: Expected(0.0, "gone" if name in "abc" else name) for name in "abcd"}
    assert liveness(seen, NOW_S, engines) == {**dict.fromkeys("abc", SILENT), "d": ANSWERS}


def a_world(rate_per_s: float = 8.0) -> World:
    world = World(some_nodes("l40s", 4), a_fleet(), a_pool(), a_model(), a_class(rate_per_s=rate_per_s))
    world.settle()
    return world


def test_an_engine_that_answers_on_a_node_that_is_not_ready_keeps_its_capacity() -> None:
    world = a_world()
    [pod, _] = world.pods.values()
    world.nodes[pod.node] = replace(world.nodes[pod.node], ready=False)
    assert lost_pods(world.snapshot()) == frozenset()
    world.silence(pod.key)
    world.now_s += SILENT_AFTER_S
    assert lost_pods(world.snapshot()) == {pod.key}


OUT_OF_SERVICE = Taint("node.kubernetes.io/out-of-service", "nodeshutdown", "NoExecute")


@pytest.mark.parametrize("is_ready", [True, False])
def test_an_engine_that_answers_on_a_node_that_is_declared_dead_is_lost(is_ready: bool) -> None:
    world = a_world()
    [pod, _] = world.pods.values()
    world.nodes[pod.node] = replace(world.nodes[pod.node], ready=is_ready, taints=(OUT_OF_SERVICE,))
    assert lost_pods(world.snapshot()) == {pod.key}


def test_the_engines_of_nodes_that_are_declared_dead_are_not_doubted() -> None:
    world = a_world(16.0)
    dead, others = set(list(world.pods)[:2]), set(list(world.pods)[2:])
    for key in world.pods:
        world.silence(key)
    world.now_s += SILENT_AFTER_S
    assert doubted_pods(world.snapshot()) == dead | others
    for node in {world.pods[key].node for key in dead}:
        world.nodes[node] = replace(world.nodes[node], taints=(OUT_OF_SERVICE,))
    assert doubted_pods(world.snapshot()) == others
    assert lost_pods(world.snapshot()) == dead


def test_an_engine_that_is_loading_on_a_node_that_is_not_ready_is_lost() -> None:
    world = a_world()
    [pod, _] = world.pods.values()
    world.pods[pod.key] = replace(pod, ready=False, ready_since_s=None)
    world.nodes[pod.node] = replace(world.nodes[pod.node], ready=False)
    assert lost_pods(world.snapshot()) == {pod.key}


def test_a_busy_engine_that_its_kubelet_calls_not_ready_is_still_asked_and_lost_once_silent() -> None:
    world = a_world()
    [pod, _] = world.pods.values()
    busy = replace(pod, ready=False, ready_since_s=None, started=True)
    world.pods[pod.key] = busy
    world.silence(pod.key)
    world.now_s += SILENT_AFTER_S - 1
    assert lost_pods(world.snapshot()) == frozenset()
    world.now_s += 1
    assert lost_pods(world.snapshot()) == {pod.key}
    world.pods[pod.key] = replace(busy, started=False)  # its kubelet starts it again
    assert lost_pods(world.snapshot()) == frozenset()


def test_a_pod_that_envoy_has_taken_out_gets_no_requests_and_is_not_lost() -> None:
    world = a_world()
    [pod, _] = world.pods.values()
    snapshot = world.snapshot()
    out = {pod.address: Sample(UNHEALTHY, world.now_s)}
    snapshot = replace(snapshot, telemetry=replace(snapshot.telemetry, endpoints=out))
    assert (lost_pods(snapshot), idle_pods(snapshot)) == (frozenset(), {pod.key})


def test_engines_in_doubt_are_not_lost_although_their_nodes_are_not_ready() -> None:
    world = a_world()
    for key, pod in world.pods.items():
        world.silence(key)
        world.nodes[pod.node] = replace(world.nodes[pod.node], ready=False)
    world.now_s += SILENT_AFTER_S
    assert doubted_pods(world.snapshot()) == set(world.pods)
    assert lost_pods(world.snapshot()) == frozenset()
    world.now_s += DOUBT_UNTIL_S
    assert lost_pods(world.snapshot()) == set(world.pods)


def test_a_pod_without_a_node_has_not_lost_it() -> None:
    world = a_world()
    [pod, _] = world.pods.values()
    world.pods[pod.key] = replace(pod, node="", ready=False, ready_since_s=None)
    assert lost_pods(world.snapshot()) == frozenset()


def test_only_the_engine_that_has_fallen_silent_is_silent() -> None:
    world = a_world()
    [pod, _] = world.pods.values()
    world.silence(pod.key)
    world.now_s += SILENT_AFTER_S
    assert silent_pods(world.snapshot()) == {pod.key}
