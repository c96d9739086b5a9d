"""A class under another name: what serves the one goes on for the other, in both orders of the two steps."""

from __future__ import annotations

import time

from operator_stage import OURS, Object, OperatorStage, condition, until, until_equal

FORMER, LATTER = "chat", "talk"
RATE_PER_S = 10.0
GRACE_S = 60


def renamed(stage: OperatorStage) -> Object:
    """Class chat under another name: the same match, models, traffic and SLO."""
    spec = stage.class_of(FORMER)["spec"]
    metadata = {"name": LATTER, "namespace": "default"}
    return {"apiVersion": "argosy.dev/v1alpha1", "kind": "WorkloadClass", "metadata": metadata, "spec": spec}


def give_a_grace(stage: OperatorStage) -> None:
    stage.patch("fleet", "default", deletionGraceSeconds=GRACE_S)
    stage.until_observed(f"{OURS}/fleets/default")


def serving(stage: OperatorStage) -> set[str]:
    """UIDs of the pods of the group, which keeps the name of the class that it was made for."""
    return {pod["metadata"]["uid"] for pod in stage.pods(FORMER)}


def of_the_latter(stage: OperatorStage) -> tuple[str, str, int]:
    """Status and reason of its condition Ready, and the replicas that serve it."""
    found = stage.class_of(LATTER)
    ready = condition(found, "Ready")
    return ready["status"], ready["reason"], found["status"]["replicasReady"]


def test_a_class_deleted_and_applied_under_another_name_keeps_its_replicas_and_loses_no_request(
    stage: OperatorStage,
) -> None:
    latter, pods = renamed(stage), serving(stage)
    give_a_grace(stage)
    try:
        with stage.load(RATE_PER_S) as load:
            until(lambda: len(load.answers) > 5, "answers")
            stage.kubectl("delete", "wclass", FORMER, "--wait=false")
            stage.apply(latter)
            until_equal(("True", "Ready", 2), lambda: of_the_latter(stage), "it to have taken them over")
            served_s = time.time()
            until(lambda: load.num_since(served_s) >= 20, "answers of the latter")
        assert load.lost == ()
        assert serving(stage) == pods
        assert {cell["workloadClass"] for cell in stage.applied()["spec"]["cells"]} == {
            "default/scholar",
            "default/talk",
        }
    finally:
        stage.delete(latter)


def test_a_class_applied_under_another_name_and_deleted_afterwards_loses_no_request_either(
    stage: OperatorStage,
) -> None:
    latter, pods = renamed(stage), serving(stage)
    give_a_grace(stage)
    try:
        with stage.load(RATE_PER_S) as load:
            stage.apply(latter)
            until_equal(("False", "Conflicted", 0), lambda: of_the_latter(stage), "the conflict to be said")
            stage.kubectl("delete", "wclass", FORMER, "--wait=false")
            until_equal(("True", "Ready", 2), lambda: of_the_latter(stage), "it to have taken them over")
            served_s = time.time()
            until(lambda: load.num_since(served_s) >= 20, "answers of the latter")
        assert load.lost == ()
        assert serving(stage) == pods
    finally:
        stage.delete(latter)
