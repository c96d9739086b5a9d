"""etcd of a real API server is put back to an older state: what is in it is served on, without a break."""

from __future__ import annotations

import time
from pathlib import Path

from another_class import another_class
from operator_stage import Object, OperatorStage, Say, names, until

EVENTS = "/apis/events.k8s.io/v1/events"
SAID_WITHIN_S = 20.0
MAIL = {"model": "llama-8b", "headers": {"x-argosy-class": "mail"}}


def posted(stage: OperatorStage, reason: str) -> list[Object]:
    return [event for event in stage.items(EVENTS) if event["reason"] == reason]


def mail() -> Object:
    """A class of which etcd's backup knows nothing; its replicas are its own."""
    return another_class("mail", 100, minReplicas=1)


def test_a_restored_etcd_is_recognised_and_takes_no_engine_of_a_class_that_it_has(
    stage: OperatorStage, tmp_path: Path, say: Say
) -> None:
    operator, plane = stage.leader, stage.stage.control_plane
    before = {name: names(stage.pods(name)) for name in ("chat", "scholar")}
    plane.take_backup(tmp_path / "backup")
    stage.apply(mail())
    until(lambda: not stage.answer(**MAIL).error, "the new class to be served")

    with stage.load() as chat, stage.load(rate_per_s=1.0, model="llama-70b", headers={}) as scholar:
        stage.restore_etcd(tmp_path / "backup")
        back_s = time.time()
        assert not stage.class_of("mail")
        [event] = until(lambda: posted(stage, "StateRestored"), "the operator to say that it was restored")
        said_s = time.time() - back_s
        stage.apply(mail())  # as the event asks
        until(lambda: stage.ready_pods("mail") and not stage.answer(**MAIL).error, "it to be served again")
        until(lambda: chat.num_since(back_s) >= 20, "answers after the restore")
    assert (chat.lost, scholar.lost) == ((), ())
    assert {name: names(stage.pods(name)) for name in ("chat", "scholar")} == before
    assert operator.is_running
    assert operator.metric("argosy_api_restored_total") == 1
    assert "apply again what was changed since the backup" in event["note"]
    assert said_s < SAID_WITHIN_S
    say(f"StateRestored {said_s:.1f} s after the restored API server was ready")
    stage.delete(mail())
    until(lambda: not stage.pods("mail"), "the class to end")
