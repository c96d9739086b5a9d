"""Whatever happens to a fleet, in whatever order: no plan fails its check, and the fleet arrives."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st
from small_fleet import World, a_class, a_fleet, a_model, a_pool, some_nodes

from argosy.api import WorkloadClass
from argosy.snapshot.cluster import Taint

KARPENTER = Taint("karpenter.sh/disrupted", "", "NoSchedule")
EVENTS = st.one_of(
    st.tuples(st.just("rate"), st.sampled_from(["chat", "batch"]), st.floats(0.0, 20.0)),
    st.tuples(st.just("price"), st.sampled_from(["l40s", "h100"]), st.floats(0.1, 9.0)),
    st.tuples(st.just("engine"), st.just("llama"), st.integers(1, 3)),
    st.tuples(st.just("kill"), st.sampled_from(["l40s-0", "l40s-1", "h100-0"]), st.just(0)),
    st.tuples(st.just("cordon"), st.sampled_from(["l40s-0", "l40s-1", "h100-0"]), st.just(0)),
    st.tuples(st.just("disrupt"), st.sampled_from(["l40s-0", "l40s-1", "h100-0"]), st.just(0)),
)


def happen(world: World, kind: str, name: str, value: float) -> None:
    match kind:
        case "rate":
            former = world.of(WorkloadClass)[f"default/{name}"]
            world.apply(a_class(name, rate_per_s=value, priority=former.spec.priority))
        case "price":
            world.apply(a_pool(name, name.upper(), priceUsdPerHour=value))
        case "engine":
            world.apply(a_model(engine={"maxNumSeqs": 64 * int(value)}))
        case "kill":
            world.kill_node(name)
        case "cordon":
            world.nodes[name] = replace(world.nodes[name], unschedulable=True)
        case "disrupt":
            world.nodes[name] = replace(world.nodes[name], taints=(KARPENTER,))


@given(story=st.lists(st.tuples(EVENTS, st.integers(1, 40)), max_size=4), priority=st.sampled_from([50, 100]))
@settings(max_examples=15, deadline=None)
def test_a_fleet_arrives_after_any_story(
    story: list[tuple[tuple[str, str, float], int]], priority: int
) -> None:
    """With chat's own priority, batch shares its replicas; with another it has its own."""
    world = World(
        [*some_nodes("l40s", 3), *some_nodes("h100", 2)],
        a_fleet(),
        a_pool(),
        a_pool("h100", "H100", priceUsdPerHour=3.0),
        a_model(),
        a_class("chat"),
        a_class("batch", rate_per_s=1.0, priority=priority),
    )
    world.settle()
    groups = {"batch"} if priority == 100 else {"chat", "batch"}
    for event, seconds in story:
        happen(world, *event)
        world.run(seconds, period_s=4.0)
        if not world.dead_nodes:
            # Whatever was changed, what serves is only taken away for something that serves.
            assert {world.label(d).partition("/")[2] for d in world.serving()} == groups
    world.run(60, period_s=5.0)
    for name in world.dead_nodes:
        # The node controller follows, and evicts.
        world.nodes[name] = replace(world.nodes[name], ready=False)
    for pod in [p for p in world.pods.values() if p.node in world.dead_nodes]:
        world.delete_pod(pod.key)
        del world.pods[pod.key]
    world.settle()
    planned = {d.name: d.replicas for d in world.applied.spec.deployments if d.replicas}
    assert dict(world.serving()) == planned
    assert all(c.unserved_share == 0 for c in world.applied.spec.cells)
