"""Which changes are worth a decision at once, and the sentence that each becomes."""

from __future__ import annotations

from typing import Any

import pytest

from argosy.control.triggers import Trigger, merged, trigger_of
from argosy.snapshot.cluster import LABEL_DEPLOYMENT

OURS = {"app.kubernetes.io/managed-by": "argosy"}
READY = {"conditions": [{"type": "Ready", "status": "True"}]}
UNKNOWN = {"conditions": [{"type": "Ready", "status": "Unknown"}]}


GPUS = {**READY, "allocatable": {"cpu": "64", "memory": "512Gi", "nvidia.com/gpu": "8"}}


def with_memory(status: dict[str, Any]) -> dict[str, Any]:
    return {**status, "allocatable": {**status["allocatable"], "memory": "500Gi"}}


def containers_ready(ready: str) -> dict[str, Any]:
    """The containers are ready throughout; `ready`: the condition Ready."""
    return {"conditions": [{"type": "ContainersReady", "status": "True"}, {"type": "Ready", "status": ready}]}


def an_object(
    name: str = "x", namespace: str = "", labels: dict[str, str] | None = None, **parts: Any
) -> dict[str, Any]:
    metadata: dict[str, Any] = {"name": name, "labels": labels or {}}
    if namespace:
        metadata["namespace"] = namespace
    return {"metadata": metadata, **parts}


def a_pool(price: float = 0.9, gpus: int = 2, **parts: Any) -> dict[str, Any]:
    return an_object("l40s", spec={"priceUsdPerHour": price, "gpusPerNode": gpus}, **parts)


def a_node(
    status: dict[str, Any] = READY, labels: dict[str, str] | None = None, **spec: Any
) -> dict[str, Any]:
    return an_object("gpu-1", labels=labels, status=status, spec=spec)


def a_pod(status: dict[str, Any] | None = None, **spec: Any) -> dict[str, Any]:
    return an_object("p", "default", labels=OURS, status=status or {}, spec=spec)


GATED = a_pod(schedulingGates=[{"name": "argosy.dev/placement"}])


def deleting(pod: dict[str, Any]) -> dict[str, Any]:
    return {**pod, "metadata": {**pod["metadata"], "deletionTimestamp": "2026-01-01T00:00:00Z"}}


@pytest.mark.parametrize(
    ("kind", "before", "after", "message"),
    [
        pytest.param(
            "gpupools",
            a_pool(6.0),
            a_pool(2.0),
            "the price of pool l40s changed from $6.00 to $2.00 per GPU-hour",
            id="a price",
        ),
        pytest.param(
            "gpupools", a_pool(), a_pool(gpus=4), "GPUPool l40s changed (gpusPerNode)", id="a field"
        ),
        pytest.param("gpupools", None, a_pool(), "GPUPool l40s was created", id="a new pool"),
        pytest.param("gpupools", a_pool(), None, "GPUPool l40s was deleted", id="a pool gone"),
        pytest.param(
            "workloadclasses",
            an_object("chat", "default", spec={"slo": 1, "priority": 1}),
            an_object("chat", "default", spec={"slo": 2, "minReplicas": 3, "priority": 1}),
            "WorkloadClass default/chat changed (minReplicas, slo)",
            id="two fields",
        ),
        pytest.param("nodes", a_node(), a_node(UNKNOWN), "node gpu-1 became unavailable", id="a node lost"),
        pytest.param("nodes", None, a_node(), "node gpu-1 became ready", id="a node joined"),
        pytest.param("nodes", a_node(), None, "node gpu-1 became unavailable", id="a node removed"),
        pytest.param(
            "nodes",
            a_node(),
            a_node(unschedulable=True),
            "node gpu-1 is leaving: it is cordoned",
            id="a cordon",
        ),
        pytest.param(
            "nodes", a_node(unschedulable=True), a_node(), "node gpu-1 stays", id="the end of a cordon"
        ),
        pytest.param(
            "nodes",
            a_node(),
            a_node(taints=[{"key": "karpenter.sh/disrupted", "effect": "NoSchedule"}]),
            "node gpu-1 is leaving: Karpenter is removing it (taint karpenter.sh/disrupted)",
            id="a disruption",
        ),
        pytest.param(
            "nodes", a_node(), a_node(labels={"a": "b"}), "node gpu-1 changed (label a)", id="a label"
        ),
        pytest.param("nodes", a_node(), a_node(GPUS), "node gpu-1 changed (nvidia.com/gpu)", id="its GPUs"),
        pytest.param(
            "nodes",
            a_node(),
            a_node(taints=[{"key": "gpu", "effect": "NoSchedule"}]),
            "node gpu-1 changed (taints)",
            id="a taint",
        ),
        pytest.param(
            "nodes", None, a_node(UNKNOWN), "node gpu-1 was created", id="a node joined, not ready yet"
        ),
    ],
)
def test_a_change_is_named_in_a_sentence(kind: str, before: Any, after: Any, message: str) -> None:
    found = trigger_of(kind, before, after)
    assert found is not None
    assert (found.message, found.is_progress) == (message, False)


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        pytest.param(a_pod(), a_pod(READY), "pod default/p is Ready", id="it has loaded"),
        pytest.param(a_pod(READY), a_pod(), "pod default/p changed", id="it crashed"),
        pytest.param(a_pod(READY), deleting(a_pod(READY)), "pod default/p changed", id="it drains"),
        pytest.param(deleting(a_pod()), None, "pod default/p is gone", id="it has gone"),
        pytest.param(None, a_pod(schedulingGates=[{}]), "pod default/p changed", id="it waits for its node"),
        pytest.param(GATED, a_pod(), "pod default/p changed", id="its gate was lifted"),
        pytest.param(a_pod(), a_pod(nodeName="n"), "pod default/p changed", id="it has its node"),
        pytest.param(a_pod(), a_pod({"phase": "Failed"}), "pod default/p changed", id="it has ended"),
        pytest.param(
            a_pod(containers_ready("True")),
            a_pod({"conditions": [{"type": "ContainersReady", "status": "False"}]}),
            "pod default/p changed",
            id="its containers failed",
        ),
    ],
)
def test_progress_of_our_own_steps_is_told_apart(before: Any, after: Any, message: str) -> None:
    assert trigger_of("pods", before, after) == Trigger(message, is_progress=True)


NEW_STATUS = {"conditions": [{"type": "Ready", "status": "False", "message": "ours"}]}


@pytest.mark.parametrize(
    ("kind", "before", "after"),
    [
        *[
            pytest.param(
                kind,
                an_object(spec={"a": 1}),
                an_object(spec={"a": 1}, status=NEW_STATUS),
                id=f"status of {kind}",
            )
            for kind in (
                "fleets",
                "gpupools",
                "servedmodels",
                "workloadclasses",
                "routerpolicies",
                "fleetplans",
            )
        ],
        pytest.param("fleetplans", None, an_object(spec={"revision": 1}), id="a plan of ours"),
        pytest.param("deployments", None, an_object(spec={"replicas": 3}), id="a Deployment of ours"),
        pytest.param(
            "nodes",
            a_node({**READY, "images": []}),
            a_node({**READY, "images": [1], "nodeInfo": {}}),
            id="a node's heartbeat",
        ),
        pytest.param(
            "pods",
            a_pod(READY),
            a_pod({**READY, "containerStatuses": [{"restartCount": 1}]}),
            id="a pod's counters",
        ),
        pytest.param(
            "pods",
            a_pod(containers_ready("True")),
            a_pod(containers_ready("False")),
            id="a pod's Ready, which the node controller has set in the kubelet's place",
        ),
        pytest.param("nodes", a_node(GPUS), a_node(with_memory(GPUS)), id="a node's memory"),
        pytest.param("nodes", a_node(taints=None), a_node(taints=[]), id="a list without taints"),
        pytest.param(
            "pods",
            None,
            an_object("web", "default", spec={"containers": [{"resources": {"limits": {"cpu": "1"}}}]}),
            id="somebody else's pod without devices",
        ),
    ],
)
def test_what_no_decision_reads_triggers_nothing(kind: str, before: Any, after: Any) -> None:
    assert trigger_of(kind, before, after) is None


def test_a_foreign_pod_with_gpus_triggers_one() -> None:
    pod = an_object(
        "job", "default", spec={"containers": [{"resources": {"limits": {"nvidia.com/gpu": "2"}}}]}
    )
    assert trigger_of("pods", None, pod) == Trigger("pod default/job changed", is_progress=True)


@pytest.mark.parametrize("kind", ["nodes", "pods"])
@pytest.mark.parametrize(
    "parts",
    [
        pytest.param({}, id="no part at all"),
        pytest.param({"status": None, "spec": None}, id="no content"),
        pytest.param(
            {
                "status": {"conditions": None, "allocatable": None, "containerStatuses": None, "phase": None},
                "spec": {"taints": None, "containers": None, "schedulingGates": None, "nodeSelector": None},
            },
            id="no lists",
        ),
        pytest.param(
            {"status": {"conditions": [{}]}, "spec": {"taints": [{}], "containers": [{"resources": None}]}},
            id="empty entries",
        ),
    ],
)
def test_an_object_with_missing_parts_is_compared_too(kind: str, parts: dict[str, Any]) -> None:
    bare = {"metadata": {"name": "x", "labels": None, "annotations": None}, **parts}
    assert trigger_of(kind, bare, bare) is None
    for previous, current in ((None, bare), (bare, None)):
        found = trigger_of(kind, previous, current)
        assert (found is not None) == (kind == "nodes")


def a_fleet_plan(status: str, reason: str) -> dict[str, Any]:
    condition = {"type": "Applied", "status": status, "reason": reason}
    return an_object("plan-000017", status={"conditions": [condition]})


APPLIED, SUPERSEDED = a_fleet_plan("True", "Applied"), a_fleet_plan("False", "Superseded")


@pytest.mark.parametrize(
    ("before", "after", "sentence"),
    [
        pytest.param(APPLIED, None, "FleetPlan plan-000017, which was applied, was deleted", id="deleted"),
        pytest.param(
            APPLIED,
            an_object("plan-000017"),
            "the condition Applied of FleetPlan plan-000017 was removed",
            id="its status emptied",
        ),
    ],
)
def test_an_applied_plan_that_is_lost_triggers_a_decision(before: Any, after: Any, sentence: str) -> None:
    assert trigger_of("fleetplans", before, after) == Trigger(sentence)


@pytest.mark.parametrize(
    ("manager", "expected"),
    [
        pytest.param(
            "kubectl", Trigger("FleetPlan plan-000017 was marked as applied by kubectl"), id="by hand"
        ),
        pytest.param("argosy", None, id="by the operator"),
    ],
)
@pytest.mark.parametrize("before", [None, an_object("plan-000017"), SUPERSEDED])
def test_a_plan_that_another_client_applies_triggers_a_decision_that_names_it(
    before: Any, manager: str, expected: Trigger | None
) -> None:
    fields = {"f:status": {"f:conditions": {'k:{"type":"Applied"}': {"f:status": {}}}}}
    rows = [
        {"manager": "argosy", "subresource": "status", "fieldsV1": {"f:status": {"f:phase": {}}}},
        {"manager": manager, "subresource": "status", "fieldsV1": fields},
    ]
    plan = {**APPLIED, "metadata": {**APPLIED["metadata"], "managedFields": rows}}
    assert trigger_of("fleetplans", before, plan) == expected


def test_a_plan_that_is_superseded_while_no_other_is_applied_triggers_a_decision() -> None:
    found = trigger_of("fleetplans", APPLIED, SUPERSEDED, lambda: False)
    assert found == Trigger("FleetPlan plan-000017 was marked as superseded, and no plan is applied")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param(None, APPLIED, id="a plan that comes applied"),
        pytest.param(APPLIED, SUPERSEDED, id="an applied plan that another has superseded"),
        pytest.param(SUPERSEDED, None, id="a superseded plan that is deleted"),
        pytest.param(a_fleet_plan("False", "Recommended"), None, id="a recommendation that is deleted"),
        pytest.param(an_object("plan-000017"), None, id="a plan without a status that is deleted"),
    ],
)
def test_any_other_change_of_a_plan_triggers_nothing(before: Any, after: Any) -> None:
    assert trigger_of("fleetplans", before, after) is None


def test_another_clients_change_of_a_deployment_and_its_end_trigger_a_decision_but_no_step_does() -> None:
    metadata = {"name": "a", "namespace": "n"}
    row = {"type": "ReplicaFailure", "status": "True", "message": "quota"}
    fine = {"metadata": metadata, "spec": {"replicas": 1}}
    refused = {**fine, "status": {"conditions": [row]}}
    assert trigger_of("deployments", fine, refused) == Trigger("pods of Deployment n/a are refused", True)
    assert trigger_of("deployments", refused, fine) == Trigger(
        "pods of Deployment n/a are no longer refused", True
    )
    edit = {"manager": "kubectl", "operation": "Update", "fieldsV1": {"f:spec": {"f:replicas": {}}}}
    edited = {**fine, "metadata": {**metadata, "managedFields": [edit]}}
    assert trigger_of("deployments", fine, edited) == Trigger("Deployment n/a was changed", True)
    assert trigger_of("deployments", fine, None) == Trigger("Deployment n/a is gone", True)
    for before, after in ((fine, {**fine, "spec": {"replicas": 2}}), (None, fine)):
        assert trigger_of("deployments", before, after) is None


def a_budget(least: int = 2, labels: dict[str, str] | None = None) -> dict[str, Any]:
    spec = {"minAvailable": least, "selector": {"matchLabels": {LABEL_DEPLOYMENT: "a"}}}
    return an_object("a", "n", OURS if labels is None else labels, spec=spec)


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        pytest.param(a_budget(), None, "PodDisruptionBudget n/a is gone", id="deleted"),
        pytest.param(a_budget(), a_budget(0), "PodDisruptionBudget n/a was changed", id="edited"),
        pytest.param(
            a_budget(),
            a_budget(labels={}),
            "PodDisruptionBudget n/a was changed (label app.kubernetes.io/managed-by argosy -> none)",
            id="label removed",
        ),
        pytest.param(a_budget(), {**a_budget(), "status": {"currentHealthy": 1}}, "", id="its status"),
        pytest.param(None, a_budget(), "", id="made"),
        pytest.param(a_budget(labels={}), None, "", id="another's"),
    ],
)
def test_a_budget_that_keeps_another_number_or_is_gone_is_progress(
    before: Any, after: Any, message: str
) -> None:
    wanted = Trigger(message, is_progress=True) if message else None
    assert trigger_of("poddisruptionbudgets", before, after) == wanted


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        pytest.param(a_node(), a_node(unschedulable=True), True, id="a cordon"),
        pytest.param(a_node(unschedulable=True), a_node(), True, id="its end"),
        pytest.param(None, a_node(), True, id="a node that joins"),
        pytest.param(a_node(), a_node(labels={"a": "b"}), True, id="a label"),
        pytest.param(a_node(), a_node(UNKNOWN), False, id="it is unavailable"),
        pytest.param(a_node(), None, False, id="it is gone"),
        pytest.param(
            a_node(),
            a_node(taints=[{"key": "a", "effect": "NoExecute"}]),
            False,
            id="it evicts what runs there",
        ),
    ],
)
def test_of_nodes_whose_replicas_stay_for_now_others_may_follow(
    before: dict[str, Any] | None, after: dict[str, Any] | None, expected: bool
) -> None:
    found = trigger_of("nodes", before, after)
    assert found is not None
    assert found.has_followers is expected


def test_of_a_rate_that_falls_step_by_step_a_revision_names_the_first_and_the_last() -> None:
    about = "the rate of n/a"
    falls = [Trigger(f"class n/a needs {now} requests/s, down from 10", about=about) for now in (8, 7, 5)]
    found = merged([falls[0], Trigger("node n1 was deleted"), *falls[1:]])
    assert found.message == "class n/a needs 5 requests/s, down from 10; node n1 was deleted"


def annotated(**annotations: str) -> dict[str, Any]:
    """The Fleet with annotations, by the end of their names."""
    names = {f"argosy.dev/{name}": value for name, value in annotations.items()}
    return {"metadata": {"name": "default", "annotations": names}, "spec": {"mode": "Auto"}}


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        (
            annotated(),
            annotated(paused="freeze"),
            "a user paused planning (annotation argosy.dev/paused of Fleet default)",
        ),
        (
            annotated(paused="freeze"),
            annotated(other="x"),
            "a user let planning go on (annotation argosy.dev/paused of Fleet default removed)",
        ),
        (
            annotated(),
            annotated(paused="bad", rollback="12"),
            "a user went back to revision 12 (annotation argosy.dev/rollback of Fleet default)",
        ),
    ],
)
def test_an_order_by_annotation_triggers_a_decision_that_names_it(
    before: dict[str, Any], after: dict[str, Any], message: str
) -> None:
    assert trigger_of("fleets", before, after) == Trigger(message)


def test_other_annotations_trigger_nothing() -> None:
    assert trigger_of("fleets", annotated(), annotated(team="blue")) is None
    assert trigger_of("fleets", annotated(paused="false"), annotated()) is None


ENGINES = "llama-8b-bcd2456"


def an_hpa(name: str = ENGINES, most: int = 5, **parts: Any) -> dict[str, Any]:
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": name}
    return an_object("hpa", "default", spec={"scaleTargetRef": target, "maxReplicas": most}, **parts)


@pytest.mark.parametrize(
    ("before", "after", "what"),
    [
        pytest.param(None, an_hpa(), "created", id="it comes"),
        pytest.param(an_hpa(), None, "deleted", id="it goes"),
        pytest.param(an_hpa(), an_hpa(most=7), "changed", id="other bounds"),
        pytest.param(an_hpa(), an_hpa("shop"), "changed", id="another target"),
        pytest.param(an_hpa(), an_hpa(status={"currentReplicas": 2}), "", id="its status"),
    ],
)
def test_an_autoscaler_of_a_deployment_of_argosys_calls_for_a_decision(
    before: dict[str, Any] | None, after: dict[str, Any] | None, what: str
) -> None:
    found = trigger_of("horizontalpodautoscalers", before, after)
    sentence = f"HorizontalPodAutoscaler default/hpa of Deployment default/{ENGINES} was {what}"
    assert found == (Trigger(sentence) if what else None)


def test_an_autoscaler_of_another_deployment_is_no_cause_of_a_plan() -> None:
    found = trigger_of("horizontalpodautoscalers", None, an_hpa("shop"))
    assert found is not None
    assert found.is_progress


def test_a_number_that_an_autoscaler_sets_is_a_cause_of_its_own() -> None:
    def scaled(count: int, manager: str) -> dict[str, Any]:
        item = an_object(ENGINES, "default", labels=OURS, spec={"replicas": count})
        fields = {"f:spec": {"f:replicas": {}}}
        item["metadata"]["managedFields"] = [
            {"manager": manager, "operation": "Update", "subresource": "scale", "fieldsV1": fields}
        ]
        return item

    found = trigger_of("deployments", scaled(2, "argosy"), scaled(3, "kube-controller-manager"))
    assert found is not None
    assert not found.is_progress
    assert found.message == (
        f"a HorizontalPodAutoscaler set the replicas of Deployment default/{ENGINES} from 2 to 3"
    )
    by_hand = trigger_of("deployments", scaled(2, "argosy"), scaled(3, "kubectl"))
    assert by_hand is not None
    assert by_hand.is_progress
