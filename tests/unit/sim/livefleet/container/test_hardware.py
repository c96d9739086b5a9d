"""Which GPU a container of the simulated engine takes itself to be on."""

import urllib.error
from pathlib import Path
from typing import Any

import pytest

from argosy.errors import SpecError
from argosy_sim.livefleet.container.hardware import gpu_product, product_of_node

POD = "/api/v1/namespaces/models/pods/engine-0"
NODE = "/api/v1/nodes/l40s-0"


def reading(objects: dict[str, dict[str, Any]]) -> Any:
    def read(path: str) -> dict[str, Any]:
        if path not in objects:
            raise urllib.error.URLError(f"no {path}")
        return objects[path]

    return read


def test_the_environment_decides_before_the_cluster() -> None:
    assert gpu_product({"ARGOSY_SIM_GPU": "H100"}, "engine-0", Path("/nowhere")) == "H100"


def test_outside_a_cluster_the_variable_is_asked_for() -> None:
    with pytest.raises(
        SpecError, match=r"ARGOSY_SIM_GPU is not set.*no service account.*such as NVIDIA-L40S"
    ):
        gpu_product({}, "engine-0", Path("/nowhere"))


def test_a_pod_without_a_token_needs_the_variable(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="no service account"):
        gpu_product({"KUBERNETES_SERVICE_HOST": "10.96.0.1"}, "engine-0", tmp_path)


def test_the_label_of_the_pods_node_names_the_gpu() -> None:
    labels = {"nvidia.com/gpu.product": "NVIDIA-L40S"}
    objects = {POD: {"spec": {"nodeName": "l40s-0"}}, NODE: {"metadata": {"labels": labels}}}
    assert product_of_node(reading(objects), "models", "engine-0") == "NVIDIA-L40S"


def test_a_node_without_the_label_is_named() -> None:
    objects = {POD: {"spec": {"nodeName": "l40s-0"}}, NODE: {"metadata": {}}}
    with pytest.raises(SpecError, match=r"node l40s-0 has no label nvidia\.com/gpu\.product"):
        product_of_node(reading(objects), "models", "engine-0")


def test_a_missing_permission_is_named_with_its_remedy() -> None:
    with pytest.raises(SpecError, match=r"pod models/engine-0 cannot be read.*get pods and nodes"):
        product_of_node(reading({}), "models", "engine-0")
