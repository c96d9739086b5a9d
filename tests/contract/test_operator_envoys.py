"""Nothing is removed before Envoy sends requests to its successor, and Ready means that Envoy does."""

from __future__ import annotations

import json
import signal
import time
import urllib.error
import urllib.request

from operator_stage import OURS, Object, OperatorStage, condition, names, until, until_equal

from argosy.control.state.routable import PATIENCE_S
from argosy_sim.controlplane.host.processes import send


def test_while_envoy_stands_still_the_former_replicas_stay_and_the_class_says_why(
    stage: OperatorStage,
) -> None:
    former, envoy = set(names(stage.pods("chat"))), stage.stage.envoy.process.identity
    try:
        send(envoy, signal.SIGSTOP)
        stage.patch("smodel", "llama-8b", engine={"maxNumSeqs": 100})
        until(lambda: set(names(stage.ready_pods("chat"))) - former, "a new replica to be ready")
        until_equal("Exchanging", lambda: ready(stage)["reason"], "the class to say that it waits")
        assert ready(stage)["message"].startswith(
            "0 of 2 planned replicas get requests; 2 replicas of the former"
        )
        stage.patch("fleet", "default", intervals={"mediumSeconds": 5})
        stage.until_observed(f"{OURS}/fleets/default")
        decisions = stage.leader.num_decisions()
        until(lambda: stage.leader.num_decisions() >= decisions + 2, "two more looks", 90.0)
        assert former <= set(names(stage.pods("chat"))), "without Envoy's word nothing goes"
        send(envoy, signal.SIGCONT)
        with stage.load() as load:
            until(lambda: not former & set(names(stage.pods("chat"))), "the former replicas to go")
            until_equal("True", lambda: ready(stage)["status"], "the class to be Ready")
        assert load.lost == ()
    finally:
        send(envoy, signal.SIGCONT)
        stage.patch("smodel", "llama-8b", engine=None)


def test_a_replica_leaves_envoys_endpoints_before_its_pod_is_deleted_and_nothing_is_lost(
    stage: OperatorStage,
) -> None:
    stage.patch("wclass", "chat", minReplicas=3)
    until(lambda: in_rotation(stage) == 3, "three replicas to be healthy endpoints")
    before = set(names(stage.pods("chat")))
    with stage.load(rate_per_s=10.0) as load:
        began_s = time.monotonic()
        stage.patch("wclass", "chat", minReplicas=2)

        def removed() -> tuple[set[str], set[str]] | None:
            known = {key.partition("/")[2] for key in stage.envoy_endpoints()}  # read before the pods
            gone = before - set(names(stage.pods("chat")))
            return (gone, known) if gone else None

        gone, known = until(removed, "a pod to be deleted")
        took_s = time.monotonic() - began_s
        until(lambda: not gone & set(names(stage.items(PODS))), "the drain to end")
    assert len(gone) == 1
    assert not gone & known, "the pod was still an endpoint when it was deleted"
    assert load.lost == ()
    assert took_s < 10.0


def test_an_envoy_that_stands_still_holds_a_removal_up_for_a_minute_and_that_is_said(
    stage: OperatorStage,
) -> None:
    before, envoy = set(names(stage.pods("chat"))), stage.stage.envoy.process.identity
    try:
        send(envoy, signal.SIGSTOP)
        began_s = time.monotonic()
        stage.patch("wclass", "chat", minReplicas=1)
        until(lambda: len(stage.pods("chat")) == 1, "the pod to go all the same", 3 * PATIENCE_S)
        took_s = time.monotonic() - began_s
    finally:
        send(envoy, signal.SIGCONT)
    assert took_s >= PATIENCE_S, f"it went after {took_s:.0f} s"
    [gone] = before - set(names(stage.pods("chat")))

    def told() -> list[Object]:
        return [e for e in stage.items(EVENTS) if e["reason"] == "RemovalUnacknowledged"]

    [event] = until(told, "the event")
    assert event["message"].startswith(f"default/{gone}: this pod is removed although it was waited for 60 s")
    assert f"nothing is removed: pod default/{gone} takes no new requests" in stage.log(stage.holder())


def test_on_a_full_pool_a_brief_outage_exchanges_the_only_replica_and_clients_are_asked_to_come_again(
    stage: OperatorStage,
) -> None:
    [old] = stage.pods("scholar")
    [other] = [n for n in nodes_of(stage, "H100") if n != old["spec"]["nodeName"]]
    stage.kubectl("cordon", other)
    try:
        stage.patch("smodel", "llama-70b", engine={"maxNumSeqs": 100})
        until_equal(
            "ExchangeWaits", lambda: ready(stage, "scholar")["reason"], "the class to say what it waits for"
        )
        assert "set spec.exchange to BriefOutage" in ready(stage, "scholar")["message"]
        stage.patch("smodel", "llama-70b", exchange="BriefOutage")
        refused = until(lambda: refusal(stage), "a request to be refused")
        assert refused[0] == 503
        assert refused[1], "Retry-After"
        told = until(lambda: exchange_told(stage), "clients to read why")
        assert "The replica that serves default/scholar has been in exchange for another since 20" in told
        until(lambda: names(stage.ready_pods("scholar")) not in ([], names([old])), "the new replica", 90.0)
        # On a busy machine the few requests of the class may have been answered late.
        over = ("Ready", "SloMissed")
        until(lambda: ready(stage, "scholar")["reason"] in over, "the class to have its replica")
        assert not stage.answer(**LARGE).error
    finally:
        stage.patch("smodel", "llama-70b", engine=None, exchange=None)
    said = [
        e["message"] for e in stage.items(EVENTS) if "No replica has taken requests since" in e["message"]
    ]
    assert "spec.exchange BriefOutage of ServedModel default/llama-70b allows" in said[0]


LARGE = {"model": "llama-70b", "headers": {}}


def refusal(stage: OperatorStage) -> tuple[int, str, str] | None:
    """Status, Retry-After and body, where Envoy refuses a request of class scholar."""
    body = {"model": "llama-70b", "messages": [{"role": "user", "content": "a"}], "max_tokens": 2}
    request = urllib.request.Request(
        f"{stage.stage.gateway_url}/v1/chat/completions",
        json.dumps(body).encode(),
        {"content-type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=10.0):
            return None
    except urllib.error.HTTPError as error:
        return error.code, error.headers.get("retry-after", ""), error.read().decode()


def exchange_told(stage: OperatorStage) -> str:
    """What a refused client reads, once it says that the replica is being exchanged."""
    found = refusal(stage)
    return found[2] if found is not None and "in exchange" in found[2] else ""


def nodes_of(stage: OperatorStage, gpu: str) -> list[str]:
    nodes = stage.items("/api/v1/nodes")
    return [n["metadata"]["name"] for n in nodes if gpu in n["metadata"]["labels"]["nvidia.com/gpu.product"]]


PODS = "/api/v1/namespaces/default/pods"
EVENTS = "/api/v1/events"


def in_rotation(stage: OperatorStage) -> int:
    """Replicas of the class chat that Envoy finds healthy."""
    chat = {f"default/{name}" for name in names(stage.pods("chat"))}
    return sum(is_healthy for key, is_healthy in stage.envoy_endpoints().items() if key in chat)


def ready(stage: OperatorStage, name: str = "chat") -> dict[str, str]:
    """The condition Ready of a class."""
    return condition(stage.class_of(name), "Ready")
