"""Whatever changes between a decision and its steps, a step that passes the check leaves a class served.

The world changes at random while a decision is made; then each step is checked against the world as it
is, taken if it passes, and Kubernetes does its part at once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import event, example, given, settings
from hypothesis import strategies as st
from small_fleet import World, a_class, a_fleet, a_model, a_pool, some_nodes

from argosy.api import WorkloadClass
from argosy.control.decision import Decision
from argosy.control.recheck import changed_since
from argosy.control.state.silence import lost_pods
from argosy.rollout import CreateDeployment, DeleteDeployment, PlacePod, ScaleDeployment
from argosy.snapshot.cluster import DeploymentState
from argosy.snapshot.serving import takes_requests

CLASSES = ("chat", "batch")
RATES = st.sampled_from([1.0, 3.0, 6.0, 9.0, 13.0])


def a_world(num_nodes: int, rates: dict[str, float]) -> World:
    classes = [a_class(name, rate_per_s=rate) for name, rate in rates.items()]
    h100 = a_pool("h100", "H100", priceUsdPerHour=4.0)
    nodes = [*some_nodes("l40s", num_nodes), *some_nodes("h100", 1, gpus=1)]
    return World(nodes, a_fleet(), a_pool(), h100, a_model(), *classes)


def serving(world: World) -> dict[str, int]:
    """Replicas that take requests, by sharing group, as far as can be observed."""
    snapshot, found = world.snapshot(), dict.fromkeys(CLASSES, 0)
    lost = lost_pods(snapshot)
    for pod in snapshot.engine_pods:
        found[pod.labels["argosy.dev/sharing-group"]] += takes_requests(pod, lost)
    return found


def planned(decision: Decision) -> dict[str, int]:
    found = dict.fromkeys(CLASSES, 0)
    assert decision.follow is not None
    for entry in decision.follow.spec.deployments:
        found[entry.sharing_group.partition("/")[2]] += entry.replicas
    return found


def pick(items: list[str], place: float) -> str | None:
    return sorted(items)[int(place * len(items))] if items else None


def silence(world: World, place: float) -> None:
    if (pod := pick([p.key for p in world.pods.values() if p.ready and not p.deleting], place)) is not None:
        world.silence(pod)


def delete_pod(world: World, place: float) -> None:
    if (pod := pick([p.key for p in world.pods.values() if not p.deleting], place)) is not None:
        world.delete_pod(pod)


def kill_node(world: World, place: float) -> None:
    if (node := pick([n for n in world.nodes if n not in world.dead_nodes], place)) is not None:
        world.kill_node(node)


def scale(world: World, place: float) -> None:
    """As a person does with kubectl."""
    if (key := pick(list(world.deployments), place)) is not None:
        deployment = world.deployments[key]  # type: ignore[index]
        world.deployments[deployment.key] = DeploymentState(deployment.key, max(0, deployment.replicas - 1))


def change_rate(world: World, place: float) -> None:
    name = CLASSES[int(place * 2)]
    if (WorkloadClass, f"default/{name}") in world.objects:
        world.apply(a_class(name, rate_per_s=1.0 + 12.0 * place))


def delete_class(world: World, place: float) -> None:
    world.objects.pop((WorkloadClass, f"default/{CLASSES[int(place * 2)]}"), None)


def change_engine(world: World, place: float) -> None:
    world.apply(a_model(engine={"maxNumSeqs": 50 + int(place * 3)}))


CHANGES: list[Callable[[World, float], None]] = [
    silence,
    silence,
    delete_pod,
    kill_node,
    scale,
    change_rate,
    delete_class,
    change_engine,
]


def take_what_passes(world: World, decision: Decision) -> None:
    """Each step that passes, with what it must not do."""
    wanted = planned(decision)
    for each in decision.steps:
        if changed_since(each, world.snapshot()):
            event("a step was left")
            continue
        event(f"taken: {type(each.step).__name__}")
        before, step = serving(world), each.step
        if isinstance(step, CreateDeployment):
            assert step.workload.key not in world.deployments
        if isinstance(step, DeleteDeployment):
            assert not any(p.deployment == step.key for p in world.pods.values())
        if isinstance(step, PlacePod):
            assert world.pods[step.pod].gated
            assert world.nodes[step.node].ready
        world.take(step)
        if isinstance(step, ScaleDeployment):
            world.reconcile()
            check_served(world, before, serving(world), wanted)


def check_served(world: World, before: dict[str, int], after: dict[str, int], wanted: dict[str, int]) -> None:
    for name in CLASSES:
        exists = (WorkloadClass, f"default/{name}") in world.objects
        if exists and wanted[name] and before[name]:
            assert after[name] >= 1
            assert after[name] >= min(wanted[name], before[name] - 1)


@given(
    num_nodes=st.integers(1, 3),
    rates=st.fixed_dictionaries(dict.fromkeys(CLASSES, RATES)),
    next_rates=st.fixed_dictionaries(dict.fromkeys(CLASSES, RATES)),
    seconds=st.integers(0, 45),
    engine=st.booleans(),
    changes=st.lists(st.tuples(st.sampled_from(CHANGES), st.floats(0.0, 0.999)), max_size=4),
)
@settings(max_examples=60, deadline=None)
@example(  # a marked replica, and the one that should stay falls silent
    num_nodes=1,
    rates={"chat": 6.0, "batch": 6.0},
    next_rates={"chat": 1.0, "batch": 1.0},
    seconds=0,
    engine=False,
    changes=[(silence, 0.75)],
)
def test_a_step_that_passes_takes_no_class_its_last_replica(**drawn: Any) -> None:
    world = a_world(drawn["num_nodes"], drawn["rates"])
    world.run(40.0, period_s=4.0)
    if drawn["engine"]:
        world.apply(a_model(engine={"maxNumSeqs": 40}))
    world.apply(*(a_class(name, rate_per_s=rate) for name, rate in drawn["next_rates"].items()))
    world.run(float(drawn["seconds"]), period_s=4.0)
    decision = world.decide()
    world.publish(decision)
    for change, place in drawn["changes"]:
        change(world, place)
    world.reconcile()
    world.now_s += 5.0  # an engine that stops answering is silent after a few seconds
    take_what_passes(world, decision)
