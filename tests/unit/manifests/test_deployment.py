"""The engine's Deployment: what is in it, what its name depends on, and what it never holds."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
from small_fleet import a_pool

from argosy.api.engine.pod import EnginePod
from argosy.api.engine.reserved import OF_FIELDS
from argosy.api.servedmodel import Engine
from argosy.keys import GroupName, ModelKey
from argosy.manifests import EngineWorkload, deployment_manifest, deployment_name, pod_template
from argosy.manifests.deployment import DRAIN_HOOK, HASH_LENGTH, MODEL_PART_LIMIT
from argosy.snapshot import Dtype, EngineSettings, Variant
from argosy.snapshot.cluster import (
    LABEL_DEPLOYMENT,
    LABEL_GROUP,
    LABEL_MODEL,
    LABEL_POOL,
    LABEL_VARIANT,
    label_value,
)
from argosy.snapshot.liveness import HEALTH_TIMEOUT_S, SILENT_AFTER_S, UNHEALTHY_AFTER

LABEL_VALUE = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
OBJECT_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
ENGINE = EngineSettings(
    image="vllm:1", port=9000, max_num_seqs=8, max_num_batched_tokens=512, max_model_len=4096,
    gpu_memory_utilization=0.8, max_loras=2, args=("--trust-remote-code",), env=(("A", "1"),),
)  # fmt: skip
VARIANT = Variant(ModelKey("default/llama"), "meta/llama", ("llama", "chat-model"), "l40s", "L40S", 2, ENGINE)
WORKLOAD = EngineWorkload(VARIANT, GroupName("default/chat"), a_pool(nodeSelector={"gpu": "l40s"}))


def template(workload: EngineWorkload = WORKLOAD) -> dict[str, Any]:
    spec: dict[str, Any] = pod_template(workload)["spec"]
    return spec


def template_labels(workload: EngineWorkload) -> dict[str, str]:
    """Its labels but for the Deployment's name, which differs with any change."""
    labels = pod_template(workload)["metadata"]["labels"]
    return {name: value for name, value in labels.items() if name not in (LABEL_DEPLOYMENT, LABEL_VARIANT)}


def container(workload: EngineWorkload = WORKLOAD) -> dict[str, Any]:
    [found] = template(workload)["containers"]
    assert isinstance(found, dict)
    return found


def test_every_setting_of_the_engine_reaches_it() -> None:
    engine = container()
    assert engine["args"] == [
        "--model", "meta/llama", "--served-model-name", "llama", "chat-model", "--port", "9000",
        "--tensor-parallel-size", "2", "--enable-lora", "--max-loras", "2", "--max-lora-rank", "16",
        "--max-num-seqs", "8", "--max-num-batched-tokens", "512",
        "--max-model-len", "4096", "--gpu-memory-utilization", "0.8", "--trust-remote-code",
    ]  # fmt: skip
    assert (engine["image"], engine["env"][-1]) == ("vllm:1", {"name": "A", "value": "1"})
    assert engine["ports"] == [{"name": "http", "containerPort": 9000}]
    probes = ("startupProbe", "readinessProbe", "livenessProbe")
    assert {engine[p]["httpGet"]["port"] for p in probes} == {9000}


@pytest.mark.parametrize(
    "field",
    # The version decides what is expected of an engine, and restarts none.
    [f for f in Engine.model_fields if f not in {*EnginePod.model_fields, "version"} or f == "env"],
)
def test_no_field_of_a_served_models_engine_is_without_effect(field: str) -> None:
    changed: dict[str, Any] = {
        "image": "vllm:2",
        "args": ("--x",),
        "env": (("B", "2"),),
        "gpu_memory_utilization": 0.7,
        "quantization": Dtype.FP8,
        "kv_cache_dtype": Dtype.FP8,
    }
    engine = replace(ENGINE, **{field: changed.get(field, 4097)})
    other = replace(WORKLOAD, variant=replace(VARIANT, engine=engine))
    assert {**pod_template(other), "metadata": dict(template_labels(other))} != {
        **pod_template(WORKLOAD),
        "metadata": dict(template_labels(WORKLOAD)),
    }


def test_the_time_for_a_drain_is_the_pods_grace_period_and_makes_another_deployment_of_the_same_variant() -> (
    None
):
    longer = replace(VARIANT, engine=replace(ENGINE, drain_seconds=1800))
    other = replace(WORKLOAD, variant=longer)
    assert pod_template(WORKLOAD)["spec"]["terminationGracePeriodSeconds"] == 300
    assert pod_template(other)["spec"]["terminationGracePeriodSeconds"] == 1800
    assert longer.name == VARIANT.name
    assert deployment_name(other) != deployment_name(WORKLOAD)


def test_the_kubelet_waits_for_health_as_long_as_envoy_does_and_restarts_only_what_hangs() -> None:
    engine = container()
    ready, live = engine["readinessProbe"], engine["livenessProbe"]
    assert (ready["timeoutSeconds"], ready["failureThreshold"]) == (HEALTH_TIMEOUT_S, UNHEALTHY_AFTER)
    assert engine["startupProbe"]["timeoutSeconds"] == HEALTH_TIMEOUT_S
    assert live["timeoutSeconds"] * live["failureThreshold"] > 2 * SILENT_AFTER_S


def test_no_flag_is_given_twice() -> None:
    args = container()["args"]
    ours = [a for a in args if a.startswith("--") and a not in ENGINE.args]
    assert len(set(ours)) == len(ours)
    assert set(ours) <= set(OF_FIELDS)


def test_the_pod_asks_for_its_gpus_on_its_pools_nodes() -> None:
    assert container()["resources"]["limits"]["nvidia.com/gpu"] == "2"
    assert template()["nodeSelector"] == {"gpu": "l40s"}
    mig = replace(WORKLOAD, pool=a_pool(resourceName="nvidia.com/mig-1g.10gb"))
    limits = container(mig)["resources"]["limits"]
    assert (limits["nvidia.com/mig-1g.10gb"], "nvidia.com/gpu" in limits) == ("2", False)


@pytest.mark.parametrize(
    ("placement", "gates", "is_spread"),
    [
        pytest.param("Argosy", [{"name": "argosy.dev/placement"}], False, id="Argosy places"),
        pytest.param("Scheduler", None, True, id="the scheduler places"),
    ],
)
def test_only_what_argosy_places_waits_behind_its_gate(placement: str, gates: Any, is_spread: bool) -> None:
    spec = template(replace(WORKLOAD, pool=a_pool(placement=placement)))
    assert spec.get("schedulingGates") == gates
    assert ("topologySpreadConstraints" in spec) is is_spread


def test_a_pod_tolerates_its_pools_taints_and_is_never_evicted_for_missing_heartbeats() -> None:
    pool = a_pool(tolerations=[{"key": "team", "value": "a", "effect": "NoSchedule"}])
    assert template(replace(WORKLOAD, pool=pool))["tolerations"] == [
        {"key": "team", "operator": "Equal", "value": "a", "effect": "NoSchedule"},
        *(
            {"key": f"node.kubernetes.io/{condition}", "operator": "Exists", "effect": "NoExecute"}
            for condition in ("not-ready", "unreachable")
        ),
    ]


@pytest.mark.parametrize(("gpus", "has_memory"), [(1, False), (2, True)])
def test_gpus_that_talk_to_each_other_get_shared_memory(gpus: int, has_memory: bool) -> None:
    spec = template(replace(WORKLOAD, variant=replace(VARIANT, tensor_parallel=gpus)))
    assert ({"name": "argosy-shm", "emptyDir": {"medium": "Memory"}} in spec["volumes"]) is has_memory
    mount = {"name": "argosy-shm", "mountPath": "/dev/shm"}
    assert (mount in spec["containers"][0]["volumeMounts"]) is has_memory


def test_the_drain_hook_is_a_program_that_asks_the_engine() -> None:
    command = container()["lifecycle"]["preStop"]["exec"]["command"]
    assert command[:2] == ["python3", "-c"]
    ast.parse(command[2])
    assert "http://127.0.0.1:9000/metrics" in command[2]
    assert "%(port)d" in DRAIN_HOOK


def test_a_service_called_vllm_does_not_become_the_engines_settings() -> None:
    assert template()["enableServiceLinks"] is False


def test_the_template_is_the_same_for_every_count() -> None:
    one, many = deployment_manifest(WORKLOAD, 1), deployment_manifest(WORKLOAD, 99)
    assert many["spec"].pop("replicas") == 99
    assert one["spec"].pop("replicas") == 1
    assert one == many
    assert one["spec"]["template"] == pod_template(WORKLOAD)
    selector = one["spec"]["selector"]["matchLabels"]
    assert selector.items() <= one["spec"]["template"]["metadata"]["labels"].items()
    assert one["metadata"]["name"] == selector[LABEL_DEPLOYMENT] == deployment_name(WORKLOAD)


ANOTHER: dict[str, dict[str, Any]] = {
    "model": {"model_key": ModelKey("default/mistral")},
    "model id": {"model_id": "meta/other"},
    "served name": {"served_names": ("llama",)},
    "shape": {"tensor_parallel": 1},
    "engine": {"engine": replace(ENGINE, max_num_seqs=9)},
}


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(replace(WORKLOAD, group=GroupName("default/batch")), id="another class"),
        pytest.param(replace(WORKLOAD, variant=replace(VARIANT, pool="h100")), id="another pool"),
        pytest.param(replace(WORKLOAD, pool=a_pool(nodeSelector={"gpu": "x"})), id="another node selector"),
        pytest.param(replace(WORKLOAD, pool=a_pool(placement="Scheduler")), id="another placement"),
        *(
            pytest.param(replace(WORKLOAD, variant=replace(VARIANT, **change)), id=f"another {name}")
            for name, change in ANOTHER.items()
        ),
    ],
)
def test_what_would_change_a_pod_is_another_deployment(other: EngineWorkload) -> None:
    assert deployment_name(other) != deployment_name(WORKLOAD)


@pytest.mark.parametrize(
    "pool", [pytest.param(a_pool(nodeSelector={"gpu": "l40s"}, priceUsdPerHour=9.9), id="a price")]
)
def test_what_would_not_change_a_pod_keeps_the_deployment(pool: Any) -> None:
    assert deployment_name(replace(WORKLOAD, pool=pool)) == deployment_name(WORKLOAD)


def test_a_name_is_the_same_in_every_process() -> None:
    program = "import test_deployment as t; print(t.deployment_name(t.WORKLOAD))"
    folders = [Path(__file__).parent, Path(__file__).parents[2] / "support"]
    found = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path[:0] = {[str(f) for f in folders]!r}; {program}"],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONHASHSEED": "7"},
    )
    assert found.stdout.strip() == deployment_name(WORKLOAD)


LONG = {
    "dots": "a.b-c." + "d" * 40 + ".e",
    "253 characters": "m" * 253,
    "a dot where it is cut": "x" * 53 + "." + "y" * 20,
    "a dash where it is cut": "x" * 40 + "-" + "y" * 20,
}


@pytest.mark.parametrize("name", LONG.values(), ids=LONG.keys())
@pytest.mark.parametrize("where", ["model", "class", "pool"])
def test_any_name_that_the_api_takes_makes_valid_names_and_labels(name: str, where: str) -> None:
    workload = {
        "model": replace(WORKLOAD, variant=replace(VARIANT, model_key=ModelKey(f"default/{name}"))),
        "class": replace(WORKLOAD, group=GroupName(f"default/{name}")),
        "pool": replace(WORKLOAD, variant=replace(VARIANT, pool=name)),
    }[where]
    manifest = deployment_manifest(workload, 1)
    assert len(manifest["metadata"]["name"]) <= MODEL_PART_LIMIT + 1 + HASH_LENGTH
    assert name in manifest["metadata"]["annotations"]["argosy.dev/runs"]
    assert OBJECT_NAME.fullmatch(manifest["metadata"]["name"])
    labels = manifest["metadata"]["labels"]
    assert [v for v in labels.values() if not LABEL_VALUE.fullmatch(v)] == []
    assert len(workload.variant.name) <= 63
    label = {"model": LABEL_MODEL, "class": LABEL_GROUP, "pool": LABEL_POOL}[where]
    assert labels[label] == label_value(name)
    assert labels[LABEL_VARIANT] == workload.variant.name


@pytest.mark.parametrize("where", ["model_key", "pool"])
def test_long_names_that_begin_alike_are_told_apart(where: str) -> None:
    prefix = "default/" if where == "model_key" else ""
    kind = ModelKey if where == "model_key" else str
    changes: list[dict[str, Any]] = [{where: kind(prefix + "n" * 252 + end)} for end in "ab"]
    one, other = (replace(VARIANT, **change) for change in changes)
    assert one.name != other.name
    names = {deployment_name(replace(WORKLOAD, variant=v)) for v in (one, other)}
    names |= {
        deployment_name(replace(WORKLOAD, group=GroupName("default/" + "n" * 252 + end))) for end in "ab"
    }
    assert len(names) == 4
    assert label_value("n" * 252 + "a") != label_value("n" * 252 + "b")


@pytest.mark.parametrize("model", ["llama-8b", "mistral-7b", "qwen2.5-7b"])
def test_a_pod_of_a_usual_model_has_a_name_of_at_most_35_characters(model: str) -> None:
    """Behind the Deployment's name: a dash, ten characters of the ReplicaSet, a dash, five of its own."""
    name = deployment_name(
        replace(WORKLOAD, variant=replace(VARIANT, model_key=ModelKey(f"default/{model}")))
    )
    assert re.fullmatch(re.escape(model.replace(".", "-")) + "-[b-z2-9]{7}", name)
    assert len(name) + 17 <= 35


def test_what_a_deployment_runs_is_in_words_and_never_on_its_pods() -> None:
    manifest = deployment_manifest(WORKLOAD, 1)
    assert manifest["metadata"]["annotations"] == {
        "argosy.dev/runs": f"ServedModel llama on GPUPool l40s, tensor parallel {VARIANT.tensor_parallel},"
        " for sharing group chat"
    }
    assert "annotations" not in manifest["spec"]["template"]["metadata"]


def test_names_that_are_cut_alike_are_told_apart_by_their_hash() -> None:
    names = [
        deployment_name(replace(WORKLOAD, variant=replace(VARIANT, model_key=ModelKey(f"default/{model}"))))
        for model in ("a-model-of-a-long-name-1", "a-model-of-a-long-name-2")
    ]
    assert {name.rpartition("-")[0] for name in names} == {"a-model-of-a-long-na"}
    assert len(set(names)) == 2


def test_labels_keep_short_names_as_they_are() -> None:
    assert label_value("chat") == "chat"
    assert label_value("c" * 63) == "c" * 63


def test_a_pipelined_replica_asks_for_its_stages_and_all_their_gpus() -> None:
    variant = replace(VARIANT, pipeline_parallel=2, engine=replace(ENGINE, max_loras=0))
    engine = container(replace(WORKLOAD, variant=variant))
    assert engine["args"][7:11] == ["--tensor-parallel-size", "2", "--pipeline-parallel-size", "2"]
    assert engine["resources"]["limits"]["nvidia.com/gpu"] == "4"
    assert variant.name.startswith("llama-l40s-tp2pp2-")


def test_number_types_are_flags_only_where_the_model_asks_for_them() -> None:
    engine = replace(ENGINE, quantization=Dtype.FP8, kv_cache_dtype=Dtype.FP8, max_loras=0)
    args = container(replace(WORKLOAD, variant=replace(VARIANT, engine=engine)))["args"]
    assert args[9:13] == ["--quantization", "fp8", "--kv-cache-dtype", "fp8"]


def test_engine_settings_hold_nothing_else() -> None:
    # The KV block's size is vLLM's own default and has no field in the API.
    own = {f.name for f in fields(EngineSettings)} - {"block_size", "pod", "env"}
    assert own == set(Engine.model_fields) - set(EnginePod.model_fields)


def test_labels_that_users_set_are_on_the_pods_and_never_replace_argosys() -> None:
    pool = a_pool(podLabels={"team": "infra", "kueue.x-k8s.io/queue-name": "gpus"})
    engine = replace(WORKLOAD.variant.engine, pod=Engine(pod_labels={"team": "search"}))
    workload = replace(WORKLOAD, pool=pool, variant=replace(WORKLOAD.variant, engine=engine))
    labels = deployment_manifest(workload, 1)["spec"]["template"]["metadata"]["labels"]
    assert (labels["team"], labels["kueue.x-k8s.io/queue-name"]) == ("search", "gpus")
    assert labels["argosy.dev/pool"] == "l40s"
    assert deployment_manifest(workload, 1)["spec"]["selector"]["matchLabels"].keys() <= labels.keys()
    assert workload.key != WORKLOAD.key
