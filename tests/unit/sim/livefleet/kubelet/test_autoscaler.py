"""The live fleet's autoscaler: which pods it brings a node for."""

from __future__ import annotations

from typing import Any

import pytest

from argosy.errors import SpecError
from argosy_sim.livefleet.kubelet.autoscaler import fits, is_unschedulable
from argosy_sim.livefleet.kubelet.nodes import nodes_of
from argosy_sim.livefleet.spec import NodeGroup, parse_spec

GROUP = NodeGroup(name="h200", gpu_product="NVIDIA-H200", gpus=2, count=0, most=3)


def a_pod(gpus: int = 1, selector: str = "NVIDIA-H200", reason: str = "Unschedulable") -> dict[str, Any]:
    return {
        "metadata": {"uid": "u"},
        "spec": {
            "nodeSelector": {"nvidia.com/gpu.product": selector},
            "containers": [{"resources": {"limits": {"nvidia.com/gpu": str(gpus)}}}],
        },
        "status": {"conditions": [{"type": "PodScheduled", "status": "False", "reason": reason}]},
    }


@pytest.mark.parametrize(
    ("pod", "expected"),
    [
        pytest.param(a_pod(), True, id="the group has its GPUs"),
        pytest.param(a_pod(gpus=3), False, id="more GPUs than a node has"),
        pytest.param(a_pod(gpus=0), False, id="no GPU"),
        pytest.param(a_pod(selector="NVIDIA-L4"), False, id="another GPU"),
    ],
)
def test_a_node_comes_for_pods_that_it_would_take(pod: dict[str, Any], expected: bool) -> None:
    assert fits(pod, GROUP) is expected


def test_a_gated_pod_and_one_that_is_being_deleted_are_not_seen() -> None:
    assert is_unschedulable(a_pod())
    assert not is_unschedulable(a_pod(reason="SchedulingGated"))
    gone = a_pod()
    gone["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    assert not is_unschedulable(gone)


def test_a_group_may_stand_at_zero_nodes_only_where_some_may_come() -> None:
    group = "name: a, gpuProduct: NVIDIA-H200, gpus: 1"
    assert nodes_of(parse_spec(f"nodes: [{{{group}, count: 0, most: 2}}]")) == ()
    with pytest.raises(SpecError, match="count is 0; set most to let nodes come"):
        parse_spec(f"nodes: [{{{group}, count: 0}}]")
    with pytest.raises(SpecError, match="most is 1 and count 2; raise most"):
        parse_spec(f"nodes: [{{{group}, count: 2, most: 1}}]")
