"""Nodes that go, on a real control plane: successors serve before a drain or Karpenter takes the old ones."""

from __future__ import annotations

import json

from operator_stage import OURS, Object, OperatorStage, condition, names, until

from argosy_sim.controlplane.errors import StartError

LARGE = {"model": "llama-70b", "headers": {}}
"""Requests of class scholar, which has one replica."""


def evict(stage: OperatorStage, pod: str) -> str:
    """Ask the Eviction API as `kubectl drain` does; returns why it refuses, or nothing."""
    eviction = {
        "apiVersion": "policy/v1",
        "kind": "Eviction",
        "metadata": {"name": pod, "namespace": "default"},
    }
    path = f"/api/v1/namespaces/default/pods/{pod}/eviction"
    try:
        stage.kubectl("create", "--raw", path, "-f", "-", stdin=json.dumps(eviction))
    except StartError as refused:
        return str(refused)
    return ""


def replaced(stage: OperatorStage, workload_class: str, old: str) -> Object | None:
    """The ready replica that has taken the only one's place, once that is on its way out."""
    pods = stage.pods(workload_class)
    is_alone = len(pods) == 1 and names(pods) != [old]
    return pods[0] if is_alone and names(stage.ready_pods(workload_class)) == names(pods) else None


def test_a_drain_of_a_classs_only_replica_waits_for_its_successor_and_loses_no_request(
    stage: OperatorStage,
) -> None:
    [old] = stage.pods("scholar")
    name, node = old["metadata"]["name"], old["spec"]["nodeName"]
    with stage.load(rate_per_s=2.0, **LARGE) as load:
        assert "TooManyRequests" in evict(stage, name)  # 429
        stage.kubectl("drain", node, "--timeout=60s", "--ignore-daemonsets", "--delete-emptydir-data")
        new = until(lambda: replaced(stage, "scholar", name), "the successor to serve alone")
    assert load.lost == ()
    assert new["spec"]["nodeName"] != node
    assert stage.first_at("terminating", [name]) > stage.last_at("ready", names([new]))


def test_a_node_that_karpenter_disrupts_is_empty_before_it_is_deleted(stage: OperatorStage) -> None:
    [old, other] = stage.pods("chat")
    name, node, plans = old["metadata"]["name"], old["spec"]["nodeName"], names(stage.plans())
    with stage.load() as load:
        stage.kubectl("taint", "node", node, "karpenter.sh/disrupted:NoSchedule")

        def moved() -> list[Object]:
            """The replicas that have come, once the old one has gone: more than one after a busy minute."""
            pods, ready = stage.pods("chat"), stage.ready_pods("chat")
            if name in names(pods) or not len(pods) == len(ready) >= 2:
                return []
            return [p for p in ready if p["metadata"]["name"] != other["metadata"]["name"]]

        new = until(moved, "the replica to have moved")
        [leaving] = stage.read(f"{OURS}/gpupools/l40s")["status"]["leaving"]
    assert load.lost == ()
    assert (leaving["name"], leaving["reason"]) == (
        node,
        "Karpenter is removing it (taint karpenter.sh/disrupted)",
    )
    assert node not in {pod["spec"]["nodeName"] for pod in new}
    assert stage.first_at("terminating", [name]) > stage.first_at("ready", names(new))
    triggers = [plan["spec"]["trigger"] for plan in stage.plans() if plan["metadata"]["name"] not in plans]
    assert any(f"node {node} is leaving: Karpenter is removing it" in trigger for trigger in triggers)


def test_nothing_drains_while_all_nodes_are_cordoned(stage: OperatorStage) -> None:
    before = names(stage.pods("chat"))
    nodes = [n["metadata"]["name"] for n in stage.items("/api/v1/nodes")]
    with stage.load() as load:
        stage.kubectl("cordon", *nodes)

        def is_said() -> bool:
            found = condition(stage.class_of("chat"), "Ready")
            return (found["status"], found["reason"]) == ("True", "NodesLeaving")

        until(is_said, "the condition to say so")
        decisions = stage.leader.num_decisions()
        stage.patch("wclass", "chat", priority=101)
        until(lambda: stage.leader.num_decisions() > decisions, "another decision")
    assert load.lost == ()
    assert names(stage.pods("chat")) == before
    assert stage.applied()["spec"]["deployments"]
