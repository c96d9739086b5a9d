"""Nodes that go, on a real control plane: successors serve before a drain or Karpenter takes the old ones."""

from __future__ import annotations

import json
import time

from operator_stage import OURS, Object, OperatorStage, Say, condition, is_ready, names, until

from argosy_sim.controlplane.errors import StartError
from argosy_sim.livefleet.control import kill_node, revive_node

EVENTS = "/apis/events.k8s.io/v1/events"
REPLACED_WITHIN_S = 60.0
"""Kubernetes evicts from an unreachable node after 300 s."""
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


UNREACHABLE = "node.kubernetes.io/unreachable"
DOWN_S = 3.0
"""A request that was sent so long before a node fell silent has been answered."""


def taints(stage: OperatorStage, node: str) -> set[tuple[str, str]]:
    found = stage.read(f"/api/v1/nodes/{node}")["spec"].get("taints", ())
    return {(taint["key"], taint["effect"]) for taint in found}


def is_evicted(pod: Object) -> bool:
    """Whether Kubernetes has taken the pod from its node because of a taint."""
    return bool(condition(pod, "DisruptionTarget"))


def spread(stage: OperatorStage) -> list[Object]:
    """The class's two replicas, on two nodes: an earlier test may have left them on one."""
    pods = stage.pods("chat")
    if len({pod["spec"]["nodeName"] for pod in pods}) < len(pods):
        stage.kubectl("delete", "pod", pods[0]["metadata"]["name"])
        stage.until_at_rest()
        pods = stage.pods("chat")
    assert len({pod["spec"]["nodeName"] for pod in pods}) == len(pods) == 2, "replicas are spread"
    return pods


def test_what_a_dead_node_served_is_replaced_without_an_eviction(stage: OperatorStage, say: Say) -> None:
    doomed, _ = spread(stage)
    name, node = doomed["metadata"]["name"], doomed["spec"]["nodeName"]
    path = f"/api/v1/namespaces/default/pods/{name}"
    assert [t.get("tolerationSeconds") for t in doomed["spec"]["tolerations"] if t["key"] == UNREACHABLE] == [
        None
    ]
    with stage.load() as load:
        until(lambda: load.num_since(0.0) >= 4, "answers before the node dies")
        kill_node(stage.stage.fleet_dir, node)
        died_s = time.time()
        try:
            until(lambda: {(UNREACHABLE, "NoExecute")} <= taints(stage, node), "the node's taint")
            held = stage.read(path)
            assert not (held and is_evicted(held))

            def serving() -> list[Object]:
                pods = [pod for pod in stage.pods("chat") if pod["spec"]["nodeName"] != node]
                return pods if len(pods) == 2 and all(map(is_ready, pods)) else []

            until(serving, "a successor on a living node")
            took_s = time.time() - died_s
            left = stage.read(path)
            assert not (left and is_evicted(left))
        finally:
            revive_node(stage.stage.fleet_dir, node)
    evictions = [e for e in stage.items(EVENTS) if e["reason"] == "TaintManagerEviction"]
    assert [e["note"] for e in evictions if e["regarding"]["name"] == name] == []
    assert [answer for answer in load.lost if not died_s - DOWN_S < answer.sent_s < died_s + 1.0] == []
    assert took_s < REPLACED_WITHIN_S
    say(f"two replicas serve again {took_s:.1f} s after the node died, {len(load.lost)} streams lost")
    until(lambda: UNREACHABLE not in {key for key, _ in taints(stage, node)}, "the node to be well again")


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
