"""Deployments that users run and let Argosy adopt: respected, planned, lowered, given back."""

from __future__ import annotations

from dataclasses import replace

import pytest
from adopted_world import KEY, AdoptedWorld, a_deployment, a_users_pod
from small_fleet import a_class, a_fleet, a_model, a_pool, body_of, condition, some_nodes

from argosy.api import WorkloadClass
from argosy.control.recheck import changed_since
from argosy.control.survey.installation import Installation
from argosy.control.survey.objects import object_findings
from argosy.control.survey.revisions import revision_rows
from argosy.control.survey.routing import route_rows
from argosy.keys import NamespacedName
from argosy.rollout import MarkVictim, ScaleDeployment
from argosy.snapshot.cluster import LABEL_TEMPLATE_HASH
from argosy.snapshot.fleet import FleetSnapshot
from argosy.snapshot.kubernetes import pod_state
from argosy.snapshot.scaling.autoscalers import AutoscalerState


def a_world(num_nodes: int = 4, **mine: object) -> AdoptedWorld:
    world = AdoptedWorld(some_nodes("l40s", num_nodes), a_fleet(), a_pool(), a_model(), a_class())
    world.run_mine(a_deployment(2, **mine), "l40s-0", "l40s-1")  # type: ignore[arg-type]
    return world


def test_a_deployment_without_the_label_is_never_touched_and_its_gpus_are_taken() -> None:
    world = a_world(num_nodes=2, label=None)
    world.settle()
    assert world.written == []
    assert world.mine["spec"]["replicas"] == 2
    assert sum(world.held(node) for node in world.nodes) <= 4
    assert [p.node for p in world.pods.values()].count("l40s-0") == 1
    assert KEY not in world.snapshot().deployments


def test_a_labelled_deployment_serves_as_planned_capacity() -> None:
    world = a_world()
    world.settle()
    entry = next(d for d in world.applied.spec.deployments if d.name == KEY)
    assert (entry.replicas, entry.is_adopted, entry.pool) == (2, True, "l40s")
    assert world.written == []


def replicas_of(world: AdoptedWorld, key: str = KEY) -> int | None:
    return next((d.replicas for d in world.applied.spec.deployments if d.name == key), None)


def own_replicas(world: AdoptedWorld) -> int:
    return sum(d.replicas for d in world.applied.spec.deployments if not d.is_adopted)


def test_what_the_plan_needs_beyond_it_is_made_by_argosy() -> None:
    world = a_world(num_nodes=6)
    world.apply(a_class(rate_per_s=24.0))
    world.settle()
    assert replicas_of(world) == 2
    assert own_replicas(world) > 0
    assert world.written == []


def test_replicas_that_the_plan_needs_no_more_go_and_the_deployment_stays() -> None:
    world = a_world()
    world.apply(a_class(rate_per_s=1.0))
    world.settle()
    assert replicas_of(world) == 1
    assert world.mine["spec"]["replicas"] == 1
    assert [type(step).__name__ for step in world.written] == ["MarkVictim", "ScaleDeployment"]
    events = [e for d in world.decisions for e in d.events if e.reason == "AdoptedScaledDown"]
    assert len(events) == 1
    assert "scaled from 2 to 1" in events[0].message


def test_a_cheaper_pool_takes_its_place_once_its_replicas_serve() -> None:
    world = a_world()
    world.settle()
    world.nodes |= {n.name: n for n in some_nodes("h100", 4)}
    world.apply(a_pool("h100", "H100", priceUsdPerHour=0.05))
    world.rest()
    world.settle()
    assert replicas_of(world) == 0
    assert world.mine["spec"]["replicas"] == 0
    assert min(world.serving_over_time) >= 1
    assert own_replicas(world) > 0


def test_a_deployment_that_is_taken_back_serves_until_argosys_replicas_do_and_stays() -> None:
    world = a_world()
    world.settle()
    world.relabel(None)
    world.act()
    assert replicas_of(world) == 0
    assert len(world.serving_mine()) == 2
    world.settle()
    assert replicas_of(world) is None
    assert own_replicas(world) > 0
    assert world.written == []
    assert world.mine["spec"]["replicas"] == 2
    assert KEY not in world.snapshot().deployments


def test_a_step_is_void_once_the_deployment_is_taken_back() -> None:
    world = a_world()
    world.settle()
    world.apply(a_class(rate_per_s=1.0))
    world.now_s += 600.0
    found = set()
    for _ in range(4):
        decision = world.decide()
        world.publish(decision)
        world.relabel(None)
        found |= {(type(each.step), changed_since(each, world.snapshot())) for each in decision.steps}
        world.relabel("llama")
        for each in decision.steps:
            world.take(each.step)
    said = "Deployment default/mine was taken back"
    assert {(MarkVictim, said), (ScaleDeployment, said)} <= found


def test_a_deployment_that_is_deleted_is_not_made_again() -> None:
    world = a_world()
    world.settle()
    world.relabel(None)
    world.mine_pods = {}
    world.settle()
    assert replicas_of(world) is None
    assert own_replicas(world) > 0


def test_a_replica_goes_only_once_it_has_no_requests() -> None:
    world = a_world()
    world.busy = 3
    world.apply(a_class(rate_per_s=1.0))
    world.run(20.0, period_s=5.0)
    assert len(world.serving_mine()) == 1
    assert world.mine["spec"]["replicas"] == 2
    assert "it still has 3 requests" in world.decisions[-1].waiting
    world.busy = 0
    world.run(5.0, period_s=2.0)
    assert world.mine["spec"]["replicas"] == 1


def marks(world: AdoptedWorld) -> list[int]:
    return [pod.deletion_cost for _, pod in sorted(world.mine_pods.items())]


@pytest.mark.parametrize("is_class_deleted", [False, True])
def test_a_replica_that_was_about_to_go_serves_again_once_the_deployment_is_taken_back(
    is_class_deleted: bool,
) -> None:
    world = a_world()
    world.busy = 3
    world.apply(a_class(rate_per_s=1.0))
    world.run(4.0)
    assert min(marks(world)) < 0
    if is_class_deleted:
        world.delete(WorkloadClass, "default/chat")
    else:
        world.relabel(None)
    world.run(2.0)
    assert marks(world) == [0, 0], "its node could not be consolidated ever after"
    world.settle()
    assert marks(world) == [0, 0]
    assert world.mine["spec"]["replicas"] == 2


def test_while_a_user_rolls_the_deployment_no_replica_is_chosen_to_go_and_the_number_stays() -> None:
    """Kubernetes divides a lower number among the ReplicaSets: a mark on a pod of one means nothing."""
    world = a_world()
    world.settle()
    new = a_users_pod(3, "l40s-2", world.mine)
    new["metadata"]["labels"]["pod-template-hash"] = "76f8d4b9c"
    new["metadata"]["ownerReferences"][0]["name"] = "mine-76f8d4b9c"
    successor = pod_state(new)
    world.mine_pods[successor.key] = successor
    world.rest()
    world.apply(a_class(rate_per_s=1.0))
    world.run(20.0, period_s=4.0)
    assert world.written == []
    other = replace(successor, name="mine-76f8d4b9c-00004", uid="mine-4", ip="10.9.0.4")
    world.mine_pods = {pod.key: pod for pod in (successor, other)}
    world.settle()
    assert world.mine["spec"]["replicas"] == 1


def test_deletion_costs_that_a_user_sets_stay_on_the_replicas_that_stay() -> None:
    world = a_world()
    world.mine_pods = {key: replace(pod, deletion_cost=100) for key, pod in world.mine_pods.items()}
    world.rest()
    assert marks(world) == [100, 100]
    world.apply(a_class(rate_per_s=1.0))
    world.settle()
    assert marks(world) == [100]


@pytest.mark.parametrize("cost", [-1, -5000, -(2**31)])
def test_a_replica_that_its_user_wants_gone_first_serves_until_one_is_to_go_and_is_the_first(
    cost: int,
) -> None:
    world = a_world()
    unwanted = min(world.mine_pods)
    world.mine_pods[unwanted] = replace(world.mine_pods[unwanted], deletion_cost=cost)
    world.rest()
    assert world.mine_pods[unwanted].deletion_cost == cost
    assert sum(not p.is_marked for p in world.snapshot().engine_pods) == 2
    world.apply(a_class(rate_per_s=1.0))
    world.settle()
    assert unwanted not in world.mine_pods
    assert len(world.mine_pods) == 1


def test_a_stuck_rollout_that_holds_a_lowering_back_is_told() -> None:
    world = a_world()
    world.rest()
    first = min(world.mine_pods)
    labels = {**world.mine_pods[first].labels, LABEL_TEMPLATE_HASH: "fedcba"}
    world.mine_pods[first] = replace(world.mine_pods[first], labels=labels, controller=f"{KEY.name}-fedcba")
    world.apply(a_class(rate_per_s=1.0))
    world.run(60.0, period_s=10.0)
    assert world.mine["spec"]["replicas"] == 2
    found = condition(world.decide(), "default/llama", "servedmodels", "Adopted")
    assert (found["status"], found["reason"]) == ("True", "LoweringWaits")
    assert f"Deployment {KEY} has 2 replicas and 1 are planned" in found["message"]
    assert f"rollout undo deployment/{KEY.name}" in found["message"]


def test_replicas_that_only_argosy_does_not_reach_get_their_drain_time() -> None:
    """Its users may reach them by a Service of their own: their requests are not known."""
    world = MuteWorld(some_nodes("l40s", 4), a_fleet(), a_pool(), a_model(engine={"drainSeconds": 90}))
    world.run_mine(a_deployment(2), "l40s-0", "l40s-1")
    world.apply(a_class(rate_per_s=16.0))
    world.settle()
    world.mute_since_s = world.now_s
    world.run(80.0, period_s=5.0)
    assert own_replicas(world) == 4, "others serve in their place"
    assert world.mine["spec"]["replicas"] == 2
    world.run(60.0, period_s=10.0)
    assert world.mine["spec"]["replicas"] == 0


class MuteWorld(AdoptedWorld):
    """Nothing that Argosy asks of the adopted replicas is answered, from an instant on."""

    mute_since_s: float | None = None

    def snapshot(self) -> FleetSnapshot:
        found = super().snapshot()
        if self.mute_since_s is None:
            return found
        mute = {p.address: self.mute_since_s for p in found.engine_pods if p.deployment == KEY}
        heard = {a: sample for a, sample in found.telemetry.engines.items() if a not in mute}
        return replace(found, telemetry=replace(found.telemetry, engines=heard, unanswered_since_s=mute))


def test_after_the_drain_time_of_its_model_a_busy_replica_goes_and_an_event_reports_it() -> None:
    world = a_world()
    world.busy = 3
    world.apply(a_class(rate_per_s=1.0), a_model(engine={"drainSeconds": 90}))
    world.run(75.0, period_s=5.0)
    assert world.mine["spec"]["replicas"] == 2
    world.run(30.0, period_s=5.0)
    assert world.mine["spec"]["replicas"] == 1
    events = [e.message for d in world.decisions for e in d.events if e.reason == "RemovalUnacknowledged"]
    assert "spec.engine.drainSeconds" in events[0]


def test_a_lost_replica_of_it_is_replaced_by_argosys() -> None:
    world = a_world()
    world.settle()
    assert own_replicas(world) == 0
    world.nodes.pop("l40s-1")
    world.mine_pods = {k: p for k, p in world.mine_pods.items() if p.node != "l40s-1"}
    world.mine = a_deployment(1)
    world.settle()
    assert (replicas_of(world), own_replicas(world)) == (1, 1)


def test_a_node_that_is_gone_before_its_pod_costs_the_deployment_no_other_replica() -> None:
    """Kubernetes deletes the pods of a Node that does not exist up to a minute later."""
    world = a_world()
    world.settle()
    world.nodes.pop("l40s-1")
    world.run(40.0, period_s=4.0)
    assert (replicas_of(world), own_replicas(world)) == (1, 1)
    assert condition(world.decisions[-1], "default/llama", "servedmodels", "Adopted")["status"] == "True"
    assert len([pod for pod in world.mine_pods.values() if pod.node == "l40s-0"]) == 1
    assert world.mine["spec"]["replicas"] >= 1


def test_a_plan_that_a_user_holds_leaves_it_alone() -> None:
    world = AdoptedWorld(some_nodes("l40s", 4), a_fleet(), a_pool(), a_model(), a_class())
    world.run_mine(a_deployment(2, label=None), "l40s-0", "l40s-1")
    world.settle()
    held = a_fleet().model_copy(deep=True)
    held.metadata.annotations["argosy.dev/paused"] = "true"
    world.apply(held)
    world.relabel("llama")
    world.run(20.0, period_s=5.0)
    assert world.written == []
    assert replicas_of(world) is None


def test_in_the_window_after_a_revision_it_takes_part_at_once() -> None:
    world = AdoptedWorld(some_nodes("l40s", 4), a_fleet(), a_pool(), a_model(), a_class())
    world.run_mine(a_deployment(2, label=None), "l40s-0", "l40s-1")
    world.settle()
    own = own_replicas(world)
    assert own > 0
    world.relabel("llama")
    world.run(3.0)
    assert replicas_of(world) is not None


def test_in_mode_recommend_nothing_of_it_changes() -> None:
    world = a_world()
    world.apply(a_fleet("Recommend"), a_class(rate_per_s=1.0))
    world.run(10.0, period_s=5.0)
    assert world.written == []
    assert any(d.is_adopted for plan in world.plans for d in plan.spec.deployments)


def test_a_client_that_keeps_raising_its_count_is_named_and_not_fought() -> None:
    world = a_world()
    world.apply(a_class(rate_per_s=1.0))
    world.run(4.0)
    assert world.mine["spec"]["replicas"] == 1
    for _ in range(5):
        world.mine["spec"]["replicas"] = 2
        world.run(2.0)
    assert world.mine["spec"]["replicas"] == 2
    said = [e.message for d in world.decisions for e in d.events]
    assert sum("mine was changed" in message and "set back" in message for message in said) == 3
    assert any("keeps setting spec.replicas of Deployment mine" in message for message in said)


def test_status_event_and_looks_name_what_is_adopted() -> None:
    world = a_world()
    world.settle()
    decision = world.decisions[-1]
    found = condition(decision, "default/llama", "servedmodels", "Adopted")
    assert (found["status"], found["reason"]) == ("True", "Adopted")
    assert "default/mine" in found["message"]
    assert body_of(decision, "default/llama", "servedmodels")["replicasAdopted"] == 2
    events = [e for e in world.decisions[0].events if e.reason == "Adopted"]
    assert [(e.kind, e.key, e.type) for e in events] == [("ServedModel", "default/llama", "Normal")]
    snapshot = world.snapshot()
    (row,) = route_rows(snapshot)
    assert row.why == "as revision 1 plans it, on a user's Deployment that is adopted"
    assert "(adopted: mine)" in revision_rows(snapshot)[0].replicas


def test_status_event_and_doctor_tell_why_one_is_not_adopted() -> None:
    world = a_world(args=("--model=small",))
    decision = world.act()
    found = condition(decision, "default/llama", "servedmodels", "Adopted")
    assert (found["status"], found["reason"]) == ("False", "AdoptionRefused")
    assert "Deployment default/mine is not adopted: --max-model-len, " in found["message"]
    assert [e.type for e in decision.events if e.reason == "AdoptionRefused"] == ["Warning"]
    findings = [f for f in object_findings(Installation(world.snapshot(), "ns")) if "mine" in f.about]
    assert ["would not be adopted" in f.message for f in findings] == [True]


def test_a_label_that_names_no_model_is_told_by_the_fleet() -> None:
    found = condition(a_world(label="other").act(), "default", "fleets", "Adopted")
    assert (found["status"], found["reason"]) == ("False", "AdoptionRefused")
    assert "there is no ServedModel other in namespace default" in found["message"]


def test_one_on_which_nothing_can_be_planned_is_told_and_left_alone() -> None:
    world = a_world()
    world.apply(a_class(slo={"ttft": {"p95Milliseconds": 1}}))
    world.run(10.0, period_s=5.0)
    found = condition(world.decisions[-1], "default/llama", "servedmodels", "Adopted")
    assert found["reason"] == "AdoptionRefused"
    assert world.written == []


class AutoscaledWorld(AdoptedWorld):
    """A HorizontalPodAutoscaler of the user's sets the number of the adopted Deployment."""

    def snapshot(self) -> FleetSnapshot:
        hpa = AutoscalerState(NamespacedName("default/hpa"), KEY, 1, 9)
        return replace(super().snapshot(), autoscalers={"default/hpa": hpa})


@pytest.mark.parametrize("rate_per_s", [1.0, 24.0])
def test_of_one_that_an_autoscaler_scales_the_number_is_a_fact_whatever_is_asked(rate_per_s: float) -> None:
    world = AutoscaledWorld(some_nodes("l40s", 6), a_fleet(), a_pool(), a_model(), a_class())
    world.run_mine(a_deployment(2), "l40s-0", "l40s-1")
    world.apply(a_class(rate_per_s=rate_per_s))
    world.settle()
    assert replicas_of(world) == 2, "at 1 request/s the plan alone would need one"
    assert (own_replicas(world) > 0) == (rate_per_s > 8.0)
    assert world.written == []


def test_a_number_that_an_autoscaler_asks_for_and_that_does_not_run_yet_is_planned() -> None:
    world = AutoscaledWorld(some_nodes("l40s", 4), a_fleet(), a_pool(), a_model(), a_class())
    world.run_mine(a_deployment(3), "l40s-0", "l40s-1")
    world.apply(a_class(rate_per_s=1.0))
    world.settle()
    assert replicas_of(world) == 3
    assert world.written == []
