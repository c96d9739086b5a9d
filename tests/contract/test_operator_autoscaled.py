"""Real autoscalers on a Deployment of Argosy's: the number is theirs, and no request is lost.

The controller of HorizontalPodAutoscalers has no metrics here, so it acts by its bounds alone.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from operator_stage import OURS, Object, OperatorStage, condition, until

MODEL = f"{OURS}/namespaces/default/servedmodels/llama-8b"


def deployment_of(stage: OperatorStage) -> str:
    return str(stage.pods("chat", "l40s")[0]["metadata"]["labels"]["argosy.dev/deployment"])


def count_of(stage: OperatorStage, deployment: str) -> int:
    return int(stage.deployments()[deployment]["spec"]["replicas"])


def said(stage: OperatorStage) -> Object:
    return condition(stage.read(MODEL), "Autoscaled")


def planned(stage: OperatorStage, deployment: str) -> int:
    entries = stage.applied()["spec"]["deployments"]
    return sum(e["replicas"] for e in entries if e["deployment"] == deployment)


def is_served_by(stage: OperatorStage, count: int) -> bool:
    """Whether chat's Deployment on L40S has so many replicas, all ready, by itself, the plan and Envoy.

    What the autoscaler leaves short of the class's minReplicas, Argosy makes elsewhere: that does not count.
    """
    pods, deployment = stage.pods("chat", "l40s"), deployment_of(stage)
    ready = stage.ready_pods("chat", "l40s")
    is_planned = planned(stage, deployment) == count == count_of(stage, deployment)
    if not (is_planned and len(pods) == len(ready) == count):
        return False
    healthy = {key for key, is_healthy in stage.envoy_endpoints().items() if is_healthy}
    return healthy >= {f"default/{pod['metadata']['name']}" for pod in ready}


def restored(stage: OperatorStage, deployment: str) -> bool:
    """Whether the image that a user has set is gone again."""
    template = stage.deployments()[deployment]["spec"]["template"]
    return "other/image" not in str(template)


def notes(stage: OperatorStage, reason: str) -> list[str]:
    events = stage.items("/apis/events.k8s.io/v1/namespaces/default/events")
    return [e["note"] for e in events if e["reason"] == reason]


def bounds(stage: OperatorStage, **spec: int) -> None:
    stage.kubectl("patch", "hpa", "chat", "--type=merge", "-p", json.dumps({"spec": spec}))


@contextmanager
def an_hpa(stage: OperatorStage, deployment: str, least: int, most: int) -> Iterator[None]:
    hpa: dict[str, Any] = {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "chat", "namespace": "default"},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": deployment},
            "minReplicas": least,
            "maxReplicas": most,
        },
    }
    stage.apply(hpa)
    try:
        yield
    finally:
        stage.kubectl("delete", "hpa", "chat", "--ignore-not-found")


def test_the_number_of_a_horizontal_pod_autoscaler_stays_until_it_is_deleted_and_no_request_is_lost(
    stage: OperatorStage,
) -> None:
    deployment = deployment_of(stage)
    earlier = len([note for note in notes(stage, "ChangedByHand") if "spec.replicas" in note])
    with stage.load() as load, an_hpa(stage, deployment, 1, 4):
        until(lambda: said(stage).get("status") == "True", "the condition")
        assert "HorizontalPodAutoscaler default/chat sets 2 replicas of Deployment" in said(stage)["message"]
        # The count is still Argosy's own field: an apply without it would set it to one.
        counts = set[int]()
        stage.kubectl("set", "image", f"deployment/{deployment}", "engine=other/image:1")

        def is_set_back() -> bool:
            counts.add(count_of(stage, deployment))
            return restored(stage, deployment)

        until(is_set_back, "the image to be set back")
        assert counts == {2}
        bounds(stage, minReplicas=3)
        until(lambda: is_served_by(stage, 3), "the third replica to serve", 60.0)
        until(lambda: stage.leader.metric("argosy_autoscaled_deployments") == 1, "the gauge")
        bounds(stage, minReplicas=1, maxReplicas=1)
        until(lambda: is_served_by(stage, 1), "one replica to be left, and the plan to follow", 60.0)
        assert not [note for note in notes(stage, "ChangedByHand") if "spec.replicas" in note][earlier:]
        assert [note for note in notes(stage, "Autoscaled") if deployment in note]
        stage.kubectl("delete", "hpa", "chat")
        until(lambda: said(stage).get("status") == "False", "the condition")
        until(lambda: is_served_by(stage, 2), "Argosy's own number", 60.0)
    assert load.lost == ()
