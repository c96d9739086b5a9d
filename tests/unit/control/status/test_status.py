"""What users read on their objects: a typed reason and a sentence, and nothing else harmed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pytest
from small_fleet import (
    NVIDIA,
    World,
    a_class,
    a_fleet,
    a_model,
    a_pool,
    body_of,
    condition,
    parsed,
    some_nodes,
    verdict,
)
from solved_once import solve_once

from argosy.api import RouterPolicy
from argosy.api.schema.timestamp import rfc3339
from argosy.control.step import StepSettings, step
from argosy.snapshot.fleet import EnvoyState, RoutingView
from argosy.snapshot.liveness import SILENT_AFTER_S


@dataclass(frozen=True)
class Trouble:
    """One bad object beside a good class, and what is said about it: (kind, key, condition) -> reason."""

    objects: tuple[Any, ...]
    said: dict[tuple[str, str, str], str]
    message: str


BAD = ("workloadclasses", "default/bad", "Ready")

TROUBLES = [
    pytest.param(
        Trouble(
            (a_pool("odd", gpu="RTX-9090"),),
            {("gpupools", "odd", "Accepted"): "UnknownGpu", ("gpupools", "odd", "Ready"): "UnknownGpu"},
            'spec.gpu: the GPU "RTX-9090" is not in the catalogue; did you mean RTX-',
        ),
        id="a GPU that nobody has heard of",
    ),
    pytest.param(
        Trouble(
            (a_model("big", model_id="huge"), a_class("bad", models=[{"name": "big"}])),
            {
                BAD: "ModelTooLarge",
                ("servedmodels", "default/big", "Accepted"): "ModelTooLarge",
                ("servedmodels", "default/big", "Ready"): "ModelTooLarge",
            },
            "huge fits no pool (big-l40s-tp1-",
        ),
        id="a model too large for every pool",
    ),
    pytest.param(
        Trouble(
            (a_model("what", model_id="unknown/model"), a_class("bad", models=[{"name": "what"}])),
            {BAD: "UnknownModel", ("servedmodels", "default/what", "Accepted"): "UnknownModel"},
            "unknown/model is not in the catalogue",
        ),
        id="a model id that nobody has heard of",
    ),
    pytest.param(
        Trouble(
            (a_class("bad", models=[{"name": "absent"}]),),
            {BAD: "ModelNotFound", ("workloadclasses", "default/bad", "ResolvedRefs"): "ModelNotFound"},
            "spec.models: there is no ServedModel absent in this namespace",
        ),
        id="a reference to a model that is not there",
    ),
    pytest.param(
        Trouble(
            (a_class("bad", match={"models": ["gpt-9"]}),),
            {
                BAD: "ServedNameMismatch",
                ("workloadclasses", "default/bad", "ResolvedRefs"): "ServedNameMismatch",
            },
            "spec.match.models: gpt-9 is not a name of every ServedModel",
        ),
        id="a model name that no engine answers to",
    ),
    pytest.param(
        Trouble(
            (a_class("bad", slo={"ttft": {"p95Milliseconds": 1}}),),
            {BAD: "SloUnreachable"},
            "spec.slo: no allowed variant keeps TTFT p95 of 1 ms even for a single request at a time",
        ),
        id="an SLO that even a lone request breaks",
    ),
    pytest.param(
        Trouble(
            (
                a_class(
                    "bad",
                    traffic={
                        "requestsPerSecond": 1,
                        "lengths": {"table": [{"promptTokens": 200_000, "outputTokens": 1, "weight": 1}]},
                    },
                ),
            ),
            {BAD: "OutOfRange"},
            "prompts of more than 100,000 tokens",
        ),
        id="prompts longer than the performance model knows",
    ),
    pytest.param(
        Trouble(
            (
                a_model("wide", parallelShapes=[{"tensorParallel": 4}]),
                a_class("bad", models=[{"name": "wide"}]),
            ),
            {BAD: "Unplaceable"},
            "each needs 4 GPUs together and the most that a node has is 2",
        ),
        id="a replica wider than the nodes",
    ),
    pytest.param(
        Trouble(
            (a_model("few", maxReplicas=1), a_class("bad", models=[{"name": "few"}])),
            {BAD: "ReplicasAtLimit"},
            "may have 1 replica and 2 are needed",
        ),
        id="a ceiling that the demand has outgrown",
    ),
]


@pytest.mark.parametrize("trouble", TROUBLES)
def test_trouble_is_said_on_the_right_object_and_everything_else_keeps_running(trouble: Trouble) -> None:
    world = World(some_nodes("l40s", 4), a_fleet(), a_pool(), a_model(), a_class())
    world.settle()
    world.apply(*trouble.objects)
    decision = world.act()
    assert {where: verdict(decision, where[1], where[0], where[2]) for where in trouble.said} == {
        where: ("False", reason) for where, reason in trouble.said.items()
    }
    kind, key, type = next(iter(trouble.said))
    assert trouble.message in condition(decision, key, kind, type)["message"]
    assert verdict(decision, "default/chat") == ("True", "Ready")
    assert world.replicas()["l40s/chat"] == 2
    if BAD in trouble.said:
        assert verdict(decision, "default", "fleets") == ("False", trouble.said[BAD])
        assert "default/bad" in condition(decision, "default", "fleets")["message"]


def test_zero_nodes_are_said_on_pool_class_and_fleet() -> None:
    world = World([], a_fleet(), a_pool(), a_model(), a_class())
    decision = world.act()
    for kind, key in (("gpupools", "l40s"), ("workloadclasses", "default/chat"), ("fleets", "default")):
        assert verdict(decision, key, kind) == ("False", "NoNodes")
    selector = "no usable node carries nvidia.com/gpu.product=l40s"
    assert selector in condition(decision, "l40s", "gpupools")["message"]
    assert selector in condition(decision, "default/chat")["message"]
    assert body_of(decision, "l40s", "gpupools")["nodes"] == 0


def test_an_slo_tightened_out_of_reach_is_said_with_its_bound_and_the_replicas_that_are_kept() -> None:
    world = World(some_nodes("l40s", 4), a_fleet(), a_pool(), a_model(), a_class())
    world.settle()
    world.apply(a_class(slo={"ttft": {"p95Milliseconds": 1}}))
    message = condition(world.act(), "default/chat")["message"]
    assert message.startswith("spec.slo: no allowed variant keeps TTFT p95 of 1 ms even for a single request")
    assert message.endswith(" Until then it keeps the 2 replicas that it has, and they serve.")


def test_of_several_refusals_the_one_nearest_to_working_is_said() -> None:
    world = World([], a_fleet(), a_pool(), a_pool("odd", gpu="RTX-9090"), a_model(), a_class())
    assert verdict(world.act(), "default/chat") == ("False", "NoNodes")


@pytest.mark.parametrize(
    ("age_s", "restarts", "reason"),
    [
        pytest.param(0.0, 0, "Loading", id="it has just been created"),
        pytest.param(599.0, 0, "Loading", id="it loads for a long time"),
        pytest.param(600.0, 0, "NoReplicasReady", id="it loads for ten minutes: somebody should look"),
        pytest.param(30.0, 1, "NoReplicasReady", id="its container restarts"),
    ],
)
def test_replicas_that_are_not_ready_load_until_something_is_wrong(
    age_s: float, restarts: int, reason: str
) -> None:
    world = World(some_nodes("l40s", 4), a_fleet(), a_pool(), a_model(), a_class())
    world.act()
    world.broken_deployments = set(world.deployments)
    world.act()
    world.pods = {k: replace(p, restarts=restarts) for k, p in world.pods.items()}
    world.now_s += age_s
    decision = world.decide()
    assert verdict(decision, "default/chat") == ("False", reason)
    assert verdict(decision, "default/llama", "servedmodels") == ("False", reason)
    sentence = {
        "Loading": "0 of 2 replicas serve; the others are starting or loading weights.",
        "NoReplicasReady": "None of 2 replicas is ready; check the events and logs of the pods.",
    }[reason]
    assert condition(decision, "default/chat")["message"] == sentence


def test_one_ready_replica_of_two_is_loading_whatever_the_other_does() -> None:
    world = World(some_nodes("l40s", 4), a_fleet(), a_pool(), a_model(), a_class())
    world.settle()
    [first, _] = world.pods_of("l40s/chat")
    world.pods[first.key] = replace(first, ready=False, ready_since_s=None, restarts=7)
    assert verdict(world.decide(), "default/chat") == ("False", "Loading")


def test_a_pool_counts_its_gpus_and_what_they_cost() -> None:
    world = World(some_nodes("l40s", 4), a_fleet(), a_pool(), a_model(), a_class())
    world.settle()
    world.nodes["l40s-3"] = replace(world.nodes["l40s-3"], ready=False)
    status = body_of(world.decide(), "l40s", "gpupools")
    figures = {k: status[k] for k in ("nodes", "gpusTotal", "gpusFree", "gpusUnhealthy", "costUsdPerHour")}
    assert figures == {"nodes": 4, "gpusTotal": 8, "gpusFree": 4, "gpusUnhealthy": 2, "costUsdPerHour": 1.8}
    assert body_of(world.decide(), "default", "fleets")["costUsdPerHour"] == 1.8


def test_a_silent_engine_costs_nothing_any_more() -> None:
    world = World(some_nodes("l40s", 4), a_fleet(), a_pool(), a_model(), a_class())
    world.settle()
    world.kill_node("l40s-0")
    world.now_s += SILENT_AFTER_S
    assert body_of(world.decide(), "default", "fleets")["costUsdPerHour"] == 0.9


def test_a_class_and_a_model_count_what_serves_also_on_its_way_out() -> None:
    world = World(some_nodes("l40s", 4), a_fleet(), a_pool(), a_model(), a_class())
    world.settle()
    world.apply(a_model(engine={"maxNumSeqs": 128}))
    decision = world.act()
    assert body_of(decision, "default/chat")["replicasReady"] == 2
    model = body_of(decision, "default/llama", "servedmodels")
    assert (model["replicasReady"], model["replicasDesired"]) == (2, 2)
    assert sorted((v["desired"], v["ready"]) for v in model["variants"]) == [(0, 2), (2, 0)]


PORT_TAKEN = (
    "Listener: Error adding/updating listener(s) gateway: cannot bind '0.0.0.0:8080': Address already in use"
)


def envoys(*views: tuple[str, str, str]) -> RoutingView:
    return RoutingView(
        "v2", tuple(EnvoyState(node, ack, refused, "no such field") for node, ack, refused in views)
    )


def test_an_envoy_is_late_a_minute_after_the_version_was_published() -> None:
    world = World(some_nodes("l40s", 4), a_fleet(), a_pool(), a_model(), a_class())
    world.settle()
    taken = world.snapshot()

    def said(ago_s: float) -> dict[str, Any]:
        routing = replace(envoys(("a", "v2", ""), ("b", "v1", "")), published_s=taken.now_s - ago_s)
        snapshot = replace(taken, routing=routing)
        world.snapshot = lambda: snapshot  # type: ignore[method-assign]
        return condition(world.decide(), "default", "fleets", "Programmed")

    pending, late = said(60.0), said(61.0)
    assert (pending["status"], pending["reason"]) == ("Unknown", "EnvoyPending")
    assert (late["status"], late["reason"]) == ("Unknown", "EnvoyLate")
    assert "1 of 2 Envoys have not acknowledged version v2 for more than 60 s" in late["message"]
    assert "Envoy b is the first" in late["message"]


@pytest.mark.parametrize(
    ("routing", "expected"),
    [
        pytest.param(envoys(), ("False", "NoEnvoy"), id="nobody listens"),
        pytest.param(envoys(("a", "v2", "")), ("True", "Programmed"), id="acknowledged"),
        pytest.param(envoys(("a", "v1", "")), ("Unknown", "EnvoyPending"), id="under way"),
        pytest.param(
            envoys(("a", "v2", ""), ("b", "v1", "")), ("Unknown", "EnvoyPending"), id="one is behind"
        ),
        pytest.param(envoys(("a", "v2", ""), ("b", "v1", "v2")), ("False", "EnvoyRefused"), id="one refused"),
        pytest.param(
            RoutingView("v2", (EnvoyState("a", "v1", "v2", PORT_TAKEN),)),
            ("False", "EnvoyCannotListen"),
            id="port taken",
        ),
        pytest.param(
            RoutingView("v2", (EnvoyState("a", "v1", "v2", PORT_TAKEN, is_duplicate=True),) * 2),
            ("False", "EnvoysShareId"),
            id="which of two has no port cannot be told",
        ),
    ],
)
def test_programmed_says_what_the_envoys_have_made_of_it(
    routing: RoutingView, expected: tuple[str, str]
) -> None:
    world = World(some_nodes("l40s", 4), a_fleet(), a_pool(), a_model(), a_class())
    world.settle()
    snapshot = replace(world.snapshot(), routing=routing)
    world.snapshot = lambda: snapshot  # type: ignore[method-assign]
    decision = world.decide()
    assert verdict(decision, "default/chat", type="Programmed") == expected
    assert body_of(decision, "default", "fleets")["envoysConnected"] == len(routing.envoys)


def test_an_envoy_that_cannot_listen_is_reported_with_its_address_and_the_remedy() -> None:
    world = World(some_nodes("l40s", 4), a_fleet(), a_pool(), a_model(), a_class())
    world.settle()
    routing = RoutingView("v2", (EnvoyState("a", "v1", "v2", PORT_TAKEN),))
    snapshot = replace(world.snapshot(), routing=routing)
    world.snapshot = lambda: snapshot  # type: ignore[method-assign]
    found = condition(world.decide(), "default", "fleets", "Programmed")
    assert found["message"].startswith(
        "Envoy a cannot listen on 0.0.0.0:8080: Address already in use. End the"
    )
    assert "such as a second Envoy, or set Fleet/default's spec.gateway" in found["message"]


def test_envoys_are_listed_once_each_and_at_most_fifty() -> None:
    world = World([], a_fleet())
    views = [(f"e{i:02}", "v2", "") for i in range(60)] + [("e00", "v1", "")]
    snapshot = replace(world.snapshot(), routing=envoys(*views))
    world.snapshot = lambda: snapshot  # type: ignore[method-assign]
    listed = body_of(world.decide(), "default", "fleets")["envoys"]
    assert [e["nodeId"] for e in listed] == [f"e{i:02}" for i in range(50)]
    assert listed[0]["acknowledgedVersion"] == "v2"


def test_a_policy_says_which_of_its_targets_it_acts_in() -> None:
    refs = {"targetRefs": [{"name": "chat"}, {"name": "absent"}]}
    older = parsed(RouterPolicy, "a", {"targetRefs": [{"name": "chat"}]}, "default")
    younger = parsed(RouterPolicy, "b", refs, "default")
    world = World(some_nodes("l40s", 4), a_fleet(), a_pool(), a_model(), a_class(), older, younger)
    decision = world.act()
    assert verdict(decision, "default/a", "routerpolicies", "Accepted") == ("True", "Accepted")
    assert verdict(decision, "default/b", "routerpolicies", "Accepted") == ("False", "Conflicted")
    assert verdict(decision, "default/b", "routerpolicies", "ResolvedRefs") == ("False", "TargetNotFound")
    rows = body_of(decision, "default/b", "routerpolicies")["targets"]
    assert [(r["name"], r["accepted"]) for r in rows] == [("chat", False), ("absent", False)]


def test_what_no_longer_holds_is_removed_from_a_status() -> None:
    world = World([], a_fleet("Recommend"), a_class())
    status = body_of(world.decide(), "default/chat")
    assert status["requestsPerSecond"] is None  # null removes what an earlier status said
    assert body_of(world.decide(), "default", "fleets")["currentPlan"] is None


def test_conditions_keep_their_transition_time_while_their_status_stays() -> None:
    world = World([], a_fleet(), a_pool(), a_model(), a_class())
    first = world.decide()
    pool = a_pool()
    status = {"conditions": body_of(first, "l40s", "gpupools")["conditions"]}
    metadata = {"name": "l40s", "generation": 1}
    world.apply(
        type(pool).from_object(  # type: ignore[arg-type]
            {"metadata": metadata, "spec": pool.spec.model_dump(by_alias=True, mode="json"), "status": status}
        )
    )
    world.now_s += 100
    before = condition(first, "l40s", "gpupools")["lastTransitionTime"]
    assert condition(world.decide(), "l40s", "gpupools")["lastTransitionTime"] == before
    world.nodes = {n.name: n for n in some_nodes("l40s", 1)}
    after = condition(world.decide(), "l40s", "gpupools")["lastTransitionTime"]
    assert (before, after) == (rfc3339(world.now_s - 100), rfc3339(world.now_s))


def test_foreign_pods_are_neither_counted_nor_billed_and_take_room() -> None:
    world = World(some_nodes("l40s", 1), a_fleet(), a_pool(), a_model(), a_class(rate_per_s=4.0))
    world.settle()
    [engine] = world.pods.values()
    foreign = replace(engine, name="foreign", deployment="", devices={NVIDIA: 1}, labels={})
    world.pods[foreign.key] = foreign
    status = body_of(world.decide(), "l40s", "gpupools")
    assert (status["gpusFree"], status["costUsdPerHour"]) == (0, 0.9)


def test_programmed_names_the_envoy_that_is_ahead_its_revision_and_when_it_is_served() -> None:
    world = World(some_nodes("l40s", 4), a_fleet(), a_pool(), a_model(), a_class())
    world.settle()
    ahead = EnvoyState("edge", "00000017-0", revision=17, is_ahead=True, served_at_s=world.now_s + 15.0)
    found = programmed_with(world, EnvoyState("near", "v1"), ahead)
    assert (found["status"], found["reason"]) == ("False", "EnvoyAhead")
    for part in ("Envoy edge", "revision 17", "the latest is 1", rfc3339(world.now_s + 15.0)):
        assert part in found["message"]


def test_while_no_plan_is_applied_programmed_says_that_running_replicas_are_served() -> None:
    world = World(some_nodes("l40s", 4), a_fleet(), a_pool(), a_model(), a_class())
    world.settle()
    world.plans = ()
    found = programmed_with(world, EnvoyState("edge", "v1"))
    assert (found["status"], found["reason"]) == ("Unknown", "PlanGone")
    assert "Envoys keep the routes" in found["message"]


def programmed_with(world: World, *envoys: EnvoyState) -> dict[str, str]:
    snapshot = replace(world.snapshot(), routing=RoutingView("v1", envoys))
    decision = step(snapshot, world.memory, StepSettings("a test", plan_time_limit_s=None), world.perf)
    return condition(decision, "default", "fleets", "Programmed")


# --- pods that the API server refuses ---------------------------------------------------------


QUOTA = "pods is forbidden: exceeded quota: gpus, requested: requests.nvidia.com/gpu=1"


def test_pods_that_a_quota_refuses_are_named_with_the_api_servers_words() -> None:
    world = World(some_nodes("l40s", 2), a_fleet(), a_pool(), a_model(), a_class())
    world.run(1)
    (key,) = world.deployments
    before = world.deployments[key]
    world.deployments[key] = replace(before, pods_refused=QUOTA)
    decision = world.decide()
    for plural, name in (("workloadclasses", "default/chat"), ("servedmodels", "default/llama")):
        found = condition(decision, name, plural)
        assert (found["status"], found["reason"]) == ("False", "PodsRefused")
        assert found["message"] == (
            f"0 of 2 replicas are ready; ResourceQuota default/gpus refuses the pods of Deployment {key}: it"
            " is used up; requested: requests.nvidia.com/gpu=1. Raise spec.hard of ResourceQuota"
            " default/gpus, or free what uses it."
        )


def test_envoys_that_share_a_node_id_are_named_with_the_remedy() -> None:
    world = World(some_nodes("l40s", 2), a_fleet(), a_pool(), a_model(), a_class())
    world.run(1)
    envoys = (EnvoyState("edge", "v", is_duplicate=True),) * 2 + (EnvoyState("other", "v"),)
    snapshot = replace(world.snapshot(), routing=RoutingView("v", envoys))
    decision = step(snapshot, world.memory, StepSettings("a test", plan_time_limit_s=None), world.perf)
    found = condition(decision, "default", "fleets", "Programmed")
    assert (found["status"], found["reason"]) == ("False", "EnvoysShareId")
    assert found["message"].startswith("2 Envoys are connected with the node id edge, so")


def test_a_flag_that_no_version_has_is_remarked_on_where_the_images_version_is_not_known() -> None:
    engine = {"image": "mine:1", "args": ["--own-flag=1", "--enforce-eager"]}
    world = World(some_nodes("l40s", 4), a_fleet(), a_pool(), a_model(engine=engine), a_class())
    accepted = condition(world.act(), "default/llama", "servedmodels", "Accepted")
    assert (accepted["status"], accepted["reason"]) == ("True", "FlagUnjudged")
    assert "spec.engine.args: --own-flag=1 is no flag of vLLM 0.24 to 0.32" in accepted["message"]
    assert "spec.engine.image (mine:1)" in accepted["message"]


def test_a_version_that_is_not_the_tags_is_remarked_on_and_used() -> None:
    engine = {"image": "vllm/vllm-openai:v0.11.2", "version": "0.15.1"}
    world = World(some_nodes("l40s", 4), a_fleet(), a_pool(), a_model(engine=engine), a_class())
    accepted = condition(world.act(), "default/llama", "servedmodels", "Accepted")
    assert (accepted["status"], accepted["reason"]) == ("True", "VersionContradicted")
    assert "spec.engine.version is 0.15.1" in accepted["message"]
    assert "names 0.11.2" in accepted["message"]


def test_a_pod_that_the_api_server_refuses_is_a_sentence_of_model_and_class_and_nothing_that_runs_goes() -> (
    None
):
    world = World(some_nodes("l40s", 4), a_fleet(), a_pool(), a_model(), a_class())
    world.run(60.0)
    serving, patch = sum(world.serving().values()), {"spec": {"hostnam": "a"}}
    world.apply(a_model(engine={"podTemplatePatch": patch}))
    refused = {(a_model().key, "l40s"): "422 hostnam: field not declared in schema."}
    snapshot = replace(world.snapshot(), template_refusals=refused)
    settings = StepSettings("a test", plan_time_limit_s=None, cells=world.cells)
    decision = step(snapshot, world.memory, settings, world.perf, solve_once)
    said = condition(decision, "default/llama", "servedmodels", "Accepted")
    assert (said["status"], said["reason"]) == ("False", "PodTemplateRefused")
    assert said["message"] == (
        "spec.engine of ServedModel llama makes no pod for GPUPool l40s: the API server refuses it: 422"
        " hostnam: field not declared in schema; correct it there and apply it again."
    )
    assert serving > 0
    assert not [planned for planned in decision.steps if "Delete" in type(planned.step).__name__]


CARD = "example.com/card"


def cards_of(container: str, number: str | None) -> dict[str, Any]:
    """A patch that sets the limit of a container."""
    limits = {"limits": {CARD: number}}
    return {"podTemplatePatch": {"spec": {"containers": [{"name": container, "resources": limits}]}}}


@pytest.mark.parametrize(
    ("engine", "sentence"),
    [
        ({"resources": {"limits": {CARD: "2"}}}, f"spec.engine.resources names {CARD}"),
        (cards_of("p", "1"), f"spec.engine.podTemplatePatch gives container p 1 {CARD}"),
        (cards_of("engine", None), f"spec.engine.podTemplatePatch gives container engine no {CARD}"),
    ],
)
def test_gpus_of_a_pools_own_resource_are_set_by_shapes_only(engine: dict[str, Any], sentence: str) -> None:
    pool = a_pool(resourceName=CARD)
    world = World(some_nodes("l40s", 4), a_fleet(), pool, a_model(engine=engine), a_class())
    said = condition(world.act(), "default/llama", "servedmodels", "Accepted")
    assert (said["status"], said["reason"]) == ("False", "PodTemplateRefused")
    assert sentence in said["message"]
