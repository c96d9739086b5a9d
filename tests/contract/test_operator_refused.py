"""Replicas that a real API server refuses: by a quota, a LimitRange, Pod Security, a policy.

Its policy stands for a webhook: both refuse by the same way, and a policy needs no server.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from another_class import another_class
from operator_stage import OURS, Object, OperatorStage, condition, until

from argosy.snapshot.admission.words import Refuser, cluster_refusal
from argosy_sim.controlplane.errors import StartError

GPUS = "requests.nvidia.com/gpu"
TIGHT, STRICT = "tight", "strict"
LABELS = {"pod-security.kubernetes.io/enforce": "restricted"}
POLICY = "no-l40s"


def an_object(kind: str, name: str, namespace: str = "", version: str = "v1", **parts: Any) -> Object:
    metadata = {"name": name, **({"namespace": namespace} if namespace else {}), **parts.pop("metadata", {})}
    return {"apiVersion": version, "kind": kind, "metadata": metadata, **parts}


def a_model(namespace: str) -> Object:
    spec = {"modelId": "meta-llama/Llama-3.1-8B-Instruct"}
    return an_object("ServedModel", "llama-8b", namespace, "argosy.dev/v1alpha1", spec=spec)


def a_class(namespace: str) -> Object:
    """Of the name of its namespace."""
    return another_class(namespace, rate_per_s=0.1, namespace=namespace)


def a_policy() -> Iterator[Object]:
    """No engine of GPUPool l40s in namespace strict."""
    group, chosen = "admissionregistration.k8s.io/v1", {"kubernetes.io/metadata.name": STRICT}
    rule = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}
    constraints = {"namespaceSelector": {"matchLabels": chosen}, "resourceRules": [rule]}
    is_other = (
        "!has(object.metadata.labels) || object.metadata.labels[?'argosy.dev/pool'] != optional.of('l40s')"
    )
    yield an_object(
        "ValidatingAdmissionPolicy",
        POLICY,
        version=group,
        spec={
            "matchConstraints": constraints,
            "validations": [{"expression": is_other, "message": "no L40S here"}],
        },
    )
    binding = {"policyName": POLICY, "validationActions": ["Deny"]}
    yield an_object("ValidatingAdmissionPolicyBinding", f"{POLICY}-here", version=group, spec=binding)


def a_pod(namespace: str, memory: str = "1Mi", **metadata: Any) -> Object:
    resources = {"requests": {"memory": memory}, "limits": {"memory": memory, "nvidia.com/gpu": "1"}}
    spec = {"containers": [{"name": "engine", "image": "none", "resources": resources}]}
    return an_object("Pod", "a-pod", namespace, spec=spec, metadata=metadata)


def refusal_of(stage: OperatorStage, pod: Object) -> str:
    """The API server's words for a pod that it would refuse; empty where it would not."""
    try:
        stage.kubectl("create", "--dry-run=server", "-f", "-", stdin=json.dumps(pod))
    except StartError as error:
        found = str(error)
        return (
            found[found.index("Error from server") :].partition(": ")[2]
            if "Error from server" in found
            else found
        )
    return ""


@pytest.fixture
def refusing(stage: OperatorStage) -> Iterator[OperatorStage]:
    """Two namespaces: one with a quota of no GPU and a LimitRange, one with Pod Security and a policy."""
    with _applied(stage, *_world()):
        yield stage


def _world() -> list[Object]:
    most = {"limits": [{"type": "Pod", "max": {"memory": "1Gi"}}]}
    return [
        an_object("Namespace", TIGHT),
        an_object("Namespace", STRICT),
        an_object("Namespace", "secure", metadata={"labels": LABELS}),
        an_object("ResourceQuota", "gpus", TIGHT, spec={"hard": {GPUS: "0"}}),
        an_object("LimitRange", "memory", "secure", spec=most),
        *a_policy(),
    ]


@contextmanager
def _applied(stage: OperatorStage, *items: Object) -> Iterator[None]:
    try:
        stage.apply(*items)
        yield
    finally:
        stage.delete(*reversed(items))


def said(stage: OperatorStage, namespace: str, kind: str = "workloadclasses") -> Object:
    name = namespace if kind == "workloadclasses" else "llama-8b"
    return condition(stage.read(f"{OURS}/namespaces/{namespace}/{kind}/{name}"), "Ready")


def test_the_object_that_refuses_is_named_what_it_leaves_is_planned_with_and_others_are_tried(
    refusing: OperatorStage,
) -> None:
    stage = refusing
    l40s = a_pod(STRICT, labels={"argosy.dev/pool": "l40s"})
    until(lambda: POLICY in refusal_of(stage, l40s), "the policy to be obeyed")
    until(lambda: refusal_of(stage, a_pod(TIGHT)), "the quota to be obeyed")
    for pod, refuser, name in (
        (l40s, Refuser.POLICY, f"ValidatingAdmissionPolicy {POLICY}"),
        (a_pod(TIGHT), Refuser.QUOTA, "ResourceQuota tight/gpus"),
        (a_pod("secure"), Refuser.POD_SECURITY, "Pod Security restricted:latest of Namespace secure"),
        (a_pod("secure", "2Gi"), Refuser.LIMIT_RANGE, "A LimitRange of namespace secure"),
    ):
        found = cluster_refusal(refusal_of(stage, pod), str(pod["metadata"]["namespace"]))
        assert (found.refuser, found.name) == (refuser, name), found
    objects = [make(namespace) for namespace in (TIGHT, STRICT) for make in (a_model, a_class)]
    with stage.load() as load, _applied(stage, *objects):
        until(lambda: said(stage, TIGHT).get("reason") == "QuotaShort", "the quota to limit the plan")
        assert "ResourceQuota tight/gpus leaves 0 of 0 nvidia.com/gpu" in said(stage, TIGHT)["message"]
        for kind in ("workloadclasses", "servedmodels"):
            until(lambda: said(stage, STRICT, kind).get("reason") == "PodsRefused", "the refusal")  # noqa: B023
            text = f"ValidatingAdmissionPolicy {POLICY} refuses the pods of Deployment strict/llama-8b-"
            assert text in said(stage, STRICT, kind)["message"]
        until(lambda: pools_of(stage, STRICT) == {"h100"}, "other hardware to be planned", 40.0)
        until(
            lambda: stage.leader.metric('argosy_refused_variants{refuser="ValidatingAdmissionPolicy"}') == 1,
            "",
        )
    assert load.lost == ()


def pools_of(stage: OperatorStage, namespace: str) -> set[str]:
    entries = stage.applied()["spec"]["deployments"]
    return {e["pool"] for e in entries if e["replicas"] and e["namespace"] == namespace}
