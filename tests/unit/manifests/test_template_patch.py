"""A patch of the pod template: what it does, and what it can never do."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from builders import a_model, a_pool
from hypothesis import given
from hypothesis import strategies as st
from small_fleet import World

from argosy.api import InvalidObject, ServedModel
from argosy.api.engine.patch import SIZE_LIMIT, patch_fault
from argosy.control.candidates.variants import variants_of
from argosy.keys import GroupName
from argosy.manifests import EngineWorkload, deployment_name, pod_template
from argosy.manifests.pod_requests import workload_requests
from argosy.manifests.strategic_merge import merged

Object = dict[str, Any]
LABELS = {"team": "search"}


def a_workload(patch: Object) -> EngineWorkload:
    model, pool = a_model(engine={"podLabels": LABELS, "podTemplatePatch": patch}), a_pool()
    [variant] = variants_of(World([], pool, model).snapshot(), model)
    return EngineWorkload(variant, GroupName("default/chat"), pool)


def engine_patch(**fields: Any) -> Object:
    return {"spec": {"containers": [{"name": "engine", **fields}]}}


OWN = ("image", "args", "startupProbe", "readinessProbe", "livenessProbe")
OF_POD = ("nodeSelector", "tolerations", "schedulingGates", "terminationGracePeriodSeconds")


def ports_of(container: Object) -> list[Object]:
    """Its ports; what is no list of them in a container of a user's, the dry run refuses."""
    ports = container.get("ports")
    return [each for each in ports if isinstance(each, dict)] if isinstance(ports, list) else []


def kept(template: Object) -> Object:
    """What no patch may change."""
    spec, labels = template["spec"], template["metadata"]["labels"]
    [engine] = [c for c in spec["containers"] if c["name"] == "engine"]
    others = [c for c in (*spec["containers"], *spec.get("initContainers", ())) if c is not engine]
    return {
        **{name: engine[name] for name in OWN},
        **{name: spec.get(name) for name in OF_POD},
        "command": engine.get("command"),
        "hostNetwork": spec.get("hostNetwork"),
        "preStop": engine["lifecycle"]["preStop"],
        "port": [p for c in spec["containers"] for p in ports_of(c) if p.get("name") == "http"],
        "GPUs": engine["resources"]["limits"]["nvidia.com/gpu"],
        "GPUs of others": [c for c in others if "nvidia.com/gpu" in str(c.get("resources"))],
        "labels": {label: labels[label] for label in ("argosy.dev/model", "argosy.dev/pool", "team")},
    }


PLAIN = pod_template(a_workload({}))
SIDECAR = {"name": "proxy", "image": "proxy:1", "ports": [{"name": "metrics", "containerPort": 9}]}
GOOD: dict[str, Object] = {
    "a sidecar": {"spec": {"containers": [SIDECAR]}},
    "an init container": {"spec": {"initContainers": [{"name": "fetch", "image": "fetch:1"}]}},
    "a host name": {"spec": {"hostname": "a", "dnsConfig": {"options": [{"name": "ndots", "value": "1"}]}}},
    "no limit of CPUs": engine_patch(resources={"limits": {"cpu": None}}),
    "a variable": engine_patch(env=[{"name": "NCCL_DEBUG", "value": "INFO"}]),
    "a second port": engine_patch(ports=[{"name": "debug", "containerPort": 5678}]),
    "an extended resource": engine_patch(resources={"limits": {"rdma/ib": "1"}}),
    "a volume of a driver": {
        "spec": {
            "volumes": [{"name": "models", "csi": {"driver": "d"}}],
            "containers": [{"name": "engine", "volumeMounts": [{"mountPath": "/models", "name": "models"}]}],
        }
    },
    "labels": {"metadata": {"labels": {"kueue.x-k8s.io/queue-name": "q"}, "annotations": {"a": "b"}}},
    "no user of its own": {"spec": {"securityContext": {"runAsUser": None, "runAsGroup": None}}},
    "a hook after the start": engine_patch(lifecycle={"postStart": {"exec": {"command": ["true"]}}}),
}


@pytest.mark.parametrize("patch", GOOD.values(), ids=GOOD.keys())
def test_a_patch_reaches_the_template_and_makes_another_deployment(patch: Object) -> None:
    workload = a_workload(patch)
    template = pod_template(workload)
    assert template != PLAIN
    assert kept(template) == kept(PLAIN)
    assert deployment_name(workload) != deployment_name(a_workload({}))
    assert workload.variant.name == a_workload({}).variant.name
    assert template["metadata"]["labels"]["team"] == "search"


BAD: dict[str, tuple[Object, str]] = {
    "the engine's container removed": (
        engine_patch(**{"$patch": "delete"}),
        "the engine's container must stay",
    ),
    "the engine's container replaced": (
        engine_patch(**{"$patch": "replace"}),
        "the engine's container must stay",
    ),
    "all containers replaced": (
        {"spec": {"containers": [{"$patch": "replace"}, SIDECAR]}},
        "it would replace the engine's container",
    ),
    "the list deleted": ({"spec": {"$patch": "replace"}}, "it would remove fields that Argosy sets"),
    "containers without a list": ({"spec": {"containers": None}}, "it would replace the engine's container"),
    "fields dropped": ({"spec": {"$retainKeys": ["containers"]}}, "it would remove fields that Argosy sets"),
    "the gate": (
        {"spec": {"schedulingGates": [{"$patch": "delete", "name": "argosy.dev/placement"}]}},
        "podTemplatePatch.spec.schedulingGates: it must not be patched",
    ),
    "no gates": ({"spec": {"schedulingGates": None}}, "Argosy's gate holds a pod"),
    "a label": (
        {"metadata": {"labels": {"argosy.dev/model": "other"}}},
        "Argosy and Kubernetes know the pod",
    ),
    "no label": ({"metadata": {"labels": {"argosy.dev/model": None}}}, "labels.argosy.dev/model"),
    "all labels": ({"metadata": {"labels": None}}, "metadata.labels: it must be an object"),
    "no metadata": ({"metadata": None}, "metadata: it must be an object"),
    "a label of a user": ({"metadata": {"labels": {"team": None}}}, "set spec.engine.podLabels"),
    "nodes": ({"spec": {"nodeSelector": {"zone": "a"}}}, "set spec.nodeSelector of the GPUPool"),
    "GPUs": (engine_patch(resources={"limits": {"nvidia.com/gpu": "8"}}), "spec.parallelShapes"),
    "no limits": (engine_patch(resources={"limits": None}), "spec.parallelShapes"),
    "no resources": (engine_patch(resources=None), "spec.parallelShapes"),
    "GPUs of a sidecar": (
        {"spec": {"containers": [{**SIDECAR, "resources": {"limits": {"nvidia.com/gpu": 1}}}]}},
        "spec.parallelShapes",
    ),
    "the port's name": (engine_patch(ports=[{"containerPort": 8000, "name": "api"}]), "set spec.engine.port"),
    "the port": (engine_patch(ports=[{"containerPort": 8000, "$patch": "delete"}]), "set spec.engine.port"),
    "no ports": (engine_patch(ports=None), "must be a list"),
    "a sidecar's port of that name": (
        {"spec": {"containers": [{"name": "p", "ports": [{"name": "http", "containerPort": 1}]}]}},
        "choose another name",
    ),
    "the image": (engine_patch(image="other:1"), "set spec.engine.image"),
    "arguments": (engine_patch(args=["--model", "x"]), "set the fields of spec.engine"),
    "the command": (engine_patch(command=["sh"]), "vllm serve"),
    "a probe": (engine_patch(livenessProbe=None), "judge an engine by the same probe"),
    "the drain": (engine_patch(lifecycle={"preStop": None}), "preStop waits"),
    "hooks": (engine_patch(lifecycle=None), "preStop waits"),
    "the grace": ({"spec": {"terminationGracePeriodSeconds": 1}}, "set spec.engine.drainSeconds"),
    "own volumes": ({"spec": {"volumes": [{"name": "argosy-home", "$patch": "delete"}]}}, "Argosy's own"),
    "volumes replaced": ({"spec": {"volumes": [{"$patch": "replace"}]}}, "must have a name"),
    "what is no part of it": ({"spec": {}, "status": {}}, "a pod template has metadata and spec only"),
    "a spec that is no object": ({"spec": []}, "must be an object"),
    "the network of the node": ({"spec": {"hostNetwork": True}}, "spec.engine.port"),
    "too long": ({"spec": {"hostname": "a" * SIZE_LIMIT}}, f"at most {SIZE_LIMIT} are taken"),
}


@pytest.mark.parametrize(("patch", "sentence"), BAD.values(), ids=BAD.keys())
def test_a_patch_that_takes_away_what_argosy_needs_is_refused_by_a_sentence(
    patch: Object, sentence: str
) -> None:
    spec = {"modelId": "small", "engine": {"podTemplatePatch": patch}}
    found = ServedModel.from_object({"metadata": {"name": "m", "namespace": "n"}, "spec": spec})
    assert isinstance(found, InvalidObject)
    assert found.message.startswith("spec.engine.podTemplatePatch")
    assert sentence in found.message


NAMES = st.sampled_from(
    [
        *("engine", "proxy", "http", "argosy-home", "nvidia.com/gpu"),
        *("argosy.dev/model", "team", "cpu", "replace", "delete"),
    ]
)
KEYS = st.sampled_from(
    [
        *("metadata", "spec", "labels", "containers", "initContainers", "volumes", "name", "ports"),
        *("containerPort", "resources", "limits", "requests", "env", "volumeMounts", "mountPath"),
        *("lifecycle", "preStop", "image", "args", "schedulingGates", "nodeSelector", "$patch"),
        *("$retainKeys", "$deleteFromPrimitiveList/args", "team", "argosy.dev/model", "hostname"),
        *("nvidia.com/gpu", "securityContext", "readinessProbe"),
    ]
)
LEAVES = st.none() | NAMES | st.sampled_from([8000, 9, True])
ANY = st.recursive(
    LEAVES, lambda below: st.lists(below, max_size=2) | st.dictionaries(KEYS, below, max_size=3), max_leaves=8
)
CONTAINERS = st.lists(
    st.builds(lambda name, rest: {**rest, "name": name}, NAMES, st.dictionaries(KEYS, ANY, max_size=3)),
    max_size=2,
)
PATCHES = st.fixed_dictionaries(
    {},
    optional={
        "metadata": st.dictionaries(KEYS, ANY, max_size=2) | ANY,
        "spec": st.builds(
            lambda rest, containers: {**rest, **({"containers": containers} if containers else {})},
            st.dictionaries(KEYS, ANY, max_size=2),
            CONTAINERS,
        )
        | ANY,
    },
)


def test_a_null_in_a_patch_survives_reading_and_writing() -> None:
    patch = engine_patch(resources={"limits": {"cpu": None}})
    model = a_model(engine={"podTemplatePatch": patch})
    assert model.to_object()["spec"]["engine"]["podTemplatePatch"] == patch
    assert "cpu" not in pod_template(a_workload(patch))["spec"]["containers"][0]["resources"]["limits"]


@given(patch=PATCHES)
def test_no_patch_that_is_taken_changes_what_argosy_needs(patch: Object) -> None:
    if patch_fault(patch, 8000) is None:
        assert kept(merged(PLAIN, patch)) == kept(PLAIN)


@given(patch=PATCHES)
def test_merging_changes_neither_side(patch: Object) -> None:
    if patch_fault(patch, 8000) is None:
        before, given_patch = copy.deepcopy(PLAIN), copy.deepcopy(patch)
        merged(PLAIN, patch)
        assert (before, given_patch) == (PLAIN, patch)


@pytest.mark.parametrize(
    "patch",
    [
        {"spec": {"containers": [{"name": "proxy", "resources": 8000}]}},
        {"spec": {"containers": [{"name": "proxy", "resources": {"limits": "all"}}]}},
        {"spec": {"containers": [{"name": "proxy", "resources": {"requests": [1], "limits": {"cpu": []}}}]}},
        {"spec": {"initContainers": [{"name": "fetch", "resources": True}]}},
        {"spec": {"initContainers": "fetch"}},
    ],
)
def test_what_is_no_quantity_in_a_patch_counts_for_nothing(patch: Object) -> None:
    if patch_fault(patch, 8000) is None:
        assert workload_requests(a_workload(patch)) == workload_requests(a_workload({}))
