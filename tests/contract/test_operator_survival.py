"""What users notice when a part is away: nothing, as long as Envoy runs."""

from __future__ import annotations

import time

from operator_stage import (
    OURS,
    Object,
    Operator,
    OperatorStage,
    condition,
    contents,
    names,
    until,
    until_equal,
)

from argosy.snapshot.liveness import UNREAD_AFTER_S
from argosy_sim.controlplane.host.ports import LOOPBACK, free_ports


def test_a_killed_envoy_gets_its_configuration_again_and_the_fleet_says_so(stage: OperatorStage) -> None:
    def connected() -> tuple[int, str, str]:
        fleet = stage.read(f"{OURS}/fleets/default")
        programmed = condition(fleet, "Programmed")
        return fleet["status"]["envoysConnected"], programmed["status"], programmed["reason"]

    until_equal((1, "True", "Programmed"), connected, "Envoy in the Fleet's status")
    served = contents(stage.envoy_versions())
    stage.kill_envoy()
    until_equal((0, "False", "NoEnvoy"), connected, "its absence in the Fleet's status")
    stage.restart_envoy()
    until(lambda: not stage.answer().error, "the new Envoy to serve")
    until_equal((1, "True", "Programmed"), connected, "its return in the Fleet's status")
    until_equal(served, lambda: contents(stage.envoy_versions()), "what Envoy had before")


def test_an_api_server_that_is_away_and_comes_back_costs_no_request_and_no_operator(
    stage: OperatorStage,
) -> None:
    operator = stage.leader
    with stage.load() as load:
        stage.kill_api_server()
        away_s = time.time()
        until(lambda: load.num_since(away_s) >= 20, "answers while the API server is away")
        stage.start_api_server()
        until(lambda: stage.holder() == operator.name, "the API server's answers")
        stage.patch("wclass", "chat", minReplicas=3)
        until(lambda: len(stage.ready_pods("chat")) == 3, "the change to be acted on")
        until(lambda: stage.class_of("chat")["status"]["replicasReady"] == 3, "its status to follow")
    assert load.lost == ()
    assert operator.is_running


def test_an_operator_started_while_the_api_server_is_away_serves_its_copy(stage: OperatorStage) -> None:
    operator, served = stage.leader, contents(stage.envoy_versions())
    stage.kill_api_server()
    operator.kill()
    stage.kill_envoy()

    stage.restart_envoy()
    again = stage.start_operator(operator.name, ready=False)
    until_equal(served, lambda: contents(stage.envoy_versions()), "the copy to be served")
    until(lambda: not stage.answer().error, "an answer by it")
    assert not again.is_ready()

    stage.start_api_server()
    until(again.is_ready, "its caches to be complete")
    until(again.num_decisions, "it to lead and decide")
    until_equal(served, lambda: contents(stage.envoy_versions()), "what Envoy had before")


def test_an_envoy_that_is_not_listed_is_read_and_its_requests_are_demand(stage: OperatorStage) -> None:
    """The operator is started without --envoy: the address comes from the node's metadata."""
    name = 'argosy_demand_requests_per_second{workload_class="default/chat"}'
    stage.patch("wclass", "chat", traffic={"source": "Observed", "requestsPerSecond": 0.1})
    until(lambda: 0 < stage.leader.metric(name) < 1, "the declared rate to be planned for")
    with stage.load(rate_per_s=3.0) as load:
        until(lambda: stage.leader.metric(name) > 2, "the observed rate to be planned for")
    assert load.lost == ()


def test_telemetry_that_is_lost_wholly_is_said_after_a_minute_and_costs_no_request(
    stage: OperatorStage,
) -> None:
    before = (names(stage.plans()), names(stage.pods("chat")), names(stage.pods("scholar")))
    (unused_port,) = free_ports(1)
    operator = restarted(stage, "--prometheus", f"http://{LOOPBACK}:{unused_port}")
    try:
        began_s = time.monotonic()
        with stage.load() as load:
            until(lambda: not operator.is_ready(), "readyz to turn back", UNREAD_AFTER_S + 20.0)
            took_s = time.monotonic() - began_s
            stale = ("True", "ObservationStale")
            until_equal([stale, stale], lambda: ready_of_both(stage), "Fleet and class to say so")
        assert took_s > UNREAD_AFTER_S - 5.0, f"said after {took_s:.0f} s"
        assert load.lost == ()
        assert (names(stage.plans()), names(stage.pods("chat")), names(stage.pods("scholar"))) == before
        message = condition(stage.class_of("chat"), "Ready")["message"]
        assert message.startswith("The last reading of all engines and Envoys is more than 60 s old")
        assert operator.metric('argosy_blind{what="telemetry"}') == 1
        [event] = [e for e in stage.items(EVENTS) if e["reason"] == "TelemetryLost"]
        assert event["regarding"]["name"] == "default"
        assert "check that they can be reached from the operator, or Prometheus" in event["note"]
    finally:
        operator = restarted(stage)
    until_equal([("True", "Ready")] * 2, lambda: ready_of_both(stage), "telemetry to be seen again")
    assert operator.metric('argosy_blind{what="telemetry"}') == 0


EVENTS = "/apis/events.k8s.io/v1/events"


def restarted(stage: OperatorStage, *flags: str) -> Operator:
    """The leader, ended and started again with these flags."""
    name = stage.leader.name
    stage.leader.terminate()
    stage.end_operator(name)
    return stage.start_operator(name, *flags)


def ready_of_both(stage: OperatorStage) -> list[tuple[str, str]]:
    """Status and reason of the condition Ready: of Fleet, and of class chat."""
    items: list[Object] = [stage.read(f"{OURS}/fleets/default"), stage.class_of("chat")]
    return [(found["status"], found["reason"]) for found in (condition(item, "Ready") for item in items)]
