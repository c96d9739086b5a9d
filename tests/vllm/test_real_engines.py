"""What the operator and Envoy do for real vLLM engines: metrics, streams, silence, deaths, drains.

The tests run in the order of this file and share one stage; each leaves its engines serving.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from openai import OpenAI
from operator_stage import OURS, OperatorStage, is_ready, names
from waiting import until

from argosy.snapshot.liveness import ENVOY_EJECTS_AFTER_S
from argosy_sim.livefleet.control import crash_pod

LOADED_S = 300.0
SILENCE_S = 20.0
LateHealth = Callable[[float], AbstractContextManager[None]]
MODEL = f"{OURS}/namespaces/default/servedmodels/tiny"
pytestmark = pytest.mark.timeout(900)


class Stream(threading.Thread):
    """One chat completion, read to its end by the OpenAI SDK. `gaps_s`: between its chunks."""

    def __init__(self, stage: OperatorStage, num_tokens: int) -> None:
        super().__init__()
        self._url, self._num_tokens = f"{stage.stage.gateway_url}/v1", num_tokens
        self.num_chunks, self.finish, self.error, self.endpoint = 0, "", "", ""
        self.longest_gap_s = 0.0
        self.start()

    def run(self) -> None:
        client = OpenAI(base_url=self._url, api_key="none", max_retries=0, timeout=300)
        try:
            answer = client.chat.completions.with_raw_response.create(
                model="tiny",
                messages=[{"role": "user", "content": "Tell me of the sea."}],
                max_tokens=self._num_tokens,
                extra_body={"ignore_eos": True},
                stream=True,
            )
            self.endpoint = answer.headers.get("x-argosy-endpoint", "")
            last_s = time.monotonic()
            for chunk in answer.parse():
                self.num_chunks += 1
                self.longest_gap_s = max(self.longest_gap_s, time.monotonic() - last_s)
                last_s = time.monotonic()
                self.finish = (chunk.choices and chunk.choices[0].finish_reason) or self.finish
        except Exception as error:  # whatever the SDK raises is what its user sees
            self.error = f"{type(error).__name__}: {error}"

    def done(self) -> Stream:
        """Wait for its end."""
        self.join(400)
        assert not self.is_alive()
        return self


@contextmanager
def thinking(pod: str) -> Iterator[None]:
    """Stop an engine's core while its server answers, as one that thinks for long; it goes on afterwards."""
    pids = _core_at(pod)
    assert pids, pod
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


def _core_at(address: str) -> list[int]:
    """The processes that the server which was started with `--host ADDRESS` has started."""
    parents, servers = {}, set()
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            pid, words = int(entry.name), (entry / "cmdline").read_text().split("\0")
            parents[pid] = int((entry / "stat").read_text().rpartition(") ")[2].split()[1])
        except (OSError, ValueError):
            continue
        if address in words and "container_init" not in " ".join(words):
            servers.add(pid)
    found = set(servers)
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return sorted(found - servers)


def address_of(stage: OperatorStage, number: int = 0) -> str:
    return str(stage.ready_pods("chat")[number]["status"]["podIP"])


def test_the_engines_metrics_are_read_and_no_condition_complains(real_stage: OperatorStage) -> None:
    stream = Stream(real_stage, 32).done()
    assert (stream.error, stream.finish) == ("", "length")
    assert stream.num_chunks >= 32
    conditions = {c["type"]: c for c in real_stage.read(MODEL)["status"]["conditions"]}
    assert conditions["Ready"]["status"] == "True", conditions
    unread = [line for line in real_stage.leader.metrics() if line.startswith("argosy_engines_unread")]
    assert all(line.endswith(" 0.0") for line in unread), unread


def test_a_stream_that_is_silent_for_twenty_seconds_survives_while_its_engine_answers(
    real_stage: OperatorStage,
) -> None:
    address = address_of(real_stage)
    stream = Stream(real_stage, 200)
    until(lambda: stream.num_chunks > 5, "the stream to flow")
    with thinking(address):
        time.sleep(SILENCE_S)
    stream.done()
    assert (stream.error, stream.finish) == ("", "length")
    assert stream.longest_gap_s >= SILENCE_S - 1
    assert len(real_stage.pods("chat")) == 1, "a replica was made for one that only thought"


@dataclass(frozen=True, slots=True)
class Kept:
    """What must stay the same while an engine is only late."""

    pods: list[str]
    restarts: list[int]
    plans: list[str]

    @classmethod
    def read(cls, stage: OperatorStage) -> Kept:
        pods = stage.pods("chat")
        restarts = [c["restartCount"] for pod in pods for c in pod["status"]["containerStatuses"]]
        return cls(names(pods), restarts, names(stage.plans()))


def rotation_while(stage: OperatorStage, streams: list[Stream], least_s: float) -> list[bool]:
    """Whether Envoy sends to the one engine, each second, until the streams have ended."""
    (pod,) = names(stage.pods("chat"))
    began_s, seen = time.monotonic(), []
    while time.monotonic() < began_s + least_s or any(stream.is_alive() for stream in streams):
        seen.append(stage.envoy_endpoints().get(f"default/{pod}", False))
        time.sleep(1.0)
    return seen


def test_an_engine_whose_health_is_late_but_in_time_stays_in_rotation(
    real_stage: OperatorStage, late_health: LateHealth
) -> None:
    kept = Kept.read(real_stage)
    with late_health(1.5):
        streams = [Stream(real_stage, 600) for _ in range(2)]
        assert all(rotation_while(real_stage, streams, 20.0)), "an answer within five seconds is in time"
    assert [(s.done().error, s.finish) for s in streams] == [("", "length")] * 2
    assert Kept.read(real_stage) == kept


def test_an_engine_whose_health_is_too_late_gets_nothing_new_and_is_not_replaced(
    real_stage: OperatorStage, late_health: LateHealth
) -> None:
    kept = Kept.read(real_stage)
    streams = [Stream(real_stage, 2000) for _ in range(8)]
    until(lambda: all(stream.num_chunks > 5 for stream in streams), "the streams to flow")
    with late_health(8.0):
        seen = rotation_while(real_stage, streams[:1], 2 * ENVOY_EJECTS_AFTER_S)
        assert not seen[-1], "its kubelet and Envoy have both taken it out"
        waiting = Stream(real_stage, 16)
        waiting.join(5.0)
        assert waiting.is_alive(), "with no other engine a request waits"
        assert Kept.read(real_stage) == kept
    assert [(s.done().error, s.finish) for s in streams] == [("", "length")] * 8
    assert (waiting.done().error, waiting.finish) == ("", "length")
    until(lambda: all(rotation_while(real_stage, [], 1.0)), "the engine to be back")
    assert Kept.read(real_stage) == kept


def test_a_killed_engine_costs_only_its_own_streams(real_stage: OperatorStage) -> None:
    real_stage.patch("wclass", "chat", minReplicas=2)
    until(lambda: len(real_stage.ready_pods("chat")) == 2, "a second engine", LOADED_S)
    streams = [Stream(real_stage, 300) for _ in range(4)]
    until(lambda: all(stream.num_chunks > 5 for stream in streams), "the streams to flow")
    victim = next(
        p for p in real_stage.ready_pods("chat") if streams[0].endpoint.startswith(p["status"]["podIP"])
    )
    crash_pod(real_stage.stage.fleet_dir, f"default/{victim['metadata']['name']}")
    address = str(victim["status"]["podIP"])
    for stream in [each.done() for each in streams]:
        assert bool(stream.error) is stream.endpoint.startswith(f"{address}:"), stream.error
    assert [s for s in streams if not s.error], "both engines served some"
    until(lambda: len(real_stage.ready_pods("chat")) == 2, "the killed engine to be back", LOADED_S)


def test_a_pod_that_is_deleted_finishes_its_streams(real_stage: OperatorStage) -> None:
    streams = [Stream(real_stage, 200) for _ in range(4)]
    until(lambda: all(stream.num_chunks > 5 for stream in streams), "the streams to flow")
    pod = real_stage.ready_pods("chat")[0]["metadata"]["name"]
    real_stage.kubectl("delete", "pod", pod, "--wait=false")
    assert [(s.error, s.finish) for s in (each.done() for each in streams)] == [("", "length")] * 4
    until(lambda: pod not in [p["metadata"]["name"] for p in real_stage.pods("chat")], "the pod to go")
    until(lambda: len(real_stage.ready_pods("chat")) == 2, "its successor", LOADED_S)
    assert all(is_ready(each) for each in real_stage.pods("chat"))
