"""What a cluster needs for the story on its own pods, and how each lack of it is refused."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from argosy.errors import SpecError
from argosy_sim.demo.pods.objects import namespace
from argosy_sim.demo.pods.survey import is_installed, survey

PRODUCT = "nvidia.com/gpu.product"
READY = {"conditions": [{"type": "Ready", "status": "True"}]}
Items = dict[str, list[dict[str, Any]]]


def node(name: str, product: str = "NVIDIA-L40S", gpus: int = 2, **spec: Any) -> dict[str, Any]:
    images = [{"names": ["docker.io/library/argosy-operator:v1", "docker.io/library/argosy-simulator:v1"]}]
    status = {**READY, "allocatable": {"nvidia.com/gpu": str(gpus)}, "images": images}
    return {
        "kind": "Node",
        "metadata": {"name": name, "labels": {PRODUCT: product}},
        "spec": spec,
        "status": status,
    }


def pod(name: str, node_name: str, gpus: int = 0, **status: Any) -> dict[str, Any]:
    resources = {"limits": {"nvidia.com/gpu": str(gpus)}} if gpus else {}
    container = {"name": "c", "image": "registry.example:5000/argosy-operator:v1", "resources": resources}
    metadata = {"name": name, "namespace": "gpu-operator"}
    return {
        "kind": "Pod",
        "metadata": metadata,
        "spec": {"nodeName": node_name, "containers": [container]},
        "status": {**READY, **status},
    }


SERVICE = {
    "kind": "Service",
    "metadata": {"name": "argosy-gateway"},
    "spec": {"ports": [{"name": "http", "port": 8081}]},
}


def cluster() -> Items:
    """What the chart and simulated engines' images leave, by the plural."""
    return {
        "deployments": [{"kind": "Deployment", "metadata": {"name": "argosy-operator"}}],
        "operator": [pod("argosy-operator-1", "control-plane")],
        "envoy": [pod("argosy-envoy-b", "gpu-1"), pod("argosy-envoy-a", "gpu-0")],
        "pods": [],
        "nodes": [node("gpu-0"), node("gpu-1"), node("big", "NVIDIA-H100-80GB-HBM3")],
        "services": [SERVICE],
        "inputs": [],
        "namespaces": [{"kind": "Namespace", "metadata": {"name": "default"}}],
        "fleetplans.argosy.dev": [{"kind": "FleetPlan", "metadata": {"name": "plan-000007"}}],
    }


def reading(items: Items) -> Callable[..., list[dict[str, Any]]]:
    """kubectl get, as the survey uses it."""

    def read(what: str, *more: str) -> list[dict[str, Any]]:
        component = more[-1].rpartition("component=")[2] if "-l" in more else ""
        if what == "pods" and component:
            return items[component]
        return items["inputs"] if "gpupools.argosy.dev" in what else items[what]

    return read


def test_a_fit_cluster_is_known_by_what_the_chart_made() -> None:
    found = survey(reading(cluster()), None)
    assert found.namespace == "gpu-operator"
    assert found.gateway_url == "http://argosy-gateway.gpu-operator:8081"
    assert found.envoys == ("argosy-envoy-a", "argosy-envoy-b")
    assert found.image == "argosy-simulator:v1"
    assert found.gpus_by_product() == {"NVIDIA-L40S": [2, 2], "NVIDIA-H100-80GB-HBM3": [2]}
    assert found.plans == {"plan-000007"}


def test_the_mode_is_chosen_by_the_charts_operator() -> None:
    assert is_installed(reading(cluster()))
    assert not is_installed(reading(cluster() | {"deployments": []}))


def test_nodes_that_take_no_ordinary_pod_do_not_count() -> None:
    taint = {"key": "spot", "value": "", "effect": "NoSchedule"}
    silent = node("silent")
    silent["status"]["conditions"] = [{"type": "Ready", "status": "Unknown"}]
    others = [node("tainted", taints=[taint]), node("cordoned", unschedulable=True), silent]
    found = survey(reading(cluster() | {"nodes": [node("gpu-0"), *others, node("cpu", gpus=0)]}), None)
    assert [each.name for each in found.nodes] == ["gpu-0"]


def test_gpus_that_other_pods_hold_are_not_free_until_they_have_ended() -> None:
    pods = [pod("a", "gpu-0", 1), pod("b", "gpu-1", 2, phase="Succeeded"), pod("c", "elsewhere", 8)]
    found = survey(reading(cluster() | {"pods": pods}), None)
    assert dict(found.free_gpus) == {"gpu-0": 1, "gpu-1": 2, "big": 2}
    assert found.allocatable_by_product()["NVIDIA-L40S"] == [2, 2]


def test_an_image_that_the_user_names_is_not_looked_for() -> None:
    items = cluster()
    for each in items["nodes"]:
        each["status"]["images"] = []
    assert survey(reading(items), "registry.example/simulator@sha256:1").image.endswith("@sha256:1")


def theirs(kind: str, name: str, **metadata: Any) -> dict[str, Any]:
    return {"kind": kind, "metadata": {"name": name, **metadata}}


def without_image(items: Items) -> None:
    items["nodes"][1] = copy.deepcopy(items["nodes"][1])
    items["nodes"][1]["status"]["images"] = [{"names": ["argosy-simulator:other"]}, {"names": None}]


def not_ready(items: Items) -> None:
    items["envoy"] = [pod("argosy-envoy-a", "gpu-0", conditions=[{"type": "Ready", "status": "False"}])]


def ending(items: Items) -> None:
    items["operator"][0]["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"


REFUSALS = [
    pytest.param(
        lambda items: items["inputs"].extend(
            [theirs("WorkloadClass", "chat", namespace="default"), theirs("GPUPool", "l40s")]
        ),
        r"WorkloadClass default/chat and 1 more objects would take part.*`argosy down --all` removes them",
        id="objects of a user's",
    ),
    pytest.param(
        lambda items: items["inputs"].append(theirs("GPUPool", "l40s", labels={"argosy.dev/demo": "pods"})),
        r"GPUPool l40s is there: another demo runs on this cluster, or `kubectl delete namespace,gpool",
        id="objects of a demo's",
    ),
    pytest.param(
        lambda items: items["namespaces"].append(namespace()),
        r"Namespace argosy-demo is there: another demo runs",
        id="a demo's namespace",
    ),
    pytest.param(not_ready, r"component=envoy is Ready, one is needed; `argosy doctor`", id="no Envoy"),
    pytest.param(ending, r"component=operator is Ready, one is needed", id="an operator that ends"),
    pytest.param(
        lambda items: items.update(services=[]),
        r"namespace gpu-operator has no Service .* install the chart with envoy.kind",
        id="no gateway",
    ),
    pytest.param(
        without_image,
        r"--simulator-image: node gpu-1 has no image argosy-simulator:v1, .*kind load docker-image",
        id="no simulator",
    ),
]


@pytest.mark.parametrize(("change", "sentence"), REFUSALS)
def test_an_unfit_cluster_is_refused_with_the_remedy(change: Callable[[Items], None], sentence: str) -> None:
    items = copy.deepcopy(cluster())
    change(items)
    with pytest.raises(SpecError, match=sentence):
        survey(reading(items), None)
