"""`argosy plan` on nodes that are not what their pool declares, and on slices."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from plan_command import EXAMPLES, run_plan
from typer.testing import CliRunner

from argosy.cli.app import build


def written(
    folder: Path, pool: dict[str, Any], labels: dict[str, str], allocatable: dict[str, str]
) -> list[Path]:
    """The small example with another pool in place of its L40S, and one node of that pool."""
    objects = [
        obj
        for path in sorted((EXAMPLES / "small").glob("*.yaml"))
        for obj in yaml.safe_load_all(path.read_text("utf-8"))
        if obj["kind"] != "GPUPool"
    ]
    spec = {"nodeSelector": {"pool": "mine"}, "gpusPerNode": 8, "priceUsdPerHour": 1.0, **pool}
    objects.append(
        {"apiVersion": "argosy.dev/v1alpha1", "kind": "GPUPool", "metadata": {"name": "mine"}, "spec": spec}
    )
    status = {"allocatable": allocatable, "conditions": [{"type": "Ready", "status": "True"}]}
    metadata = {"name": "n0", "labels": {"pool": "mine", **labels}}
    objects.append({"apiVersion": "v1", "kind": "Node", "metadata": metadata, "status": status})
    path = folder / "all.yaml"
    path.write_text(yaml.safe_dump_all(objects), "utf-8")
    return [path]


def test_a_pool_of_another_card_is_not_planned_and_the_label_is_named(tmp_path: Path) -> None:
    files = written(
        tmp_path, {"gpu": "H100"}, {"nvidia.com/gpu.product": "NVIDIA-L4"}, {"nvidia.com/gpu": "8"}
    )
    answer = CliRunner(env={"XDG_CACHE_HOME": str(tmp_path), "COLUMNS": "120"}).invoke(
        build(), ["plan", *map(str, files)]
    )
    assert answer.exit_code == 2
    said = " ".join((answer.stdout + answer.stderr).split())
    assert (
        "spec.gpu: H100 is not the GPU of every node: node n0: label nvidia.com/gpu.product is NVIDIA-L4"
        in said
    )
    assert "set spec.gpu to L4" in said


def test_slices_are_planned_by_their_own_resource(tmp_path: Path) -> None:
    slices = "nvidia.com/mig-3g.40gb"
    pool = {"gpu": "H100-MIG-3g.40gb", "resourceName": slices, "gpusPerNode": 16}
    labels = {"nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3", f"{slices}.memory": "40448"}
    code, output = run_plan(tmp_path, *written(tmp_path, pool, labels, {"nvidia.com/gpu": "0", slices: "16"}))
    assert code == 0, output
    assert "-mine-tp1-" in output


def test_of_a_model_too_large_for_a_share_of_a_card_no_larger_group_is_proposed(tmp_path: Path) -> None:
    pool = {"gpu": "L4", "sharing": {"replicasPerGpu": 4}}
    labels = {"nvidia.com/gpu.product": "NVIDIA-L4-SHARED", "nvidia.com/gpu.replicas": "4"}
    code, output = run_plan(tmp_path, *written(tmp_path, pool, labels, {"nvidia.com/gpu": "8"}))
    said = " ".join(output.split())
    assert code == 3, output
    assert "parts of cards are not joined: use a larger part, or whole cards); allow a tensorParallel" in said
    assert "larger tensorParallel" not in said
