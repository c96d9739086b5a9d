"""What an engine's pod has beside vLLM's arguments: defaults, and the fields of `spec.engine` over them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from builders import a_model, a_pool
from hypothesis import given
from hypothesis import strategies as st
from small_fleet import World

from argosy.api.engine.pod import EnginePod
from argosy.control.candidates.variants import variants_of
from argosy.keys import GroupName
from argosy.manifests import EngineWorkload, deployment_manifest, deployment_name, pod_template
from argosy.manifests.engine_resources import amount_of

LLAMA_8B = "meta-llama/Llama-3.1-8B-Instruct"
LLAMA_70B = "meta-llama/Llama-3.1-70B-Instruct"
Manifest = dict[str, Any]


def a_workload(model_id: str = LLAMA_8B, tensor_parallel: int = 1, **engine: Any) -> EngineWorkload:
    shapes = [{"tensorParallel": tensor_parallel}]
    model, pool = a_model(model_id=model_id, engine=engine, parallelShapes=shapes), a_pool()
    [variant] = variants_of(World([], pool, model).snapshot(), model)
    return EngineWorkload(variant, GroupName("default/chat"), pool)


def pod_of(**engine: Any) -> Manifest:
    spec: Manifest = pod_template(a_workload(**engine))["spec"]
    return spec


def container_of(**engine: Any) -> Manifest:
    [found] = pod_of(**engine)["containers"]
    assert isinstance(found, dict)
    return found


# --- every field reaches the pod -------------------------------------------------------------------

CLAIM = {"name": "models", "persistentVolumeClaim": {"claimName": "models", "readOnly": True}}
TOKEN = {"secretKeyRef": {"name": "hf", "key": "token"}}
IN_POD: dict[str, tuple[Any, Any]] = {
    "imagePullSecrets": ([{"name": "registry"}], [{"name": "registry"}]),
    "serviceAccountName": ("engines", "engines"),
    "runtimeClassName": ("nvidia", "nvidia"),
    "priorityClassName": ("high", "high"),
}
IN_CONTAINER: dict[str, tuple[Any, Any]] = {
    "envFrom": ([{"prefix": "P_", "secretRef": {"name": "s", "optional": True}}],) * 2,
    "imagePullPolicy": ("Always", "Always"),
}


@pytest.mark.parametrize("field", IN_POD)
def test_a_field_of_the_pod_is_under_the_name_that_kubernetes_gives_it(field: str) -> None:
    given, expected = IN_POD[field]
    assert field not in pod_of()
    assert pod_of(**{field: given})[field] == expected


@pytest.mark.parametrize("field", IN_CONTAINER)
def test_a_field_of_the_container_is_under_the_name_that_kubernetes_gives_it(field: str) -> None:
    given, expected = IN_CONTAINER[field]
    assert field not in container_of()
    assert container_of(**{field: given})[field] == expected


@pytest.mark.parametrize(
    "source",
    [
        CLAIM,
        {"name": "v", "hostPath": {"path": "/models", "type": "Directory"}},
        {"name": "v", "image": {"reference": "registry.example/llama:1", "pullPolicy": "IfNotPresent"}},
        {"name": "v", "emptyDir": {}},
        {"name": "v", "emptyDir": {"medium": "Memory", "sizeLimit": "16Gi"}},
        {
            "name": "v",
            "secret": {"secretName": "s", "items": [{"key": "a", "path": "b"}], "defaultMode": 256},
        },
        {"name": "v", "configMap": {"name": "s", "optional": True}},
        {"name": "v", "nfs": {"server": "files", "path": "/models"}},
    ],
    ids=lambda source: next(name for name in source if name != "name"),
)
def test_a_volume_and_its_mount_reach_the_pod_as_they_are(source: Manifest) -> None:
    mount = {"name": source["name"], "mountPath": "/models", "subPath": "a", "readOnly": True}
    pod = pod_of(volumes=[source], volumeMounts=[mount])
    assert source in pod["volumes"]
    assert mount in pod["containers"][0]["volumeMounts"]


def test_a_secret_reaches_the_engine_before_values_that_may_refer_to_it() -> None:
    literal = {"name": "URL", "value": "https://$(TOKEN)@host"}
    env = container_of(env=[literal, {"name": "TOKEN", "valueFrom": TOKEN}])["env"]
    assert env[-2:] == [{"name": "TOKEN", "valueFrom": TOKEN}, literal]


def test_annotations_are_on_the_pods_beside_that_of_a_restart() -> None:
    workload = a_workload(annotations={"prometheus.io/scrape": "true"})
    annotations = pod_template(replace(workload, restarted_at="2026-01-01T00:00:00Z"))["metadata"][
        "annotations"
    ]
    assert annotations["prometheus.io/scrape"] == "true"
    assert "2026-01-01T00:00:00Z" in annotations.values()


CHANGES: dict[str, Any] = {
    "podLabels": {"team": "search"},
    "annotations": {"a": "b"},
    "env": [{"name": "HF_TOKEN", "valueFrom": TOKEN}],
    "envFrom": [{"configMapRef": {"name": "c"}}],
    "imagePullSecrets": [{"name": "registry"}],
    "imagePullPolicy": "Always",
    "serviceAccountName": "engines",
    "volumes": [CLAIM],
    "volumeMounts": [{"name": "models", "mountPath": "/models"}],
    "resources": {"requests": {"cpu": "3"}},
    "runtimeClassName": "nvidia",
    "priorityClassName": "high",
    "securityContext": {"readOnlyRootFilesystem": True},
    "podSecurityContext": {"fsGroup": 3},
    "podTemplatePatch": {"metadata": {"labels": {"a": "b"}}},
}


def test_each_field_of_the_pod_makes_another_deployment_of_the_same_variant() -> None:
    assert {EnginePod.model_fields[f].alias for f in EnginePod.model_fields} == set(CHANGES)
    base = a_workload(volumes=[CLAIM])
    for field, value in CHANGES.items():
        changed = a_workload() if field == "volumes" else a_workload(**{"volumes": [CLAIM], field: value})
        assert deployment_name(changed) != deployment_name(base), field
        if field != "env":
            assert changed.variant.name == base.variant.name, field


# --- security --------------------------------------------------------------------------------------


def test_an_engine_runs_as_a_user_without_rights_in_a_home_that_it_may_write_to() -> None:
    pod = pod_of()
    assert pod["securityContext"] == {
        "runAsNonRoot": True,
        "runAsUser": 2000,
        "runAsGroup": 0,
        "fsGroup": 2000,
        "fsGroupChangePolicy": "OnRootMismatch",
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    [engine] = pod["containers"]
    assert engine["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
    }
    assert {"name": "HOME", "value": "/home/vllm"} in engine["env"]
    assert {"name": "argosy-home", "mountPath": "/home/vllm"} in engine["volumeMounts"]
    assert {"name": "argosy-home", "emptyDir": {}} in pod["volumes"]


def test_an_engine_has_no_token_unless_a_service_account_is_named() -> None:
    assert pod_of()["automountServiceAccountToken"] is False
    assert "automountServiceAccountToken" not in pod_of(serviceAccountName="engines")


def test_users_may_set_what_is_more_or_less_secure() -> None:
    root = pod_of(podSecurityContext={"runAsUser": 0, "runAsNonRoot": False})["securityContext"]
    assert (root["runAsUser"], root["runAsNonRoot"], root["seccompProfile"]["type"]) == (
        0,
        False,
        "RuntimeDefault",
    )
    own = container_of(securityContext={"capabilities": {"add": ["IPC_LOCK"]}})["securityContext"]
    assert own == {"allowPrivilegeEscalation": False, "capabilities": {"add": ["IPC_LOCK"]}}
    privileged = container_of(securityContext={"privileged": True})["securityContext"]
    assert privileged == {"privileged": True, "capabilities": {"drop": ["ALL"]}}


def test_a_users_home_or_shared_memory_replaces_argosys() -> None:
    volumes = [CLAIM, {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": "8Gi"}}]
    mounts = [{"name": "models", "mountPath": "/home/vllm/"}, {"name": "shm", "mountPath": "/dev/shm"}]
    pod = pod_of(tensor_parallel=2, volumes=volumes, volumeMounts=mounts)
    assert [each["name"] for each in pod["volumes"]] == ["models", "shm"]
    env = container_of(env=[{"name": "HOME", "value": "/other"}])["env"]
    assert [each["value"] for each in env if each["name"] == "HOME"] == ["/other"]


# --- requests and limits ---------------------------------------------------------------------------


def resources_of(**engine: Any) -> Manifest:
    found: Manifest = container_of(**engine)["resources"]
    return found


def test_a_container_always_has_limits_that_a_limit_range_does_not_lower() -> None:
    assert resources_of() == {
        "requests": {"cpu": "2", "memory": "8Gi"},
        "limits": {"cpu": "16", "memory": "28Gi", "nvidia.com/gpu": "1"},
    }
    large = resources_of(model_id=LLAMA_70B, tensor_parallel=4)
    assert large == {
        "requests": {"cpu": "5", "memory": "30Gi"},
        "limits": {"cpu": "40", "memory": "156Gi", "nvidia.com/gpu": "4"},
    }


def test_a_model_of_half_the_bytes_gets_less_memory() -> None:
    full, half = (amount_of(resources_of(**e)["limits"]["memory"]) for e in ({}, {"quantization": "fp8"}))
    assert half is not None
    assert full is not None
    assert half < full


def test_of_a_model_whose_size_is_not_known_no_memory_is_claimed() -> None:
    assert resources_of(model_id="unknown/model") == {
        "requests": {"cpu": "2"},
        "limits": {"cpu": "16", "nvidia.com/gpu": "1"},
    }


@pytest.mark.parametrize(
    ("own", "request_and_limit"),
    [
        pytest.param({"requests": {"memory": "64Gi"}}, ("64Gi", "64Gi"), id="a request above the limit"),
        pytest.param({"requests": {"memory": "9Gi"}}, ("9Gi", "28Gi"), id="a request below the limit"),
        pytest.param({"limits": {"memory": "5000M"}}, ("5000M", "5000M"), id="a limit below the request"),
        pytest.param({"limits": {"memory": "9e9"}}, ("9e9", "9e9"), id="a limit that is not understood"),
        pytest.param(
            {"requests": {"memory": "1Gi"}, "limits": {"memory": "2Gi"}}, ("1Gi", "2Gi"), id="both of them"
        ),
    ],
)
def test_a_users_request_and_limit_move_the_default_of_the_other(
    own: Manifest, request_and_limit: tuple[str, str]
) -> None:
    found = resources_of(resources=own)
    assert (found["requests"]["memory"], found["limits"]["memory"]) == request_and_limit


def test_quantities_may_be_whole_numbers_as_in_a_pod() -> None:
    found = resources_of(resources={"requests": {"cpu": 4}, "limits": {"memory": 2**36}})
    assert (found["requests"]["cpu"], found["limits"]["memory"]) == ("4", str(2**36))


def test_other_resources_are_as_users_write_them_and_gpus_are_argosys() -> None:
    own = {"requests": {"ephemeral-storage": "50Gi"}, "limits": {"rdma/ib": "1", "ephemeral-storage": "60Gi"}}
    found = resources_of(resources=own)
    assert found["requests"]["ephemeral-storage"] == "50Gi"
    assert (found["limits"]["rdma/ib"], found["limits"]["nvidia.com/gpu"]) == ("1", "1")


QUANTITIES = st.builds(
    lambda number, suffix: f"{number}{suffix}",
    st.integers(1, 10_000),
    st.sampled_from(["", "Mi", "Gi", "G", "k"]),
)


@given(request=st.none() | QUANTITIES, limit=st.none() | QUANTITIES)
def test_only_a_user_can_ask_for_more_than_the_limit(request: str | None, limit: str | None) -> None:
    own = {"requests": {"memory": request} if request else {}, "limits": {"memory": limit} if limit else {}}
    found = resources_of(resources=own)
    requested, limited = (amount_of(found[part]["memory"]) for part in ("requests", "limits"))
    assert requested is not None
    assert limited is not None
    assert requested <= limited or (request and limit)


def test_the_template_is_the_same_for_every_count() -> None:
    workload = a_workload(volumes=[CLAIM])
    one, many = (deployment_manifest(workload, count)["spec"]["template"] for count in (1, 9))
    assert one == many
