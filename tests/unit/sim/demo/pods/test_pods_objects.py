"""The objects that the story creates: valid, and each found again by its label."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from argosy.api import Fleet, GPUPool, ServedModel, WorkloadClass
from argosy_sim.demo.pods.objects import NAMESPACE, fleet_objects, load_objects, namespace, rights
from argosy_sim.stage import StagePlan

ROOT = Path(__file__).parents[5]
LABELS = {"argosy.dev/demo": "pods"}


@pytest.fixture
def fleet() -> list[dict[str, Any]]:
    examples = StagePlan(Path(), ROOT).objects()
    return fleet_objects(examples, "argosy-simulator:v1", {"NVIDIA-L40S": 6})


def test_every_object_is_found_again_by_its_namespace_or_its_label(fleet: list[dict[str, Any]]) -> None:
    made = [namespace(), *rights(), *fleet, *load_objects("image", "http://gateway", b"", 60.0)]
    assert all(item["metadata"]["labels"] == LABELS for item in made)
    outside = {item["kind"] for item in made if item["metadata"].get("namespace") != NAMESPACE}
    assert outside == {"Namespace", "ClusterRole", "ClusterRoleBinding", "Fleet", "GPUPool"}


def test_the_examples_are_fitted_to_the_cluster(fleet: list[dict[str, Any]]) -> None:
    by_kind = {(item["kind"], item["metadata"]["name"]): item for item in fleet}
    assert (
        ServedModel.from_object(by_kind["ServedModel", "llama-8b"]).spec.engine.image == "argosy-simulator:v1"
    )
    assert Fleet.from_object(by_kind["Fleet", "default"]).spec.gateway.endpoint_header
    assert GPUPool.from_object(by_kind["GPUPool", "l40s"]).spec.gpus_per_node == 6
    assert GPUPool.from_object(by_kind["GPUPool", "h100"]).spec.gpus_per_node == 2
    assert WorkloadClass.from_object(by_kind["WorkloadClass", "chat"]).metadata.namespace == NAMESPACE


def test_engines_are_set_as_those_of_make_kind(fleet: list[dict[str, Any]]) -> None:
    kustomization = yaml.safe_load((ROOT / "hack/kind/fleet/kustomization.yaml").read_text())
    [change] = yaml.safe_load(kustomization["patches"][0]["patch"])
    [model] = [item for item in fleet if item["kind"] == "ServedModel"]
    assert {**model["spec"]["engine"], "image": ""} == {**change["value"], "image": ""}
    # A pod without a named account has no token, and a simulated engine asks the API server for its GPU.
    assert ServedModel.from_object(model).spec.engine.service_account_name == "default"


def test_the_load_runs_restricted_and_sends_to_the_gateway() -> None:
    _, job = load_objects("image:1", "http://argosy-gateway.argosy-system:80", b"x", 61.4)
    pod = job["spec"]["template"]["spec"]
    [container] = pod["containers"]
    assert container["image"] == "image:1"
    assert container["command"][-1] == "http://argosy-gateway.argosy-system:80"
    assert container["securityContext"]["readOnlyRootFilesystem"]
    assert (job["spec"]["activeDeadlineSeconds"], job["spec"]["backoffLimit"]) == (61, 0)
