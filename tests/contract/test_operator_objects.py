"""What the operator writes, what it never writes, and what it tells users about their objects."""

from __future__ import annotations

import subprocess
from typing import Any

from operator_stage import OURS, USER_KINDS, OperatorStage, condition, names, until, until_equal

TROUBLED = "troubled"
FLEET = f"{OURS}/fleets/default"


def workload_class(
    name: str, model: str = "llama-8b", namespace: str = TROUBLED, **slo: Any
) -> dict[str, Any]:
    """A class like `chat`, told apart by its header."""
    return {
        "apiVersion": "argosy.dev/v1alpha1",
        "kind": "WorkloadClass",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "match": {"headers": [{"name": "x-argosy-class", "value": name}]},
            "models": [{"name": model}],
            "traffic": {
                "requestsPerSecond": 0.1,
                "source": "Declared",
                "lengths": {"table": [{"promptTokens": 200, "outputTokens": 24, "weight": 1}]},
            },
            "slo": slo or {"ttft": {"p95Milliseconds": 2000}},
        },
    }


def model(name: str, model_id: str, **engine: Any) -> dict[str, Any]:
    return {
        "apiVersion": "argosy.dev/v1alpha1",
        "kind": "ServedModel",
        "metadata": {"name": name, "namespace": TROUBLED},
        "spec": {"modelId": model_id, "engine": engine},
    }


def pool(name: str, gpu: str, product: str, **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "argosy.dev/v1alpha1",
        "kind": "GPUPool",
        "metadata": {"name": name},
        "spec": {
            "gpu": gpu,
            "nodeSelector": {"nvidia.com/gpu.product": product},
            "gpusPerNode": 2,
            "priceUsdPerHour": 1,
            **spec,
        },
    }


TROUBLES: tuple[tuple[dict[str, Any], str, str], ...] = (
    ({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": TROUBLED}}, "", ""),
    (model("llama-8b", "meta-llama/Llama-3.1-8B-Instruct"), "", ""),
    (pool("x9000", "X9000", "ACME-X9000"), "UnknownGpu", 'spec.gpu: the GPU "X9000" is not in the catalogue'),
    (
        pool("sliced", "H100", "NOWHERE", resourceName="nvidia.com/mig-3g.40gb"),
        "GpuContradicted",
        "spec.gpu: H100 is not what spec.resourceName nvidia.com/mig-3g.40gb counts",
    ),
    (pool("empty", "A100", "NOWHERE"), "NoNodes", "spec.nodeSelector: no usable node carries"),
    (
        model("too-large", "meta-llama/Llama-3.1-70B-Instruct"),
        "ModelTooLarge",
        "spec.parallelShapes: meta-llama/Llama-3.1-70B-Instruct fits no pool",
    ),
    (model("unheard-of", "acme/unheard-of"), "UnknownModel", 'spec.modelId: the model "acme/unheard-of"'),
    (
        model("ill-shaped", "meta-llama/Llama-3.1-8B-Instruct", podTemplatePatch={"spec": {"hostnam": "a"}}),
        "PodTemplateRefused",
        "spec.engine of ServedModel ill-shaped makes no pod for GPUPool",
    ),
    (workload_class("giant", "too-large"), "ModelTooLarge", "spec.parallelShapes:"),
    (workload_class("stranger", "unheard-of"), "UnknownModel", "spec.modelId: the model"),
    (workload_class("modelless", "ghost"), "ModelNotFound", "spec.models: there is no ServedModel ghost"),
    (
        workload_class("hasty", ttft={"p95Milliseconds": 1}),
        "SloUnreachable",
        "spec.slo: no allowed variant keeps TTFT p95",
    ),
)
"""What is applied, and the reason and the beginning of the sentence that its Ready=False carries."""


def test_what_cannot_be_satisfied_is_told_with_its_field_while_everything_else_serves(
    stage: OperatorStage,
) -> None:
    told = {item["metadata"]["name"]: (item, reason, start) for item, reason, start in TROUBLES if reason}

    def ready() -> dict[str, dict[str, Any]]:
        return {name: condition(stage.again(item), "Ready") for name, (item, _, _) in told.items()}

    def judged() -> dict[str, tuple[str, str]]:
        return {name: (c.get("status", ""), c.get("reason", "")) for name, c in ready().items()}

    try:
        with stage.load() as load:
            stage.apply(*(item for item, _, _ in TROUBLES))
            # The first word on a class may come from a decision that knew it and not its model yet.
            expected = {name: ("False", reason) for name, (_, reason, _) in told.items()}
            until_equal(expected, judged, "all to be judged")
            messages = {name: c["message"] for name, c in ready().items()}
            until_refused(stage, "hasty")
        assert load.lost == ()
    finally:
        stage.delete(*(item for item, _, _ in reversed(TROUBLES)))

    unlike = {name: said for name, said in messages.items() if not said.startswith(told[name][2])}
    assert unlike == {}


def until_refused(stage: OperatorStage, name: str) -> None:
    """Wait until Envoy has a route for a class, and no replica behind it."""
    until_equal(503, lambda: stage.answer(headers={"x-argosy-class": name}).status, f"{name} to be refused")


USERS_CLIENTS = ("kubectl", "argocd")
"""Field managers of what tests apply as users do."""


def test_nothing_is_written_on_a_users_object_but_its_status(stage: OperatorStage) -> None:
    written: dict[str, Any] = {}
    for kind in USER_KINDS:
        for item in stage.items(f"{OURS}/{kind}"):
            metadata = item["metadata"]
            fields = [f for f in metadata["managedFields"] if not f["manager"].startswith(USERS_CLIENTS)]
            written[f"{kind}/{metadata['name']}"] = (
                sorted({(f["manager"], f.get("subresource", "")) for f in fields}),
                sorted(metadata.get("annotations", {})),
                metadata.get("labels", {}),
                metadata.get("finalizers", []),
            )
    untouched: Any = ([("argosy", "status")], ["kubectl.kubernetes.io/last-applied-configuration"], {}, [])
    assert written == dict.fromkeys(written, untouched)
    assert len(written) == 8


def test_a_users_object_can_be_deleted_at_once_while_no_operator_runs(stage: OperatorStage) -> None:
    extra = workload_class("extra", namespace="default")
    stage.apply(extra)
    until(lambda: condition(stage.again(extra), "Ready"), "its status")
    stage.leader.kill()
    stage.kubectl("delete", "wclass", "extra", "--timeout=5s")
    assert stage.again(extra) == {}


def test_recommend_shows_a_plan_observe_only_statuses_and_auto_acts(stage: OperatorStage) -> None:
    extra, late = workload_class("extra", namespace="default"), workload_class("late", namespace="default")
    late["spec"]["priority"] = 90  # or it would share extra's replicas
    plans, deployments = names(stage.plans()), stage.deployments().keys()
    try:
        stage.patch("fleet", "default", mode="Recommend")
        stage.until_observed(FLEET)
        stage.apply(extra)
        (new,) = until(lambda: [p for p in stage.plans() if p["metadata"]["name"] not in plans], "a plan")
        recommended = until(lambda: condition(stage.again(new), "Applied"), "its verdict")
        assert (recommended["status"], recommended["reason"]) == ("False", "Recommended")
        assert "default/extra" in [d["sharingGroup"] for d in new["spec"]["deployments"]]
        until(lambda: condition(stage.again(extra), "Ready"), "the class's status")
        assert stage.deployments().keys() == deployments
        assert stage.applied()["metadata"]["name"] == plans[-1]
        until_equal("RoutesOnly", lambda: condition(stage.applied(), "Applied")["reason"], "routes only")
        until_equal("False", lambda: condition(stage.read(FLEET), "PlanCurrent")["status"], "a plan not used")
        current = condition(stage.read(FLEET), "PlanCurrent")
        assert current["reason"] == "ModeNotAuto"
        assert " is wanted and 0 run. Fleet/default has spec.mode Recommend, so " in current["message"]

        stage.patch("fleet", "default", mode="Observe")
        stage.until_observed(FLEET)
        stage.apply(late)
        until(lambda: condition(stage.again(late), "Ready"), "a status for the late class")
        # The oldest may be collected meanwhile.
        assert [p for p in names(stage.plans()) if p not in plans] == [new["metadata"]["name"]]
        assert stage.deployments().keys() == deployments
        until_refused(stage, "late")

        stage.patch("fleet", "default", mode="Auto")
        until(lambda: stage.ready_pods("extra") and stage.ready_pods("late"), "Auto to act")
        until_equal("Applied", lambda: condition(stage.applied(), "Applied")["reason"], "the plan in use")
        until_equal("True", lambda: condition(stage.read(FLEET), "PlanCurrent")["status"], "the plan in use")
    finally:
        stage.delete(extra, late)


def test_plans_are_collected_beyond_the_limit_but_for_the_applied_one_and_the_one_before(
    stage: OperatorStage,
) -> None:
    stage.patch("fleet", "default", revisionHistoryLimit=1)
    for replicas in (3, 2, 3):
        before = stage.applied()["spec"]["revision"]
        stage.patch("wclass", "chat", minReplicas=replicas)
        until(lambda: stage.applied().get("spec", {}).get("revision", 0) > before, "the next revision")  # noqa: B023

    newest = stage.applied()["spec"]["revision"]

    def left() -> list[tuple[int, str]]:
        return [(p["spec"]["revision"], condition(p, "Applied").get("reason", "")) for p in stage.plans()]

    expected = [(newest - 1, "Superseded"), (newest, "Applied")]
    until_equal(expected, left, "the older revisions to be collected")


def test_calls_beyond_the_operators_role_are_refused(stage: OperatorStage) -> None:
    beyond = [
        ("delete", "node", "l40s-0"),
        ("get", "secrets", "-A"),
        ("get", "configmaps"),
        ("patch", "wclass", "chat", "--type=merge", "-p", '{"spec":{"priority":1}}'),
        ("delete", "wclass", "chat"),
        ("label", "gpool", "l40s", "argosy=was-here"),
        ("create", "configmap", "note"),
        ("delete", "lease", "argosy-operator"),  # of another namespace than the operator's
    ]
    kubectl = [str(stage.stage.control_plane.binaries.kubectl), "-n", "default"]
    kubectl.append(f"--kubeconfig={stage.operator_kubeconfig(stage.leader.name)}")

    def is_refused(call: tuple[str, ...]) -> bool:
        answer = subprocess.run([*kubectl, *call], capture_output=True, text=True, timeout=60, check=False)
        return answer.returncode == 1 and "forbidden" in answer.stderr.lower()

    assert {call: is_refused(call) for call in beyond} == dict.fromkeys(beyond, True)
