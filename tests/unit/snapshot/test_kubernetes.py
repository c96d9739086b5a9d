"""Kubernetes objects as they come, complete or bare, read as the snapshot's nouns."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from argosy.snapshot.cluster import NodeState, PodState, Taint
from argosy.snapshot.kubernetes import deployment_state, node_state, pod_state

NODE = {
    "metadata": {"name": "gpu-1", "uid": "n1", "labels": {"nvidia.com/gpu.product": "NVIDIA-L40S"}},
    "spec": {
        "unschedulable": True,
        "taints": [
            {"key": "team", "value": "a", "effect": "NoSchedule"},
            {"key": "bare", "effect": "NoExecute"},
        ],
    },
    "status": {
        "allocatable": {
            "cpu": "95690m",
            "memory": "263Gi",
            "nvidia.com/gpu": "2",
            "nvidia.com/mig-1g.10gb": 7,
            "example.com/odd": "1k",
        },
        "conditions": [
            {"type": "MemoryPressure", "status": "False"},
            {"type": "Ready", "status": "True", "lastHeartbeatTime": "2026-01-01T00:00:00Z"},
        ],
    },
}

POD: dict[str, Any] = {
    "metadata": {
        "namespace": "default",
        "name": "chat-7f9-abcde",
        "uid": "p1",
        "creationTimestamp": "1970-01-01T00:01:00Z",
        "labels": {"app.kubernetes.io/managed-by": "argosy", "argosy.dev/deployment": "chat-7f9"},
        "annotations": {"controller.kubernetes.io/pod-deletion-cost": "-1000"},
    },
    "spec": {
        "nodeName": "gpu-1",
        "nodeSelector": {"kubernetes.io/hostname": "gpu-1", "nvidia.com/gpu.product": "NVIDIA-L40S"},
        "containers": [
            {"name": "sidecar", "ports": [{"containerPort": 1}], "resources": {"limits": {"cpu": "1"}}},
            {
                "name": "engine",
                "ports": [{"name": "http", "containerPort": 8000}],
                "resources": {"limits": {"nvidia.com/gpu": "2"}},
            },
        ],
    },
    "status": {
        "phase": "Running",
        "podIP": "10.0.0.7",
        "conditions": [
            {"type": "PodScheduled", "status": "True", "lastTransitionTime": "1970-01-01T00:01:05Z"},
            {"type": "Ready", "status": "True", "lastTransitionTime": "1970-01-01T00:01:40Z"},
        ],
        "containerStatuses": [
            {"name": "sidecar", "restartCount": 2, "started": False},
            {"name": "engine", "restartCount": 1, "started": True, "state": {"running": {}}},
        ],
    },
}


def test_a_node_is_read() -> None:
    assert node_state(NODE) == NodeState(
        name="gpu-1",
        labels={"nvidia.com/gpu.product": "NVIDIA-L40S"},
        allocatable={"nvidia.com/gpu": 2, "nvidia.com/mig-1g.10gb": 7},
        ready=True,
        unschedulable=True,
        taints=(Taint("team", "a", "NoSchedule"), Taint("bare", "", "NoExecute")),
        room={"cpu": 95_690, "memory": 282_394_099_712_000},
    )


@pytest.mark.parametrize(("status", "ready"), [("True", True), ("False", False), ("Unknown", False)])
def test_a_node_is_ready_where_its_condition_says_true(status: str, ready: bool) -> None:
    node = {**NODE, "status": {"conditions": [{"type": "Ready", "status": status}]}}
    assert node_state(node).ready is ready


def test_a_pod_that_argosy_made_is_read() -> None:
    assert pod_state(POD) == PodState(
        namespace="default",
        name="chat-7f9-abcde",
        uid="p1",
        deployment="default/chat-7f9",
        node="gpu-1",
        phase="Running",
        ready=True,
        deleting=False,
        gated=False,
        devices={"nvidia.com/gpu": 2},
        ip="10.0.0.7",
        port=8000,
        created_s=60.0,
        ready_since_s=100.0,
        deletion_cost=-1000,
        labels=POD["metadata"]["labels"],
        assigned_node="gpu-1",
        restarts=3,
        exits=1,
        started=True,
    )


def changed(**parts: dict[str, Any]) -> PodState:
    return pod_state({**POD, **{name: {**POD[name], **part} for name, part in parts.items()}})


GATES = [{"name": "argosy.dev/placement"}]
UNSCHEDULABLE = {
    "type": "PodScheduled",
    "status": "False",
    "reason": "Unschedulable",
    "lastTransitionTime": "1970-01-01T00:02:00Z",
}


def test_a_pod_behind_our_gate_has_no_node_yet_though_its_pool_names_one() -> None:
    pod = changed(spec={"schedulingGates": GATES, "nodeName": None})
    assert (pod.gated, pod.node, pod.assigned_node, pod.destination) == (True, "", "", "")


def test_a_foreign_gate_is_not_argosys() -> None:
    pod = changed(spec={"schedulingGates": [{"name": "kueue.x-k8s.io/admission"}]})
    assert (pod.gated, pod.other_gates) == (False, ("kueue.x-k8s.io/admission",))


def test_of_two_gates_each_is_known() -> None:
    pod = changed(spec={"schedulingGates": [*GATES, {"name": "kueue.x-k8s.io/admission"}], "nodeName": None})
    assert (pod.gated, pod.other_gates) == (True, ("kueue.x-k8s.io/admission",))


def test_a_pod_whose_gate_was_lifted_already_holds_its_node() -> None:
    pod = changed(spec={"nodeName": ""})
    assert (pod.node, pod.destination, pod.holds_devices) == ("", "gpu-1", True)


@pytest.mark.parametrize(
    ("condition", "since_s"),
    [
        pytest.param(UNSCHEDULABLE, 120.0, id="the scheduler finds no room"),
        pytest.param({**UNSCHEDULABLE, "reason": "SchedulingGated"}, None, id="it waits behind a gate"),
        pytest.param({**UNSCHEDULABLE, "status": "True"}, None, id="it has been bound"),
        pytest.param(
            {"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}, None, id="no time"
        ),
    ],
)
def test_the_schedulers_word_is_read(condition: dict[str, str], since_s: float | None) -> None:
    assert changed(status={"conditions": [condition]}).unschedulable_since_s == since_s


def test_a_pod_is_ready_since_its_condition_is_true() -> None:
    not_ready = [{"type": "Ready", "status": "False", "lastTransitionTime": "1970-01-01T00:01:40Z"}]
    pod = changed(status={"conditions": not_ready})
    assert (pod.ready, pod.ready_since_s) == (False, None)


def test_a_pod_on_its_way_out_is_told() -> None:
    assert changed(metadata={"deletionTimestamp": "2026-01-01T00:00:00Z"}).deleting


@pytest.mark.parametrize(
    "labels",
    [
        pytest.param({"argosy.dev/deployment": "chat-7f9"}, id="a copied label"),
        pytest.param({"app.kubernetes.io/managed-by": "argosy"}, id="ours, but no engine"),
        pytest.param({"app.kubernetes.io/managed-by": "Helm"}, id="another manager's"),
        pytest.param(None, id="no labels"),
    ],
)
def test_a_pod_without_both_labels_is_foreign(labels: dict[str, str] | None) -> None:
    assert changed(metadata={"labels": labels}).deployment == ""


@pytest.mark.parametrize("cost", ["many", "", "1.5"])
def test_a_deletion_cost_that_is_no_number_is_none(cost: str) -> None:
    annotations = {"controller.kubernetes.io/pod-deletion-cost": cost}
    assert changed(metadata={"annotations": annotations}).deletion_cost == 0


@pytest.mark.parametrize(("given_replicas", "replicas"), [(3, 3), (0, 0), (None, 1)])
def test_a_deployments_count_is_read(given_replicas: int | None, replicas: int) -> None:
    metadata = {"namespace": "default", "name": "d"}
    found = deployment_state({"metadata": metadata, "spec": {"replicas": given_replicas}})
    assert (found.key, found.replicas) == ("default/d", replicas)


@pytest.mark.parametrize("read", [node_state, pod_state, deployment_state])
def test_a_bare_object_is_read_too(read: Any) -> None:
    read({"metadata": {}})
    read({"metadata": {"name": "x"}, "spec": None, "status": None})


def any_part_missing(value: Any) -> st.SearchStrategy[Any]:
    """The same with any of its parts missing or null."""
    if isinstance(value, dict):
        parts = {k: st.one_of(st.just(...), st.none(), any_part_missing(v)) for k, v in value.items()}
        return st.fixed_dictionaries(parts).map(lambda d: {k: v for k, v in d.items() if v is not ...})
    if isinstance(value, list):
        return st.lists(st.one_of([any_part_missing(v) for v in value]), max_size=3)
    return st.just(value)


def with_metadata(item: dict[str, Any]) -> dict[str, Any]:
    return {**item, "metadata": item.get("metadata") or {}}


@given(pod=any_part_missing(POD), node=any_part_missing(NODE))
def test_no_missing_field_raises(pod: dict[str, Any], node: dict[str, Any]) -> None:
    assert pod_state(with_metadata(pod)).restarts >= 0
    assert node_state(with_metadata(node)).allocatable.keys() <= {"nvidia.com/gpu", "nvidia.com/mig-1g.10gb"}


ENDED = {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}


@pytest.mark.parametrize(
    ("status", "exits", "how"),
    [
        pytest.param({"restartCount": 0, "state": {"running": {}}}, 0, "", id="it runs since its start"),
        pytest.param(
            {"restartCount": 1, "state": {"running": {}}, "lastState": ENDED},
            1,
            "exit code 137 (OOMKilled)",
            id="it runs again",
        ),
        pytest.param(
            {"restartCount": 0, "state": ENDED}, 1, "exit code 137 (OOMKilled)", id="it has just ended"
        ),
        pytest.param(
            {
                "restartCount": 1,
                "state": {"waiting": {"reason": "CrashLoopBackOff"}},
                "lastState": {"terminated": {"exitCode": 1}},
            },
            2,
            "exit code 1",
            id="it waits after its second end",
        ),
        pytest.param(
            {"restartCount": 2, "state": {"waiting": {"reason": "ContainerCreating"}}, "lastState": ENDED},
            2,
            "exit code 137 (OOMKilled)",
            id="it is started after its second end",
        ),
        pytest.param({}, 0, "", id="its status is empty"),
    ],
)
def test_each_end_of_an_engine_counts_once_from_its_first_trace(
    status: dict[str, Any], exits: int, how: str
) -> None:
    statuses = [{"name": "sidecar", "restartCount": 9}, {"name": "engine", **status}]
    found = pod_state({"metadata": {}, "status": {"containerStatuses": statuses}})
    assert (found.exits, found.last_exit) == (exits, how)


@pytest.mark.parametrize(
    ("status", "started"),
    [
        pytest.param(
            {"started": True, "state": {"running": {}}}, True, id="it has answered its start-up probe"
        ),
        pytest.param({"started": False, "state": {"running": {}}}, False, id="it loads"),
        pytest.param({"started": True, "state": {"waiting": {}}}, False, id="it is started again"),
    ],
)
def test_an_engine_has_started_once_its_start_up_probe_has_passed(
    status: dict[str, Any], started: bool
) -> None:
    pod = {"metadata": {}, "status": {"containerStatuses": [{"name": "engine", **status}]}}
    assert pod_state(pod).started is started


SIDECAR = {"name": "proxy", "ports": [{"name": "metrics", "containerPort": 1}]}
GPU = {"limits": {"nvidia.com/gpu": "1"}}


def a_container(name: str, port: int, **fields: Any) -> dict[str, Any]:
    return {"name": name, "ports": [{"name": "http", "containerPort": port}], **fields}


@pytest.mark.parametrize(
    ("containers", "port", "exits"),
    [
        pytest.param([a_container("engine", 8000)], 8000, 1, id="as Argosy made it"),
        pytest.param([SIDECAR, a_container("engine", 8000)], 8000, 1, id="a sidecar before it"),
        pytest.param([SIDECAR, a_container("vllm", 8000)], 8000, 2, id="renamed"),
        pytest.param([a_container("proxy", 1), a_container("engine", 2)], 2, 1, id="a sidecar's port, too"),
        pytest.param(
            [a_container("proxy", 1), a_container("vllm", 2, resources=GPU)],
            2,
            2,
            id="renamed, with a sidecar",
        ),
    ],
)
def test_the_engine_is_the_container_with_a_port_named_http_whatever_it_is_called(
    containers: list[dict[str, Any]], port: int, exits: int
) -> None:
    counts = {"engine": 1, "vllm": 2, "proxy": 9}
    statuses = [{"name": name, "restartCount": count} for name, count in counts.items()]
    found = changed(spec={"containers": containers}, status={"containerStatuses": statuses})
    assert (found.port, found.exits, found.portless) == (port, exits, ())
    assert found.address == f"10.0.0.7:{port}"


@pytest.mark.parametrize(
    "containers",
    [
        pytest.param([SIDECAR, {"name": "vllm"}], id="no port"),
        pytest.param([SIDECAR, {"name": "vllm", "ports": [{"containerPort": 8000}]}], id="no name"),
    ],
)
def test_a_pod_without_a_port_named_http_has_no_address_and_names_its_containers(
    containers: list[dict[str, Any]],
) -> None:
    found = changed(spec={"containers": containers})
    assert (found.address, found.portless) == ("", ("proxy", "vllm"))


def test_a_pod_that_is_deleted_has_the_end_of_its_grace_period() -> None:
    metadata = {"deletionTimestamp": "2026-01-01T00:05:00Z", "deletionGracePeriodSeconds": 300}
    found = pod_state({"metadata": metadata})
    assert (found.deleting, found.grace_s) == (True, 300)
    assert found.ends_s == 1767225900.0


def refusal(message: str, status: str = "True") -> dict[str, Any]:
    row = {"type": "ReplicaFailure", "status": status, "message": message}
    return {"metadata": {"name": "a", "namespace": "n"}, "status": {"conditions": [row]}}


def test_a_deployment_whose_pods_are_refused_holds_the_words_without_the_pods_changing_name() -> None:
    found = [
        deployment_state(refusal(f'pods "a-{suffix}" is forbidden: exceeded quota: gpus')).pods_refused
        for suffix in ("x7f9c", "k2mm4")
    ]
    assert found == ["pods is forbidden: exceeded quota: gpus"] * 2
    assert deployment_state(refusal("x", "False")).pods_refused == ""


def test_a_deployment_whose_replica_set_is_refused_holds_the_words_and_since_when() -> None:
    row = {
        "type": "Progressing",
        "status": "False",
        "reason": "ReplicaSetCreateError",
        "message": 'Failed to create new replica set "a-5d": replicasets.apps "a-5d" is forbidden: no',
        "lastTransitionTime": "1970-01-01T00:02:00Z",
    }
    found = deployment_state({"metadata": {"name": "a"}, "status": {"conditions": [row]}})
    assert (found.pods_refused, found.refused_since_s) == (row["message"], 120.0)
    late = {**row, "reason": "ProgressDeadlineExceeded"}
    assert deployment_state({"metadata": {"name": "a"}, "status": {"conditions": [late]}}).pods_refused == ""


@pytest.mark.parametrize(
    ("reason", "words"), [("Unschedulable", "0/2 nodes are available: no"), ("Gated", "")]
)
def test_a_pod_without_a_node_holds_the_schedulers_words(reason: str, words: str) -> None:
    message = (
        "0/2 nodes are available: no. preemption: 0/2 nodes are available: 2 No preemption victims found."
    )
    row = {"type": "PodScheduled", "status": "False", "reason": reason, "message": message}
    assert pod_state({"metadata": {}, "status": {"conditions": [row]}}).unschedulable == words


@pytest.mark.parametrize(
    ("status", "address"),
    [
        ({"podIP": "fd00:10:244::12"}, "[fd00:10:244::12]:8000"),
        ({"podIP": "FD00:10:244:0::0012"}, "[fd00:10:244::12]:8000"),
        ({"podIP": "10.0.0.7", "podIPs": [{"ip": "10.0.0.7"}, {"ip": "fd00::7"}]}, "10.0.0.7:8000"),
        ({"podIPs": [{"ip": "fd00::7"}, {"ip": "10.0.0.7"}]}, "[fd00::7]:8000"),
        ({"podIPs": []}, ""),
    ],
)
def test_the_first_address_of_a_pod_is_its_engines_of_either_family(
    status: dict[str, object], address: str
) -> None:
    pod = pod_state(POD | {"status": {**POD["status"], "podIP": None, **status}})
    assert pod.address == address
