"""What the cluster refuses: users read by which object, other hardware is tried, nothing flaps."""

from __future__ import annotations

from dataclasses import replace

import pytest
from builders import NVIDIA, a_pod
from refusing_world import CHEAP, DEAR, RefusingWorld
from small_fleet import a_class, a_model, a_pool, condition

from argosy.control.decision import Decision
from argosy.control.refused.quarantine import FIRST_S, LONGEST_S, REFUSED_AFTER_S
from argosy.control.step import StepSettings, step
from argosy.keys import DeploymentKey, NamespacedName
from argosy.snapshot.admission.quotas import LimitRangeState, QuotaState, ScopeRule
from argosy.snapshot.admission.words import RefusedWrite
from argosy.snapshot.cluster import PodState

OBJECTS = (("workloadclasses", "default/chat"), ("servedmodels", "default/llama"))
TOO_LARGE = "pods is forbidden: maximum memory usage per Container is 1Gi, but limit is 64Gi"
SMALL = LimitRangeState(NamespacedName("default/small"), ("maximum memory usage per Container is 1Gi",))
OTHER = LimitRangeState(NamespacedName("default/other"), ("maximum memory usage per Container is 1Ti",))
TAINTED = (
    "0/6 nodes are available: 4 node(s) had untolerated taint {team: x}, 2 node(s) didn't match selector"
)


def events_of(world: RefusingWorld, reason: str) -> list[str]:
    return [e.message for d in world.decisions for e in d.events if e.reason == reason]


def ready(decision: Decision) -> list[tuple[str, str, str]]:
    found = (condition(decision, key, plural) for plural, key in OBJECTS)
    return [(each["status"], each["reason"], each["message"]) for each in found]


def test_both_objects_name_what_refuses_from_the_first_look_on() -> None:
    world = RefusingWorld()
    world.limit_ranges = {"default/other": OTHER, "default/small": SMALL}
    world.refuses = {CHEAP: TOO_LARGE}
    world.run(3)
    (key,) = world.deployments
    for status, reason, message in ready(world.decide()):
        assert (status, reason) == ("False", "PodsRefused")
        assert message == (
            f"0 of 2 replicas are ready; LimitRange default/small refuses the pods of Deployment {key}:"
            " maximum memory usage per Container is 1Gi, but limit is 64Gi. Widen its bounds (kubectl -n"
            " default edit limitrange small), or let the engines ask for less."
        )


def test_other_hardware_is_tried_and_both_objects_say_what_is_left_alone() -> None:
    world = RefusingWorld()
    world.refuses = {CHEAP: TOO_LARGE}
    world.run(REFUSED_AFTER_S + 3)
    assert world.planned() == {DEAR: 1}
    world.run(25)
    assert sum(world.serving().values()) == 1
    for status, reason, message in ready(world.decide()):
        assert (status, reason) == ("True", "OthersServe")
        assert "A LimitRange of namespace default refuses replicas of llama-l40s-tp1-" in message
        assert "maximum memory usage per Container is 1Gi, but limit is 64Gi" in message
    assert world.decisions[-1].refused == {"LimitRange": 1}
    [event] = events_of(world, "ReplicasRefused")
    assert event.startswith("A LimitRange of namespace default refuses replicas of llama-l40s-tp1-")


def test_what_is_refused_again_is_left_alone_twice_as_long_while_others_serve() -> None:
    world = RefusingWorld()
    world.refuses = {CHEAP: TOO_LARGE}
    world.run(60, period_s=3.0)
    before = len(world.decisions)
    world.run(14 * FIRST_S, period_s=15.0)
    (quarantine,) = world.memory.planning.quarantines.values()
    assert quarantine.num >= 3
    made = [d for d in world.decisions[before:] if d.new_plan is not None]
    assert len(made) <= 2 * quarantine.num  # one for each try, one for its end
    assert min(world.serving_over_time[-56:]) >= 1


def test_a_pause_is_never_longer_than_its_bound() -> None:
    world = RefusingWorld()
    world.refuses = {CHEAP: TOO_LARGE}
    world.run(20)
    ((option, quarantine),) = world.memory.planning.quarantines.items()
    planning = replace(world.memory.planning, quarantines={option: replace(quarantine, num=500)})
    world.memory = world.memory.with_planning(planning)
    world.run(2.5 * FIRST_S, period_s=10.0)
    (again,) = world.memory.planning.quarantines.values()
    assert again.num > 500
    assert again.until_s - world.now_s <= LONGEST_S


def test_it_is_tried_at_once_when_the_object_that_refused_changes() -> None:
    world = RefusingWorld()
    world.limit_ranges = {"default/small": SMALL}
    world.refuses = {CHEAP: TOO_LARGE}
    world.run(20)
    assert world.planned() == {DEAR: 1}
    world.refuses, world.limit_ranges = {}, {"default/small": replace(SMALL, bounds=())}
    decision = world.decide()
    assert decision.refused == {}
    assert [e.reason for e in decision.events if e.reason.startswith("Replicas")] == ["ReplicasTriedAgain"]
    world.rest()
    world.settle()
    assert world.planned() == {CHEAP: 2}
    assert world.memory.planning.quarantines == {}


def test_an_edited_model_is_another_option_and_tried_at_once() -> None:
    world = RefusingWorld()
    world.refuses = {CHEAP: TOO_LARGE}
    world.run(20)
    world.refuses = {}
    world.apply(a_model(engine={"maxModelLen": 4096}))
    world.run(2)
    assert world.planned() == {CHEAP: 2}


def test_the_only_option_is_kept_because_kubernetes_goes_on_trying() -> None:
    world = RefusingWorld()
    world.refuses = {CHEAP: TOO_LARGE, DEAR: TOO_LARGE}
    world.run(150, period_s=10.0)
    assert sum(world.planned().values()) >= 1
    assert [reason for _, reason, _ in ready(world.decide())] == ["PodsRefused", "PodsRefused"]
    world.refuses = {}
    world.run(200, period_s=10.0)
    assert sum(world.serving().values()) >= 1


def test_replicas_that_run_stay_when_more_of_them_are_refused() -> None:
    world = RefusingWorld()
    world.settle()
    assert world.planned() == {CHEAP: 2}
    world.refuses = {CHEAP: TOO_LARGE}
    world.apply(a_class(rate_per_s=20.0))
    world.run(60, period_s=4.0)
    assert world.planned() == {CHEAP: 2, DEAR: 1}
    assert min(world.serving_over_time[-15:]) >= 2


@pytest.mark.parametrize(("placement", "seconds"), [("Argosy", 85), ("Scheduler", 60)])
def test_pods_that_no_node_takes_are_told_and_others_tried(placement: str, seconds: float) -> None:
    world = RefusingWorld(placement=placement)
    world.no_node = {CHEAP: TAINTED}
    world.run(15)
    for status, reason, message in ready(world.decide()):
        assert (status, reason) == ("False", "PodsUnschedulable")
        assert "0 of 2 replicas are ready; the scheduler finds no node for pod default/llama-" in message
        assert f"{TAINTED}. Tolerate the taint in spec.tolerations of GPUPool l40s" in message
    world.run(seconds, period_s=4.0)
    assert world.planned() == {DEAR: 1}
    assert [reason for _, reason, _ in ready(world.decide())] == ["OthersServe", "OthersServe"]
    assert world.decisions[-1].refused == {"Scheduler": 1}


def taken(num_nodes: int) -> dict[str, PodState]:
    """Pods of others that hold the GPUs of so many nodes of the cheap pool."""
    pods = (a_pod(f"o{n}", f"{CHEAP}-{n}", 2, deployment=DeploymentKey()) for n in range(num_nodes))
    return {pod.key: pod for pod in pods}


NO_MEMORY = "0/7 nodes are available: 1 Insufficient nvidia.com/gpu, 3 Insufficient memory"


def test_a_node_whose_gpus_are_taken_does_not_hide_what_the_others_lack() -> None:
    world = RefusingWorld(placement="Scheduler")
    world.foreign, world.no_node = taken(1), {CHEAP: NO_MEMORY}
    world.run(15)
    for status, reason, message in ready(world.decide()):
        assert (status, reason) == ("False", "PodsUnschedulable")
        assert "3 Insufficient memory. Free memory on the nodes of GPUPool l40s" in message
    world.run(60, period_s=4.0)
    assert world.planned() == {DEAR: 1}


@pytest.mark.parametrize(
    ("num_taken", "words"),
    [
        pytest.param(4, "4 Insufficient nvidia.com/gpu, 4 Insufficient memory", id="full nodes"),
        pytest.param(3, "4 Insufficient nvidia.com/gpu, 4 Insufficient memory", id="words of an earlier try"),
        pytest.param(1, "1 Insufficient nvidia.com/gpu, 3 node(s) didn't match Pod's node affinity/selector"
                     ", 3 node(s) had untolerated taint {a: b}", id="nothing that planning does not count"),
    ],
)  # fmt: skip
def test_gpus_that_are_taken_are_no_refusal(num_taken: int, words: str) -> None:
    world = RefusingWorld(placement="Scheduler")
    world.foreign, world.no_node = taken(num_taken), {CHEAP: f"0/7 nodes are available: {words}"}
    world.run(60, period_s=4.0)
    assert {reason for _, reason, _ in ready(world.decide())}.isdisjoint({"PodsUnschedulable"})
    assert world.decisions[-1].refused == {}


def test_a_pool_whose_nodes_may_come_tells_what_keeps_pods_off_those_that_are_there() -> None:
    world = RefusingWorld(placement="Scheduler")
    world.apply(a_pool(CHEAP, "L40S", placement="Scheduler", nodes={"max": 6}, provisioningSeconds=30))
    world.foreign, world.no_node = taken(1), {CHEAP: NO_MEMORY}
    world.run(15)
    assert {reason for _, reason, _ in ready(world.decide())} == {"PodsUnschedulable"}
    world.run(60, period_s=5.0)
    assert world.planned() == {CHEAP: 2}, "a node that comes may have what these lack"
    world.run(60, period_s=5.0)
    assert world.planned() == {DEAR: 1}


def test_a_pod_that_finds_a_node_ends_what_was_known_of_the_ones_before_it() -> None:
    world = RefusingWorld(placement="Scheduler")
    world.no_node = {CHEAP: TAINTED}
    world.run(20)
    world.no_node = {}
    world.run(60, period_s=4.0)
    assert world.planned() == {CHEAP: 2}
    assert world.memory.planning.quarantines == {}


def a_quota(gpus: int, *scopes: ScopeRule) -> dict[str, QuotaState]:
    key = NamespacedName("default/gpus")
    return {str(key): QuotaState(key, {f"requests.{NVIDIA}": str(gpus)}, None, scopes)}


def test_the_plan_asks_for_no_more_gpus_than_a_quota_leaves() -> None:
    world = RefusingWorld()
    world.quotas = a_quota(3)
    world.foreign = {
        f"default/f-{i}": a_pod(f"f-{i}", f"l40s-{i}", deployment=DeploymentKey()) for i in range(2)
    }
    world.settle()
    assert world.planned() == {DEAR: 1}
    assert any(
        "ResourceQuota default/gpus leaves 1 of 3 nvidia.com/gpu" in r.message
        for r in world.applied.spec.reasons
    )
    assert not any(d.pods_refused for d in world.deployments.values())


@pytest.mark.parametrize(("resource", "planned"), [("pods", {CHEAP: 2}), ("count/pods", {DEAR: 1})])
def test_pods_that_have_ended_count_only_where_objects_are_counted(
    resource: str, planned: dict[str, int]
) -> None:
    world = RefusingWorld()
    key = NamespacedName("default/pods")
    world.quotas, world.is_quota_real = {str(key): QuotaState(key, {resource: "2"}, None)}, False
    job = a_pod("job", phase="Succeeded", ready=False, deployment=DeploymentKey())
    world.foreign = {job.key: job}
    world.run(2)
    assert world.planned() == planned


def test_a_quota_that_leaves_too_little_is_named_with_what_is_needed() -> None:
    world = RefusingWorld(rate_per_s=40.0)
    world.quotas = a_quota(2)
    world.settle()
    found = condition(world.decide(), "default/chat")
    assert (found["status"], found["reason"]) == ("False", "QuotaShort")
    assert "ResourceQuota default/gpus leaves 2 of 2 nvidia.com/gpu and 4 are needed" in found["message"]
    assert "raise spec.hard of ResourceQuota default/gpus" in found["message"]


def test_a_quota_lowered_below_what_runs_removes_nothing() -> None:
    world = RefusingWorld()
    world.quotas = a_quota(8)
    world.settle()
    world.quotas = a_quota(0)
    world.run(30)
    assert world.planned() == {CHEAP: 2}
    assert world.serving_over_time[-30:] == [2] * 30


def test_replicas_are_exchanged_one_by_one_where_a_quota_is_full() -> None:
    world = RefusingWorld()
    world.quotas = a_quota(2)
    world.settle()
    world.apply(a_model(engine={"maxModelLen": 4096}))
    world.run(5)
    assert world.planned() == {CHEAP: 2}
    old = set(world.serving())
    world.run(150, period_s=3.0)
    assert old.isdisjoint(key for key, d in world.deployments.items() if d.replicas)
    assert sum(world.serving().values()) == 2
    assert min(world.serving_over_time[-50:]) >= 1


def test_replicas_move_to_another_pool_one_by_one_where_a_quota_is_full() -> None:
    world = RefusingWorld()
    world.quotas = a_quota(2)
    world.settle()
    world.apply(a_pool(DEAR, "H100", priceUsdPerHour=0.1))
    world.run(90, period_s=3.0)
    assert world.planned() == {DEAR: 1}
    assert [world.label(key) for key in world.serving()] == ["h100/chat"]
    assert min(world.serving_over_time[-30:]) >= 1


@pytest.mark.parametrize(
    ("scope", "is_counted"),
    [
        (ScopeRule("NotTerminating"), True),
        (ScopeRule("Terminating"), False),
        (ScopeRule("PriorityClass", "In", ("high",)), False),
        (ScopeRule("BestEffort"), False),
    ],
)
def test_a_quota_is_counted_only_where_it_is_known_to_count_the_pods(
    scope: ScopeRule, is_counted: bool
) -> None:
    world = RefusingWorld()
    world.quotas, world.is_quota_real = a_quota(1, scope), False
    world.run(3)
    assert world.planned() == ({DEAR: 1} if is_counted else {CHEAP: 2})


def test_a_quota_of_unknown_scope_that_refuses_is_left_alone_like_any_other_refusal() -> None:
    world = RefusingWorld()
    world.quotas = a_quota(1, ScopeRule("BestEffort"))
    world.run(REFUSED_AFTER_S + 5)
    assert world.decisions[-1].refused == {"ResourceQuota": 1}
    assert world.planned()[CHEAP] == 1


def test_a_deployment_that_may_not_be_made_is_told_and_left_alone() -> None:
    world = RefusingWorld()
    world.run(1)
    (key,) = world.deployments
    variant = world.applied.spec.deployments[0].variant
    message = 'admission webhook "policy.example.com" denied the request: no team'
    write = RefusedWrite(variant, message, world.now_s - 1.0)
    snapshot = replace(world.snapshot(), deployments={}, pods={}, refused_writes={key: write})
    settings = StepSettings("a test", plan_time_limit_s=None)
    first = step(snapshot, world.memory, settings, world.perf)
    found = condition(first, "default/chat")
    assert found["reason"] == "PodsRefused"
    assert f"Admission webhook policy.example.com refuses Deployment {key}: no team." in found["message"]
    memory = world.memory.with_planning(first.memory)
    later = replace(snapshot, now_s=snapshot.now_s + 20.0)
    assert step(later, memory, settings, world.perf).refused == {"Webhook": 1}
