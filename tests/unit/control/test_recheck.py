"""What makes each kind of step void, and what does not: changes of other objects never do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from builders import with_condition
from small_fleet import World, a_class, a_fleet, a_model, a_node, a_pool, parsed, some_nodes

from argosy.api import RouterPolicy
from argosy.api.conditions import ConditionStatus
from argosy.control.candidates.variants import variants_of
from argosy.control.decision import PlannedStep, Reliance
from argosy.control.recheck import changed_since
from argosy.control.state.waiting import STUCK_AFTER_S
from argosy.keys import ClassKey, DeploymentKey, GroupName, ModelKey, NamespacedName
from argosy.manifests import EngineWorkload
from argosy.rollout import (
    AdoptReplicaSet,
    CreateDeployment,
    DeleteDeployment,
    DeletePod,
    DeleteReplicaSet,
    EndProtection,
    MarkVictim,
    PlacePod,
    ProtectReplicas,
    ScaleDeployment,
)
from argosy.snapshot import EngineReading, Sample, TelemetryReading
from argosy.snapshot.cluster import DeploymentState, ReplicaSetState
from argosy.snapshot.fleet import EnvoyState, FleetSnapshot, RoutingView

Change = Callable[[FleetSnapshot], FleetSnapshot]

CHAT, BATCH = ClassKey("default/chat"), ClassKey("default/batch")
LLAMA, QWEN = ModelKey("default/llama"), ModelKey("default/qwen")


def settled() -> FleetSnapshot:
    """`chat` has three replicas on the pool l40s; `batch` has one of another model on the pool h100."""
    world = World(
        [*some_nodes("l40s", 3), *some_nodes("h100", 1)],
        a_fleet(),
        a_pool(),
        a_pool("h100", "H100", priceUsdPerHour=10.0),
        a_model(),
        a_model("qwen"),
        a_class(rate_per_s=11.0),
        a_class("batch", rate_per_s=15.0, models=[{"name": "qwen"}]),
    )
    world.settle()
    world.now_s += 60.0  # an engine that has just become ready is not silent yet
    return world.snapshot()


WORLD = settled()
PLAN = WORLD.plans[-1].key


def its(class_name: str) -> DeploymentKey:
    return next(
        d.name for d in WORLD.plans[-1].spec.deployments if d.sharing_group == f"default/{class_name}"
    )


KEY, OTHER = its("chat"), its("batch")
PODS = [p for p in WORLD.engine_pods if p.deployment == KEY]
OTHERS = [p for p in WORLD.engine_pods if p.deployment == OTHER]
POOL = PODS[0].labels["argosy.dev/pool"]
OTHER_POOL = next(name for name in WORLD.pools if name != POOL)
FREE = next(n for n in sorted(WORLD.nodes) if n.startswith(POOL) and n not in {p.node for p in PODS[:1]})
NEW = replace(PODS[0], name="new", uid="new", node="", phase="Pending", ready=False, gated=True, ip="")
EMPTY = DeploymentKey("default/empty")
STRAY = replace(
    PODS[0],
    name="stray",
    uid="stray",
    deployment=DeploymentKey(),
    origin=KEY,
    lacking=("argosy.dev/deployment",),
    ip="10.7.7.7",
)
"""A pod that has lost a label, beside its Deployment's replicas."""


def workload(max_num_seqs: int) -> EngineWorkload:
    """As the objects of the settled world describe it with this engine setting."""
    model = a_model(engine={"maxNumSeqs": max_num_seqs})
    world = replace(WORLD, models={**WORLD.models, LLAMA: model})
    variant = next(v for v in variants_of(world, model) if v.pool == POOL)
    return EngineWorkload(variant, GroupName(CHAT), WORLD.pools[POOL])


def with_model(snapshot: FleetSnapshot, **spec: Any) -> FleetSnapshot:
    return replace(snapshot, models={**snapshot.models, LLAMA: a_model(**spec)})


RELEASED = ReplicaSetState(NamespacedName("default/released"), "u", KEY, {}, {"app": "a"})
ALONE = ReplicaSetState(NamespacedName("default/alone"), "v", DeploymentKey("default/none"), {}, {})

BASE = replace(
    with_model(WORLD, engine={"maxNumSeqs": 100}),
    pods={**WORLD.pods, NEW.key: NEW, STRAY.key: STRAY},
    deployments={**WORLD.deployments, EMPTY: DeploymentState(EMPTY, 0)},
    loose={RELEASED.key: RELEASED, ALONE.key: ALONE},
    routing=RoutingView(),
)
"""The world that the steps are decided on: a new revision of the model, a pod without a node, no Envoy."""

STEPS = {
    "create": PlannedStep(CreateDeployment(workload(100), 2), Reliance(PLAN, (CHAT,))),
    "scale up": PlannedStep(ScaleDeployment(KEY, 5), Reliance(PLAN, replicas=3)),
    "scale down": PlannedStep(ScaleDeployment(KEY, 2), Reliance(PLAN, serving={KEY: 2}, replicas=3)),
    "mark": PlannedStep(MarkVictim(PODS[0].key, -1000), Reliance(PLAN, pod_uid=PODS[0].uid)),
    "place": PlannedStep(PlacePod(NEW.key, FREE), Reliance(PLAN, pod_uid=NEW.uid)),
    "delete": PlannedStep(DeleteDeployment(EMPTY), Reliance(PLAN)),
    "protect": PlannedStep(ProtectReplicas(KEY, 3), Reliance(PLAN)),
    "protect fewer": PlannedStep(ProtectReplicas(KEY, 2), Reliance(PLAN, serving={KEY: 2})),
    "end protection": PlannedStep(EndProtection(KEY), Reliance(PLAN)),
    "adopt": PlannedStep(AdoptReplicaSet(RELEASED.key, RELEASED.lacking), Reliance(PLAN)),
    "delete replica set": PlannedStep(DeleteReplicaSet(ALONE.key), Reliance(PLAN)),
    "delete pod": PlannedStep(DeletePod(STRAY.key), Reliance(PLAN, serving={KEY: 3}, pod_uid=STRAY.uid)),
}


def without(field: str, *keys: str) -> Change:
    return lambda s: replace(s, **{field: {k: v for k, v in getattr(s, field).items() if k not in keys}})


def with_pod(key: str, **fields: Any) -> Change:
    return lambda s: replace(s, pods={**s.pods, key: replace(s.pods[key], **fields)})


def with_class(name: str, **spec: Any) -> Change:
    return lambda s: replace(s, classes={**s.classes, ClassKey(f"default/{name}"): a_class(name, **spec)})


def with_pool(name: str, **spec: Any) -> Change:
    gpu = WORLD.pools[name].spec.gpu
    return lambda s: replace(s, pools={**s.pools, name: a_pool(name, gpu, **spec)})


def with_count(key: DeploymentKey, replicas: int) -> Change:
    return lambda s: replace(s, deployments={**s.deployments, key: DeploymentState(key, replicas)})


def with_node(name: str, **fields: Any) -> Change:
    return lambda s: replace(s, nodes={**s.nodes, name: replace(s.nodes[name], **fields)})


def with_silent(*addresses: str) -> Change:
    def change(snapshot: FleetSnapshot) -> FleetSnapshot:
        sample = Sample(EngineReading(1, 0, 0.1, 0, 0, 0), snapshot.now_s)
        engines = {p.address: sample for p in snapshot.engine_pods if p.ready}
        silent = dict.fromkeys(addresses, snapshot.now_s - 60.0)
        return replace(snapshot, telemetry=TelemetryReading(engines, silent))

    return change


def with_mode(mode: str) -> Change:
    return lambda s: replace(s, fleet=a_fleet(mode))


def with_applied(status: ConditionStatus) -> Change:
    def change(snapshot: FleetSnapshot) -> FleetSnapshot:
        return replace(
            snapshot,
            plans=tuple(
                with_condition(p, "Superseded", status) if p.key == PLAN else p for p in snapshot.plans
            ),
        )

    return change


def recommended(snapshot: FleetSnapshot) -> FleetSnapshot:
    newest = snapshot.plans[-1]
    newer = newest.model_copy(
        update={
            "metadata": newest.metadata.model_copy(update={"name": "plan-000099"}),
            "spec": newest.spec.model_copy(update={"revision": 99}),
        }
    )
    return replace(
        snapshot, plans=(*snapshot.plans, with_condition(newer, "Recommended", ConditionStatus.FALSE))
    )


POLICY = parsed(RouterPolicy, "p", {"targetRefs": [{"kind": "WorkloadClass", "name": "chat"}]}, "default")

UNRELATED: dict[str, Change] = {
    "nothing": lambda s: s,
    "another class changes its rate": with_class("batch", rate_per_s=99.0),
    "another class is deleted": without("classes", BATCH),
    "another class is created": with_class("more"),
    "the class of the step changes its rate": with_class("chat", rate_per_s=1.0),
    "the class of the step changes its floor": with_class("chat", minReplicas=5),
    "the class of the step changes its SLO": with_class("chat", slo={"ttft": {"p95Milliseconds": 90}}),
    "the price of the step's pool changes": with_pool(POOL, priceUsdPerHour=7.0),
    "the price of another pool changes": with_pool(OTHER_POOL, priceUsdPerHour=7.0),
    "another pool is deleted": without("pools", OTHER_POOL),
    "another model is deleted": without("models", QWEN),
    "a budget is set": lambda s: replace(s, fleet=a_fleet(budgetUsdPerHour=50.0)),
    "a policy is created": lambda s: replace(s, policies={"default/p": POLICY}),
    "a newer plan is recommended": recommended,
    "a node of another pool is not ready": with_node(f"{OTHER_POOL}-0", ready=False),
    "a node joins": lambda s: replace(s, nodes={**s.nodes, "l40s-9": a_node("l40s-9")}),
    "another Deployment is scaled": with_count(OTHER, 7),
    "a pod of another Deployment is gone": without("pods", OTHERS[0].key),
    "an engine of another Deployment is silent": with_silent(OTHERS[0].address),
    "time passes": lambda s: replace(s, now_s=s.now_s + 25.0),
}


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("change", UNRELATED)
def test_a_change_that_a_step_does_not_rely_on_does_not_stop_it(step: str, change: str) -> None:
    assert changed_since(STEPS[step], UNRELATED[change](BASE)) == ""


PLAN_CHANGES: list[tuple[Change, str]] = [
    (with_mode("Recommend"), "the mode of Fleet/default is Recommend now"),
    (with_mode("Observe"), "the mode of Fleet/default is Observe now"),
    (with_applied(ConditionStatus.FALSE), f"FleetPlan {PLAN} is no longer applied"),
    (lambda s: replace(s, plans=()), f"FleetPlan {PLAN} is gone"),
]


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize(("change", "expected"), PLAN_CHANGES)
def test_a_change_of_what_all_steps_carry_out_stops_them_all(
    step: str, change: Change, expected: str
) -> None:
    assert changed_since(STEPS[step], change(BASE)) == expected


VOID: list[Any] = [
    # Creating a Deployment.
    ("create", without("classes", CHAT), "WorkloadClass default/chat is gone"),
    ("create", without("models", LLAMA), "ServedModel default/llama is gone"),
    (
        "create",
        lambda s: with_model(s, engine={"maxNumSeqs": 64}),
        f"ServedModel default/llama or GPUPool {POOL} describes another engine now",
    ),
    (
        "create",
        with_pool(POOL, tolerations=[{"key": "gpu", "operator": "Exists"}]),
        f"ServedModel default/llama or GPUPool {POOL} describes another engine now",
    ),
    (
        "create",
        without("pools", POOL),
        f"ServedModel default/llama or GPUPool {POOL} describes another engine now",
    ),
    ("create", with_count(workload(100).key, 1), f"Deployment {workload(100).key} exists now"),
    # Changing a count.
    ("scale up", with_count(KEY, 4), f"Deployment {KEY} has 4 replicas now; it had 3"),
    ("scale up", without("deployments", KEY), f"Deployment {KEY} is gone now; it had 3"),
    ("scale down", with_count(KEY, 2), f"Deployment {KEY} has 2 replicas now; it had 3"),
    (
        "scale down",
        with_pod(PODS[1].key, ready=False, deletion_cost=0),
        "",  # Kubernetes deletes the one that is not ready first
    ),
    (
        "scale down",
        with_silent(PODS[1].address),
        f"the number of serving replicas of Deployment {KEY} would be 1: 2 is needed",
    ),
    (
        "scale down",
        lambda s: with_pod(PODS[1].key, deletion_cost=-1000)(with_silent(PODS[1].address)(s)),
        "",  # the silent one is marked: Kubernetes deletes it first
    ),
    (
        "scale down",
        lambda s: with_pod(PODS[1].key, ready=False)(with_pod(PODS[2].key, ready=False)(s)),
        f"the number of serving replicas of Deployment {KEY} would be 1: 2 is needed",
    ),
    # Marking and placing a pod.
    ("mark", without("pods", PODS[0].key), f"pod {PODS[0].key} is gone"),
    ("mark", with_pod(PODS[0].key, uid="another"), f"pod {PODS[0].key} is gone"),
    ("mark", with_pod(PODS[0].key, deleting=True), f"pod {PODS[0].key} is being deleted"),
    ("place", without("pods", NEW.key), f"pod {NEW.key} is gone"),
    ("place", with_pod(NEW.key, uid="another"), f"pod {NEW.key} is gone"),
    ("place", with_pod(NEW.key, deleting=True), f"pod {NEW.key} is being deleted"),
    ("place", with_pod(NEW.key, gated=False), f"pod {NEW.key} has its node already"),
    ("place", with_node(FREE, ready=False), f"node {FREE} takes no new pods now"),
    ("place", with_node(FREE, unschedulable=True), f"node {FREE} takes no new pods now"),
    ("place", without("nodes", FREE), f"node {FREE} takes no new pods now"),
    # Telling evictions what to leave.
    ("protect", without("deployments", KEY), f"Deployment {KEY} is gone"),
    ("protect fewer", without("deployments", KEY), f"Deployment {KEY} is gone"),
    ("protect", with_silent(PODS[1].address), ""),
    (
        "protect fewer",
        with_silent(PODS[1].address),
        f"the number of serving replicas of Deployment {KEY} would be 1: 2 is needed",
    ),
    # Deleting a pod that no Deployment counts.
    ("delete pod", without("pods", STRAY.key), f"pod {STRAY.key} is gone"),
    ("delete pod", with_pod(STRAY.key, uid="another"), f"pod {STRAY.key} is gone"),
    ("delete pod", with_pod(STRAY.key, deleting=True), f"pod {STRAY.key} is being deleted"),
    ("delete pod", with_pod(STRAY.key, lacking=()), f"pod {STRAY.key} is no orphan any more"),
    ("delete pod", with_pod(STRAY.key, controller="mine-5d4f"), f"pod {STRAY.key} is no orphan any more"),
    (
        "delete pod",
        with_pod(PODS[1].key, ready=False),
        f"the number of serving replicas of Deployment {KEY} would be 2: 3 is needed",
    ),
    (
        "delete pod",
        lambda s: replace(
            s,
            routing=RoutingView(
                "v1", (EnvoyState("edge", endpoints_version="v1"),), {"v1": frozenset({STRAY.address})}
            ),
        ),
        f"pod {STRAY.key} would be removed: Envoy edge has not acknowledged that it takes no requests any"
        " more",
    ),
    # Settling ReplicaSets that no Deployment owns.
    ("adopt", without("loose", RELEASED.key), f"ReplicaSet {RELEASED.key} is gone, or a Deployment owns it"),
    (
        "delete replica set",
        without("loose", ALONE.key),
        f"ReplicaSet {ALONE.key} is gone, or a Deployment owns it",
    ),
    ("delete replica set", with_count(ALONE.deployment, 1), f"Deployment {ALONE.deployment} exists now"),
    # Deleting a Deployment.
    ("delete", without("deployments", EMPTY), f"Deployment {EMPTY} is gone"),
    ("delete", with_count(EMPTY, 1), f"Deployment {EMPTY} has replicas again"),
    ("delete", with_pod(NEW.key, deployment=EMPTY), f"Deployment {EMPTY} has replicas again"),
]


@pytest.mark.parametrize(("step", "change", "expected"), VOID)
def test_a_step_is_void_where_what_it_relies_on_has_changed(step: str, change: Change, expected: str) -> None:
    assert changed_since(STEPS[step], change(BASE)) == expected


def with_envoy(snapshot: FleetSnapshot, *addresses: str) -> FleetSnapshot:
    """One Envoy, which has these addresses as endpoints."""
    edge = EnvoyState("edge", "v1", endpoints_version="v1", endpoints_since_s=0.0)
    return replace(snapshot, routing=RoutingView("v1", (edge,), {"v1": frozenset(addresses)}))


@pytest.mark.parametrize(
    ("known", "unacknowledged", "expected"),
    [
        pytest.param([0, 1, 2], (), "edge has not acknowledged", id="an Envoy has the victim"),
        pytest.param([1, 2], (), "", id="no Envoy has it"),
        pytest.param([0, 1, 2], (PODS[0].key,), "", id="it is waited for no longer"),
    ],
)
def test_a_count_falls_only_once_no_envoy_has_a_victim_as_an_endpoint(
    known: list[int], unacknowledged: tuple[str, ...], expected: str
) -> None:
    step = STEPS["scale down"]
    step = replace(step, relies_on=replace(step.relies_on, unacknowledged=frozenset(unacknowledged)))
    marked = with_pod(PODS[0].key, deletion_cost=-1000)(BASE)
    found = changed_since(step, with_envoy(marked, *(PODS[n].address for n in known)))
    assert (expected in found) if expected else found == ""


def test_if_kubernetes_would_take_another_pod_than_the_marked_one_that_one_must_be_unused_too() -> None:
    """A pod that is not ready goes first, whatever its mark."""
    world = with_pod(PODS[0].key, deletion_cost=-1000)(with_pod(PODS[1].key, ready=False)(BASE))
    step = PlannedStep(ScaleDeployment(KEY, 2), Reliance(PLAN, replicas=3))
    assert changed_since(step, with_envoy(world, PODS[2].address)) == ""
    assert f"pod {PODS[1].key} would be removed" in changed_since(
        step, with_envoy(world, PODS[1].address, PODS[2].address)
    )


def test_a_pod_is_taken_out_of_rotation_only_while_enough_others_serve() -> None:
    relies_on = Reliance(PLAN, serving={KEY: 2}, pod_uid=PODS[0].uid)
    step = PlannedStep(MarkVictim(PODS[0].key, -1000), relies_on)
    assert changed_since(step, BASE) == ""
    assert changed_since(step, with_pod(PODS[1].key, ready=False)(BASE)) == (
        f"the number of serving replicas of Deployment {KEY} would be 1: 2 is needed"
    )


def test_a_node_on_which_every_engine_is_stuck_takes_no_new_pod() -> None:
    """As in the decision: something else has taken its GPUs."""
    there = [p for p in BASE.engine_pods if p.node == FREE]
    stuck = {
        p.key: replace(
            p, node="", assigned_node=FREE, ready=False, unschedulable_since_s=BASE.now_s - STUCK_AFTER_S
        )
        for p in there
    }
    assert there
    world = replace(BASE, pods={**BASE.pods, **stuck})
    assert changed_since(STEPS["place"], world) == f"node {FREE} takes no new pods now"


def test_a_group_of_several_classes_is_served_while_one_of_them_exists() -> None:
    step = PlannedStep(STEPS["create"].step, Reliance(PLAN, (CHAT, BATCH)))
    assert changed_since(step, without("classes", CHAT)(BASE)) == ""
    assert changed_since(step, without("classes", CHAT, BATCH)(BASE)) == (
        "WorkloadClass default/chat, default/batch is gone"
    )


def test_of_two_deployments_that_give_way_to_one_another_only_the_first_is_scaled_down() -> None:
    """Each relies on the other, and the store holds the first one's new count at once."""
    first = PlannedStep(ScaleDeployment(KEY, 0), Reliance(PLAN, serving={OTHER: 1}, replicas=3))
    second = PlannedStep(ScaleDeployment(OTHER, 0), Reliance(PLAN, serving={KEY: 1}, replicas=len(OTHERS)))
    assert changed_since(first, BASE) == ""
    assert changed_since(second, with_count(KEY, 0)(BASE)) == (
        f"the number of serving replicas of Deployment {KEY} would be 0: 1 is needed"
    )
