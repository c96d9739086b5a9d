"""The real API server on the generated CRDs: takes them, defaults as Python does, refuses in the same words.

Whatever can be is tried as a dry run: validation and defaulting are complete there, and nothing
is left behind.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes import client, config
from rule_cases import VALID, patched, rule_cases

from argosy.api import GROUP, KINDS, RULES, VERSION, CustomResource, Scope
from argosy.api.schema.rule import Rule
from argosy.api.servedmodel import Engine

ROOT = Path(__file__).parents[2]
KIND_BY_NAME = {kind.KIND: kind for kind in KINDS}
BAD = sorted((ROOT / "examples/bad").glob("*.yaml"))
NAMESPACE = "api-contract"
PUBLISHED_WITHIN_S = 20
"""The API server tells of a new CRD's fields 1-3 s after it is established (seen on 1.36)."""

Kubectl = Any
Verdict = Callable[[dict[str, Any]], str]


def objects_in(path: Path) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(path.read_text("utf-8")))


@pytest.fixture(scope="module")
def crds(kubectl: Kubectl) -> None:
    kubectl("apply", "-f", str(ROOT / "crds"))
    names = [f"crd/{kind.PLURAL}.{GROUP}" for kind in KINDS]
    kubectl("wait", "--for=condition=Established", "--timeout=30s", *names)
    deadline = time.monotonic() + PUBLISHED_WITHIN_S
    while any(kubectl("explain", kind.PLURAL, check=False).returncode for kind in KINDS):
        assert time.monotonic() < deadline, "the API server does not publish the CRDs' fields"
        time.sleep(0.5)


@pytest.fixture(scope="module")
def namespace(kubectl: Kubectl, crds: None) -> Iterator[str]:
    kubectl("create", "namespace", NAMESPACE)
    yield NAMESPACE
    kubectl("delete", "namespace", NAMESPACE, "--wait=false")


@pytest.fixture(scope="module")
def verdict(admin_kubeconfig: Path, crds: None) -> Iterator[Verdict]:
    """What the API server says to the creation of an object; empty where it agrees."""
    with config.new_client_from_config(str(admin_kubeconfig)) as api:  # type: ignore[no-untyped-call]
        custom = client.CustomObjectsApi(api)

        def judge(obj: dict[str, Any]) -> str:
            kind = KIND_BY_NAME[obj["kind"]]
            try:
                if kind.SCOPE is Scope.NAMESPACED:
                    namespace = obj["metadata"]["namespace"]
                    custom.create_namespaced_custom_object(
                        GROUP, VERSION, namespace, kind.PLURAL, obj, dry_run="All"
                    )
                else:
                    custom.create_cluster_custom_object(GROUP, VERSION, kind.PLURAL, obj, dry_run="All")
            except client.ApiException as refusal:
                # Looked at after validation: the name is taken, the object itself is fine.
                return "" if refusal.status == 409 else str(json.loads(refusal.body or "{}")["message"])
            return ""

        yield judge


@pytest.mark.parametrize("name", ["small", "large"])
def test_a_good_set_is_accepted_and_defaulted_as_in_python(kubectl: Kubectl, crds: None, name: str) -> None:
    answer = kubectl("apply", "--dry-run=server", "-o", "json", "-f", str(ROOT / "examples" / name))
    stored = json.loads(answer.stdout)["items"]
    assert len(stored) == sum(len(objects_in(path)) for path in (ROOT / "examples" / name).glob("*.yaml"))
    for obj in stored:
        found = KIND_BY_NAME[obj["kind"]].from_object(obj)
        assert isinstance(found, CustomResource), found
        assert found.to_object()["spec"] == obj["spec"]


@pytest.mark.parametrize("path", BAD, ids=lambda path: path.stem)
def test_a_bad_example_is_refused_with_its_message(verdict: Verdict, path: Path) -> None:
    promised = path.read_text("utf-8").splitlines()[0].removeprefix("# refused: ")
    [obj] = objects_in(path)
    assert promised in verdict(obj)


@pytest.mark.parametrize(("kind", "rule", "patch"), rule_cases("good"))
def test_cel_accepts_what_python_accepts(
    verdict: Verdict, kind: type[CustomResource], rule: Rule, patch: dict[str, Any]
) -> None:
    assert verdict(patched(kind, patch)) == ""


@pytest.mark.parametrize(("kind", "rule", "patch"), rule_cases("bad"))
def test_cel_refuses_what_python_refuses(
    verdict: Verdict, kind: type[CustomResource], rule: Rule, patch: dict[str, Any]
) -> None:
    assert rule.message in verdict(patched(kind, patch))


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.KIND)
def test_kubectl_explains_a_kind_in_our_words(
    kubectl: Kubectl, crds: None, kind: type[CustomResource]
) -> None:
    told = " ".join(kubectl("explain", kind.PLURAL).stdout.split())
    assert " ".join(str(kind.__doc__).split()) in told


def test_kubectl_explains_a_field_in_our_words(kubectl: Kubectl, crds: None) -> None:
    told = " ".join(kubectl("explain", "servedmodel.spec.engine.maxNumSeqs").stdout.split())
    description = Engine.model_fields["max_num_seqs"].description
    assert description is not None
    assert description in told


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.KIND)
def test_a_kind_is_known_by_its_short_name_and_category(
    kubectl: Kubectl, crds: None, kind: type[CustomResource]
) -> None:
    for words in (kind.SHORT_NAMES[0], kind.KIND.lower(), "argosy"):
        assert kubectl("get", words, "--all-namespaces", check=False).returncode == 0
    listed = kubectl("api-resources", "--categories=argosy", "-o", "name").stdout.split()
    assert f"{kind.PLURAL}.{GROUP}" in listed


@pytest.fixture(scope="module")
def pool(kubectl: Kubectl, crds: None) -> Iterator[str]:
    """A pool that exists, with a status."""
    obj = {**VALID["GPUPool"], "metadata": {"name": "api-contract"}}
    kubectl("apply", "-f", "-", stdin=json.dumps(obj))
    ready = {"type": "Ready", "status": "False", "reason": "NoNodes", "message": "No node carries the label."}
    status = {"nodes": 3, "gpusTotal": 6, "gpusFree": 5, "costUsdPerHour": 0.9, "conditions": [ready]}
    patch = json.dumps({"status": status})
    kubectl("patch", "gpupool", "api-contract", "--subresource=status", "--type=merge", "-p", patch)
    yield "api-contract"
    kubectl("delete", "gpupool", "api-contract")


def test_kubectl_get_shows_the_columns(kubectl: Kubectl, pool: str) -> None:
    header, row = kubectl("get", "gpool", pool, "-o", "wide").stdout.splitlines()
    gpu, price = (VALID["GPUPool"]["spec"][field] for field in ("gpu", "priceUsdPerHour"))
    assert " ".join(header.split()) == "NAME GPU NODES GPUS FREE $/GPU-H $/H READY REASON AGE MESSAGE"
    assert row.split()[:8] == [pool, gpu, "3", "6", "5", f"{price:g}", "0.9", "False"]
    assert row.endswith("No node carries the label.")


def test_a_write_by_status_leaves_the_spec_alone(kubectl: Kubectl, pool: str) -> None:
    patch = json.dumps({"spec": {"gpu": "T4"}, "status": {"gpusUnhealthy": 1}})
    answer = kubectl(
        "patch", "gpool", pool, "--subresource=status", "--type=merge", "-p", patch, "-o", "json"
    )
    stored = json.loads(answer.stdout)
    assert stored["spec"]["gpu"] == VALID["GPUPool"]["spec"]["gpu"]
    assert stored["status"]["gpusUnhealthy"] == 1


def test_a_write_by_spec_leaves_the_status_alone(kubectl: Kubectl, pool: str) -> None:
    patch = json.dumps({"spec": {"resourceName": "nvidia.com/mig-1g"}, "status": {"nodes": 99}})
    stored = json.loads(kubectl("patch", "gpool", pool, "--type=merge", "-p", patch, "-o", "json").stdout)
    assert (stored["spec"]["resourceName"], stored["status"]["nodes"]) == ("nvidia.com/mig-1g", 3)


def test_a_status_that_names_a_condition_twice_is_refused(kubectl: Kubectl, pool: str) -> None:
    ready = {"type": "Ready", "status": "True", "reason": "Ready", "message": ""}
    patch = json.dumps({"status": {"conditions": [ready, ready]}})
    answer = kubectl("patch", "gpool", pool, "--subresource=status", "--type=merge", "-p", patch, check=False)
    assert "status.conditions[1]: Duplicate value" in answer.stderr


@pytest.fixture(scope="module")
def plan(kubectl: Kubectl, crds: None) -> Iterator[str]:
    """A plan that exists."""
    spec = {
        "revision": 1,
        "trigger": "first plan",
        "costUsdPerHour": 0.9,
        "solver": {"status": "Optimal"},
        "reasons": [{"code": "Cheapest", "message": "One L40S carries it."}],
    }
    obj = {
        "apiVersion": f"{GROUP}/{VERSION}",
        "kind": "FleetPlan",
        "metadata": {"name": "api-contract"},
        "spec": spec,
    }
    kubectl("create", "-f", "-", stdin=json.dumps(obj))
    yield "api-contract"
    kubectl("delete", "fleetplan", "api-contract")


@pytest.mark.parametrize(
    "patch",
    [
        pytest.param({"costUsdPerHour": 1.8}, id="another-number"),
        pytest.param({"reasons": []}, id="a-reason-less"),
        pytest.param({"solver": {"gap": 0.01}}, id="one-field-more"),
    ],
)
def test_a_plan_never_changes(kubectl: Kubectl, plan: str, patch: dict[str, Any]) -> None:
    words = json.dumps({"spec": patch})
    answer = kubectl("patch", "fplan", plan, "--type=merge", "-p", words, check=False)
    [immutable] = [placed.rule for placed in RULES if placed.rule.name == "fleetplan-immutable"]
    assert answer.returncode != 0
    assert immutable.message in answer.stderr


def test_a_plans_life_goes_on_in_its_status(kubectl: Kubectl, plan: str) -> None:
    weights = [{"cell": "default/chat", "weights": [{"deployment": "default/a", "weight": 0.5}]}]
    patch = json.dumps({"status": {"phase": "Applied", "weights": weights}})
    kubectl("patch", "fplan", plan, "--subresource=status", "--type=merge", "-p", patch)
    assert kubectl("get", "fplan", plan).stdout.splitlines()[1].split()[:4] == [plan, "1", "0.9", "Applied"]


def test_a_plan_as_large_as_a_plan_may_be_is_accepted(verdict: Verdict, crds: None) -> None:
    # 512 KiB is the bound of a FleetPlan; here about as much, in as many deployments as the schema takes.
    nodes = [{"node": f"node-{number:03}", "replicas": 1} for number in range(20)]
    deployments = [
        {
            "name": f"default/d-{number}",
            "namespace": "default",
            "deployment": f"d-{number}",
            "model": "llama-8b",
            "variant": f"llama-8b-l40s-tp1-{number}",
            "pool": "l40s",
            "sharingGroup": "default/chat",
            "tensorParallel": 1,
            "gpusPerReplica": 1,
            "replicas": 20,
            "nodes": nodes,
        }
        for number in range(512)
    ]
    spec = {
        "revision": 1,
        "trigger": "size",
        "costUsdPerHour": 1,
        "solver": {"status": "Optimal"},
        "deployments": deployments,
    }
    large = {
        "apiVersion": f"{GROUP}/{VERSION}",
        "kind": "FleetPlan",
        "metadata": {"name": "large"},
        "spec": spec,
    }
    assert 400_000 < len(json.dumps(large)) < 600_000
    assert verdict(large) == ""


def test_a_fleet_of_another_name_is_refused_by_kubectl(kubectl: Kubectl, crds: None) -> None:
    answer = kubectl("apply", "-f", str(ROOT / "examples/bad/fleet-name.yaml"), check=False)
    assert answer.returncode == 1
    assert "metadata.name must be default, because one Fleet configures the whole cluster" in answer.stderr


def test_a_fleet_without_a_spec_gets_every_default(kubectl: Kubectl, crds: None) -> None:
    bare = {"apiVersion": f"{GROUP}/{VERSION}", "kind": "Fleet", "metadata": {"name": "default"}}
    stored = json.loads(
        kubectl("create", "--dry-run=server", "-o", "json", "-f", "-", stdin=json.dumps(bare)).stdout
    )
    assert stored["spec"]["mode"] == "Recommend"
    assert stored["spec"]["intervals"] == {"fastSeconds": 2, "mediumSeconds": 30}
    assert stored["spec"]["gateway"] == {"address": "0.0.0.0", "port": 8080, "endpointHeader": False}


def test_an_object_of_a_namespace_is_stored_and_deleted(kubectl: Kubectl, namespace: str) -> None:
    for kind in ("ServedModel", "WorkloadClass", "RouterPolicy"):
        obj = {**VALID[kind], "metadata": {"name": "sample", "namespace": namespace}}
        kubectl("apply", "-f", "-", stdin=json.dumps(obj))
        assert "sample" in kubectl("get", kind.lower(), "-n", namespace).stdout
        kubectl("delete", kind.lower(), "sample", "-n", namespace, "--timeout=20s")
