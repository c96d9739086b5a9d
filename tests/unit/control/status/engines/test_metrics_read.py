"""Engines whose metrics cannot be read: a condition with reason and count, and no capacity lost."""

from __future__ import annotations

from dataclasses import replace

import pytest
from small_fleet import (
    World,
    a_class,
    a_fleet,
    a_model,
    a_pool,
    body_of,
    condition,
    some_nodes,
    status_of,
)

from argosy.api import ServedModel
from argosy.control.fast import ReactSettings, react
from argosy.control.state.silence import lost_pods, unread_pods
from argosy.snapshot import EndpointHealth, Sample
from argosy.snapshot.fleet import FleetSnapshot
from argosy.snapshot.liveness import SILENT_AFTER_S
from argosy.snapshot.telemetry import Unread, UnreadCause

MODEL, CLASS = ("default/llama", "servedmodels"), ("default/chat", "workloadclasses")
DETAIL = "its /metrics answers with status 401"


class Watched(World):
    """A fleet some of whose engines have metrics that cannot be read."""

    unread: dict[str, Unread] = {}  # noqa: RUF012 - replaced, never changed
    healthy: frozenset[str] = frozenset()

    def snapshot(self) -> FleetSnapshot:
        found = super().snapshot()
        endpoints = {at: Sample(EndpointHealth.HEALTHY, self.now_s) for at in self.healthy}
        telemetry = replace(found.telemetry, unread=self.unread, endpoints=endpoints)
        return replace(found, telemetry=telemetry)

    def cannot_read(self, cause: UnreadCause, *, ago_s: float = SILENT_AFTER_S, num: int = 1) -> list[str]:
        """From `ago_s` ago on, of the first `num` engines; gives the keys of their pods."""
        pods = sorted(self.pods.values(), key=lambda pod: pod.key)[:num]
        why = Unread(cause, DETAIL, self.now_s - ago_s)
        self.unread = {pod.address: why for pod in pods}
        return [pod.key for pod in pods]


@pytest.fixture
def world() -> Watched:
    found = Watched(some_nodes("l40s", 4), a_fleet(), a_pool(), a_model(), a_class())
    found.settle()
    found.now_s += 600.0
    return found


@pytest.mark.parametrize(
    ("cause", "reason"),
    [
        (UnreadCause.OLD_METRICS, "MetricsOfOldVllm"),
        (UnreadCause.BAD_METRICS, "MetricsUnreadable"),
        (UnreadCause.NO_METRICS, "MetricsUnreadable"),
        (UnreadCause.STATUS, "MetricsUnreadable"),
        (UnreadCause.TLS, "MetricsOverTls"),
        (UnreadCause.UNREACHABLE, "MetricsUnreachable"),
    ],
)
def test_model_and_class_name_reason_and_count_and_keep_their_replicas(
    world: Watched, cause: UnreadCause, reason: str
) -> None:
    before = body_of(world.decide(), *MODEL)["replicasReady"]
    [key] = world.cannot_read(cause)
    decision = world.decide()
    for of in (MODEL, CLASS):
        found = condition(decision, *of, type="MetricsRead")
        assert (found["status"], found["reason"]) == ("False", reason)
        assert f"1 of {before} engines ({key})" in found["message"]
        assert f"({DETAIL})" in found["message"]
        assert body_of(decision, *of)["replicasReady"] == before
        assert condition(decision, *of)["status"] == "True"
    assert lost_pods(world.snapshot()) == frozenset()
    assert not [each for each in decision.steps if "Deployment" in type(each.step).__name__]


def test_the_reason_of_most_engines_is_named_and_the_others_are_counted(world: Watched) -> None:
    num = len(world.pods)
    assert num > 1
    world.cannot_read(UnreadCause.OLD_METRICS, num=num)
    first = min(world.pods.values(), key=lambda pod: pod.key)
    world.unread[first.address] = Unread(UnreadCause.TLS, "it wants TLS", world.now_s - 60.0)
    found = condition(world.decide(), *MODEL, type="MetricsRead")
    counted = {"MetricsOfOldVllm": num - 1, "MetricsOverTls": 1}[found["reason"]]
    assert f"{counted} of {num} engines" in found["message"]
    assert f"Those of {num - counted} more cannot be read for another reason." in found["message"]


def test_the_condition_comes_with_the_first_trouble_and_is_true_once_it_ends(world: Watched) -> None:
    def decided() -> tuple[list[tuple[str, str]], list[str]]:
        """MetricsRead of the model, which then has that status; and the events about it."""
        decision = world.decide()
        status = status_of(decision, *MODEL).status
        [model] = world.of(ServedModel).values()
        world.apply(model.model_copy(update={"status": status}))
        told = [event.type for event in decision.events if "MetricsRead" in event.message]
        return [(c.status, c.message) for c in status.conditions if c.type == "MetricsRead"], told

    assert decided() == ([], [])
    world.cannot_read(UnreadCause.STATUS, ago_s=SILENT_AFTER_S - 1.0)
    assert decided() == ([], [])
    world.cannot_read(UnreadCause.STATUS)
    [(status, _)], told = decided()
    assert (status, told) == ("False", ["Warning"])
    world.unread = {}
    assert decided() == ([("True", "The metrics of every engine can be read.")], ["Normal"])


def test_an_engine_behind_a_network_policy_counts_while_envoy_finds_it_healthy(world: Watched) -> None:
    [key] = world.cannot_read(UnreadCause.UNREACHABLE, ago_s=300.0)
    pod = world.pods[key]
    world.silence(key)
    world.now_s += 300.0
    assert lost_pods(world.snapshot()) == {key}
    assert unread_pods(world.snapshot()) == {}
    world.healthy = frozenset({pod.address})
    assert lost_pods(world.snapshot()) == frozenset()
    assert list(unread_pods(world.snapshot())) == [key]


def test_engines_that_cannot_be_read_are_a_metric_and_not_a_loss_of_sight(world: Watched) -> None:
    keys = world.cannot_read(UnreadCause.OLD_METRICS, num=len(world.pods))
    settings = ReactSettings(is_leader=True, variants={})
    memory = world.memory
    for _ in range(3):
        snapshot = world.snapshot()
        snapshot = replace(snapshot, telemetry=replace(snapshot.telemetry, engines={}))
        reaction = react(snapshot, memory, settings)
        memory = memory.with_traffic(reaction.memory)
        world.now_s += 60.0
    assert reaction.measures.unread == {UnreadCause.OLD_METRICS: len(keys)}
    assert reaction.measures.blind is not None
    assert dict(reaction.measures.blind.lasting) == {}
