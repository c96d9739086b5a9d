"""On real kubelets, what goes away under load takes no request with it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from kind_cluster import SETTLED_S, SYSTEM, Cluster, Load, helm, is_ready, kubectl
from waiting import until

CHART = Path(__file__).parents[2] / "charts" / "argosy"
LOAD_S = 60
DRAIN_LOAD_S = 120

pytestmark = pytest.mark.timeout(900)
StartLoad = Callable[[int], Load]


def names(pods: list[dict[str, object]]) -> set[str]:
    return {str(pod["metadata"]["name"]) for pod in pods}  # type: ignore[index]


def test_engines_run_as_pods_of_real_kubelets_one_for_each_planned_replica(cluster: Cluster) -> None:
    pods = [pod for pod in cluster.engines() if is_ready(pod)]
    [plan] = [plan for plan in cluster.read("fleetplans") if is_current(cluster, plan)]
    planned = sum(each["replicas"] for each in plan["spec"]["deployments"])
    assert len(pods) == planned
    assert all(pod["spec"]["nodeName"] for pod in pods)


def is_current(cluster: Cluster, plan: dict[str, object]) -> bool:
    [fleet] = cluster.read("fleets")
    return bool(plan["metadata"]["name"] == fleet["status"]["currentPlan"])  # type: ignore[index]


def test_a_leader_that_is_deleted_loses_no_request(cluster: Cluster, load: StartLoad) -> None:
    running = load(LOAD_S)
    former = until(cluster.leader, "a leader")
    kubectl("-n", SYSTEM, "delete", "pod", former, "--wait=false")
    until(lambda: cluster.leader() not in ("", former), "another leader", SETTLED_S)
    running.assert_nothing_lost()


def test_an_envoy_that_is_deleted_loses_no_request(cluster: Cluster, load: StartLoad) -> None:
    running = load(LOAD_S)
    former = cluster.pods("envoy")[0]["metadata"]["name"]
    kubectl("-n", SYSTEM, "delete", "pod", former, "--wait=false")
    running.assert_nothing_lost()
    cluster.wait_until_settled()
    assert former not in names(cluster.pods("envoy"))


def test_an_engine_that_is_deleted_loses_no_request(cluster: Cluster, load: StartLoad) -> None:
    running = load(LOAD_S)
    former = next(pod for pod in cluster.engines() if is_ready(pod))["metadata"]["name"]
    kubectl("-n", "default", "delete", "pod", former, "--wait=false")
    running.assert_nothing_lost()


def test_a_node_that_is_drained_loses_no_request_and_its_replicas_move(
    cluster: Cluster, load: StartLoad
) -> None:
    running = load(DRAIN_LOAD_S)
    node = next(pod for pod in cluster.engines() if is_ready(pod))["spec"]["nodeName"]
    flags = ("--ignore-daemonsets", "--delete-emptydir-data", f"--timeout={SETTLED_S:.0f}s")
    kubectl("drain", node, *flags, timeout_s=SETTLED_S + 30)
    running.assert_nothing_lost()
    cluster.wait_until_settled()
    assert [pod for pod in cluster.engines() if is_ready(pod) and pod["spec"]["nodeName"] == node] == []


@pytest.mark.parametrize("component", ["operator", "envoy"])
def test_an_upgrade_of_the_chart_loses_no_request(cluster: Cluster, load: StartLoad, component: str) -> None:
    running = load(DRAIN_LOAD_S)
    before = names(cluster.pods(component))
    helm("upgrade", "argosy", str(CHART), "--reuse-values", "--wait", *change(component, running.name))
    running.assert_nothing_lost()
    cluster.wait_until_settled()
    assert names(cluster.pods(component)).isdisjoint(before)


def change(component: str, value: str) -> tuple[str, str]:
    """A value of the chart that exchanges every pod of a component."""
    return "--set-string", f"{component}.podAnnotations.upgraded={value}"
