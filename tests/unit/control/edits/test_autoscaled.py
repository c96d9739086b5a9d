"""Deployments whose number of replicas an autoscaler sets: Argosy writes none, and plans around it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from small_fleet import World, a_class, a_fleet, a_model, a_pool, condition, some_nodes, steps_of, verdict

from argosy.api import ServedModel
from argosy.control.decision import Decision
from argosy.control.recheck import changed_since
from argosy.control.survey.findings import findings
from argosy.control.survey.installation import Installation, Severity
from argosy.keys import DeploymentKey, NamespacedName
from argosy.rollout import DeleteDeployment, MarkVictim, ScaleDeployment
from argosy.snapshot.fleet import FleetSnapshot
from argosy.snapshot.scaling.autoscalers import AutoscalerState

MODEL = "default/llama"


class AutoscaledWorld(World):
    """With HorizontalPodAutoscalers, of which a test plays the controller."""

    def __init__(self, *args: object) -> None:
        self.autoscalers: dict[str, AutoscalerState] = {}
        super().__init__(*args)  # type: ignore[arg-type]

    def snapshot(self) -> FleetSnapshot:
        return replace(super().snapshot(), autoscalers=dict(self.autoscalers))

    @property
    def first(self) -> DeploymentKey:
        """The Deployment that was made first."""
        return DeploymentKey(next(iter(self.deployments)))

    def autoscale(self, count: int, key: DeploymentKey | None = None) -> None:
        """An autoscaler names the Deployment and sets this number."""
        key = key or self.first
        self.autoscalers["default/hpa"] = AutoscalerState(NamespacedName("default/hpa"), key, 1, 9)
        self.deployments[key] = replace(self.deployments[key], replicas=count)
        self.reconcile()

    def written(self) -> list[object]:
        """The counts and marks that all decisions so far have set."""
        kinds = ScaleDeployment | MarkVictim | DeleteDeployment
        return [s for decision in self.decisions for s in steps_of(decision) if isinstance(s, kinds)]


def a_world(*more: object, rate_per_s: float = 7.0, nodes: int = 3, **model: object) -> AutoscaledWorld:
    """One replica of chat for each 4 requests/s, settled: two. A node holds two."""
    model_ = a_model(**model)
    objects = (a_fleet(), a_pool(), model_, a_class("chat", rate_per_s=rate_per_s), *more)
    world = AutoscaledWorld(some_nodes("l40s", nodes), *objects)
    world.settle()
    world.rest()
    world.decisions.clear()
    return world


def planned(decision: Decision, world: World) -> dict[str, int]:
    plan = decision.follow or world.applied
    return {d.name: d.replicas for d in plan.spec.deployments if d.replicas}


def keep_statuses(world: World, decision: Decision) -> None:
    """The API server has the model's status now."""
    model = world.of(ServedModel)[MODEL]
    new = next(s for s in decision.statuses if s.key == MODEL).status
    world.apply(model.model_copy(update={"status": new}))


def test_a_number_above_the_plan_stays_and_every_replica_gets_a_node_and_requests() -> None:
    world = a_world()
    assert world.replicas() == {"l40s/chat": 2}
    world.autoscale(4)
    world.settle()
    assert world.replicas() == {"l40s/chat": 4}
    assert sum(world.serving().values()) == 4
    assert world.written() == []
    assert planned(world.decide(), world) == {world.first: 4}


def test_a_number_below_the_plan_stays_and_its_pods_are_not_replaced() -> None:
    world = a_world()
    world.autoscale(1)
    world.settle()
    assert world.replicas() == {"l40s/chat": 1}
    assert world.written() == []
    decision = world.decide()
    found = condition(decision, "default/chat")
    assert (found["status"], found["reason"]) == ("False", "ReplicasAutoscaled")
    assert "HorizontalPodAutoscaler default/hpa sets 1 replica of" in found["message"]
    assert "and 2 are needed; let it set more, or delete it to let Argosy decide" in found["message"]


def test_what_the_autoscaler_does_not_carry_runs_on_another_pool_and_shares_the_requests() -> None:
    world = a_world(a_pool("h100", "H100", priceUsdPerHour=9.0))
    for node in some_nodes("h100", 1):
        world.nodes[node.name] = node
    world.autoscale(1)
    world.settle()
    assert set(world.replicas()) == {"l40s/chat", "h100/chat"}
    assert world.deployments[world.first].replicas == 1
    shares = {s.deployment: s.share for s in world.applied.spec.cells[0].shares if s.share > 0}
    assert set(shares) == set(world.deployments)
    assert verdict(world.decide(), "default/chat")[0] == "True"


def test_a_number_that_finds_no_room_counts_as_far_as_it_does() -> None:
    world = a_world(nodes=2)
    world.autoscale(9)
    world.run(60.0, 5.0)
    decision = world.decide()
    assert planned(decision, world) == {world.first: 4}
    assert world.deployments[world.first].replicas == 9
    message = condition(decision, MODEL, "servedmodels", "Autoscaled")["message"]
    assert "sets 9 replicas of Deployment" in message
    assert "of which 4 run or find room" in message


def test_a_ceiling_and_a_budget_that_the_autoscaler_alone_exceeds_break_no_plan() -> None:
    world = a_world(maxReplicas=2)
    world.apply(a_fleet(budgetUsdPerHour=2.0))
    world.autoscale(4)
    world.settle()
    assert planned(world.decide(), world) == {world.first: 4}


def test_the_number_stays_where_nothing_can_be_planned_and_another_class_needs_the_room() -> None:
    world = a_world(nodes=2, rate_per_s=15.0)
    unreachable = a_class("chat", rate_per_s=15.0, slo={"ttft": {"p95Milliseconds": 1}})
    world.autoscale(4)
    world.settle()
    keep_statuses(world, world.act())
    world.now_s += 600.0
    world.apply(unreachable, a_class("batch", rate_per_s=1.0))
    world.run(30.0, 3.0)
    assert world.written() == []
    assert world.deployments[world.first].replicas == 4
    decision = world.decide()
    assert verdict(decision, MODEL, "servedmodels", "Autoscaled") == ("True", "Autoscaled")
    assert decision.num_autoscaled == 1
    assert "NotAutoscaled" not in {e.reason for d in world.decisions for e in d.events}


def test_no_replica_is_a_number_too_and_the_deployment_stays() -> None:
    """KEDA sets it: it would find no Deployment to scale up again."""
    world = a_world()
    world.autoscale(0)
    world.settle()
    assert world.deployments[world.first].replicas == 0
    assert world.written() == []
    world.autoscale(2)
    world.settle()
    assert sum(world.serving().values()) == 2


def test_a_change_of_the_number_makes_one_revision_at_once() -> None:
    world = a_world()
    world.autoscale(3)
    assert world.act().new_plan is not None
    world.autoscale(5)
    decision = world.act()
    assert decision.new_plan is not None
    assert decision.waits_until_s is None
    assert planned(decision, world) == {world.first: 5}
    assert world.act().new_plan is None


@pytest.mark.parametrize("count", [1, 4])
def test_the_number_is_followed_while_another_change_waits_for_the_end_of_the_window(count: int) -> None:
    world = a_world(a_pool("h100", "H100", priceUsdPerHour=9.0))
    world.nodes |= {node.name: node for node in some_nodes("h100", 2)}
    first = world.first
    world.autoscale(3)
    world.act()
    world.apply(a_class("chat", rate_per_s=7.0, slo={"ttft": {"p95Milliseconds": 1500}}))
    world.apply(a_pool("h100", "H100", priceUsdPerHour=0.5))
    world.autoscale(count)
    assert planned(world.act(), world)[first] == count


def test_the_number_is_taken_back_without_a_jump_once_the_autoscaler_is_gone() -> None:
    world = a_world()
    world.autoscale(4)
    world.settle()
    world.rest()
    world.autoscalers.clear()
    world.serving_over_time.clear()
    world.settle()
    assert world.replicas() == {"l40s/chat": 2}
    assert min(world.serving_over_time) == 2
    counts = [s.replicas for s in world.written() if isinstance(s, ScaleDeployment)]
    assert counts == [2]
    assert all(not d.set_back for d in world.decisions), "no edit by hand"


def test_a_deployment_that_an_edit_of_the_model_replaces_goes_as_any_other() -> None:
    world = a_world()
    old = world.first
    world.autoscale(3)
    world.settle()
    world.apply(a_model(engine={"image": "vllm/vllm-openai:other"}))
    world.settle()
    assert old not in world.deployments
    assert sum(world.serving().values()) == 2


def test_paused_planning_keeps_the_rest_and_follows_the_number() -> None:
    world = a_world()
    fleet = a_fleet()
    metadata = fleet.metadata.model_copy(update={"annotations": {"argosy.dev/paused": "true"}})
    world.apply(fleet.model_copy(update={"metadata": metadata}))
    world.autoscale(3)
    world.settle()
    assert planned(world.decide(), world) == {world.first: 3}
    assert sum(world.serving().values()) == 3


def test_a_step_is_void_once_an_autoscaler_has_come() -> None:
    world = a_world()
    world.apply(a_class("chat", rate_per_s=3.0))
    [scale] = [p for p in world.decide().steps if isinstance(p.step, ScaleDeployment | MarkVictim)][:1]
    while not isinstance(scale.step, ScaleDeployment):
        world.act()
        world.now_s += 1.0
        world.reconcile()
        found = [p for p in world.decide().steps if isinstance(p.step, ScaleDeployment)]
        scale = found[0] if found else scale
    assert changed_since(scale, world.snapshot()) == ""
    world.autoscale(2)
    assert changed_since(scale, world.snapshot()) == (
        f"HorizontalPodAutoscaler default/hpa sets the count of Deployment {world.first} now"
    )


def test_it_is_told_once_and_its_end_once() -> None:
    world = a_world()
    world.autoscale(3)
    world.settle()
    told = []
    for _ in range(2):
        decision = world.act()
        told += [e for e in decision.events if e.reason.endswith("Autoscaled")]
        keep_statuses(world, decision)
    [event] = told
    assert (event.reason, event.key) == ("Autoscaled", MODEL)
    assert event.message == (
        f"HorizontalPodAutoscaler default/hpa sets 3 replicas of Deployment {world.first} (it may set 1 to 9"
        " replicas). Argosy leaves this alone and plans the rest around it; to let it decide again, delete"
        " HorizontalPodAutoscaler default/hpa."
    )
    assert decision.num_autoscaled == 1
    world.autoscalers.clear()
    decision = world.act()
    assert [e.reason for e in decision.events if e.reason.endswith("Autoscaled")] == ["NotAutoscaled"]
    assert verdict(decision, MODEL, "servedmodels", "Autoscaled") == ("False", "NotAutoscaled")
    assert decision.num_autoscaled == 0


def test_doctor_names_the_autoscaler_and_the_remedy() -> None:
    world = a_world()
    world.autoscale(3)
    keep_statuses(world, world.act())
    found = findings(Installation(world.snapshot(), "argosy-system"))
    [hint] = [f for f in found if f.about == f"ServedModel {MODEL}" and f.severity is Severity.HINT]
    assert hint.message.startswith("Autoscaled is True: HorizontalPodAutoscaler default/hpa sets 3 replicas")
    assert hint.remedy == "to let Argosy decide again, delete HorizontalPodAutoscaler default/hpa"
