"""`argosy plan` on pools whose nodes have still to come, or take no replica."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from plan_command import EXAMPLES, run_plan

CPU_NODE = """
apiVersion: v1
kind: Node
metadata: {name: cpu-0, labels: {kubernetes.io/hostname: cpu-0}}
status: {allocatable: {cpu: "8"}, conditions: [{type: Ready, status: "True"}]}
"""


def changed(folder: Path, **spec: object) -> Path:
    """`examples/small` with further fields of the pools."""
    for file in (EXAMPLES / "small").glob("*.yaml"):
        items = [item for item in yaml.safe_load_all(file.read_text()) if item]
        for item in items:
            if item["kind"] == "GPUPool":
                item["spec"] |= spec
        (folder / file.name).write_text(yaml.safe_dump_all(items))
    return folder


@pytest.mark.parametrize("placement", ["Argosy", "Scheduler"])
def test_pools_at_zero_nodes_are_planned_with_the_nodes_that_may_come(
    cache: Path, tmp_path: Path, placement: str
) -> None:
    nodes = tmp_path / "cpu.yaml"
    nodes.write_text(CPU_NODE)
    (folder := tmp_path / "world").mkdir()
    spec = {"nodes": {"max": 4}, "provisioningSeconds": 180, "placement": placement}
    code, text = run_plan(cache, changed(folder, **spec), nodes)
    words = " ".join(text.split())
    assert code == 0
    assert "nodes of pool l40s do not exist yet: an autoscaler brings one in about 180 s" in words
    assert "(3 to come)" in words


def test_tainted_nodes_are_named_with_the_toleration_to_add(cache: Path, tmp_path: Path) -> None:
    items = [item for item in yaml.safe_load_all((EXAMPLES / "nodes.yaml").read_text()) if item]
    listed = [node for item in items for node in item.get("items", [item])]
    for node in listed:
        taint = {"key": "nvidia.com/gpu", "value": "present", "effect": "NoSchedule"}
        node.setdefault("spec", {})["taints"] = [taint]
    nodes = tmp_path / "nodes.yaml"
    nodes.write_text(yaml.safe_dump_all(listed))
    code, text = run_plan(cache, EXAMPLES / "small", nodes)
    words = " ".join(text.split())
    assert code == 3
    assert "have the taint nvidia.com/gpu=present:NoSchedule, which spec.tolerations does not name" in words
    assert 'add {key: nvidia.com/gpu, operator: Equal, value: "present", effect: NoSchedule}' in words
    assert "tensorParallel" not in words
