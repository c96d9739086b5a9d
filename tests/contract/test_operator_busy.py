"""Busy is not dead, on real components: late answers, a stop of everything, a crash, a drain cut short."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager

from operator_stage import OURS, Object, OperatorStage, names, until

from argosy.snapshot.liveness import ENVOY_EJECTS_AFTER_S, SILENT_AFTER_S
from argosy_sim.livefleet.control import crash_pod, delay_pod
from argosy_sim.livefleet.state import FleetLayout

FROZEN_S = SILENT_AFTER_S + 2.0


@contextmanager
def frozen_fleet(stage: OperatorStage) -> Iterator[None]:
    """All engines and kubelets stop; their kernels still acknowledge."""
    state = FleetLayout(stage.stage.fleet_dir).load()
    assert state is not None
    os.kill(state.process.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(state.process.pid, signal.SIGCONT)


@contextmanager
def late_health(stage: OperatorStage, pod: str, seconds: float) -> Iterator[None]:
    delay_pod(stage.stage.fleet_dir, pod, "/health", seconds)
    try:
        yield
    finally:
        delay_pod(stage.stage.fleet_dir, pod, "/health", 0.0)


def first_pod(stage: OperatorStage) -> str:
    return f"default/{names(stage.pods('chat'))[0]}"


def events(stage: OperatorStage, reason: str) -> list[Object]:
    found = stage.items("/apis/events.k8s.io/v1/namespaces/default/events")
    return [item for item in found if item.get("reason") == reason]


def test_engines_that_answer_health_late_are_never_replaced(stage: OperatorStage) -> None:
    before = (names(stage.plans()), names(stage.pods("chat")))
    slow, slower = (f"default/{name}" for name in names(stage.pods("chat")))
    seen: list[dict[str, bool]] = []
    with stage.load() as load, late_health(stage, slow, 1.5), late_health(stage, slower, 8.0):
        until_s = time.monotonic() + ENVOY_EJECTS_AFTER_S + 6.0
        while time.monotonic() < until_s:
            seen.append(stage.envoy_endpoints())
            time.sleep(1.0)
    assert all(each[slow] for each in seen), "an answer within five seconds is in time"
    assert not seen[-1].get(slower), "its kubelet and Envoy have both taken it out"
    assert (names(stage.plans()), names(stage.pods("chat"))) == before
    assert load.lost == ()


def test_all_engines_that_stop_at_once_and_come_back_change_nothing(stage: OperatorStage) -> None:
    before = (names(stage.plans()), names(stage.pods("chat")), names(stage.pods("scholar")))
    with frozen_fleet(stage):
        time.sleep(FROZEN_S)
        told = until(lambda: events(stage, "SilenceInDoubt"), "the event")
    until(lambda: not stage.answer().error, "answers")
    time.sleep(6.0)
    assert (names(stage.plans()), names(stage.pods("chat")), names(stage.pods("scholar"))) == before
    assert "engines stopped answering at the same moment" in told[0]["note"]


def test_a_crashed_engine_is_counted_out_within_seconds_and_reported(stage: OperatorStage) -> None:
    crashed = first_pod(stage)
    began_s = time.monotonic()
    crash_pod(stage.stage.fleet_dir, crashed)
    until(lambda: stage.class_of("chat")["status"]["replicasReady"] == 1, "the count of ready replicas")
    assert time.monotonic() - began_s < 8.0
    (told,) = until(lambda: events(stage, "EngineRestarted"), "the event")
    assert told["note"].startswith(f"{crashed}: its engine ended with exit code 137 (Error)")
    assert told["regarding"]["kind"] == "ServedModel"


def test_a_request_that_a_drain_had_no_time_for_is_counted_and_reported(stage: OperatorStage) -> None:
    (pod,) = names(stage.pods("scholar"))
    leader = stage.leader
    metric = 'argosy_streams_cut_total{model="default/llama-70b"}'
    with stage.load(1.0, model="llama-70b", headers={}, output_tokens=500):
        time.sleep(3.0)
        stage.kubectl("delete", "pod", pod, "--grace-period=4", "--wait=false")
        (told,) = until(lambda: events(stage, "StreamsCut"), "the event")
    assert told["regarding"]["kind"] == "ServedModel"
    assert told["note"].startswith(f"default/{pod}: ")
    assert "after 4 s" in told["note"]
    assert leader.metric(metric) >= 1
    assert stage.read(f"{OURS}/namespaces/default/servedmodels/llama-70b")
