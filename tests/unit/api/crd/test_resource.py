"""Reading and writing one object: what comes out, and how a "no" reads."""

from __future__ import annotations

import json
import pickle
from typing import Any

import pytest
from pydantic import ValidationError

from argosy.api import Fleet, FleetPlan, GPUPool, InvalidObject, ObjectMeta, ServedModel, WorkloadClass
from argosy.api.conditions import Condition, ConditionStatus, ConditionType, Reason
from argosy.api.gpupool import GPUPoolSpec, GPUPoolStatus

POOL: dict[str, Any] = {
    "apiVersion": "argosy.dev/v1alpha1",
    "kind": "GPUPool",
    "metadata": {"name": "l40s", "generation": 3, "managedFields": [{"manager": "kubectl"}]},
    "spec": {"gpu": "L40S", "nodeSelector": {"gpu": "l40s"}, "gpusPerNode": 2, "priceUsdPerHour": 1},
}


def pool(**spec: Any) -> dict[str, Any]:
    return {**POOL, "spec": {**POOL["spec"], **spec}}


def read(obj: object) -> GPUPool:
    found = GPUPool.from_object(obj)
    assert isinstance(found, GPUPool)
    return found


def refused(obj: object) -> InvalidObject:
    found = GPUPool.from_object(obj)
    assert isinstance(found, InvalidObject)
    return found


def test_an_object_is_read_with_its_defaults() -> None:
    found = read(POOL)
    assert (found.key, found.metadata.generation) == ("l40s", 3)
    assert found.spec == GPUPoolSpec(
        gpu="L40S", node_selector={"gpu": "l40s"}, gpus_per_node=2, price_usd_per_hour=1.0
    )
    assert (found.spec.resource_name, found.spec.placement) == ("nvidia.com/gpu", "Argosy")


def test_an_item_of_a_list_needs_no_kind() -> None:
    assert read({name: POOL[name] for name in ("metadata", "spec")}) == read(POOL)


def test_nulls_mean_not_set() -> None:
    assert read({**pool(tolerations=None, resourceName=None), "status": None}) == read(POOL)


def test_a_namespaced_key_has_two_parts() -> None:
    assert ObjectMeta(name="chat", namespace="default").key == "default/chat"


def test_what_is_written_has_no_nulls_and_no_empty_status() -> None:
    assert read(POOL).to_object() == {
        "apiVersion": "argosy.dev/v1alpha1",
        "kind": "GPUPool",
        "metadata": {"name": "l40s", "generation": 3},
        "spec": {
            "gpu": "L40S",
            "nodeSelector": {"gpu": "l40s"},
            "tolerations": [],
            "podLabels": {},
            "gpusPerNode": 2,
            "resourceName": "nvidia.com/gpu",
            "priceUsdPerHour": 1.0,
            "placement": "Argosy",
        },
    }


def test_a_status_is_written_as_far_as_it_is_known() -> None:
    known = GPUPoolStatus(
        nodes=0,
        conditions=(
            Condition(type=ConditionType.READY, status=ConditionStatus.FALSE, reason=Reason.NO_NODES),
        ),
    )
    written = read(POOL).model_copy(update={"status": known}).to_object()["status"]
    assert json.loads(json.dumps(written)) == written
    assert type(written["conditions"][0]["reason"]) is str
    assert written == {
        "conditions": [{"type": "Ready", "status": "False", "reason": "NoNodes", "message": ""}],
        "nodes": 0,
    }


def test_values_are_frozen_and_pickle() -> None:
    found = read(POOL)
    with pytest.raises(ValidationError, match="frozen"):
        found.spec.gpu = "H100"  # type: ignore[misc]
    assert pickle.loads(pickle.dumps(found)) == found


def test_a_fleet_that_was_never_written_is_all_defaults() -> None:
    assert (Fleet().spec.mode, Fleet().spec.intervals.fast_seconds) == ("Recommend", 2)
    assert Fleet.from_object({"metadata": {"name": "default"}}) == Fleet(metadata=ObjectMeta(name="default"))


def test_a_model_without_served_names_answers_to_its_own() -> None:
    obj = {"metadata": {"name": "llama-8b", "namespace": "default"}, "spec": {"modelId": "m"}}
    found = ServedModel.from_object(obj)
    assert isinstance(found, ServedModel)
    assert found.served_names == ("llama-8b",)


@pytest.mark.parametrize(
    ("obj", "field", "message"),
    [
        pytest.param(
            pool(gpusPerNode=0), "spec.gpusPerNode", "spec.gpusPerNode must be at least 1", id="low"
        ),
        pytest.param(
            pool(gpusPerNode=65), "spec.gpusPerNode", "spec.gpusPerNode must be at most 64", id="high"
        ),
        pytest.param(
            pool(gpusPerNode="2"), "spec.gpusPerNode", "spec.gpusPerNode must be a whole number", id="text"
        ),
        pytest.param(
            pool(gpusPerNode=True), "spec.gpusPerNode", "spec.gpusPerNode must be a whole number", id="flag"
        ),
        pytest.param(
            pool(priceUsdPerHour=float("nan")),
            "spec.priceUsdPerHour",
            "spec.priceUsdPerHour must be a finite number",
            id="not-a-number",
        ),
        pytest.param(
            pool(placement="Random"),
            "spec.placement",
            "spec.placement must be 'Argosy' or 'Scheduler'",
            id="unknown-word",
        ),
        pytest.param(
            pool(tolerations=[{"key": "a"}, {}]),
            "spec.tolerations[1].key",
            "spec.tolerations[1].key is required",
            id="in-a-list",
        ),
        pytest.param(
            pool(nodeSelector=["gpu"]),
            "spec.nodeSelector",
            "spec.nodeSelector must be a map",
            id="list-for-map",
        ),
        pytest.param({"metadata": {"name": "l40s"}}, "spec", "spec is required", id="no-spec"),
        pytest.param({**POOL, "kind": "Fleet"}, "kind", "kind must be GPUPool", id="another-kind"),
        pytest.param(
            {**POOL, "apiVersion": "v1"},
            "apiVersion",
            "apiVersion must be argosy.dev/v1alpha1",
            id="another-group",
        ),
        pytest.param("l40s", "", "a GPUPool must be an object with metadata and spec", id="no-object"),
        pytest.param(
            pool(price_usd_per_hour=2, priceUsdPerHour=None),
            "spec.priceUsdPerHour",
            "spec.priceUsdPerHour is required",
            id="python-name-in-json",
        ),
    ],
)
def test_a_refusal_names_the_field(obj: object, field: str, message: str) -> None:
    assert (refused(obj).field, refused(obj).message) == (field, message)


def test_a_refusal_still_knows_whose_it_is() -> None:
    found = refused(pool(gpusPerNode=0))
    assert (found.kind, found.key, found.metadata.generation) == ("GPUPool", "l40s", 3)


def test_all_faults_are_told_at_once() -> None:
    found = refused(pool(gpusPerNode=0, gpu=""))
    assert found.message == "spec.gpu must have at least 1 characters; spec.gpusPerNode must be at least 1"


def test_what_is_not_json_is_refused() -> None:
    assert refused(pool(gpu={1, 2})).message.startswith("the object is not JSON: ")


def test_a_loop_is_refused() -> None:
    obj = pool()
    obj["spec"]["nodeSelector"] = obj
    assert isinstance(GPUPool.from_object(obj), InvalidObject)


def test_a_twin_in_a_keyed_list_is_named() -> None:
    plan = {"metadata": {"name": "p"}, "spec": {"revision": 1, "trigger": "t", "costUsdPerHour": 0}}
    cell = {"name": "a/b", "workloadClass": "a/b", "sharingGroup": "a/b"}
    cell |= {"requestsPerSecond": 1, "capacityRequestsPerSecond": 1}  # type: ignore[dict-item]
    spec = {**plan["spec"], "solver": {"status": "Optimal"}, "cells": [cell, cell]}  # type: ignore[dict-item]
    found = FleetPlan.from_object({**plan, "spec": spec})
    assert isinstance(found, InvalidObject)
    assert found.message == "spec.cells[1]: two items have the name a/b; each may occur once"


def test_a_deep_path_reads_as_in_json() -> None:
    spec = {
        "match": {"models": ["m"]},
        "models": [{"name": "m"}],
        "traffic": {"requestsPerSecond": 1, "lengths": {"archetype": "azure-conversation"}},
        "slo": {"ttft": {"p95Milliseconds": -1}},
    }
    found = WorkloadClass.from_object({"metadata": {"name": "chat"}, "spec": spec})
    assert isinstance(found, InvalidObject)
    assert found.message == "spec.slo.ttft.p95Milliseconds must be greater than 0"
