"""What counts as Argosy's in a cluster, and in which mode an operator acts."""

from __future__ import annotations

from typing import Any

from argosy.api.fleet import Mode
from argosy.api.servedmodel import DRAIN_SECONDS
from argosy.control.teardown.remains import (
    Left,
    is_engine_object,
    is_removed_by_itself,
    left,
    mode_of,
    pod_left,
)

Object = dict[str, Any]


def labelled(**labels: str) -> Object:
    return {"metadata": {"name": "m", "namespace": "default", "labels": labels}}


def a_plan(revision: int, mode: str | None) -> Object:
    spec = {"revision": revision, "trigger": "a test", "costUsdPerHour": 0, "solver": {"status": "Optimal"}}
    status = {} if mode is None else {"fleet": {"mode": mode}}
    return {"metadata": {"name": f"plan-{revision:06d}"}, "spec": spec, "status": status}


def test_one_label_does_not_make_an_object_argosys() -> None:
    managed, key = "app.kubernetes.io/managed-by", "argosy.dev/deployment"
    assert is_engine_object(labelled(**{managed: "argosy", key: "m"}))
    assert not is_engine_object(labelled(**{managed: "argosy"}))
    assert not is_engine_object(labelled(**{managed: "Helm", key: "m"}))
    assert not is_engine_object({"metadata": {"name": "m", "labels": None}})


def test_a_replica_set_is_removed_by_itself_only_where_it_has_lost_its_deployment() -> None:
    item = labelled(**{"app.kubernetes.io/managed-by": "argosy", "argosy.dev/deployment": "m"})
    assert is_removed_by_itself("replicasets", item)
    assert not is_removed_by_itself("replicasets", labelled(**{"argosy.dev/deployment": "m"}))
    item["metadata"]["ownerReferences"] = [{"kind": "Deployment", "name": "m", "controller": True}]
    assert not is_removed_by_itself("replicasets", item)


def test_the_mode_is_the_fleets_else_the_last_one_that_a_plan_tells() -> None:
    fleet = {"metadata": {"name": "default"}, "spec": {"mode": "Observe"}}
    plans = [a_plan(1, "Recommend"), a_plan(2, "Auto"), a_plan(3, None)]
    assert mode_of([fleet], plans, is_fleet_installed=True) is Mode.OBSERVE
    assert mode_of([], plans, is_fleet_installed=True) is Mode.AUTO
    assert mode_of([], plans, is_fleet_installed=False) is Mode.AUTO


def test_without_any_record_the_mode_is_the_default_where_that_can_be_known() -> None:
    assert mode_of([], [], is_fleet_installed=True) is Mode.RECOMMEND
    assert mode_of([], [], is_fleet_installed=False) is None
    assert mode_of([{"metadata": {"name": "default"}}], [], is_fleet_installed=True) is Mode.RECOMMEND
    odd = {"metadata": {"name": "default"}, "spec": {"mode": "Later"}}
    assert mode_of([odd], [], is_fleet_installed=True) is None


def test_a_fleet_of_another_name_and_a_plan_that_cannot_be_read_say_no_mode() -> None:
    other = {"metadata": {"name": "spare"}, "spec": {"mode": "Observe"}}
    unreadable = {"metadata": {"name": "plan-000003"}, "spec": {"revision": "three"}}
    assert mode_of([other], [unreadable, a_plan(2, "Auto")], is_fleet_installed=True) is Mode.AUTO
    assert mode_of([], [unreadable], is_fleet_installed=False) is None


def test_a_pod_says_how_long_it_may_take_and_when_it_ends_at_the_latest() -> None:
    pod = labelled(**{"argosy.dev/deployment": "d"})
    pod["spec"] = {"terminationGracePeriodSeconds": 0, "nodeName": "node-1"}
    pod["metadata"]["deletionTimestamp"] = "2023-11-14T22:13:20Z"
    found = pod_left(pod)
    assert (found.key, found.deployment) == ("default/m", "default/d")
    assert (found.drain_s, found.ends_s, found.node) == (0.0, 1_700_000_000.0, "node-1")
    waiting = pod_left(labelled(**{"argosy.dev/deployment": "d"}))
    assert (waiting.drain_s, waiting.ends_s, waiting.node) == (DRAIN_SECONDS, None, "")


def test_an_object_of_the_whole_cluster_has_a_key_without_a_namespace() -> None:
    going = {"metadata": {"name": "plan-000001", "deletionTimestamp": "2023-11-14T22:13:20Z"}}
    assert left("fleetplans", going) == Left("fleetplans", "plan-000001", is_going=True)
    assert left("deployments", labelled()) == Left("deployments", "default/m", is_going=False)
