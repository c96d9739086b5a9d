"""Whatever happens to a fleet, in whatever order: no plan fails its check, and the fleet arrives."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st
from small_fleet import World, a_class, a_fleet, a_model, a_pool, some_nodes

from argosy.api import CustomResource, GPUPool, ServedModel, WorkloadClass
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


OBJECTS: dict[tuple[str, str], tuple[type[CustomResource], str]] = {
    ("class", "chat"): (WorkloadClass, "default/chat"),
    ("class", "batch"): (WorkloadClass, "default/batch"),
    ("model", "llama"): (ServedModel, "default/llama"),
    ("model", "qwen"): (ServedModel, "default/qwen"),
    ("pool", "l40s"): (GPUPool, "l40s"),
    ("pool", "h100"): (GPUPool, "h100"),
}
GRACE_S = 30.0
DELETIONS = st.tuples(st.sampled_from(["delete", "apply"]), st.sampled_from(sorted(OBJECTS)))


def two_models() -> World:
    """Each class has a model of its own; either pool alone has room for both."""
    return World(
        [*some_nodes("l40s", 3), *some_nodes("h100", 3)],
        a_fleet(),
        a_pool(),
        a_pool("h100", "H100", priceUsdPerHour=3.0),
        a_model(),
        a_model("qwen"),
        a_class("chat"),
        a_class("batch", models=[{"name": "qwen"}], rate_per_s=1.0),
    )


def made_for(world: World, deployment: str) -> set[tuple[str, str]]:
    """The objects that a Deployment was made for; each class has a model of its own."""
    labels = world.template_of(deployment)["metadata"]["labels"]
    model = labels["argosy.dev/model"]
    workload_class = "chat" if model == "llama" else "batch"
    return {("class", workload_class), ("model", model), ("pool", labels["argosy.dev/pool"])}


@given(story=st.lists(st.tuples(DELETIONS, st.sampled_from([2, 10, 28, 40, 88])), min_size=1, max_size=4))
@settings(max_examples=15, deadline=None)
def test_what_is_deleted_serves_within_its_grace_and_is_gone_in_the_end(
    story: list[tuple[tuple[str, tuple[str, str]], int]],
) -> None:
    """Also where it is applied again, within the grace or after it."""
    world = two_models()
    world.settle()
    originals = dict(world.objects)
    gone_at_s: dict[tuple[str, str], float] = {}
    for (verb, what), seconds in story:
        kind, key = OBJECTS[what]
        if verb == "apply":
            world.apply(originals[kind, key])
            gone_at_s.pop(what, None)
        elif what not in gone_at_s:
            world.delete_with_grace(kind, key)
            gone_at_s[what] = world.now_s + GRACE_S
        period_s = 2 if seconds < GRACE_S - 4 else 4
        for _ in range(seconds // period_s):
            before = +world.serving()
            world.run(period_s, period_s)
            if not any(at_s <= world.now_s for at_s in gone_at_s.values()):
                lost = {d for d in before if not set(world.serving()) & alike(world, d)}
                assert not lost, (lost, world.decisions[-1])
    world.settle()
    for deployment in world.deployments.values():
        assert not made_for(world, deployment.key) & gone_at_s.keys()
    pods = {p.deployment for p in world.pods.values()}
    assert not [d for d in pods if made_for(world, d) & gone_at_s.keys()]
    for name, model in (("chat", "llama"), ("batch", "qwen")):
        if not {("class", name), ("model", model)} & gone_at_s.keys() and not {"l40s", "h100"} <= {
            each for kind_name, each in gone_at_s if kind_name == "pool"
        }:
            assert any(("class", name) in made_for(world, d) for d in world.serving()), name


def alike(world: World, deployment: str) -> set[str]:
    """Deployments of the same model: one of them may take over from the other."""
    model = world.template_of(deployment)["metadata"]["labels"]["argosy.dev/model"]
    return {
        d
        for d in {p.deployment for p in world.pods.values()}
        if world.template_of(d)["metadata"]["labels"]["argosy.dev/model"] == model
    }
