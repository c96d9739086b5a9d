"""KEDA itself on a Deployment of Argosy's: the number is its own until its ScaledObject is deleted.

Opt-in, as it is built from a thousand Go packages: `make test-keda`. KEDA's metrics server does not run, so
the HorizontalPodAutoscaler that KEDA makes acts by its bounds alone.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from keda import running_keda, scaled_object
from operator_stage import OURS, Object, OperatorStage, condition, until

from argosy_sim.controlplane.binaries import keda

ASKED_FOR = os.environ.get("ARGOSY_KEDA") == "1"
MODEL = f"{OURS}/namespaces/default/servedmodels/llama-8b"

pytestmark = pytest.mark.skipif(not ASKED_FOR, reason="builds KEDA for minutes: make test-keda")


@pytest.fixture(scope="module", autouse=True)
def _built() -> None:
    keda(print)


def count_of(stage: OperatorStage, deployment: str) -> int:
    return int(stage.deployments()[deployment]["spec"]["replicas"])


def said(stage: OperatorStage) -> Object:
    return condition(stage.read(MODEL), "Autoscaled")


def num_ready(stage: OperatorStage) -> int:
    return len(stage.ready_pods("chat")) if len(stage.pods("chat")) == len(stage.ready_pods("chat")) else -1


def planned(stage: OperatorStage, deployment: str) -> int:
    entries = stage.applied()["spec"]["deployments"]
    return sum(e["replicas"] for e in entries if e["deployment"] == deployment)


@pytest.mark.timeout(300)
def test_the_number_of_a_scaled_object_stays_until_it_is_deleted_and_no_request_is_lost(
    stage: OperatorStage, tmp_path: Path
) -> None:
    deployment = str(stage.pods("chat")[0]["metadata"]["labels"]["argosy.dev/deployment"])
    with running_keda(stage, tmp_path / "certificates"), stage.load() as load:
        stage.apply(scaled_object(deployment, 3, 4))
        until(lambda: said(stage).get("status") == "True", "the condition", 60.0)
        assert said(stage)["message"].startswith("KEDA ScaledObject default/chat sets")
        until(lambda: num_ready(stage) == planned(stage, deployment) == 3, "KEDA's number to serve", 60.0)
        spec = {"spec": {"minReplicaCount": 1, "maxReplicaCount": 1}}
        stage.kubectl("patch", "scaledobject", "chat", "--type=merge", "-p", json.dumps(spec))
        until(lambda: num_ready(stage) == planned(stage, deployment) == 1, "one to be left", 60.0)
        assert count_of(stage, deployment) == 1
        stage.kubectl("delete", "scaledobject", "chat", "--timeout=30s")
        until(lambda: said(stage).get("status") == "False", "the condition", 60.0)
        until(lambda: num_ready(stage) == planned(stage, deployment) == 2, "Argosy's own number", 60.0)
    assert load.lost == ()
