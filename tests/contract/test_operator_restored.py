"""etcd of a real API server is put back to an older state: what is in it is served on, without a break."""

from __future__ import annotations

import time
from pathlib import Path

from operator_stage import CLASSES, Object, OperatorStage, Say, names, until

EVENTS = "/apis/events.k8s.io/v1/events"
MAIL = {"model": "llama-8b", "headers": {"x-argosy-class": "mail"}}


def posted(stage: OperatorStage, reason: str) -> list[Object]:
    return [event for event in stage.items(EVENTS) if event["reason"] == reason]


def classes_planned(stage: OperatorStage) -> set[str]:
    """Those of the newest plan."""
    return {cell["workloadClass"] for cell in stage.plans()[-1]["spec"]["cells"]}


def mail() -> Object:
    """A class of which etcd's backup knows nothing; its replicas are its own."""
    return {
        "apiVersion": "argosy.dev/v1alpha1",
        "kind": "WorkloadClass",
        "metadata": {"name": "mail", "namespace": "default"},
        "spec": {
            "match": {"headers": [{"name": "x-argosy-class", "value": "mail"}]},
            "models": [{"name": "llama-8b"}],
            "traffic": {
                "requestsPerSecond": 1,
                "source": "Declared",
                "lengths": {"table": [{"promptTokens": 200, "outputTokens": 24, "weight": 1}]},
            },
            "slo": {"ttft": {"p95Milliseconds": 2000}},
            "priority": 100,
            "minReplicas": 1,
        },
    }


def test_a_restored_etcd_is_recognised_and_takes_no_engine_of_a_class_that_it_has(
    stage: OperatorStage, tmp_path: Path, say: Say
) -> None:
    operator, plane = stage.leader, stage.stage.control_plane
    stage.patch("fleet", "default", intervals={"mediumSeconds": 5})
    before = {name: names(stage.pods(name)) for name in ("chat", "scholar")}
    plane.take_backup(tmp_path / "backup")
    stage.apply(mail())
    until(lambda: not stage.answer(**MAIL).error, "the new class to be served")

    with stage.load() as chat, stage.load(rate_per_s=1.0, model="llama-70b", headers={}) as scholar:
        stage.restore_etcd(tmp_path / "backup")
        back_s = time.time()
        until(lambda: posted(stage, "StateRestored"), "the operator to say that the state was restored")
        said_s = time.time() - back_s
        until(
            lambda: classes_planned(stage) == CLASSES, "the class that the backup lacks to be planned no more"
        )
        until(lambda: not stage.pods("mail"), "its replicas to have gone")
        gone_s = time.time() - back_s
        until(lambda: chat.num_since(back_s) >= 20, "answers after the restore")
    assert (chat.lost, scholar.lost) == ((), ())
    assert {name: names(stage.pods(name)) for name in ("chat", "scholar")} == before
    assert operator.is_running
    assert operator.metric("argosy_api_restored_total") == 1
    assert said_s < 15.0
    say(f"StateRestored {said_s:.1f} s after the restore; the class that it lacks ended after {gone_s:.1f} s")
