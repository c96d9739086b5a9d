"""What users read while the mode of the Fleet lets Argosy act on no plan: every sentence is true."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from builders import a_class, a_fleet, a_model, a_pool, some_nodes
from settled_shell import CHAT, engines, settled
from small_fleet import World, condition, verdict
from virtual_clock import in_virtual_time

from argosy.api import ServedModel, WorkloadClass
from argosy.api.conditions import find_condition
from argosy.snapshot.cluster import Taint

LLAMA = "default/llama"
MODES = pytest.mark.parametrize("mode", ["Observe", "Recommend"])


def a_resting_fleet(mode: str) -> World:
    """Two replicas at rest, made in mode Auto; then the mode is set."""
    world = World(some_nodes("l40s", 4), a_fleet(), a_pool(), a_model(), a_class())
    world.rest()
    world.apply(a_fleet(mode))
    world.act()
    return world


def ready_of(world: World) -> dict[str, tuple[str, str]]:
    """Ready of the class, the model and the Fleet, and PlanCurrent, after one more decision."""
    decision = world.act()
    return {
        "class": verdict(decision, CHAT),
        "model": verdict(decision, LLAMA, "servedmodels"),
        "fleet": verdict(decision, "default", "fleets"),
        "plan": verdict(decision, "default", "fleets", "PlanCurrent"),
    }


def message_of(world: World, key: str = CHAT, kind: str = "workloadclasses", type: str = "Ready") -> str:
    return condition(world.decisions[-1], key, kind, type)["message"]


def plan_says(world: World, type: str) -> tuple[str, str, str]:
    found = find_condition(world.applied.status.conditions, type)
    assert found is not None
    return found.status.value, found.reason, found.message


STANDS_STILL = dict.fromkeys(("class", "model", "fleet", "plan"), ("False", "ModeNotAuto"))
AS_WANTED = {**dict.fromkeys(("class", "model", "fleet"), ("True", "Ready")), "plan": ("True", "PlanCurrent")}


@MODES
def test_a_fleet_at_rest_stays_ready_and_its_plan_says_that_only_its_routes_are_used(mode: str) -> None:
    world = a_resting_fleet(mode)
    assert ready_of(world) == AS_WANTED
    status, reason, message = plan_says(world, "Applied")
    assert (status, reason) == ("True", "RoutesOnly")
    assert f"Fleet/default has spec.mode {mode}" in message
    assert plan_says(world, "Progressing")[1] == "RolledOut", "what was true when it ended stays"


@MODES
def test_a_higher_rate_is_not_ready_until_the_mode_lets_argosy_act(mode: str) -> None:
    world = a_resting_fleet(mode)
    world.apply(a_class(rate_per_s=16.0))
    assert ready_of(world) == STANDS_STILL
    for key, kind, type in (
        (CHAT, "workloadclasses", "Ready"),
        (LLAMA, "servedmodels", "Ready"),
        ("default", "fleets", "PlanCurrent"),
    ):
        message = message_of(world, key, kind, type)
        assert message.startswith("4 replicas of llama-l40s-tp1-")
        assert f" are wanted and 2 run. Fleet/default has spec.mode {mode}, so Argosy acts on no" in message
    world.apply(a_class())
    assert ready_of(world) == AS_WANTED


@MODES
def test_a_lower_rate_leaves_the_class_ready_and_says_what_runs_for_nothing(mode: str) -> None:
    world = a_resting_fleet(mode)
    world.apply(a_class(rate_per_s=4.0))
    class_and_fleet = {"class": ("True", "Ready"), "fleet": ("True", "Ready")}
    assert ready_of(world) == {**STANDS_STILL, **class_and_fleet}
    assert "1 replica of" in message_of(world, LLAMA, "servedmodels")
    assert "is wanted and 2 run" in message_of(world, LLAMA, "servedmodels")


@MODES
def test_engines_with_other_arguments_than_the_spec_are_not_ready(mode: str) -> None:
    world = a_resting_fleet(mode)
    before = world.applied.spec.deployments[0].variant
    world.apply(a_model(engine={"maxNumSeqs": 100}))
    assert ready_of(world) == STANDS_STILL
    message = message_of(world, LLAMA, "servedmodels")
    assert f"0 replicas of {before} are wanted and 2 run" in message
    assert "are wanted and 0 run" in message


@MODES
def test_a_replica_that_nothing_starts_is_not_loading(mode: str) -> None:
    world = a_resting_fleet(mode)
    world.delete_pod(next(iter(world.pods)))
    world.reconcile()
    assert [p.gated for p in world.pods.values()].count(True) == 1
    assert ready_of(world) == STANDS_STILL
    assert "2 replicas of" in message_of(world)
    assert "are wanted and 1 runs" in message_of(world)


@MODES
def test_a_replica_that_the_scheduler_starts_is_loading(mode: str) -> None:
    world = World(some_nodes("l40s", 4), a_fleet(), a_pool(placement="Scheduler"), a_model(), a_class())
    world.rest()
    world.apply(a_fleet(mode))
    world.delete_pod(next(iter(world.pods)))
    assert ready_of(world)["class"] == ("False", "Loading")
    world.now_s += 30.0
    world.reconcile()
    assert ready_of(world) == AS_WANTED


@MODES
def test_a_deployment_that_was_scaled_or_deleted_by_hand_is_named(mode: str) -> None:
    world = a_resting_fleet(mode)
    [key] = world.deployments
    world.deployments[key] = replace(world.deployments[key], replicas=1)
    world.reconcile()
    assert ready_of(world) == STANDS_STILL
    del world.deployments[key]
    world.pods.clear()
    assert ready_of(world) == STANDS_STILL
    assert "are wanted and 0 run" in message_of(world)


@MODES
def test_what_runs_for_a_deleted_model_or_class_stays_and_nothing_says_that_it_drains(mode: str) -> None:
    world = a_resting_fleet(mode)
    world.delete(ServedModel, LLAMA)
    world.run(60.0)
    assert sum(world.serving().values()) == 2
    assert verdict(world.decisions[-1], CHAT) == ("False", "ModelNotFound")
    assert verdict(world.decisions[-1], "default", "fleets", "PlanCurrent") == ("False", "ModeNotAuto")
    assert plan_says(world, "Draining")[2] == (
        f"2 replicas of what was deleted stay: Fleet/default has spec.mode {mode}, so Argosy acts on no plan;"
        " set spec.mode to Auto to let it act."
    )
    world.apply(a_model())
    world.delete_with_grace(WorkloadClass, CHAT)
    world.act()
    assert "was deleted: 2 replicas stay: Fleet/default has spec.mode" in plan_says(world, "Draining")[2]


@MODES
def test_a_node_that_leaves_is_named_and_that_nothing_starts_successors(mode: str) -> None:
    world = a_resting_fleet(mode)
    node = next(iter(world.pods.values())).node
    taint = Taint("karpenter.sh/disrupted", "", "NoSchedule")
    world.nodes[node] = replace(world.nodes[node], taints=(taint,))
    assert ready_of(world)["class"] == ("True", "ModeNotAuto")
    assert f"node {node} of GPUPool l40s is leaving" in message_of(world)
    assert "nothing starts the successors of 1 replica of" in message_of(world)


def test_plans_of_mode_recommend_never_say_that_they_are_acted_on_also_in_the_modes_after_it() -> None:
    world = a_resting_fleet("Recommend")
    world.apply(a_class(rate_per_s=16.0))
    world.act()
    for mode in ("Recommend", "Observe", "Auto"):
        world.apply(a_fleet(mode))
        world.settle()
        [shown] = [p for p in world.plans if p.spec.revision == 2]
        found = find_condition(shown.status.conditions, "Applied")
        assert found is not None
        assert (found.status.value, found.reason) == ("False", "Recommended")
        assert "which was made while Fleet/default had spec.mode Recommend" in found.message
        assert find_condition(shown.status.conditions, "Progressing") is None
    assert plan_says(world, "Applied") == ("True", "Applied", "Argosy acts on the plan.")
    assert world.applied.spec.revision == 3
    assert ready_of(world) == AS_WANTED


def test_a_roll_out_that_the_mode_interrupts_says_what_nothing_starts_any_more() -> None:
    world = World(some_nodes("l40s", 4), a_fleet(), a_pool(), a_model(), a_class())
    world.rest()
    world.apply(a_class(rate_per_s=16.0))
    world.act()
    world.apply(a_fleet("Observe"))
    world.run(30.0)
    assert plan_says(world, "Applied")[1] == "RoutesOnly"
    assert plan_says(world, "Progressing")[:2] == ("False", "ModeNotAuto")
    assert verdict(world.decisions[-1], CHAT) == ("False", "ModeNotAuto")
    world.apply(a_fleet())
    world.settle()
    assert plan_says(world, "Progressing")[:2] == ("True", "RolledOut")


@MODES
@in_virtual_time
async def test_in_mode_auto_again_argosy_acts_at_once_and_every_sentence_follows(
    tmp_path: Path, mode: str
) -> None:
    shell = await settled(tmp_path)
    async with shell.running():
        shell.apply(a_fleet(mode))
        await shell.clock.sleep(2.0)
        shell.apply(a_class(rate_per_s=16.0))
        await shell.clock.sleep(2.0)
        assert list(engines(shell).values()) == [2]
        of_class = shell.condition("workloadclasses", CHAT, "Ready")
        of_plan = shell.condition("fleets", "default", "PlanCurrent")
        assert (of_class, of_plan) == (("False", "ModeNotAuto"), ("False", "ModeNotAuto"))
        assert shell.condition("fleetplans", "plan-000001", "Applied") == ("True", "RoutesOnly")
        shell.apply(a_fleet())
        await shell.clock.sleep(2.0)
        assert list(engines(shell).values()) == [4]
        assert shell.condition("workloadclasses", CHAT, "Ready") == ("False", "Loading")
        assert shell.condition("fleets", "default", "PlanCurrent") == ("True", "PlanCurrent")
        await shell.clock.sleep(60.0)
    for plural, key in (("workloadclasses", CHAT), ("servedmodels", LLAMA), ("fleets", "default")):
        assert shell.condition(plural, key, "Ready") == ("True", "Ready")
