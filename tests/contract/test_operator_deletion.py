"""What users delete while it runs: warned of, served for a grace, drained, and nothing left at the end."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from operator_stage import (
    OURS,
    REPOSITORY,
    USER_KINDS,
    WORLD,
    Object,
    OperatorStage,
    condition,
    names,
    until,
    until_equal,
)

MODEL = "servedmodel/llama-8b"
BUDGETS = "/apis/policy/v1/poddisruptionbudgets"
LEASES = "/apis/coordination.k8s.io/v1/namespaces/argosy-system/leases"


def warnings(stage: OperatorStage, *arguments: str) -> str:
    """What kubectl prints besides its answer."""
    plane = stage.stage.control_plane
    command = [str(plane.binaries.kubectl), f"--kubeconfig={plane.admin_kubeconfig}", *arguments]
    answer = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30)
    return answer.stderr


def test_a_model_deleted_under_load_and_applied_again_in_its_grace_loses_nothing(
    stage: OperatorStage,
) -> None:
    stage.patch("fleet", "default", deletionGraceSeconds=60)
    stage.until_observed(f"{OURS}/fleets/default")
    kept = stage.read(f"{OURS}/namespaces/default/servedmodels/llama-8b")
    model = {k: kept[k] for k in ("apiVersion", "kind", "spec")}
    model["metadata"] = {"name": "llama-8b", "namespace": "default"}
    before, plan = names(stage.pods("chat")), stage.applied()
    with stage.load() as load:
        said = warnings(stage, "delete", MODEL)
        assert "ServedModel default/llama-8b is in use: 2 replicas are ready. They serve for 60 s" in said
        assert "60 s" in said
        deleted_s = time.time()
        until_equal(
            "True", lambda: condition(stage.again(plan), "Draining").get("status"), "the plan to say so"
        )
        message = condition(stage.again(plan), "Draining")["message"]
        assert "ServedModel default/llama-8b was deleted: 2 replicas serve until " in message
        until(lambda: load.num_since(deleted_s) >= 20, "answers within the grace")
        stage.apply(model)
        until_equal(
            "False", lambda: condition(stage.again(plan), "Draining").get("status"), "nothing to drain"
        )
    assert load.lost == ()
    assert names(stage.pods("chat")) == before


def _applicable(item: Object, name: str = "", **spec: Any) -> Object:
    """An object as a user applies it, under another name where one is given."""
    metadata = {"name": name or item["metadata"]["name"], "namespace": item["metadata"]["namespace"]}
    kept = {k: item[k] for k in ("apiVersion", "kind")}
    return {**kept, "metadata": metadata, "spec": {**item["spec"], **spec}}


def test_an_operator_that_starts_within_a_grace_routes_a_new_class_and_goes_on_with_the_deleted_one(
    stage: OperatorStage,
) -> None:
    stage.patch("fleet", "default", deletionGraceSeconds=120)
    stage.until_observed(f"{OURS}/fleets/default")
    chat, plan, name = stage.class_of("chat"), stage.applied(), stage.holder()
    header = {"name": "x-argosy-class", "value": "new"}
    new = _applicable(stage.class_of("scholar"), "new", match={"headers": [header]})
    try:
        with stage.load() as load:
            stage.kubectl("delete", "wclass", "chat")
            until_equal(
                "True", lambda: condition(stage.again(plan), "Draining").get("status"), "the plan to say so"
            )
            stage.leader.kill()
            stage.end_operator(name)
            stage.start_operator(name)
            until(lambda: stage.holder() == name, "the operator to lead again")
            stage.apply(new)
            asked = {"model": "llama-70b", "headers": {"x-argosy-class": "new"}, "output_tokens": 2}
            until(lambda: not stage.answer(**asked).error, "the new class to be routed", 20.0)
            assert condition(stage.again(plan), "Draining").get("status") != "False", "the grace goes on"
            stage.apply(_applicable(chat))
            until(lambda: condition(stage.class_of("chat"), "Ready").get("status") == "True", "class chat")
    finally:
        stage.patch("fleet", "default", deletionGraceSeconds=1)
        stage.kubectl("delete", "wclass", "new", "--ignore-not-found")
    assert load.lost == ()


def test_kubectl_says_what_a_pool_in_use_costs_and_nothing_of_an_unused_one(stage: OperatorStage) -> None:
    said = warnings(stage, "delete", "--dry-run=server", "gpupool", "l40s")
    assert "GPUPool l40s is in use: its replicas cost $" in said
    unused = stage.read(f"{OURS}/gpupools/l40s")
    item = {k: unused[k] for k in ("apiVersion", "kind", "spec")} | {"metadata": {"name": "unused"}}
    item["spec"] = {**item["spec"], "nodeSelector": {"no": "where"}}
    stage.apply(item)
    assert "in use" not in warnings(stage, "delete", "gpupool", "unused")


def test_one_delete_of_a_file_prints_a_warning_for_each_object_in_use_with_its_figures(
    stage: OperatorStage, tmp_path: Path
) -> None:
    stage.patch("fleet", "default", deletionGraceSeconds=60)
    until_equal(1, lambda: stage.class_of("scholar")["status"].get("replicasReady"), "the class's count")
    until_equal([24, 1.8], lambda: [cost_of(stage, pool) for pool in ("h100", "l40s")], "the pools' costs")
    pods, file = names(stage.pods("scholar")), tmp_path / "in-use.yaml"
    kept = [stage.read(f"{OURS}/{path}") for path in (SCHOLAR, LLAMA_70B, "gpupools/h100", "gpupools/l40s")]
    items = [{key: item[key] for key in ("apiVersion", "kind", "spec")} for item in kept]
    for item, found in zip(items, kept, strict=True):
        item["metadata"] = {k: v for k, v in found["metadata"].items() if k in ("name", "namespace")}
    file.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": items}))
    with stage.load(2.0, model="llama-70b", headers={}) as load:
        said = warnings(stage, "delete", "--wait=false", "-f", str(file)).splitlines()
        deleted_s = time.time()
        until(lambda: load.num_since(deleted_s) >= 4, "answers within the grace")
        stage.apply(*items)
        for path in (SCHOLAR, "gpupools/h100"):
            stage.until_observed(f"{OURS}/{path}")
        until_equal("Ready", lambda: condition(stage.class_of("scholar"), "Ready").get("reason"), "the class")
    assert load.lost == ()
    assert [line.partition("': ")[2].partition(". ")[0] for line in said] == [
        "WorkloadClass default/scholar is in use: 1 replica is ready",
        "ServedModel default/llama-70b is in use: 1 replica is ready",
        "GPUPool h100 is in use: its replicas cost $24.00 an hour",
        "GPUPool l40s is in use: its replicas cost $1.80 an hour",
    ]
    assert all("for 60 s (spec.deletionGraceSeconds of Fleet/default)" in line for line in said)
    assert names(stage.pods("scholar")) == pods


def cost_of(stage: OperatorStage, pool: str) -> float | None:
    """US dollars an hour that its replicas cost, as its status says."""
    cost = stage.read(f"{OURS}/gpupools/{pool}")["status"].get("costUsdPerHour")
    return None if cost is None else float(cost)


SCHOLAR = "namespaces/default/workloadclasses/scholar"
LLAMA_70B = "namespaces/default/servedmodels/llama-70b"


def down(stage: OperatorStage, *flags: str) -> subprocess.CompletedProcess[str]:
    """`argosy down` as the job that removes a chart runs it: without a terminal, with the least role."""
    stage.kubectl("apply", "-f", str(REPOSITORY / "charts/argosy/files/uninstall-rbac.yaml"))
    plane, directory = stage.stage.control_plane, stage.stage.plan.directory
    kubeconfig = plane.service_account_kubeconfig(
        "argosy-system", "argosy-uninstall", directory / "uninstall.kubeconfig"
    )
    command = [sys.executable, "-m", "argosy", "down", "--kubeconfig", str(kubeconfig), *flags]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=120, check=False, stdin=subprocess.DEVNULL
    )


def left_of_argosy(stage: OperatorStage) -> list[str]:
    """Engines, budgets, plans and Leases that are there."""
    made = "labelSelector=app.kubernetes.io/managed-by%3Dargosy"
    paths = ["/apis/apps/v1/deployments", "/apis/apps/v1/replicasets", "/api/v1/pods"]
    found = [item for path in (*paths, BUDGETS) for item in stage.items(f"{path}?{made}")]
    return names([*found, *stage.plans(), *stage.items(LEASES)])


def test_down_waits_for_the_operator_to_be_stopped_and_then_keeps_only_the_users_objects_and_no_orphan(
    stage: OperatorStage,
) -> None:
    refused = down(stage, "--yes")
    assert refused.returncode == 2
    assert "leads in mode Auto" in refused.stderr
    assert "set spec.mode of Fleet/default to Observe" in refused.stderr
    assert len(stage.pods("chat")) == 2
    stage.end_operator(stage.holder())
    users = {plural: names(stage.items(f"{OURS}/{plural}")) for plural in USER_KINDS}
    orphaned = stage.pods("chat")[0]["metadata"]["labels"]["argosy.dev/deployment"]
    stage.kubectl("delete", "deployment", orphaned, "--cascade=orphan")
    done = down(stage, "--yes")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("removed 1 Deployment, 1 ReplicaSet, 2 PodDisruptionBudgets, ")
    assert "with 3 replicas; nothing of Argosy's is left" in done.stdout
    assert "3 replicas finish their requests, until " in done.stderr
    assert left_of_argosy(stage) == []
    assert {plural: names(stage.items(f"{OURS}/{plural}")) for plural in USER_KINDS} == users
    again = down(stage, "--yes")
    assert (again.returncode, again.stdout) == (0, "nothing of Argosy's is left\n")


def test_down_with_all_lets_a_running_operator_drain_and_takes_the_users_objects_too(
    stage: OperatorStage,
) -> None:
    done = down(stage, "--all", "--yes")
    assert done.returncode == 0, done.stderr
    assert "waits until the operator operator-0 has drained 3 replicas" in done.stderr
    assert [plural for plural in USER_KINDS if stage.items(f"{OURS}/{plural}")] == []
    assert not stage.deployments()
    assert not stage.pods("chat")
    assert not stage.items(BUDGETS)
    assert stage.leader.is_running


def test_without_its_fleet_object_a_restarted_operator_still_acts(stage: OperatorStage) -> None:
    name = stage.holder()
    stage.kubectl("delete", "fleet", "default")
    until(lambda: "There is no Fleet" in ready_message(stage), "the class to say so")
    stage.leader.kill()
    stage.end_operator(name)
    stage.start_operator(name)
    stage.patch("wclass", "chat", minReplicas=3)
    until(lambda: len(stage.ready_pods("chat")) == 3, "the change to be acted on")
    assert "spec.mode Auto" in ready_message(stage)


def ready_message(stage: OperatorStage) -> str:
    return str(condition(stage.class_of("chat"), "Ready").get("message", ""))


def test_everything_deleted_while_no_operator_runs_is_gone_once_one_does(stage: OperatorStage) -> None:
    name = stage.holder()
    made = [*stage.deployments().values(), *stage.items(BUDGETS)]
    made += stage.plans()
    assert [item["metadata"] for item in made if "ownerReferences" in item["metadata"]] == []
    stage.leader.kill()
    stage.end_operator(name)
    stage.kubectl("delete", "--wait=false", "-f", str(WORLD))
    time.sleep(2.0)  # garbage collection, if anything asked for it, would be done by now
    assert len(stage.pods("chat")) == 2, "no operator is there to drain them"
    stage.start_operator(name, ready=False)
    until(lambda: not stage.deployments(), "no Deployment to be left", 100.0)
    until(lambda: not stage.pods("chat") and not stage.pods("scholar"), "no pod to be left")
    until(lambda: not stage.applied()["spec"].get("deployments"), "a plan of nothing")
