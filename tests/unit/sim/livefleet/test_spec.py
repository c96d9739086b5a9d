"""The fleet's description: what is read, and what is refused with which sentence."""

from __future__ import annotations

from pathlib import Path

import pytest

from argosy.errors import SpecError
from argosy_sim.livefleet.kubelet.nodes import SimulatedNode, gpu_labels, node_object, nodes_of
from argosy_sim.livefleet.spec import DEFAULT_FLEET, TAINT, NodeGroup, dump_spec, load_spec, parse_spec

GROUP = "{name: a, gpuProduct: NVIDIA-L40S, gpus: 1, count: 1}"


def test_the_default_fleet_is_that_of_the_demos_story() -> None:
    sizes = {node.name: (node.group.gpu_product, node.group.gpus) for node in nodes_of(DEFAULT_FLEET)}
    expected = {f"l40s-{number}": ("NVIDIA-L40S", 2) for number in range(6)}
    expected |= {f"h100-{number}": ("NVIDIA-H100-80GB-HBM3", 2) for number in range(2)}
    assert sizes == expected


def test_a_description_survives_being_written_and_read() -> None:
    assert parse_spec(dump_spec(DEFAULT_FLEET)) == DEFAULT_FLEET


@pytest.mark.parametrize(
    ("text", "words"),
    [
        pytest.param("nodes: [", "is not YAML", id="broken YAML"),
        pytest.param("", "valid dictionary", id="an empty file"),
        pytest.param("nodes: []", "nodes: .*at least 1 item", id="zero nodes"),
        pytest.param(
            "nodes: [{name: a, gpuProduct: NVIDIA-L40S, gpus: 0, count: 1}]",
            r"nodes\.0\.gpus: .*greater than or equal to 1",
            id="a node without GPUs",
        ),
        pytest.param(
            "nodes: [{name: A b, gpuProduct: NVIDIA-L40S, gpus: 1, count: 1}]",
            r"nodes\.0\.name: ",
            id="a name that no node may have",
        ),
        pytest.param(
            f"nodes: [{GROUP}, {GROUP}]",
            "a is named twice",
            id="two groups of one name",
        ),
        pytest.param(
            "nodes: [{name: a, gpuProduct: X, gpus: 1, count: 1}]\nloadSecond: 1",
            "loadSecond: Extra inputs",
            id="a misspelt field",
        ),
    ],
)
def test_a_bad_description_is_refused_by_field(text: str, words: str) -> None:
    with pytest.raises(SpecError, match=words):
        parse_spec(text, "fleet.yaml")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"none.yaml: cannot be read: No such file"):
        load_spec(tmp_path / "none.yaml")


def test_labels_are_those_of_gpu_feature_discovery() -> None:
    group = NodeGroup(name="h", gpu_product="NVIDIA-H100-80GB-HBM3", gpus=8, count=1)
    assert gpu_labels(group) == {
        "nvidia.com/gpu.present": "true",
        "nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3",
        "nvidia.com/gpu.count": "8",
        "nvidia.com/gpu.memory": "81559",
        "node.kubernetes.io/instance-type": "sim.h100-80gb-hbm3.8x",
    }


def test_an_unknown_gpu_may_have_nodes_but_says_no_memory() -> None:
    group = NodeGroup(name="x", gpu_product="ACME-1", gpus=1, count=1)
    assert "nvidia.com/gpu.memory" not in gpu_labels(group)


def test_nodes_are_tainted_only_when_asked() -> None:
    node = SimulatedNode("l40s-0", DEFAULT_FLEET.nodes[0])
    assert node_object(node, taint=True)["spec"] == {"taints": [TAINT]}
    assert "spec" not in node_object(node, taint=False)
