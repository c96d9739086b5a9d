"""What counts as an edit by hand, what is set back, and when a field counts as contested."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from small_fleet import World, a_class, a_fleet, a_model, a_pool, some_nodes

from argosy.control.candidates.variants import variants_of
from argosy.control.decision import PlannedStep, Reliance
from argosy.control.edits.found import UNNAMED, Edit, count_edit, template_edit
from argosy.control.edits.mending import FIRST_PAUSE_S, WINDOW_S, Mending, mended
from argosy.control.edits.report import sentence
from argosy.control.memory import EditMemory, KnownCount
from argosy.keys import GroupName, ModelKey
from argosy.manifests import EngineWorkload, deployment_manifest
from argosy.rollout import RestoreDeployment, ScaleDeployment
from argosy.snapshot.cluster import DeploymentState
from argosy.snapshot.fleet import FleetSnapshot
from argosy.snapshot.kubernetes import deployment_state

MODEL = ModelKey("default/llama")
FIRST = "2026-01-01T00:00:01Z"


def a_snapshot(now_s: float = 0.0, **fields: Any) -> FleetSnapshot:
    model, pool = a_model(), a_pool()
    return FleetSnapshot(
        now_s=now_s,
        monotonic_s=now_s,
        fleet=a_fleet(),
        pools={pool.key: pool},
        models={model.key: model},
        classes={},
        policies={},
        plans=(),
        nodes={},
        pods={},
        **fields,
    )


def a_workload() -> EngineWorkload:
    snapshot = a_snapshot()
    variant = next(iter(variants_of(snapshot, snapshot.models[MODEL])))
    return EngineWorkload(variant, GroupName("default/chat"), snapshot.pools["l40s"])


def owned(fields: Any) -> Any:
    """FieldsV1 of an applied manifest, with the keys by which the API server merges lists."""
    if isinstance(fields, dict):
        return {f"f:{name}": owned(value) for name, value in fields.items() if value != []}
    if isinstance(fields, list) and fields and all(isinstance(i, dict) and "name" in i for i in fields):
        return {f'k:{{"name":"{item["name"]}"}}': owned(item) for item in fields}
    return {}


def live(workload: EngineWorkload, replicas: int = 3) -> dict[str, Any]:
    """The Deployment as the API server has it after Argosy's apply."""
    item = deployment_manifest(workload, replicas)
    metadata = {name: item["metadata"][name] for name in ("labels", "annotations")}
    fields = owned({"metadata": metadata, "spec": item["spec"]})
    item["metadata"]["managedFields"] = [
        {"manager": "argosy", "operation": "Apply", "time": "2026-01-01T00:00:00Z", "fieldsV1": fields}
    ]
    return copy.deepcopy(item)


def take_over(item: dict[str, Any], manager: str, *path: str, subresource: str = "", at: str = FIRST) -> None:
    """Another client sets a field: it becomes the owner and every other one loses it."""
    fields: dict[str, Any] = {}
    for name in reversed(path):
        fields = {name: fields}
    for entry in item["metadata"]["managedFields"]:
        node = entry["fieldsV1"]
        for name in path[:-1]:
            node = node.get(name, {})
        node.pop(path[-1], None)
    item["metadata"]["managedFields"].append(
        {
            "manager": manager,
            "operation": "Update",
            "time": at,
            "fieldsV1": fields,
            "subresource": subresource,
        }
    )


def scaled(
    replicas: int, manager: str = "kubectl", at: str = FIRST, subresource: str = "scale"
) -> DeploymentState:
    item = live(a_workload())
    item["spec"]["replicas"] = replicas
    take_over(item, manager, "f:spec", "f:replicas", subresource=subresource, at=at)
    return deployment_state(item)


CONTAINER = ("f:spec", "f:template", "f:spec", "f:containers", 'k:{"name":"engine"}')


# --- what counts as an edit ---------------------------------------------------------------------


def test_a_count_that_another_client_set_is_an_edit_and_names_it() -> None:
    edit = count_edit(scaled(5), KnownCount(3), MODEL)
    assert edit is not None
    assert (edit.manager, edit.change) == ("kubectl", "spec.replicas 3 -> 5")
    assert sentence(edit) == (
        f"Deployment {edit.deployment.name} was changed by kubectl (spec.replicas 3 -> 5): set back"
    )


def test_an_autoscaler_is_named_as_what_it_is() -> None:
    edit = count_edit(scaled(5, "kube-controller-manager"), KnownCount(3), MODEL)
    assert edit is not None
    assert edit.manager == "HorizontalPodAutoscaler (field manager kube-controller-manager)"


@pytest.mark.parametrize(
    "known",
    [KnownCount(5), KnownCount(4, edited=KnownCount(5, "kubectl", 1767225601.0))],
    ids=["it is what Argosy wants", "it was accounted for"],
)
def test_a_count_that_is_known_is_no_edit(known: KnownCount) -> None:
    assert count_edit(scaled(5), known, MODEL) is None


def test_argosys_own_count_is_no_edit() -> None:
    assert count_edit(deployment_state(live(a_workload(), 5)), KnownCount(3), MODEL) is None


def without_owner(replicas: int) -> DeploymentState:
    return replace(scaled(replicas), managers=())


def test_a_count_without_an_owner_is_an_edit_where_no_decision_left_or_found_it() -> None:
    edit = count_edit(without_owner(5), KnownCount(3, before=3), MODEL)
    assert edit is not None
    assert (edit.manager, edit.change) == (UNNAMED, "spec.replicas 3 -> 5")
    assert count_edit(without_owner(5), KnownCount(3, before=5), MODEL) is None, "the step was not taken yet"
    assert count_edit(without_owner(5), None, MODEL) is None, "a process that knows no earlier count"


def test_a_deployment_as_applied_holds_no_edit() -> None:
    workload = a_workload()
    assert template_edit(deployment_state(live(workload)), workload, MODEL) is None


def test_what_the_api_server_and_webhooks_add_is_no_edit() -> None:
    workload = a_workload()
    item = live(workload)
    spec = item["spec"]["template"]["spec"]
    spec["containers"].append({"name": "sidecar", "image": "proxy"})
    spec["containers"][0]["imagePullPolicy"] = "Always"
    item["spec"]["template"]["metadata"]["labels"]["injected"] = "yes"
    spec["dnsPolicy"] = "ClusterFirst"
    spec.pop("nodeSelector") if not spec["nodeSelector"] else None
    assert template_edit(deployment_state(item), workload, MODEL) is None


def test_a_value_that_a_webhook_gave_argosys_own_request_is_no_edit() -> None:
    workload = a_workload()
    item = live(workload)
    item["spec"]["template"]["spec"]["containers"][0]["image"] = "mirror.local/vllm"
    take_over(item, "argosy", *CONTAINER, "f:image")
    assert template_edit(deployment_state(item), workload, MODEL) is None


def test_an_image_that_another_client_set_is_an_edit_with_both_values() -> None:
    workload = a_workload()
    item = live(workload)
    item["spec"]["template"]["spec"]["containers"][0]["image"] = "other:1"
    take_over(item, "kubectl-set", *CONTAINER, "f:image")
    edit = template_edit(deployment_state(item), workload, MODEL)
    assert edit is not None
    assert edit.manager == "kubectl-set"
    assert (
        edit.change
        == f"spec.template.spec.containers.engine.image {workload.variant.engine.image} -> other:1"
    )


def test_arguments_that_another_client_set_are_an_edit() -> None:
    workload = a_workload()
    item = live(workload)
    item["spec"]["template"]["spec"]["containers"][0]["args"] = ["--other"]
    take_over(item, "kubectl-edit", *CONTAINER, "f:args")
    edit = template_edit(deployment_state(item), workload, MODEL)
    assert edit is not None
    assert "containers.engine.args" in edit.change


@pytest.mark.parametrize(
    ("name", "value", "change"),
    [
        ("paused", True, "spec.paused false -> true"),
        ("revisionHistoryLimit", 5, "spec.revisionHistoryLimit 0 -> 5"),
        ("progressDeadlineSeconds", 60, "spec.progressDeadlineSeconds 3600 -> 60"),
        ("strategy", {"type": "Recreate"}, "spec.strategy.type RollingUpdate -> Recreate"),
    ],
)
def test_a_setting_of_the_deployment_that_another_client_changed_is_an_edit(
    name: str, value: object, change: str
) -> None:
    workload = a_workload()
    item = live(workload)
    item["spec"][name] = value
    take_over(item, "kubectl-patch", "f:spec", f"f:{name}", *(("f:type",) if name == "strategy" else ()))
    edit = template_edit(deployment_state(item), workload, MODEL)
    assert edit is not None
    assert (edit.manager, edit.change.partition(", ")[0]) == ("kubectl-patch", change)


def test_a_setting_that_argosy_does_not_set_is_left_alone() -> None:
    workload = a_workload()
    item = live(workload)
    del item["spec"]["paused"]  # the API server does not keep it where it is false
    item["spec"]["minReadySeconds"] = 30
    item["metadata"]["annotations"]["team"] = "search"
    assert template_edit(deployment_state(item), workload, MODEL) is None


def test_a_scheduling_gate_or_label_that_was_removed_is_an_edit_although_no_client_owns_it() -> None:
    workload = a_workload()
    item = live(workload)
    template, fields = item["spec"]["template"], item["metadata"]["managedFields"][0]["fieldsV1"]
    template["spec"].pop("schedulingGates")
    fields["f:spec"]["f:template"]["f:spec"].pop("f:schedulingGates")
    label, _ = template["metadata"]["labels"].popitem()
    fields["f:spec"]["f:template"]["f:metadata"]["f:labels"].pop(f"f:{label}")
    edit = template_edit(deployment_state(item), workload, MODEL)
    assert edit is not None
    assert edit.manager == UNNAMED
    assert label in edit.change
    assert "schedulingGates" in edit.change


def edited(
    change: Callable[[dict[str, Any]], object], *taken: tuple[str, ...], at: str = FIRST
) -> Edit | None:
    """The edit of a client that changed the Deployment and owns these fields of the engine's container."""
    item = live(a_workload())
    change(item["spec"]["template"]["spec"])
    for path in taken:
        take_over(item, "kubectl-edit", *path, at=at)
    return template_edit(deployment_state(item), a_workload(), MODEL)


PROBES = ("startupProbe", "readinessProbe", "livenessProbe", "image", "lifecycle")


@pytest.mark.parametrize(
    ("number", "expected"), [(3, ""), (4, " and 1 more field"), (5, " and 2 more fields")]
)
def test_of_many_changed_fields_three_are_named_with_the_client_that_changed_them(
    number: int, expected: str
) -> None:
    def change(spec: dict[str, Any]) -> None:
        for name in PROBES[:number]:
            spec["containers"][0][name] = "changed"

    edit = edited(change, *((*CONTAINER, f"f:{name}") for name in PROBES[:number]), at="2026-01-01T00:00:07Z")
    assert edit is not None
    assert edit.change.count(" -> ") == 3
    assert edit.change.partition(" -> changed, spec.template")[2]
    assert edit.change.endswith(f" -> changed{expected}")
    assert (edit.manager, edit.at_s) == ("kubectl-edit", 1_767_225_607.0)


def test_a_field_that_is_gone_was_removed_by_the_last_other_writer_where_that_is_known() -> None:
    def change(spec: dict[str, Any]) -> None:
        del spec["containers"][0]["readinessProbe"]
        spec["containers"][0]["image"] = "x" * 101

    edit = edited(change, (*CONTAINER, "f:readinessProbe"), (*CONTAINER, "f:image"))
    assert edit is not None
    assert edit.manager == "kubectl-edit"
    assert "engine.readinessProbe {" in edit.change
    assert edit.change.endswith("... -> nothing")
    assert f" -> {'x' * 100}..., " in edit.change


def test_a_value_of_a_hundred_characters_is_whole() -> None:
    edit = edited(lambda spec: spec["containers"][0].update(image="x" * 100), (*CONTAINER, "f:image"))
    assert edit is not None
    assert edit.change.endswith(f" -> {'x' * 100}")


TOLERATIONS = ("f:spec", "f:template", "f:spec", "f:tolerations")


def test_an_item_of_a_list_without_names_is_an_edit_where_it_is_gone_but_not_where_others_are_added() -> None:
    more = {"key": "gpu", "operator": "Exists"}
    assert edited(lambda spec: spec["tolerations"].insert(0, more), TOLERATIONS) is None
    edit = edited(lambda spec: spec["tolerations"].pop(0), TOLERATIONS)
    assert edit is not None
    assert edit.change.startswith("spec.template.spec.tolerations {'key': 'node.kubernetes.io/not-ready'")
    edit = edited(lambda spec: spec["tolerations"][1].update(effect="NoSchedule"), TOLERATIONS)
    assert edit is not None
    assert edit.change.startswith("spec.template.spec.tolerations {'key': 'node.kubernetes.io/unreachable'")


def test_a_port_that_another_client_changed_is_an_edit() -> None:
    ports = (*CONTAINER, "f:ports")
    edit = edited(lambda spec: spec["containers"][0]["ports"][0].update(containerPort=9000), ports)
    assert edit is not None
    assert "engine.ports {'name': 'http', 'containerPort': 8000}" in edit.change


def test_a_list_in_the_place_of_an_object_is_an_edit() -> None:
    selector = ("f:spec", "f:template", "f:spec", "f:nodeSelector")
    edit = edited(lambda spec: spec.update(nodeSelector=["l40s"]), selector)
    assert edit is not None
    assert edit.change.endswith("-> ['l40s']")
    whole = ("f:spec", "f:template", "f:spec", "f:containers")
    edit = edited(lambda spec: spec.update(containers=["engine"]), whole)
    assert edit is not None


def test_a_count_of_which_nothing_is_known_is_said_as_it_is() -> None:
    edit = count_edit(scaled(5), None, MODEL)
    assert edit is not None
    assert edit.change == "spec.replicas is 5"


def with_additions() -> dict[str, Any]:
    """As after `kubectl set env`, an annotation of the template and a container by two clients."""
    item = live(a_workload())
    template = item["spec"]["template"]
    template["spec"]["containers"][0].setdefault("env", []).append({"name": "FOO", "value": "bar"})
    take_over(item, "kubectl-set", *CONTAINER, "f:env", 'k:{"name":"FOO"}')
    template["metadata"]["annotations"] = {"team": "search"}
    take_over(item, "kubectl-patch", "f:spec", "f:template", "f:metadata", "f:annotations", "f:team")
    template["spec"]["containers"].append({"name": "shell", "image": "busybox"})
    take_over(item, "kubectl-edit", "f:spec", "f:template", "f:spec", "f:containers", 'k:{"name":"shell"}')
    return item


def test_what_another_client_adds_to_the_template_is_an_edit_with_each_field() -> None:
    edit = template_edit(deployment_state(with_additions()), a_workload(), MODEL)
    assert edit is not None
    assert edit.change.split(", spec") == [
        "spec.template.spec.containers.engine.env.FOO nothing -> {'name': 'FOO', 'value': 'bar'}",
        ".template.metadata.annotations.team nothing -> search",
        ".template.spec.containers.shell nothing -> {'name': 'shell', 'image': 'busybox'}",
    ]


def test_additions_are_removed_by_a_patch_that_names_nothing_else() -> None:
    workload, deployment = a_workload(), deployment_state(with_additions())
    snapshot = a_snapshot(deployments={deployment.key: deployment})
    [planned] = mended((), snapshot, {workload.key: workload}, "plan", EditMemory()).steps
    assert isinstance(planned.step, RestoreDeployment)
    spec = {
        "containers": [
            {"name": "engine", "env": [{"name": "FOO", "$patch": "delete"}]},
            {"name": "shell", "$patch": "delete"},
        ]
    }
    template = {"spec": spec, "metadata": {"annotations": {"team": None}}}
    assert planned.step.removal == {"spec": {"template": template}}


def test_an_owner_of_what_argosy_sets_adds_nothing() -> None:
    workload = a_workload()
    item = live(workload)
    shared = {
        "f:spec": {"f:template": item["metadata"]["managedFields"][0]["fieldsV1"]["f:spec"]["f:template"]}
    }
    item["metadata"]["managedFields"].append({"manager": "kubectl-edit", "fieldsV1": shared})
    assert template_edit(deployment_state(item), workload, MODEL) is None


# --- what is set back, and how often --------------------------------------------------------------


def looked(deployment: DeploymentState, memory: EditMemory, now_s: float, wanted: int = 3) -> Mending:
    """One decision that wants `wanted` replicas."""
    snapshot = a_snapshot(now_s, deployments={deployment.key: deployment})
    steps = ()
    if deployment.replicas != wanted:
        steps = (PlannedStep(ScaleDeployment(deployment.key, wanted), Reliance("plan")),)
    return mended(steps, snapshot, {}, "plan", memory)


def fought(times: int, gap_s: float) -> list[tuple[float, Mending]]:
    """Decisions after a client has set five replicas, `times` times."""
    memory = looked(deployment_state(live(a_workload())), EditMemory(), 0.0).memory
    found: list[tuple[float, Mending]] = []
    for number in range(times):
        now_s = 1.0 + number * gap_s
        at = f"2026-01-01T00:{number // 60:02d}:{number % 60:02d}Z"
        mending = looked(scaled(5, at=at), memory, now_s)
        found.append((now_s, mending))
        memory = mending.memory
    return found


def test_three_edits_are_set_back_at_once_and_the_fourth_waits_and_is_contested() -> None:
    first, second, third, fourth = (mending for _, mending in fought(4, 2.0))
    for mending in (first, second, third):
        assert len(mending.steps) == len(mending.edits) == 1
        assert mending.contested == ()
    assert fourth.steps == fourth.edits == ()
    assert [edit.manager for edit in fourth.contested] == ["kubectl"]


def test_a_contested_count_is_set_back_with_growing_pauses_however_long_the_client_goes_on() -> None:
    writes = [now_s for now_s, mending in fought(600, 2.0) if mending.steps]
    assert len(writes) <= 3 + 8
    gaps = [later - earlier for earlier, later in pairwise(writes[2:])]
    assert gaps == sorted(gaps)
    assert gaps[0] >= FIRST_PAUSE_S


def test_a_field_that_was_left_alone_for_the_window_is_not_contested_any_more() -> None:
    *_, (now_s, last) = fought(12, 2.0)
    assert last.memory.heals
    calm = looked(deployment_state(live(a_workload())), last.memory, now_s + 2 * WINDOW_S)
    assert calm.contested == ()
    assert calm.memory.heals == {}


def test_edits_further_apart_than_the_window_are_each_set_back_at_once() -> None:
    assert all(mending.edits for _, mending in fought(6, WINDOW_S + 1.0))


def test_a_changed_template_is_set_back_with_the_count_that_the_decision_wants() -> None:
    workload = a_workload()
    item = live(workload)
    item["spec"]["template"]["spec"]["containers"][0]["image"] = "other:1"
    take_over(item, "kubectl-set", *CONTAINER, "f:image")
    deployment = deployment_state(item)
    snapshot = a_snapshot(deployments={deployment.key: deployment})
    mending = mended((), snapshot, {deployment.key: workload}, "plan", EditMemory())
    assert [planned.step for planned in mending.steps] == [RestoreDeployment(workload, 3)]
    assert mending.edits[0].model == MODEL


def test_without_a_plan_nothing_is_set_back() -> None:
    deployment = scaled(5)
    snapshot = a_snapshot(deployments={deployment.key: deployment})
    memory = EditMemory({deployment.key: KnownCount(3)})
    assert mended((), snapshot, {}, "", memory) == Mending((), (), (), memory)


# --- in a whole decision --------------------------------------------------------------------------


def test_a_deployment_deleted_by_hand_is_made_again_and_reported() -> None:
    world = World(some_nodes("l40s", 4), a_fleet(), a_pool(), a_model(), a_class())
    world.settle()
    world.act()
    [key] = world.deployments
    del world.deployments[key]
    decision = world.act()
    notes = [event.message for event in decision.events if event.reason == "ChangedByHand"]
    assert notes == [f"Deployment {key.name} was deleted, and not by Argosy: it is made again"]
    assert decision.new_plan is None
    assert decision.set_back == (("existence", notes[0]),)


def test_a_zero_that_the_api_server_does_not_keep_is_no_edit() -> None:
    probe = {"tcpSocket": {"port": 9}, "initialDelaySeconds": 0}
    sidecar = {"name": "log", "image": "log", "readinessProbe": probe}
    model, pool = a_model(engine={"podTemplatePatch": {"spec": {"containers": [sidecar]}}}), a_pool()
    snapshot = replace(a_snapshot(), models={model.key: model})
    workload = EngineWorkload(next(iter(variants_of(snapshot, model))), GroupName("default/chat"), pool)
    item = live(workload)
    [kept] = [c for c in item["spec"]["template"]["spec"]["containers"] if c["name"] == "log"]
    del kept["readinessProbe"]["initialDelaySeconds"]
    assert template_edit(deployment_state(item), workload, MODEL) is None
