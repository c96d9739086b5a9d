"""What the operator does not see takes no engine away: kinds that go and come back, a watch that is lost."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request

from operator_stage import (
    OURS,
    REPOSITORY,
    Operator,
    OperatorStage,
    condition,
    until,
    until_equal,
)
from stage_rest import CHAT_REPLICAS

CRDS = str(REPOSITORY / "crds")


def problems(operator: Operator) -> str:
    """What /readyz says is missing; empty where the operator is ready."""
    try:
        urllib.request.urlopen(f"http://{operator.http_address}/readyz", timeout=10.0).close()
    except urllib.error.HTTPError as error:
        return error.read().decode()
    return ""


def engines(stage: OperatorStage) -> dict[str, int]:
    """Replicas that each Deployment asks for."""
    return {name: d["spec"]["replicas"] for name, d in stage.deployments().items()}


def uids(stage: OperatorStage) -> set[str]:
    return {p["metadata"]["uid"] for p in [*stage.pods("chat"), *stage.pods("scholar")]}


def test_custom_resources_deleted_and_installed_again_cost_no_request_and_no_engine(
    stage: OperatorStage,
) -> None:
    before, pods = engines(stage), uids(stage)
    with stage.load() as load:
        stage.kubectl("delete", "-f", CRDS)
        until(lambda: not stage.leader.is_ready(), "readyz to say that kinds are missing")
        assert "kubectl apply --server-side -f crds/" in problems(stage.leader)
        began_s = time.time()
        until(lambda: load.num_since(began_s) >= 40, "ten seconds of answers without any custom resource")
        stage.kubectl("apply", "--server-side", "-f", CRDS)
        began_s = time.time()
        until(lambda: load.num_since(began_s) >= 8, "two seconds with the kinds and without the objects")
        stage.apply_world()
        until(stage.leader.is_ready, "the kinds to be seen again")
        until(lambda: stage.applied() != {}, "a FleetPlan for what runs")
        until(lambda: condition(stage.class_of("chat"), "Ready").get("status") == "True", "chat to be Ready")
    assert load.lost == ()
    assert (engines(stage), uids(stage)) == (before, pods)


def test_an_operator_that_starts_without_custom_resources_says_so_once_and_takes_up_what_runs(
    stage: OperatorStage,
) -> None:
    before, pods, name = engines(stage), uids(stage), stage.leader.name
    stage.leader.kill()
    said = len(stage.log(name))
    stage.kubectl("delete", "-f", CRDS)
    with stage.load() as load:
        operator = stage.start_operator(name, ready=False)
        until(lambda: "kubectl apply --server-side -f crds/" in problems(operator), "the remedy in readyz")
        stage.kubectl("apply", "--server-side", "-f", CRDS)
        began_s = time.monotonic()
        until(operator.is_ready, "the late kinds to be seen")
        assert time.monotonic() - began_s < 10.0
        until(lambda: load.num_since(time.time() - 2.0) >= 4, "two seconds of half a picture")
        stage.apply_world()
        until(lambda: condition(stage.class_of("chat"), "Ready").get("status") == "True", "chat to be Ready")
        assert (engines(stage), uids(stage)) == (before, pods)
        stage.patch("wclass", "chat", minReplicas=CHAT_REPLICAS + 1)
        began_s = time.monotonic()
        until(lambda: len(stage.pods("chat")) == CHAT_REPLICAS + 1, "an edit of a late kind to be acted on")
        assert time.monotonic() - began_s < 10.0
    assert load.lost == ()
    log = stage.log(name)[said:]
    assert log.count("install them: kubectl apply --server-side -f crds/") <= 4
    assert "Unresolved resources" not in log


def test_a_class_that_a_user_deletes_still_takes_its_engines_along(stage: OperatorStage) -> None:
    stage.kubectl("delete", "wclass", "scholar")
    until_equal([], lambda: stage.pods("scholar"), "the engines of the deleted class to go")


def test_a_kind_that_was_taken_away_and_installed_again_is_watched_as_before(
    stage: OperatorStage,
) -> None:
    stage.kubectl("delete", "crd", "workloadclasses.argosy.dev")
    until(lambda: "WorkloadClass" in problems(stage.leader), "one kind to be missed")
    stage.kubectl("apply", "--server-side", "-f", CRDS)
    stage.apply_world()
    until(stage.leader.is_ready, "the kind to be seen again")
    until(lambda: condition(stage.class_of("chat"), "Ready").get("status") == "True", "chat to be Ready")
    stage.patch("wclass", "chat", minReplicas=CHAT_REPLICAS + 1)
    began_s = time.monotonic()
    until(lambda: len(stage.pods("chat")) == CHAT_REPLICAS + 1, "an edit of the kind that came late")
    assert time.monotonic() - began_s < 6.0


def test_an_api_server_that_is_away_for_half_a_minute_changes_no_plan(stage: OperatorStage) -> None:
    before, pods, plans = engines(stage), uids(stage), len(stage.plans())
    with stage.load() as load:
        stage.kill_api_server()
        time.sleep(30.0)  # the outage that is tested, not a wait for anything
        stage.start_api_server()
        until(lambda: stage.holder() in stage.operators, "the API server's answers")
        began = stage.leader.num_decisions()
        until(lambda: stage.leader.num_decisions() >= began + 1, "a decision after the outage")
    assert load.lost == ()
    assert (engines(stage), uids(stage), len(stage.plans())) == (before, pods, plans)


def test_a_watch_that_is_not_allowed_is_named_by_readyz_fleet_and_a_metric_and_taken_up_once_it_is(
    stage: OperatorStage,
) -> None:
    role = json.loads(stage.kubectl("get", "clusterrole", "argosy-operator", "-o", "json"))
    less = [r if r["resources"] != ["nodes"] else {**r, "verbs": ["list"]} for r in role["rules"]]
    before, name = uids(stage), stage.leader.name

    def allow(rules: list[dict[str, object]]) -> None:
        stage.kubectl(
            "patch", "clusterrole", "argosy-operator", "--type=merge", "-p", json.dumps({"rules": rules})
        )

    def fleet() -> tuple[str, str]:
        found = condition(stage.read(f"{OURS}/fleets/default"), "Ready")
        return found.get("status", ""), found.get("reason", "")

    stage.leader.kill()
    said = len(stage.log(name))
    try:
        allow(less)
        operator = stage.start_operator(name, ready=False)
        until(lambda: "may not watch nodes at the cluster scope" in problems(operator), "the verb in readyz")
        until_equal(("True", "WatchFails"), fleet, "Fleet to name the watch that fails")
        assert operator.metric('argosy_watch_failing{kind="nodes"}') == 1
        stage.patch("wclass", "chat", minReplicas=CHAT_REPLICAS + 1)
        until(lambda: len(stage.pods("chat")) == CHAT_REPLICAS + 1, "the other watches to work")
    finally:
        allow(role["rules"])
    until(operator.is_ready, "the watch to be taken up", 90.0)
    until(lambda: fleet()[1] != "WatchFails", "Fleet to be well")
    assert operator.metric('argosy_watch_failing{kind="nodes"}') == 0
    assert stage.log(name)[said:].count("watch of nodes: ") <= 4
    assert before <= uids(stage)
