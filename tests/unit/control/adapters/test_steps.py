"""What is next for the adapters of each engine, and what users read meanwhile."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from small_fleet import World, a_class, a_fleet, a_model, a_pool, body_of, condition, some_nodes

from argosy.control.adapters.planned import planned_adapters
from argosy.control.adapters.steps import (
    LEAVE_S,
    EngineTask,
    Load,
    after_failure,
    after_load,
    engine_tasks,
    pause_s,
)
from argosy.control.routes import route_inputs
from argosy.control.survey.routing import adapter_rows
from argosy.keys import ModelKey
from argosy.manifests.engine_pod import RUNTIME_LORA, container_fields
from argosy.reconcile.metrics import Metrics
from argosy.route.compile import compile_routes
from argosy.snapshot import EngineSettings, Variant
from argosy.snapshot.adapters.record import AdapterRecord, LoraLimits, adapter_record, record_text
from argosy.xds.gateway.claims import former_routes
from argosy.xds.gateway.routes import route_configuration_of

MODEL = ("default/llama", "servedmodels")


def model(*names: str, max_loras: int = 2, source: str = "/adapters") -> Any:
    adapters = [{"name": name, "source": f"{source}/{name}", "rank": 8} for name in names]
    return a_model(adapters=adapters, engine={"maxLoras": max_loras})


class Loading(World):
    """A fleet whose engines load what they are asked to."""

    def tasks(self) -> tuple[EngineTask, ...]:
        return engine_tasks(self.snapshot(), {})

    def note(self, pod: str, record: AdapterRecord) -> None:
        self.pods[pod] = replace(self.pods[pod], adapter_record=adapter_record(record_text(record)))

    def carry_out(self, *failing: str) -> list[EngineTask]:
        done = list(self.tasks())
        for task in done:
            record = task.record
            for name in task.unloads:
                record = replace(record, leaving={n: at for n, at in record.leaving.items() if n != name})
            for load in task.loads:
                fails = load.name in failing
                record = after_failure(record, load, "no", self.now_s) if fails else after_load(record, load)
            self.note(task.pod, record)
        return done

    def loaded(self) -> list[list[str]]:
        return [sorted(pod.adapters.held) for pod in self.pods.values() if pod.adapters is not None]

    def routed(self, name: str) -> tuple[int, str]:
        """How many clusters take an adapter's requests, and the refusal where none does."""
        snapshot = self.snapshot()
        (route,) = compile_routes(route_inputs(snapshot, snapshot.applied_plan)).routes
        found = next(each for each in route.adapters if each.name == name)
        return len(found.backends), found.refusal


@pytest.fixture
def world() -> Loading:
    workload = a_class(match={"path": {"value": "/v1"}})
    found = Loading(some_nodes("l40s", 4), a_fleet(), a_pool(), model("sql", "law", "med"), workload)
    found.settle()
    assert len(found.pods) == 2
    return found


def test_an_engine_is_asked_first_and_takes_requests_for_what_it_has_loaded(world: Loading) -> None:
    assert [task.looks for task in world.tasks()] == [True, True]
    assert world.routed("sql") == (0, world.routed("sql")[1])
    assert "The LoRA adapter sql is not loaded on any replica" in world.routed("sql")[1]
    world.carry_out()
    first = world.carry_out()
    assert sum(len(task.loads) for task in first) == 4
    assert {name for names in world.loaded() for name in names} == {"sql", "law", "med"}
    assert world.routed("sql") == (1, "")
    assert world.tasks() == ()
    body = body_of(world.decide(), *MODEL)
    assert [(a["name"], a["state"]) for a in body["adapters"]] == [
        ("sql", "Loaded"),
        ("law", "Loaded"),
        ("med", "Loaded"),
    ]
    assert condition(world.decide(), *MODEL, type="AdaptersReady")["status"] == "True"


def test_traffic_is_taken_away_before_an_unload_and_no_deployment_changes(world: Loading) -> None:
    world.carry_out()
    world.carry_out()
    before = set(world.replicas())
    world.apply(model("sql", "law", "new"))
    tasks = world.carry_out()
    assert not any(task.unloads for task in tasks)
    leaving = [pod for pod in world.pods.values() if pod.adapters and "med" in pod.adapters.leaving]
    assert leaving
    assert all("med" not in names for names in world.loaded())
    world.now_s += LEAVE_S
    assert {name for task in world.carry_out() for name in task.unloads} == {"med"}
    world.carry_out()
    assert {name for names in world.loaded() for name in names} == {"sql", "law", "new"}
    world.settle()
    assert set(world.replicas()) == before


def test_another_source_is_loaded_in_place_while_the_old_one_serves(world: Loading) -> None:
    world.carry_out()
    world.carry_out()
    world.apply(model("sql", "law", "med", source="/other"))
    tasks = world.tasks()
    assert {load.in_place for task in tasks for load in task.loads} == {True}
    assert all("/other" in load.source for task in tasks for load in task.loads)
    assert world.routed("sql") == (1, "")


def test_one_that_fails_is_named_with_the_engines_words_and_tried_again_later(world: Loading) -> None:
    world.carry_out()
    world.carry_out("sql")
    world.carry_out("sql")
    body = body_of(world.decide(), *MODEL)
    (sql,) = (a for a in body["adapters"] if a["name"] == "sql")
    assert (sql["state"], sql["replicas"]) == ("Failed", 0)
    assert "not loaded from /adapters/sql on " in sql["message"]
    assert sql["message"].endswith(": no")
    told = condition(world.decide(), *MODEL, type="AdaptersReady")
    assert (told["status"], told["reason"]) == ("False", "AdaptersFailed")
    assert "no replica could load sql: not loaded from /adapters/sql" in told["message"]
    assert not any(load.name == "sql" for task in world.tasks() for load in task.loads)
    world.now_s += pause_s(2)
    assert any(load.name == "sql" for task in world.tasks() for load in task.loads)
    world.carry_out()
    assert world.routed("sql") == (1, "")


def test_a_corrected_source_is_tried_at_once(world: Loading) -> None:
    world.carry_out()
    world.carry_out("sql")
    world.apply(model("sql", "law", "med", source="/right"))
    assert any(load.name == "sql" for task in world.tasks() for load in task.loads)


def test_adapters_beyond_all_slots_are_named_and_the_rest_is_served(world: Loading) -> None:
    world.apply(model(*(f"a{number}" for number in range(6))))
    world.carry_out()
    world.carry_out()
    body = body_of(world.decide(), *MODEL)
    states = [a["state"] for a in body["adapters"]]
    assert (states.count("Loaded"), states.count("NoSlot")) == (4, 2)
    told = condition(world.decide(), *MODEL, type="AdaptersReady")
    assert told["reason"] == "AdaptersWithoutSlot"
    assert "a4, a5 has no slot on 2 replicas with maxLoras 2, for 6 adapters." in told["message"]


def test_a_restarted_engine_holds_nothing_until_it_is_asked(world: Loading) -> None:
    world.carry_out()
    world.carry_out()
    for key, pod in world.pods.items():
        world.pods[key] = replace(pod, exits=pod.exits + 1)
    assert world.routed("sql")[0] == 0
    assert all(task.looks for task in world.tasks())


def test_an_adapter_that_no_class_names_is_not_loaded_and_its_status_tells_why(world: Loading) -> None:
    world.apply(a_class(match={"models": ["llama", "sql"]}))
    world.settle()
    world.carry_out()
    world.carry_out()
    assert world.loaded() == [["sql"], ["sql"]]
    body = body_of(world.decide(), *MODEL)
    assert [a["state"] for a in body["adapters"]] == ["Loaded", "NotRouted", "NotRouted"]
    assert "add law to spec.match.models" in body["adapters"][1]["message"]


@pytest.mark.parametrize("mode", ["Observe", "Recommend"])
def test_nothing_is_loaded_where_argosy_does_not_act(world: Loading, mode: str) -> None:
    world.apply(a_fleet(mode))
    assert world.tasks() == ()
    assert body_of(world.decide(), *MODEL)["adapters"][0]["state"] == "Loading"


def test_an_engine_that_is_busy_gets_no_second_task_and_counts_as_holding(world: Loading) -> None:
    world.carry_out()
    first, second = world.tasks()
    names = frozenset(load.name for load in first.loads)
    (task,) = engine_tasks(world.snapshot(), {first.pod: names})
    assert (task.pod, {load.name for load in task.loads}) == (
        second.pod,
        {load.name for load in second.loads},
    )
    assert task.loads[0].name not in names, "the one that no replica holds comes first"


@pytest.mark.parametrize("text", ["", "x", "[]", "{}", '{"exits": "x"}', '{"exits": 0, "held": 3}', None])
def test_a_note_that_is_none_is_no_record(text: object) -> None:
    assert adapter_record(text) is None


def test_a_record_survives_its_text() -> None:
    record = after_failure(AdapterRecord(3, {"a": "/a"}, {"b": 7.5}), Load("c", "/c"), "words", 20.0)
    assert adapter_record(record_text(record)) == record
    again = after_failure(record, Load("c", "/c"), "words", 20.0)
    assert (again.failed["c"].tries, again.failed["c"].retry_at_s) == (2, 40.0)
    assert pause_s(100) == 600.0


def test_routes_and_the_plan_show_adapters(world: Loading) -> None:
    world.carry_out()
    world.carry_out("law")
    rows = {row.name: row for row in adapter_rows(world.snapshot())}
    assert [(name, row.replicas > 0, bool(row.why)) for name, row in sorted(rows.items())] == [
        ("law", False, True),
        ("med", True, False),
        ("sql", True, False),
    ]
    snapshot = world.snapshot()
    table = compile_routes(route_inputs(snapshot, snapshot.applied_plan))
    (claim,) = former_routes(route_configuration_of(table)).claims
    assert claim.match.models == (), "routes of adapters are no claims of their class"
    (fits,) = planned_adapters(world.applied, snapshot.models, snapshot.classes)
    assert fits.sentence == (
        "ServedModel default/llama: 3 LoRA adapters of ranks up to 8, at most 2 (maxLoras) on each of"
        " 2 replicas for default/chat"
    )
    world.apply(model(*(f"a{number}" for number in range(6))))
    (short,) = planned_adapters(world.applied, world.snapshot().models, snapshot.classes)
    assert short.sentence.endswith(
        "; no slot is left for a4, a5: raise spec.engine.maxLoras, or remove adapters"
    )


def test_metrics_count_adapters_by_state(world: Loading) -> None:
    world.carry_out()
    world.carry_out("law")
    world.carry_out("law")
    metrics = Metrics()
    metrics.show_decision(world.decide(), 0.1)
    read = metrics.registry.get_sample_value
    labels = {"model": "default/llama"}
    assert read("argosy_adapters", {**labels, "state": "Loaded"}) == 2.0
    assert read("argosy_adapters", {**labels, "state": "Failed"}) == 1.0


def test_engines_with_slots_take_adapters_at_run_time_before_there_is_one() -> None:
    without, with_slots = (
        Variant(ModelKey("default/m"), "small", (), "l40s", "L40S", 1, EngineSettings(max_loras=number))
        for number in (0, 2)
    )
    names = [{each["name"] for each in container_fields(v)["env"]} for v in (without, with_slots)]
    assert [RUNTIME_LORA in each for each in names] == [False, True]


def with_limits(world: Loading, *limits: LoraLimits | None) -> None:
    for (key, pod), each in zip(sorted(world.pods.items()), limits, strict=True):
        world.pods[key] = replace(pod, loras=each)


def test_during_an_exchange_a_replica_that_was_started_without_lora_is_not_asked(world: Loading) -> None:
    old, new = sorted(world.pods)
    with_limits(world, LoraLimits(0, 0), None)
    assert [task.pod for task in world.tasks()] == [new]
    world.carry_out()
    (task,) = world.carry_out()
    assert (task.pod, len(task.loads)) == (new, 2)
    assert world.pods[old].adapters is None, "nothing is written to it, and nothing failed"
    body = body_of(world.decide(), *MODEL)
    assert sorted(a["state"] for a in body["adapters"]) == ["Loaded", "Loaded", "NoSlot"]
    assert "1 replica with maxLoras 2 have no slot" in str(body["adapters"])
    with_limits(world, LoraLimits(0, 0), LoraLimits(0, 0))
    world.pods[new] = replace(world.pods[new], adapter_record=None)
    told = body_of(world.decide(), *MODEL)["adapters"]
    assert {a["state"] for a in told} == {"Loading"}
    assert "were started without LoRA" in told[0]["message"]


def test_a_replica_has_the_slots_that_it_was_started_with(world: Loading) -> None:
    with_limits(world, LoraLimits(1, 16), LoraLimits(3, 16))
    world.carry_out()
    world.carry_out()
    assert sorted(map(len, world.loaded())) == [1, 3]


def test_an_adapter_goes_to_a_replica_that_was_started_for_its_rank(world: Loading) -> None:
    low, high = sorted(world.pods)
    with_limits(world, LoraLimits(2, 4), LoraLimits(2, 8))
    for _ in range(3):
        world.carry_out()
    assert world.pods[low].adapters == AdapterRecord(0)
    found = world.pods[high].adapters
    assert found is not None
    assert len(found.held) == 2


def test_what_no_replica_holds_is_loaded_first_then_what_has_the_most_requests(world: Loading) -> None:
    adapters = [
        {"name": name, "source": f"/{name}", "rank": 8, "weight": weight}
        for name, weight in {"a": 1, "b": 2, "c": 3, "d": 4, "e": 5, "f": 6}.items()
    ]
    world.apply(a_model(adapters=adapters, engine={"maxLoras": 6}))
    with_limits(world, LoraLimits(6, 16), LoraLimits(6, 16))
    world.carry_out()
    first, second = sorted(world.pods)
    world.note(first, AdapterRecord(0, {"e": "/e", "f": "/f"}))
    loads = {task.pod: [load.name for load in task.loads] for task in world.tasks()}
    assert loads == {first: ["d", "c", "b", "a"], second: ["d", "c", "b", "a"]}, "four at a time"
    world.carry_out()
    assert {task.pod: [load.name for load in task.loads] for task in world.tasks()} == {second: ["f", "e"]}


def test_requests_wait_for_a_holder_that_is_not_ready(world: Loading) -> None:
    world.carry_out()
    world.carry_out()
    holders = [key for key, pod in world.pods.items() if pod.adapters and "sql" in pod.adapters.held]
    for key in holders:
        world.pods[key] = replace(world.pods[key], ready=False, started=True)
    assert world.routed("sql") == (1, "")
    snapshot = world.snapshot()
    (cluster,) = compile_routes(route_inputs(snapshot, snapshot.applied_plan)).clusters
    assert "sql" in cluster.waiting
    for key in holders:
        world.pods[key] = replace(world.pods[key], exits=1)
    assert world.routed("sql")[0] == 0, "after its restart it holds nothing, so there is nothing to wait for"


def test_a_class_that_still_names_a_removed_adapter_keeps_its_replicas(world: Loading) -> None:
    world.apply(a_class(match={"models": ["llama", "sql"]}))
    world.settle()
    before = world.replicas()
    world.apply(model("law", "med"))
    world.rest()
    assert world.replicas() == before
    decision = world.decide()
    told = condition(decision, "default/chat", "workloadclasses", type="ResolvedRefs")
    assert (told["status"], told["reason"]) == ("False", "ServedNameUnknown")
    assert told["message"].startswith("spec.match.models: sql is a name of no ServedModel in spec.models")
    assert "take sql out of spec.match.models, or add it to spec.adapters" in told["message"]
    assert condition(decision, "default/chat", "workloadclasses", type="Ready")["status"] == "True"
    world.apply(a_class(match={"models": ["llama"]}))
    fine = condition(world.decide(), "default/chat", "workloadclasses", type="ResolvedRefs")
    assert fine["status"] == "True"


def test_the_last_holder_serves_until_another_has_loaded_the_adapter(world: Loading) -> None:
    world.apply(model("sql", "law"))
    going, staying = sorted(world.pods)
    world.note(going, AdapterRecord(0, {"sql": "/adapters/sql"}))
    world.note(staying, AdapterRecord(0, {"law": "/adapters/law"}))
    world.pods[going] = replace(world.pods[going], deletion_cost=-1)

    def states() -> dict[str, str]:
        snapshot = world.snapshot()
        (cluster,) = compile_routes(route_inputs(snapshot, snapshot.applied_plan)).clusters
        return {endpoint.pod: endpoint.state.value for endpoint in cluster.endpoints}

    assert world.routed("sql") == (1, "")
    assert states() == {going: "Ready", staying: "Ready"}
    assert [(task.pod, [load.name for load in task.loads]) for task in world.carry_out()] == [
        (staying, ["sql"])
    ]
    assert world.routed("sql") == (1, "")
    assert states() == {going: "Marked", staying: "Ready"}
