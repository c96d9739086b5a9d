"""What `argosy doctor` finds: each thing that can be wrong, with its remedy, and nothing on a sound fleet."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import pytest
from builders import a_class, a_fleet, a_model, a_node, a_pending_pod, a_pod, a_pool
from small_fleet import World

from argosy.api.conditions import Condition, ConditionStatus
from argosy.api.crd.crdgen import custom_resource_definition
from argosy.api.kinds import CUSTOM, kind_of
from argosy.api.workloadclass import ObservedTraffic
from argosy.control.survey.findings import findings
from argosy.control.survey.installation import Finding, Installation, LeaseSeen, Severity
from argosy.control.survey.permissions import NEEDED, Permission
from argosy.snapshot.fleet import EnvoyState, FleetSnapshot, RoutingView

NOW_S = 1_700_000_000.0


def definition(plural: str) -> dict[str, Any]:
    model = kind_of(plural).model
    assert model is not None
    return copy.deepcopy(custom_resource_definition(model))


DEFINITIONS = {plural: definition(plural) for plural in CUSTOM}
LEADER = LeaseSeen("operator-0", is_renewed=True, renewed_s=NOW_S)
ENVOYS = RoutingView(envoys=(EnvoyState("edge-0", "1-a"),))


def picture(*classes: Any, **fields: Any) -> FleetSnapshot:
    pool, model, node = a_pool(), a_model(), a_node("l40s-0")
    found = FleetSnapshot(
        now_s=NOW_S,
        fleet=a_fleet(),
        pools={pool.key: pool},
        models={model.key: model},
        classes={each.key: each for each in classes or (a_class(),)},
        policies={},
        plans=(),
        nodes={node.name: node},
        pods={},
        routing=ENVOYS,
    )
    return replace(found, **fields)


def installation(snapshot: FleetSnapshot | None = None, **fields: Any) -> Installation:
    sound = Installation(
        snapshot or picture(), "argosy-system", "ServiceAccount a/b", DEFINITIONS, lease=LEADER
    )
    return replace(sound, **fields)


def only(found: Installation) -> Finding:
    (finding,) = findings(found)
    assert finding.remedy
    return finding


def with_status(item: Any, *conditions: Condition, **status: Any) -> Any:
    changed = item.status.model_copy(update={"conditions": conditions, **status})
    return item.model_copy(update={"status": changed})


def test_of_a_sound_installation_it_finds_nothing() -> None:
    assert findings(installation()) == ()


def test_definitions_that_are_not_installed_are_one_finding_with_the_command() -> None:
    found = only(installation(definitions={**DEFINITIONS, "fleets": None, "gpupools": None}))
    assert found.severity is Severity.BROKEN
    assert "no kinds Fleet, GPUPool" in found.message
    assert found.remedy == "install them: kubectl apply --server-side -f crds/"


def test_a_definition_of_another_version_is_named_with_the_fields_that_differ() -> None:
    older = definition("fleets")
    spec = older["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
    del spec["gateway"]["properties"]["port"]
    spec["colour"] = {"type": "string"}
    spec["mode"]["enum"] = ["Auto"]
    found = only(installation(definitions={**DEFINITIONS, "fleets": older}))
    assert found.severity is Severity.WARNING
    assert found.about == "CustomResourceDefinition fleets.argosy.dev"
    assert "it lacks spec.gateway.port; it has besides spec.colour; other rules of spec.mode" in found.message


def test_another_wording_of_a_description_is_no_finding() -> None:
    other = definition("gpupools")
    spec = other["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    spec["properties"]["gpu"]["description"] = "Another."
    assert findings(installation(definitions={**DEFINITIONS, "gpupools": other})) == ()


def test_a_definition_that_is_being_deleted_takes_its_objects_along() -> None:
    going = definition("servedmodels")
    going["metadata"]["deletionTimestamp"] = "2023-01-01T00:00:00Z"
    found = only(installation(definitions={**DEFINITIONS, "servedmodels": going}))
    assert found.message == "it is being deleted, and every ServedModel with it"


def test_a_definition_without_the_version_is_found() -> None:
    other = definition("fleets")
    other["spec"]["versions"][0]["name"] = "v2"
    found = only(installation(definitions={**DEFINITIONS, "fleets": other}))
    assert "does not serve version v1alpha1" in found.message


def test_permissions_that_are_missing_are_one_finding() -> None:
    found = only(installation(denied=NEEDED[:6]))
    assert found.about == "ServiceAccount a/b"
    assert "list fleets.argosy.dev" in found.message
    assert "and 2 more" in found.message
    assert "operator-rbac.yaml" in found.remedy


@pytest.mark.parametrize(
    ("permission", "text"),
    [
        (Permission("apps", "deployments", "get", "scale"), "get deployments.apps/scale"),
        (Permission("", "pods", "delete"), "delete pods"),
    ],
)
def test_a_permission_is_written_as_users_know_it(permission: Permission, text: str) -> None:
    assert str(permission) == text


def test_permissions_that_could_not_be_asked_about_are_only_a_hint() -> None:
    assert only(installation(unreviewed="403 not yours")).severity is Severity.HINT


@pytest.mark.parametrize(
    ("lease", "words"),
    [
        (None, "no operator has led yet"),
        (LeaseSeen("", is_renewed=True), "the last one released the Lease"),
        (LeaseSeen("operator-0", is_renewed=False), "operator-0 does not renew the Lease"),
    ],
)
def test_without_a_leader_it_tells_why_and_that_nothing_is_planned(
    lease: LeaseSeen | None, words: str
) -> None:
    found = only(installation(lease=lease))
    assert found.severity is Severity.BROKEN
    assert words in found.message
    assert "Nothing is planned" in found.message


def test_a_namespace_that_is_missing_is_named_with_the_command_that_makes_it() -> None:
    found = only(installation(has_namespace=False, lease=None))
    assert "kubectl create namespace argosy-system" in found.remedy


def test_clocks_that_differ_are_warnings() -> None:
    ahead = replace(LEADER, renewed_s=NOW_S + 25)
    by_leader, by_machine = findings(installation(lease=ahead, clock_offset_s=-40.0))
    assert by_leader.message.startswith("its clock is 25 s ahead of the API server's")
    assert (by_machine.about, by_machine.severity) == ("this machine", Severity.WARNING)
    assert by_machine.message.startswith("its clock is 40 s behind")


def test_without_an_envoy_it_names_the_command_that_prints_a_bootstrap() -> None:
    found = only(installation(picture(routing=RoutingView())))
    assert found.severity is Severity.BROKEN
    assert "argosy envoy bootstrap" in found.remedy


@pytest.mark.parametrize(
    ("mode", "does"), [("Recommend", "acts on plans that users"), ("Observe", "plans nothing")]
)
def test_a_mode_that_does_not_act_is_a_hint(mode: str, does: str) -> None:
    found = only(installation(picture(fleet=a_fleet(mode))))
    assert found.severity is Severity.HINT
    assert found.remedy.endswith("set spec.mode to Auto")
    assert does in found.message


@pytest.mark.parametrize(
    ("reason", "severity", "remedy"),
    [
        ("Paused", Severity.HINT, "argosy resume"),
        ("HoldRefused", Severity.WARNING, "argosy resume"),
        ("ApprovalWaits", Severity.HINT, "argosy approve"),
    ],
)
def test_what_a_user_holds_or_has_to_approve_is_told(reason: str, severity: Severity, remedy: str) -> None:
    held = Condition(type="PlanCurrent", status=ConditionStatus.TRUE, reason=reason, message="It is so.")
    found = only(installation(picture(fleet=with_status(a_fleet(), held))))
    assert (found.severity, found.message, found.remedy) == (severity, "It is so.", remedy)


def test_without_a_fleet_every_default_holds() -> None:
    found = only(installation(picture(fleet=None)))
    assert "every default holds, with spec.mode Recommend" in found.message


def test_one_sentence_of_several_objects_is_one_finding() -> None:
    refused = Condition(
        type="Programmed", status=ConditionStatus.FALSE, reason="EnvoyRefused", message="Envoy a refused it."
    )
    classes = [with_status(a_class(f"c{i}"), refused) for i in range(6)]
    found = only(installation(picture(*classes)))
    assert found.about == (
        "WorkloadClass default/c0, WorkloadClass default/c1, WorkloadClass default/c2,"
        " WorkloadClass default/c3 and 2 more"
    )
    assert found.message == "Programmed is False (EnvoyRefused): Envoy a refused it."


def test_what_ends_by_itself_is_no_finding() -> None:
    loading = Condition(type="Ready", status=ConditionStatus.FALSE, reason="Loading", message="1 of 2.")
    assert findings(installation(picture(with_status(a_class(), loading)))) == ()


def test_a_condition_that_is_unknown_is_a_warning() -> None:
    unknown = Condition(
        type="Ready", status=ConditionStatus.UNKNOWN, reason="PictureIncomplete", message="Not seen."
    )
    found = only(installation(picture(with_status(a_class(), unknown))))
    assert found.severity is Severity.WARNING
    assert "kubectl describe workloadclass -n default chat" in found.remedy


def test_objects_that_the_operator_passes_over_are_found() -> None:
    old = a_class().model_copy(
        update={
            "metadata": a_class().metadata.model_copy(update={"creation_timestamp": "2023-01-01T00:00:00Z"})
        }
    )
    found = only(installation(picture(old)))
    assert found.message == "it has no status, although an operator leads"


def test_without_a_leader_pools_and_models_are_looked_at_directly() -> None:
    snapshot = picture(pools={"h100": a_pool("h100", "H100")}, models={})
    found = findings(installation(snapshot, lease=None))
    messages = {each.about: each.message for each in found}
    assert "no node has the labels of spec.nodeSelector" in messages["GPUPool h100"]
    assert messages["WorkloadClass default/chat"] == "spec.models: there is no ServedModel default/llama"


def test_nodes_without_their_gpus_are_named() -> None:
    snapshot = picture(nodes={"l40s-0": a_node("l40s-0", gpus=0), "l40s-1": a_node("l40s-1")})
    found = [f for f in findings(installation(snapshot, lease=None)) if f.severity is Severity.WARNING]
    assert [f.message for f in found] == ["node l40s-0 has 0 nvidia.com/gpu, and spec.gpusPerNode is 2"]


@pytest.mark.parametrize(
    ("observed", "severity", "words"),
    [
        (ObservedTraffic(requests_per_second=0), Severity.HINT, "no request of the last minutes matched it"),
        (
            ObservedTraffic(requests_per_second=9, refused_per_second=2),
            Severity.WARNING,
            "Envoy refuses 2.0 req/s of 9.0 req/s with 429",
        ),
        (
            ObservedTraffic(requests_per_second=9, errors_per_second=0.5),
            Severity.WARNING,
            "0.5 req/s of 9.0 req/s are answered with a 5xx",
        ),
    ],
)
def test_what_becomes_of_requests_is_looked_at(
    observed: ObservedTraffic, severity: Severity, words: str
) -> None:
    found = only(installation(picture(with_status(a_class(), observed=observed))))
    assert found.severity is severity
    assert words in found.message


def test_a_class_without_a_request_is_told_what_its_requests_need() -> None:
    silent = with_status(a_class(), observed=ObservedTraffic(requests_per_second=0))
    assert "with the header x-class: chat" in only(installation(picture(silent))).remedy


def test_engines_that_end_and_pods_without_a_node_are_found() -> None:
    ends = a_pod("ends", ready=False, exits=3, last_exit="OOMKilled, exit code 137")
    waits = a_pending_pod(unschedulable_since_s=NOW_S - 300)
    fresh = a_pod("fresh", ready=False, exits=1)
    snapshot = picture(pods={each.key: each for each in (ends, waits, fresh)})
    by_end, by_wait = findings(installation(snapshot))
    assert "ended 3 times by itself (OOMKilled, exit code 137)" in by_end.message
    assert by_end.remedy.endswith("kubectl -n default logs ends --previous")
    assert "no node for it for 300 s" in by_wait.message


def test_what_could_not_be_listed_is_told_once() -> None:
    found = only(installation(unread={"nodes": "403 nodes is forbidden"}))
    assert found.message.endswith("403 nodes is forbidden")


def test_the_worst_comes_first() -> None:
    found = findings(installation(picture(fleet=a_fleet("Recommend")), lease=None, clock_offset_s=30.0))
    assert [each.severity for each in found] == [Severity.BROKEN, Severity.WARNING, Severity.HINT]


def test_a_fleet_at_rest_of_the_small_world_has_no_finding_but_its_envoys() -> None:
    world = World([a_node(f"l40s-{i}") for i in range(3)], a_fleet(), a_pool(), a_model(), a_class())
    world.settle()
    snapshot = replace(world.snapshot(), routing=ENVOYS)
    found = findings(installation(snapshot, lease=replace(LEADER, renewed_s=snapshot.now_s)))
    assert [each for each in found if each.severity is Severity.BROKEN] == []


def test_engines_whose_metrics_cannot_be_read_are_a_warning_and_the_fleet_is_not_broken() -> None:
    message = "1 of 2 engines (default/a) have metrics that need TLS. Start the operator with --prometheus."
    bad = Condition(
        type="MetricsRead", status=ConditionStatus.FALSE, reason="MetricsOverTls", message=message
    )
    model = with_status(a_model(), bad)
    found = only(installation(picture(models={model.key: model})))
    assert found.severity is Severity.WARNING
    assert found.message == f"MetricsRead is False (MetricsOverTls): {message}"
