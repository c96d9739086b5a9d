"""Which condition shows that an engine's pod is ready."""

from __future__ import annotations

from typing import Any

import pytest

from argosy.snapshot.kubernetes import pod_state


def pod(spec: dict[str, Any], **conditions: str) -> dict[str, Any]:
    rows = [{"type": kind, "status": status} for kind, status in conditions.items()]
    metadata = {"name": "chat-1", "namespace": "default"}
    return {"metadata": metadata, "spec": spec, "status": {"conditions": rows}}


@pytest.mark.parametrize(
    ("item", "ready"),
    [
        pytest.param(pod({}, ContainersReady="True", Ready="True"), True, id="all agree"),
        pytest.param(
            pod({}, ContainersReady="True", Ready="False"), True, id="only the node controller says no"
        ),
        pytest.param(pod({}, ContainersReady="False", Ready="False"), False, id="its probe fails"),
        pytest.param(pod({}, Ready="True"), True, id="no other word than Ready"),
        pytest.param(pod({}), False, id="no word yet"),
        pytest.param(
            pod({"readinessGates": [{"conditionType": "mesh"}]}, ContainersReady="True", Ready="False"),
            False,
            id="a readiness gate is not met",
        ),
    ],
)
def test_a_pod_is_ready_by_the_word_of_its_kubelet(item: dict[str, Any], ready: bool) -> None:
    assert pod_state(item).ready is ready
