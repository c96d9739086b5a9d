"""Deployments that are edited by hand, on a real control plane: set back once, reported, nothing lost."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from operator_stage import OURS, Object, OperatorStage, condition, names, until

MODEL = "llama-8b"


def deployment_of(stage: OperatorStage, workload_class: str) -> str:
    return str(stage.pods(workload_class)[0]["metadata"]["labels"]["argosy.dev/deployment"])


def count_of(stage: OperatorStage, deployment: str) -> int:
    return int(stage.deployments().get(deployment, {"spec": {"replicas": -1}})["spec"]["replicas"])


def notes(stage: OperatorStage, deployment: str) -> list[str]:
    """What events say of changes by hand of the Deployment."""
    events = stage.items("/apis/events.k8s.io/v1/namespaces/default/events")
    return [e["note"] for e in events if e["reason"] == "ChangedByHand" and deployment in e["note"]]


def said(stage: OperatorStage, deployment: str, *words: str) -> bool:
    return any(all(word in note for word in words) for note in notes(stage, deployment))


def touched(stage: OperatorStage, what: str) -> float:
    return stage.leader.metric(f'argosy_edits_set_back_total{{what="{what}"}}')


def is_whole(stage: OperatorStage) -> bool:
    return len(stage.pods("chat")) == len(stage.ready_pods("chat")) == 2


def test_pods_deleted_or_without_their_label_are_reported_once_and_replaced_and_no_request_is_lost(
    stage: OperatorStage,
) -> None:
    deployment = deployment_of(stage, "chat")
    plans = names(stage.plans())
    before = {what: touched(stage, what) for what in ("pod", "orphan")}
    with stage.load() as load:
        deleted, released = sorted(pod["metadata"]["name"] for pod in stage.pods("chat"))
        stage.kubectl("delete", "pod", deleted, "--wait=false")
        until(lambda: said(stage, deployment, f"pod {deleted} was deleted by another client"), "the event")
        until(lambda: is_whole(stage), "two replicas to serve")
        stage.kubectl("label", "pod", released, "argosy.dev/deployment-")
        words = ("argosy.dev/deployment", f"of pod {released} was removed")
        until(lambda: said(stage, deployment, *words), "the event")
        until(lambda: not stage.read(f"/api/v1/namespaces/default/pods/{released}"), "the orphan to go", 60.0)
        until(lambda: is_whole(stage), "two replicas to serve")
    assert load.lost == ()
    for name in (deleted, released):
        assert len([note for note in notes(stage, deployment) if f"pod {name} " in note]) == 1
    assert names(stage.plans()) == plans
    assert {what: touched(stage, what) - count for what, count in before.items()} == {"pod": 1, "orphan": 1}


def test_a_replica_set_without_its_labels_is_owned_again_and_no_engine_restarts(stage: OperatorStage) -> None:
    """Its Deployment releases it, and makes a second one: the plan has no place for its pods."""
    deployment = deployment_of(stage, "chat")
    pods = names(stage.pods("chat"))
    replica_set = stage.pods("chat")[0]["metadata"]["ownerReferences"][0]["name"]
    with stage.load() as load:
        labels = ("argosy.dev/deployment-", "argosy.dev/sharing-group-", "app.kubernetes.io/managed-by-")
        stage.kubectl("label", "replicaset", replica_set, *labels)
        until(lambda: said(stage, deployment, f"of ReplicaSet {replica_set} was removed"), "the event")
        path = f"/apis/apps/v1/namespaces/default/replicasets/{replica_set}"

        def is_owned() -> bool:
            return bool(stage.read(path)["metadata"].get("ownerReferences"))

        until(lambda: is_owned() and names(stage.pods("chat")) == pods, "the first ReplicaSet alone", 60.0)
        until(lambda: is_whole(stage), "two replicas to serve")
    assert load.lost == ()
    assert len([note for note in notes(stage, deployment) if f"ReplicaSet {replica_set} " in note]) == 1


def test_a_count_set_by_hand_is_set_back_at_once_and_reported_with_the_client(stage: OperatorStage) -> None:
    deployment, plans = deployment_of(stage, "chat"), names(stage.plans())
    with stage.load() as load:
        for count in (5, 1):
            stage.kubectl("scale", "deployment", deployment, f"--replicas={count}")
            change = f"(spec.replicas 2 -> {count}): set back"
            until(lambda change=change: said(stage, deployment, "changed by kubectl", change), change)
            until(lambda: count_of(stage, deployment) == 2, "the count to be set back")
            until(lambda: is_whole(stage), "two replicas to serve")
    assert load.lost == ()
    assert names(stage.plans()) == plans
    assert touched(stage, "spec.replicas") >= 2


def test_an_image_set_by_hand_is_set_back_and_no_request_is_lost(stage: OperatorStage) -> None:
    deployment = deployment_of(stage, "chat")

    def image() -> str:
        return str(stage.deployments()[deployment]["spec"]["template"]["spec"]["containers"][0]["image"])

    before = image()
    with stage.load() as load:
        stage.kubectl("set", "image", f"deployment/{deployment}", "engine=other/image:1")
        until(lambda: said(stage, deployment, "kubectl-set", "image", "other/image:1"), "the event")
        until(lambda: image() == before, "the image to be set back")
        until(lambda: is_whole(stage), "two replicas to serve")
    assert load.lost == ()
    images = {pod["spec"]["containers"][0]["image"] for pod in stage.pods("chat")}
    assert images == {before}


def test_a_variable_and_an_annotation_added_to_the_template_are_removed_and_no_pod_is_exchanged(
    stage: OperatorStage,
) -> None:
    deployment, pods = deployment_of(stage, "chat"), names(stage.pods("chat"))

    def template() -> Object:
        return dict(stage.deployments()[deployment]["spec"]["template"])

    before = template()
    stage.kubectl("set", "env", f"deployment/{deployment}", "FOO=bar")
    until(lambda: said(stage, deployment, "kubectl-set", "env.FOO nothing -> ", "set back"), "the event")
    until(lambda: template() == before, "the variable to go")
    patch = '{"spec":{"template":{"metadata":{"annotations":{"team":"search"}}}}}'
    stage.kubectl("patch", "deployment", deployment, "-p", patch)
    change = "annotations.team nothing -> search"
    until(lambda: said(stage, deployment, "kubectl-patch", change), "the event")
    until(lambda: template()["metadata"].get("annotations") in (None, {}), "the annotation to go")
    until(lambda: names(stage.pods("chat")) == pods, "only the pods from before")


def test_a_pause_a_strategy_and_a_removed_label_are_set_back_and_reported_as_what_they_are(
    stage: OperatorStage,
) -> None:
    deployment, plans, pods = deployment_of(stage, "chat"), names(stage.plans()), names(stage.pods("chat"))

    def spec() -> Object:
        return dict(stage.deployments()[deployment]["spec"])

    stage.kubectl("rollout", "pause", f"deployment/{deployment}")
    until(lambda: said(stage, deployment, "kubectl", "spec.paused false -> true", "set back"), "the event")
    until(lambda: not spec().get("paused"), "the pause to end")
    patch = '{"spec":{"strategy":{"type":"Recreate","rollingUpdate":null},"minReadySeconds":1}}'
    stage.kubectl("patch", "deployment", deployment, "-p", patch)
    change = "spec.strategy.type RollingUpdate -> Recreate"
    until(lambda: said(stage, deployment, "kubectl-patch", change), "the event")
    until(lambda: spec()["strategy"]["type"] == "RollingUpdate", "the strategy to be set back")
    assert spec()["minReadySeconds"] == 1, "not a field of Argosy's"
    stage.kubectl("label", "deployment", deployment, "app.kubernetes.io/managed-by-")
    change = "metadata.labels.app.kubernetes.io/managed-by argosy -> nothing"
    until(lambda: said(stage, deployment, change, "set back"), "the event")
    label = "app.kubernetes.io/managed-by"
    until(lambda: label in stage.deployments()[deployment]["metadata"]["labels"], "the label to be back")
    assert not said(stage, deployment, f"Deployment {deployment} was deleted")
    assert (names(stage.plans()), names(stage.pods("chat"))) == (plans, pods)
    stage.kubectl("patch", "deployment", deployment, "-p", '{"spec":{"minReadySeconds":0}}')


def test_a_restart_ordered_by_kubectl_exchanges_every_replica_once_and_loses_no_request(
    stage: OperatorStage,
) -> None:
    deployment, plans = deployment_of(stage, "chat"), names(stage.plans())
    before, earlier = set(names(stage.pods("chat"))), notes(stage, deployment)
    with stage.load() as load:
        stage.kubectl("rollout", "restart", f"deployment/{deployment}")
        until(lambda: deployment not in stage.deployments(), "the former Deployment to go", 60.0)
        until(lambda: is_whole(stage), "two replicas to serve")
    assert load.lost == ()
    assert not before & set(names(stage.pods("chat")))
    annotation = "kubectl.kubernetes.io/restartedAt"
    assert all(annotation in pod["metadata"]["annotations"] for pod in stage.pods("chat"))
    [made] = set(names(stage.plans())) - set(plans)
    plan = stage.read(f"{OURS}/fleetplans/{made}")["spec"]
    assert (
        plan["trigger"]
        == f"a restart of Deployment default/{deployment} was ordered (kubectl rollout restart)"
    )
    assert notes(stage, deployment) == earlier, "no edit: it is obeyed"


def test_a_deployment_deleted_by_hand_is_made_again_without_a_revision(stage: OperatorStage) -> None:
    deployment, plans = deployment_of(stage, "chat"), names(stage.plans())
    stage.kubectl("delete", "deployment", deployment, "--wait=false")
    until(lambda: said(stage, deployment, "was deleted", "made again"), "the event")
    until(lambda: count_of(stage, deployment) == 2 and is_whole(stage), "two replicas to serve")
    assert names(stage.plans()) == plans


@contextmanager
def autoscaled(stage: OperatorStage, deployment: str) -> Iterator[None]:
    """A client that sets the count every two seconds, as a HorizontalPodAutoscaler does."""
    ended = threading.Event()

    def loop() -> None:
        while not ended.is_set():
            stage.kubectl("scale", "deployment", deployment, "--replicas=3")
            ended.wait(2.0)

    thread = threading.Thread(target=loop)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def contested(stage: OperatorStage) -> Object:
    return condition(stage.read(f"{OURS}/namespaces/default/servedmodels/{MODEL}"), "FieldsContested")


def test_a_client_that_keeps_setting_the_count_is_named_and_not_fought(stage: OperatorStage) -> None:
    deployment = deployment_of(stage, "chat")
    before, earlier = touched(stage, "spec.replicas"), len(notes(stage, deployment))
    with stage.load() as load, autoscaled(stage, deployment):
        until(lambda: contested(stage).get("status") == "True", "the condition")
        until(lambda: stage.leader.metric("argosy_contested_fields") == 1, "the gauge")
        threading.Event().wait(12.0)  # the client goes on: what is bounded here is the number of writes
        events = len(notes(stage, deployment)) - earlier
    message = contested(stage)["message"]
    assert "kubectl keeps setting spec.replicas of Deployment" in message
    assert touched(stage, "spec.replicas") - before <= 3
    assert events <= 3
    assert load.lost == ()
    until(lambda: count_of(stage, deployment) == 2, "the count to be set back in the end", 60.0)


def copies(stage: OperatorStage, namespace: str) -> list[Object]:
    """The model and the class of `chat` in another namespace, under another served name."""
    model = stage.read(f"{OURS}/namespaces/default/servedmodels/{MODEL}")["spec"]
    workload = stage.class_of("chat")["spec"]
    metadata = {"name": "guest", "namespace": namespace}
    version = {"apiVersion": "argosy.dev/v1alpha1"}
    header = {"name": "x-argosy-class", "value": "guest"}
    return [
        {**version, "kind": "ServedModel", "metadata": metadata, "spec": {**model, "servedNames": ["guest"]}},
        {
            **version,
            "kind": "WorkloadClass",
            "metadata": metadata,
            "spec": {**workload, "models": [{"name": "guest"}], "match": {"headers": [header]}},
        },
    ]


def test_a_namespace_deleted_in_mid_roll_out_leaves_cleanly_and_disturbs_no_other(
    stage: OperatorStage,
) -> None:
    stage.kubectl("create", "namespace", "guests")
    deployments = "/apis/apps/v1/namespaces/guests/deployments"
    before = len(stage.log(stage.leader.name).splitlines())
    with stage.load() as load:
        stage.apply(*copies(stage, "guests"))
        until(lambda: stage.items(deployments), "the roll-out to begin")
        stage.kubectl("delete", "namespace", "guests", "--wait=false")
        until(lambda: not stage.read("/api/v1/namespaces/guests"), "the namespace to be gone", 60.0)
        until(lambda: "guests" not in str(stage.applied()["spec"]["deployments"]), "the plan to leave it out")
    assert load.lost == ()
    lines = stage.log(stage.leader.name).splitlines()[before:]
    assert len([line for line in lines if "is being deleted, so nothing is created" in line]) <= 1, lines
    assert not [line for line in lines if "Traceback" in line or " ERROR " in line]
