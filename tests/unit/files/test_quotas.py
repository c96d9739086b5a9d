"""ResourceQuotas from files limit a plan as those of a cluster do, and what is none is refused."""

from __future__ import annotations

from typing import Any

import pytest
from builders import NVIDIA
from fake_perf import FakePerf
from small_fleet import a_class, a_fleet, a_model, a_pool

from argosy.control.memory import ControlMemory
from argosy.control.step import StepSettings, step
from argosy.errors import SpecError
from argosy.files.objects import snapshot_of


def a_quota(**spec: Any) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "gpus"}, "spec": spec}


def a_node(pool: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": f"{pool}-0", "labels": {"nvidia.com/gpu.product": pool}},
        "status": {"allocatable": {NVIDIA: "8"}, "conditions": [{"type": "Ready", "status": "True"}]},
    }


def manifests() -> list[dict[str, Any]]:
    pools = (a_pool(gpusPerNode=8), a_pool("h100", "H100", priceUsdPerHour=6.0, gpusPerNode=8))
    items = [(each, each.to_object()) for each in (a_fleet(), *pools, a_model(), a_class())]
    named = [{**body, "apiVersion": "argosy.dev/v1alpha1", "kind": each.KIND} for each, body in items]
    return [*named, a_node("l40s"), a_node("h100")]


def test_a_plan_from_files_asks_for_no_more_gpus_than_a_quota_allows() -> None:
    used = {"hard": {f"requests.{NVIDIA}": 1}, "used": {f"requests.{NVIDIA}": "1"}}
    quota = {**a_quota(hard={f"requests.{NVIDIA}": 1}), "status": used}
    for objects, pool in ((manifests(), "l40s"), ([*manifests(), quota], "h100")):
        decision = step(snapshot_of(objects, 0.0), ControlMemory(), StepSettings("a test"), FakePerf())
        assert decision.new_plan is not None
        assert {d.pool for d in decision.new_plan.spec.deployments if d.replicas} == {pool}


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ({"hard": {f"requests.{NVIDIA}": "many"}}, f"spec.hard.requests.{NVIDIA} must be a quantity"),
        ({"hard": ["pods"]}, "spec.hard must be a map"),
        ({"hard": {}, "scope": ["NotTerminating"]}, "spec.scope"),
        ({"hard": {}, "scopes": "NotTerminating"}, "spec.scopes"),
        ({"hard": {}, "scopeSelector": {"matchExpressions": ["PriorityClass"]}}, "matchExpressions"),
    ],
)
def test_what_is_no_quota_is_refused_with_its_field(spec: dict[str, Any], field: str) -> None:
    with pytest.raises(SpecError) as caught:
        snapshot_of([a_quota(**spec)], 0.0)
    assert str(caught.value).startswith(("ResourceQuota default/gpus: ", "ResourceQuota gpus: "))
    assert field in str(caught.value)
