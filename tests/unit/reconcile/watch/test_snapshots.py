"""From the API server's objects to the snapshot, and what cannot be read left out and named."""

from __future__ import annotations

from typing import Any

import pytest

from argosy.control.routes import route_inputs
from argosy.kube.store import Store
from argosy.reconcile.watch.snapshots import Measured, Snapshots
from argosy.route.compile import RouteInputs
from argosy.route.table import Endpoint, EndpointState
from argosy.snapshot import TelemetryReading
from argosy.snapshot.cluster import label_value
from argosy.snapshot.fleet import RoutingView

KINDS = (
    "fleets", "gpupools", "servedmodels", "workloadclasses", "routerpolicies", "fleetplans",
    "nodes", "pods", "namespaces", "deployments", "replicasets", "poddisruptionbudgets",
    "horizontalpodautoscalers", "resourcequotas", "limitranges",
)  # fmt: skip
OURS = {"app.kubernetes.io/managed-by": "argosy"}
NOTHING = Measured(TelemetryReading(), RoutingView())


def an_object(name: str, namespace: str = "", version: int = 1, **parts: Any) -> dict[str, Any]:
    metadata: dict[str, Any] = {"name": name, "uid": f"uid-{name}", "resourceVersion": str(version)}
    if namespace:
        metadata["namespace"] = namespace
    metadata |= parts.pop("metadata", {})
    return {"metadata": metadata, **parts}


def a_class(name: str) -> dict[str, Any]:
    spec = {
        "match": {"models": ["llama"]},
        "models": [{"name": "llama"}],
        "traffic": {"requestsPerSecond": 1, "lengths": {"archetype": "azure-conversation"}},
        "slo": {"ttft": {"p95Milliseconds": 2000}},
    }
    return an_object(name, "default", spec=spec, metadata={"generation": 3})


def a_pool(**spec: Any) -> dict[str, Any]:
    chosen = {"gpu": "L40S", "nodeSelector": {"a": "b"}, "gpusPerNode": 2, "priceUsdPerHour": 1}
    return an_object("l40s", spec={**chosen, **spec})


def a_pod(name: str, ready: bool = True, deployment: str = "d", **metadata: Any) -> dict[str, Any]:
    labels = {**OURS, "argosy.dev/deployment": deployment, "argosy.dev/sharing-group": "chat"}
    return an_object(
        name,
        "default",
        metadata={"labels": labels, **metadata},
        spec={"containers": [{"name": "engine", "ports": [{"name": "http", "containerPort": 8000}]}]},
        status={
            "podIP": f"10.0.0.{name[-1]}",
            "phase": "Running",
            "conditions": [{"type": "Ready", "status": str(ready)}],
        },
    )


def started(pod: dict[str, Any]) -> dict[str, Any]:
    """The pod, its engine past its startup probe."""
    return {
        **pod,
        "status": {
            **pod["status"],
            "containerStatuses": [{"name": "engine", "started": True, "state": {"running": {}}}],
        },
    }


def a_plan(revision: int, applied: str) -> dict[str, Any]:
    return an_object(
        f"plan-{revision:06d}",
        spec={"revision": revision, "trigger": "x", "costUsdPerHour": 1, "solver": {"status": "Optimal"}},
        status={
            "conditions": [{"type": "Applied", "status": applied, "reason": "Applied"}],
            "weights": [{"cell": "default/chat", "weights": [{"deployment": "default/d", "weight": 1.0}]}],
        },
    )


def some_snapshots(**objects: list[dict[str, Any]]) -> tuple[Snapshots, Store]:
    store = Store(KINDS)
    for kind, items in objects.items():
        for item in items:
            store.put(kind, item)
    return Snapshots(store), store


def routed(snapshots: Snapshots) -> RouteInputs:
    world = snapshots.stored(0)
    return route_inputs(world, world.applied_plan)


def test_an_empty_cluster_has_a_snapshot_too() -> None:
    snapshots, _ = some_snapshots()
    snapshot = snapshots.take(NOTHING, 5.0)
    assert (snapshot.now_s, snapshot.fleet, snapshot.applied_plan, dict(snapshot.pods)) == (
        5.0,
        None,
        None,
        {},
    )
    assert snapshots.fleet_spec().mode.value == "Recommend"


def test_objects_are_read_by_their_keys() -> None:
    snapshots, _ = some_snapshots(
        gpupools=[a_pool()],
        workloadclasses=[a_class("chat"), a_class("batch")],
        nodes=[an_object("n1")],
        pods=[a_pod("p1")],
        fleets=[an_object("default", spec={"mode": "Auto"})],
    )
    snapshot = snapshots.take(NOTHING, 5.0)
    assert list(snapshot.pools) == ["l40s"]
    assert list(snapshot.classes) == ["default/batch", "default/chat"]
    assert (list(snapshot.nodes), list(snapshot.pods)) == (["n1"], ["default/p1"])
    assert snapshot.fleet is not None
    assert snapshot.fleet.spec.mode.value == "Auto"


def test_only_deployments_that_argosy_made_are_seen() -> None:
    mine = an_object("d", "default", metadata={"labels": OURS}, spec={"replicas": 2})
    theirs = an_object("web", "default", spec={"replicas": 9})
    snapshots, _ = some_snapshots(deployments=[mine, theirs])
    assert {k: d.replicas for k, d in snapshots.take(NOTHING, 0).deployments.items()} == {"default/d": 2}


def test_an_object_that_cannot_be_read_is_named_and_costs_nothing_else() -> None:
    snapshots, _ = some_snapshots(gpupools=[a_pool(gpusPerNode=0)], workloadclasses=[a_class("chat")])
    assert dict(snapshots.take(NOTHING, 0).pools) == {}
    assert list(snapshots.take(NOTHING, 0).classes) == ["default/chat"]
    [invalid] = snapshots.take(NOTHING, 0).invalid
    assert (invalid.kind, invalid.key, invalid.field) == ("GPUPool", "l40s", "spec.gpusPerNode")


def test_a_new_version_is_read_again_and_an_old_one_only_once() -> None:
    snapshots, store = some_snapshots(gpupools=[a_pool()])
    first = snapshots.take(NOTHING, 0).pools["l40s"]
    assert snapshots.take(NOTHING, 1).pools["l40s"] is first
    newer = a_pool(priceUsdPerHour=2)
    newer["metadata"]["resourceVersion"] = "2"
    store.put("gpupools", newer)
    assert snapshots.take(NOTHING, 2).pools["l40s"].spec.price_usd_per_hour == 2


def test_what_is_gone_is_forgotten() -> None:
    snapshots, store = some_snapshots(pods=[a_pod("p1")])
    snapshots.pods()
    store.drop("pods", a_pod("p1"))
    assert snapshots.pods() == {}
    assert [found for found in snapshots._parsed.values() if found] == []  # pods come and go for years


def test_a_pod_was_given_the_node_whose_hostname_label_it_selects() -> None:
    node = an_object("gpu-7", "", metadata={"labels": {"kubernetes.io/hostname": "ip-10-0-0-7"}})
    node["metadata"].pop("namespace", None)
    pod = a_pod("p1")
    pod["spec"]["nodeSelector"] = {"kubernetes.io/hostname": "ip-10-0-0-7"}
    snapshots, _ = some_snapshots(nodes=[node], pods=[pod])
    assert snapshots.pods()["default/p1"].assigned_node == "gpu-7"


def test_the_applied_plan_is_the_newest_that_was_applied() -> None:
    plans = [a_plan(3, "False"), a_plan(1, "True"), a_plan(2, "True")]
    snapshots, _ = some_snapshots(fleetplans=plans)
    assert [p.spec.revision for p in snapshots.plans()] == [1, 2, 3]
    assert routed(snapshots).plan == snapshots.plans()[1]
    assert routed(snapshots).weights == {"default/chat": {"default/d": 1.0}}


@pytest.mark.parametrize(
    ("pod", "endpoints"),
    [
        pytest.param(
            a_pod("p1"), [Endpoint("10.0.0.1", 8000, "default/p1", EndpointState.READY)], id="ready"
        ),
        pytest.param(
            a_pod("p1", deletionTimestamp="2026-01-01T00:00:00Z"),
            [Endpoint("10.0.0.1", 8000, "default/p1", EndpointState.DRAINING)],
            id="on its way out",
        ),
        pytest.param(a_pod("p1", ready=False), [], id="loading"),
        pytest.param(
            started(a_pod("p1", ready=False)),
            [Endpoint("10.0.0.1", 8000, "default/p1", EndpointState.NOT_READY)],
            id="not ready any more: it may have requests from before",
        ),
        pytest.param(
            started(a_pod("p1", ready=False, deletionTimestamp="2026-01-01T00:00:00Z")),
            [Endpoint("10.0.0.1", 8000, "default/p1", EndpointState.TERMINATING)],
            id="not ready any more, and on its way out",
        ),
        pytest.param({**a_pod("p1"), "spec": {}}, [], id="no port"),
        pytest.param(a_pod("p1", labels={}), [], id="not ours"),
    ],
)
def test_engines_are_endpoints(pod: dict[str, Any], endpoints: list[Endpoint]) -> None:
    snapshots, _ = some_snapshots(pods=[pod])
    assert list(routed(snapshots).endpoints.get("default/d", ())) == endpoints


def test_a_cluster_belongs_to_the_group_of_its_pods_label_however_long_its_name() -> None:
    name = "c" * 253
    pod = a_pod("p1")
    pod["metadata"]["labels"]["argosy.dev/sharing-group"] = label_value(name)
    snapshots, _ = some_snapshots(workloadclasses=[a_class(name)], pods=[pod, a_pod("p2", deployment="gone")])
    assert routed(snapshots).groups == {"default/d": f"default/{name}"}


def test_what_admits_pods_is_in_the_snapshot() -> None:
    store = Store(KINDS)
    quota = an_object("gpus", "n", spec={"hard": {"requests.nvidia.com/gpu": "4"}})
    bounds = an_object("small", "n", spec={"limits": [{"type": "Pod", "max": {"memory": "1Gi"}}]})
    level = {"labels": {"pod-security.kubernetes.io/enforce": "restricted", "a": "b"}}
    store.put("resourcequotas", quota)
    store.put("limitranges", bounds)
    store.put("namespaces", an_object("n", metadata=level))
    found = Snapshots(store).take(NOTHING, 0.0)
    assert found.quotas["n/gpus"].used is None
    assert found.limit_ranges["n/small"].bounds == ("maximum memory usage per Pod is 1Gi",)
    assert found.enforced == {"n": "pod-security.kubernetes.io/enforce=restricted"}
