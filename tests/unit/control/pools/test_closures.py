"""A pool whose nodes take no replica: the cause on each, how many share it, and what mends it."""

from __future__ import annotations

from dataclasses import replace

import pytest
import yaml
from builders import NVIDIA, a_node, a_pod, a_pool
from small_fleet import World

from argosy.api import GPUPool
from argosy.control.candidates.resolve import no_nodes
from argosy.control.pools.closures import closures, closures_text, toleration_text
from argosy.control.state.nodes import pool_nodes
from argosy.snapshot.cluster import NodeState, PodState, Taint

NODE = a_node("n")
PRESENT = Taint("nvidia.com/gpu", "present", "NoSchedule")


def why(nodes: list[NodeState], *pods: PodState, gpus: int = 1, pool: GPUPool | None = None) -> str:
    world = World(nodes, pool or a_pool())
    world.pods = {p.key: p for p in pods}
    snapshot = world.snapshot()
    its = snapshot.pools["l40s"]
    found = pool_nodes(snapshot, frozenset())["l40s"]
    return closures_text(closures(snapshot, its, found, gpus), len(found.all_names))


@pytest.mark.parametrize(
    ("node", "expected"),
    [
        pytest.param(NODE, "", id="it takes one"),
        pytest.param(
            replace(NODE, taints=(PRESENT,)),
            "its only node n has the taint nvidia.com/gpu=present:NoSchedule, which spec.tolerations does not"
            ' name (add {key: nvidia.com/gpu, operator: Equal, value: "present", effect: NoSchedule} to'
            " spec.tolerations of GPUPool l40s)",
            id="a taint",
        ),
        pytest.param(
            replace(NODE, taints=(Taint("a", "", "NoSchedule"), Taint("b", "", "NoExecute"))),
            "its only node n has the taints a:NoSchedule and b:NoExecute, which spec.tolerations does not"
            " name (add {key: a, operator: Exists, effect: NoSchedule} and {key: b, operator: Exists,"
            " effect: NoExecute} to spec.tolerations of GPUPool l40s)",
            id="two taints without values: both are needed",
        ),
        pytest.param(
            replace(NODE, taints=(Taint("node.kubernetes.io/disk-pressure", "", "NoSchedule"),)),
            "its only node n has the taint node.kubernetes.io/disk-pressure:NoSchedule, by which Kubernetes"
            " shows a condition (it ends with it: kubectl describe node n)",
            id="a condition is not tolerated away",
        ),
        pytest.param(
            replace(NODE, taints=(PRESENT, Taint("node.cilium.io/agent-not-ready", "true", "NoExecute"))),
            "its only node n has the taint node.cilium.io/agent-not-ready=true:NoExecute, which ends once the"
            " node is set up (see what sets it up: kubectl describe node n)",
            id="a node that is being set up is not tolerated either",
        ),
        pytest.param(
            replace(NODE, labels={**NODE.labels, "nvidia.com/gpu.memory": "23034"}),
            "its only node n has another GPU than L40S: label nvidia.com/gpu.memory is 23034, and L40S"
            " has 46068 MiB (set spec.gpu to the card with this memory, or declare it in spec.gpuSpec under"
            " its own name)",
            id="another GPU than the pool's",
        ),
        pytest.param(
            replace(NODE, unschedulable=True), "its only node n is cordoned (kubectl uncordon n)", id="cordon"
        ),
        pytest.param(
            replace(NODE, taints=(Taint("karpenter.sh/disrupted", "", "NoSchedule"),)),
            "its only node n is leaving: Karpenter is removing it (taint karpenter.sh/disrupted)",
            id="an announced removal",
        ),
        pytest.param(
            replace(NODE, ready=False),
            "its only node n is not Ready (check its kubelet: kubectl describe node n)",
            id="not Ready",
        ),
        pytest.param(
            replace(NODE, allocatable={"nvidia.com/gpu.shared": 4, "example.com/nic": 1}),
            "its only node n has no nvidia.com/gpu, which spec.resourceName names, and has 4"
            " nvidia.com/gpu.shared (set spec.resourceName of GPUPool l40s to nvidia.com/gpu.shared)",
            id="a renamed resource",
        ),
        pytest.param(
            replace(NODE, allocatable={}, labels={**NODE.labels, "nvidia.com/gpu.count": "4"}),
            "its only node n has no extended resource nvidia.com/gpu (spec.resourceName), though label"
            " nvidia.com/gpu.count is 4 (run the device plugin of its GPUs there: Argosy asks for GPUs by an"
            " extended resource, and not by claims of resource.k8s.io (DRA), whose devices kubectl get"
            " resourceslices lists)",
            id="GPUs that only DRA hands out",
        ),
        pytest.param(
            replace(NODE, allocatable={NVIDIA: 0}, capacity={NVIDIA: 2}),
            "its only node n has 2 of its 2 nvidia.com/gpu unhealthy (look at its GPUs and at the log of its"
            " device plugin)",
            id="every GPU is unhealthy",
        ),
    ],
)
def test_what_keeps_replicas_off_a_node_is_named_with_its_remedy(node: NodeState, expected: str) -> None:
    assert why([node]) == expected


def test_nodes_that_share_a_cause_are_counted_and_the_most_frequent_comes_first() -> None:
    tainted = [a_node(f"t{i}", taints=(PRESENT,)) for i in range(4)]
    text = why([a_node("c", unschedulable=True), *tainted])
    assert text.startswith("4 of 5 nodes (t0, t1, t2 and 1 more) have the taint nvidia.com/gpu=present")
    assert text.endswith("; 1 of 5 nodes (c) is cordoned (kubectl uncordon c)")


def test_gpus_that_other_pods_hold_are_not_blamed_on_the_node() -> None:
    other = a_pod("job", gpus=2, deployment="")
    assert why([NODE], other) == (
        "its only node n has too few free nvidia.com/gpu: other pods hold some of its 2"
        " (kubectl describe node n)"
    )


def test_a_smaller_replica_is_advised_only_where_every_node_is_open_and_healthy() -> None:
    world = World([a_node("a", gpus=1), a_node("b", taints=(PRESENT,))], a_pool())
    snapshot = world.snapshot()
    found = closures(snapshot, snapshot.pools["l40s"], pool_nodes(snapshot, frozenset())["l40s"], 2)
    assert [(each.nodes, each.is_small) for each in found] == [(("a",), True), (("b",), False)]


def test_the_toleration_that_a_sentence_gives_opens_the_node() -> None:
    for taint in (PRESENT, Taint("team", "", "NoSchedule"), Taint("spot", "true", "NoExecute")):
        tolerations = yaml.safe_load(f"[{toleration_text(taint)}]")
        assert why([replace(NODE, taints=(taint,))]) != ""
        assert why([replace(NODE, taints=(taint,))], pool=a_pool(tolerations=tolerations)) == ""


def test_nodes_that_all_evict_replicas_are_not_taken_for_a_wrong_selector() -> None:
    world = World([replace(NODE, taints=(Taint("x", "", "NoExecute"),))], a_pool())
    snapshot = world.snapshot()
    reason, sentence = no_nodes(snapshot, snapshot.pools["l40s"], pool_nodes(snapshot, frozenset())["l40s"])
    assert (reason, "x:NoExecute" in sentence) == ("NodesClosed", True)
