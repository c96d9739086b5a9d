"""An exchange on a nearly full pool: how many revisions it takes, and what is said of it meanwhile."""

from __future__ import annotations

from small_fleet import World, a_class, a_fleet, a_model, a_node, a_pool, condition, some_nodes, verdict

from argosy.api import FleetPlan, ServedModel
from argosy.api.conditions import Condition, ConditionStatus, find_condition
from argosy.control.candidates.variants import variants_of
from argosy.control.decision import Decision, EventRecord
from argosy.control.memory import ControlMemory
from argosy.control.steps import gate_steps
from argosy.keys import GroupName
from argosy.manifests import EngineWorkload

FASTER_BATCHES = a_model(engine={"maxNumSeqs": 128})


def a_full_pool(num_gpus: int = 10, replicas: int = 10) -> World:
    """As many replicas at rest as asked for, on nodes of two GPUs."""
    nodes = some_nodes("l40s", num_gpus // 2)
    world = World(nodes, a_fleet(), a_pool(), a_model(), a_class(rate_per_s=4.0 * replicas))
    world.rest()
    assert len(world.pods) == replicas
    return world


def revisions(world: World) -> int:
    return sum(d.new_plan is not None for d in world.decisions)


def test_the_exchange_of_a_full_pool_is_one_revision() -> None:
    world = a_full_pool()
    before = revisions(world)
    world.serving_over_time.clear()
    world.apply(FASTER_BATCHES)
    world.settle()
    assert revisions(world) - before == 1
    assert world.replicas() == {"l40s/chat": 10}
    assert {p.deployment for p in world.pods.values()} == {
        d.name for d in world.applied.spec.deployments if d.replicas
    }
    assert min(world.serving_over_time) == 9


def test_a_process_that_starts_in_the_middle_of_an_exchange_goes_on_with_it() -> None:
    world = a_full_pool()
    world.apply(FASTER_BATCHES)
    world.run(60)
    revision = world.applied.spec.revision
    assert len(world.deployments) == 2
    world.memory = ControlMemory()
    world.settle()
    assert (world.applied.spec.revision, len(world.deployments)) == (revision, 1)
    assert world.replicas() == {"l40s/chat": 10}


def test_gates_between_two_decisions_open_only_where_the_plan_has_listed_a_place() -> None:
    """A place that placement found later is given by the decision that finds it."""
    world = a_full_pool()
    world.apply(FASTER_BATCHES)
    world.act()
    assert any(p.gated for p in world.pods.values())
    assert gate_steps(world.snapshot()) == ()


def test_a_listed_place_that_is_lost_is_a_revision_of_its_own() -> None:
    world = a_full_pool(num_gpus=12, replicas=4)
    before = revisions(world)
    world.kill_node(world.applied.spec.deployments[0].nodes[0].node)
    world.run(60)
    assert revisions(world) - before == 1


def conditions_over_time(world: World, seconds: float) -> list[Condition]:
    """Progressing of the applied plan after each decision, without repetitions."""
    found: list[Condition] = []
    for _ in range(round(seconds)):
        world.run(1)
        now = progressing(world)
        if not found or now != found[-1]:
            found.append(now)
    return found


def progressing(world: World, of: str = "Progressing") -> Condition:
    found = find_condition(world.applied.status.conditions, of)
    assert found is not None
    return found


def plan_events(decisions: list[Decision]) -> list[EventRecord]:
    return [e for d in decisions for e in d.events if e.kind == FleetPlan.KIND]


def test_a_plan_says_how_far_its_exchange_is_and_when_it_ended() -> None:
    world = a_full_pool(num_gpus=4, replicas=4)
    world.apply(FASTER_BATCHES)
    world.decisions.clear()
    seen = conditions_over_time(world, 130)
    assert [c.reason for c in seen if c.reason != "Exchanging"] == ["Starting", "RolledOut"]
    assert all(c.status is ConditionStatus.TRUE for c in seen)
    assert [c.message for c in seen][1:4] == [
        "Exchanged 0 of 4 replicas: 0 of 4 replicas of default/chat on l40s get requests, 3 of the former"
        " plan still serve.",
        "Exchanged 1 of 4 replicas: 1 of 4 replicas of default/chat on l40s get requests, 3 of the former"
        " plan still serve.",
        "Exchanged 1 of 4 replicas: 1 of 4 replicas of default/chat on l40s get requests, 2 of the former"
        " plan still serve.",
    ]
    assert seen[-1].message.startswith("All 4 planned replicas got requests and none of the former plan was")
    assert progressing(world, "RolledOut").status is ConditionStatus.TRUE
    reasons = [e.reason for e in plan_events(world.decisions)]
    assert reasons == ["Exchanging", "RolledOut"], "one event as it begins, one as it ends"
    assert {verdict(d, "default/chat")[1] for d in world.decisions} == {"Exchanging", "Loading", "Ready"}


def test_a_plan_with_fewer_replicas_is_rolled_out_when_the_others_have_drained() -> None:
    world = a_full_pool(replicas=4)
    world.apply(a_class(rate_per_s=8.0))
    seen = conditions_over_time(world, 20)
    assert [c.reason for c in seen] == ["Draining", "RolledOut"]
    assert (
        seen[0].message == "All 2 planned replicas get requests; 2 of the former plan finish theirs and go."
    )


def test_the_end_of_a_roll_out_stays_true_when_a_replica_is_lost_later() -> None:
    world = a_full_pool(num_gpus=12, replicas=4)
    ended = world.applied.status.conditions
    world.delete_pod(next(iter(world.pods)))
    world.run(5)
    assert world.applied.status.conditions == ended
    assert verdict(world.decisions[-1], "default/chat")[0] == "False"


def test_a_plan_that_is_replaced_in_the_middle_of_its_roll_out_never_ended() -> None:
    world = a_full_pool()
    world.apply(FASTER_BATCHES)
    world.run(40)
    replaced = world.applied.key
    world.apply(a_model(engine={"maxNumSeqs": 64}))
    world.run(2)
    [plan] = [p for p in world.plans if p.key == replaced]
    found = {c.type: (c.status.value, c.reason) for c in plan.status.conditions}
    assert found["Progressing"] == found["RolledOut"] == ("False", "Superseded")


def test_an_exchange_that_cannot_begin_says_so_on_its_plan() -> None:
    world = a_full_pool(num_gpus=2, replicas=2)
    world.apply(a_class(rate_per_s=4.0))
    world.rest()
    world.nodes["l40s-0"] = a_node("l40s-0", gpus=1)
    world.rest()
    world.apply(FASTER_BATCHES)
    world.run(60)
    now = progressing(world)
    assert (now.status, now.reason) == (ConditionStatus.FALSE, "ExchangeWaits")
    assert [(e.type, e.reason) for e in plan_events(world.decisions[-60:])] == [("Warning", "ExchangeWaits")]


def test_a_replica_that_no_envoy_reaches_stops_the_roll_out_and_the_plan_names_it() -> None:
    world = a_full_pool(num_gpus=12, replicas=2)
    world.apply(a_class(rate_per_s=12.0))
    world.run(3)
    new = next(key for key, pod in world.pods.items() if not pod.ready)
    world.unknown.add(new)
    world.run(40)
    now = progressing(world)
    assert (now.status, now.reason) == (ConditionStatus.FALSE, "NotRouted")
    assert new in now.message


def test_what_is_only_recommended_makes_no_progress() -> None:
    world = World(some_nodes("l40s", 4), a_fleet(mode="Recommend"), a_pool(), a_model(), a_class())
    world.run(3)
    found = {c.type for p in world.plans for c in p.status.conditions}
    assert "Applied" in found
    assert not found & {"Progressing", "RolledOut"}


def faster_batches(world: World, first: str, then: str) -> ServedModel:
    """An edit whose new Deployment of one class gets a freed GPU before that of another: by their names."""
    snapshot = world.snapshot()

    def name(model: ServedModel, group: str) -> str:
        (variant,) = variants_of(snapshot, model)
        return EngineWorkload(variant, GroupName(f"default/{group}"), snapshot.pools["l40s"]).key

    edits = (a_model(engine={"maxNumSeqs": number}) for number in range(100, 200))
    return next(model for model in edits if name(model, first) > name(model, then))


def test_a_class_whose_freed_gpu_goes_to_another_class_is_still_exchanging() -> None:
    """The other class comes first: it gets the GPU that a replica of chat gave up."""
    docs = a_class("docs", rate_per_s=4.0, priority=50)
    world = World(some_nodes("l40s", 3), a_fleet(), a_pool(), a_model(), a_class(rate_per_s=20.0), docs)
    world.rest()
    assert world.replicas() == {"l40s/chat": 5, "l40s/docs": 1}
    world.decisions.clear()
    world.apply(faster_batches(world, "docs", "chat"))
    world.run(35)
    assert verdict(world.decisions[-1], "default/docs")[1] == "Ready", "it went first"
    assert {verdict(d, "default/chat")[1] for d in world.decisions} == {"Exchanging"}


def test_a_model_in_an_exchange_on_a_full_pool_is_exchanging_and_not_loading() -> None:
    world = a_full_pool(num_gpus=4, replicas=4)
    world.apply(FASTER_BATCHES)
    seen: dict[str, list[str]] = {}
    for _ in range(100):
        world.run(1)
        found = condition(world.decisions[-1], "default/llama", "servedmodels")
        seen.setdefault(found["reason"], []).append(found["message"])
        if found["reason"] == "Loading":
            assert len(world.serving()) == 1, "no former replica serves any more"
    for said in (
        "0 of 4 planned replicas get requests; 3 replicas of the former plan serve until all do.",
        "3 of 4 planned replicas get requests; 1 replica of the former plan serves until all do.",
    ):
        assert said in seen["Exchanging"]
    assert seen.keys() <= {"Exchanging", "Loading", "Ready"}


def test_what_engines_that_stopped_together_do_to_a_roll_out_is_not_known() -> None:
    world = World(some_nodes("l40s", 4), a_fleet(), a_pool(), a_model(), a_class(rate_per_s=16.0))
    world.rest()
    world.apply(FASTER_BATCHES)
    world.run(5)
    for key in [key for key, pod in world.pods.items() if pod.ready]:
        world.silence(key)
    world.run(15)
    found = {c.type: (c.status, c.reason) for c in world.applied.status.conditions}
    assert found["Progressing"] == found["RolledOut"] == ("Unknown", "SilenceInDoubt")
