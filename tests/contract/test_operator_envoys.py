"""Nothing is removed before Envoy sends requests to its successor, and Ready means that Envoy does."""

from __future__ import annotations

import signal

from operator_stage import OperatorStage, condition, names, until, until_equal

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


def ready(stage: OperatorStage) -> dict[str, str]:
    """The condition Ready of the class chat."""
    return condition(stage.class_of("chat"), "Ready")
