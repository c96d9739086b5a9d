"""Nodes that two pools select: both pools name them, each other and the remedy, and they count once."""

from __future__ import annotations

from dataclasses import replace

from builders import GPU_LABEL, a_class, a_fleet, a_model, a_pool, some_nodes
from small_fleet import World, body_of, condition, verdict

from argosy.api import GPUPool
from argosy.control.decision import Decision

LABEL = "zone"


def older(pool: GPUPool) -> GPUPool:
    metadata = pool.metadata.model_copy(update={"creation_timestamp": "2020-01-01T00:00:00Z"})
    return pool.model_copy(update={"metadata": metadata})


def overlapping(*nodes: str, price: float = 2.0) -> tuple[World, Decision]:
    """Two replicas serve in the pool `l40s`; then an older pool selects these nodes as well."""
    world = World(some_nodes("l40s", 4), a_fleet(), a_pool(), a_model(), a_class())
    world.settle()
    world.apply(older(a_pool("wide", nodeSelector={LABEL: "a"}, priceUsdPerHour=price)))
    for name in nodes:
        node = world.nodes[name]
        world.nodes[name] = replace(node, labels={**node.labels, LABEL: "a"})
    return world, world.decide()


def test_both_pools_name_the_nodes_each_other_the_replicas_there_and_the_remedy() -> None:
    world, decision = overlapping("l40s-0", "l40s-1")
    assert {pod.destination for pod in world.pods.values()} == {"l40s-0", "l40s-1"}
    assert verdict(decision, "l40s", "gpupools", "Accepted") == ("False", "Conflicted")
    assert verdict(decision, "wide", "gpupools", "Accepted") == ("True", "Accepted")
    for pool in ("l40s", "wide"):
        assert verdict(decision, pool, "gpupools") == ("True", "NodesShared")
        assert condition(decision, pool, "gpupools", "Ready")["message"] == (
            "l40s-0, l40s-1: spec.nodeSelector of GPUPool wide and of GPUPool l40s select them; they belong"
            " to wide, which is older, and count there alone (2 replicas of l40s serve there). Change"
            " spec.nodeSelector of either pool, or the labels of the nodes."
        )


def test_of_two_pools_that_were_made_in_the_same_second_the_first_by_name_has_the_nodes() -> None:
    """As with `kubectl apply -f` of both: neither is called the older one."""
    pools = [a_pool(name, nodeSelector={GPU_LABEL: "l40s"}) for name in ("wide", "l40s", "b")]
    world = World(some_nodes("l40s", 4), a_fleet(), *pools, a_model(), a_class())
    decision = world.decide()
    assert [body_of(decision, name, "gpupools")["gpusTotal"] for name in ("b", "l40s", "wide")] == [8, 0, 0]
    for name in ("b", "l40s"):
        said = condition(decision, name, "gpupools", "Ready")["message"]
        assert "they belong to b, which comes first by name, and count there alone" in said


def test_the_gpus_of_shared_nodes_count_once_and_what_runs_there_is_not_free() -> None:
    _, decision = overlapping("l40s-0", "l40s-1")
    shown = {pool: body_of(decision, pool, "gpupools") for pool in ("l40s", "wide")}
    assert {pool: (s["gpusTotal"], s["gpusFree"]) for pool, s in shown.items()} == {
        "l40s": (4, 4),
        "wide": (4, 2),
    }


def test_replicas_on_shared_nodes_serve_until_their_successors_in_the_older_pool_do() -> None:
    world, _ = overlapping(*(f"l40s-{i}" for i in range(4)))
    world.settle()
    last = world.decisions[-1]
    assert world.replicas() == {"wide/chat": 2}
    assert verdict(last, "l40s", "gpupools") == ("False", "Conflicted")
    assert "replicas of l40s" not in condition(last, "wide", "gpupools", "Ready")["message"]


def test_pools_that_share_no_node_say_nothing_of_each_other() -> None:
    _, decision = overlapping()
    assert verdict(decision, "l40s", "gpupools") == ("True", "Ready")
    assert verdict(decision, "l40s", "gpupools", "Accepted") == ("True", "Accepted")
