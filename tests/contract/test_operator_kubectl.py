"""What users see and order by kubectl and by argosy's commands, on real components, and what GitOps compares.

The commands run in this process, as the administrator; everything else is real.
"""

from __future__ import annotations

import json
import subprocess
from typing import Any

import pytest
import yaml
from operator_stage import OURS, WORLD, OperatorStage, condition, until, until_equal
from stage_rest import CHAT_REPLICAS
from typer.testing import CliRunner

from argosy.api import KINDS
from argosy.cli.app import build

FLEET = f"{OURS}/fleets/default"


def argosy(stage: OperatorStage, *words: str) -> tuple[int, Any]:
    """Exit code and JSON document of a command."""
    kubeconfig = str(stage.stage.control_plane.admin_kubeconfig)
    answer = CliRunner().invoke(build(), [*words, "--json", "--kubeconfig", kubeconfig])
    assert answer.exception is None or isinstance(answer.exception, SystemExit), answer.output
    return answer.exit_code, json.loads(answer.stdout)


def current(stage: OperatorStage) -> tuple[str, str]:
    found = condition(stage.read(FLEET), "PlanCurrent")
    return found["status"], found["reason"]


def replicas(plan: dict[str, Any]) -> dict[str, int]:
    return {d["deployment"]: d["replicas"] for d in plan["spec"]["deployments"] if d["replicas"]}


def test_the_doctor_names_what_the_operators_account_may_not_do_and_a_definition_that_differs(
    stage: OperatorStage,
) -> None:
    role = json.loads(stage.kubectl("get", "clusterrole", "argosy-operator", "-o", "json"))
    crd = json.loads(stage.kubectl("get", "crd", "routerpolicies.argosy.dev", "-o", "json"))
    less = {"rules": [r for r in role["rules"] if "nodes" not in r["resources"]]}
    schema = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
    schema["colour"] = {"type": "string"}
    try:
        stage.kubectl("patch", "clusterrole", "argosy-operator", "--type=merge", "-p", json.dumps(less))
        changed = json.dumps({"spec": crd["spec"]})
        stage.kubectl("patch", "crd", "routerpolicies.argosy.dev", "--type=merge", "-p", changed)
        account = "ServiceAccount argosy-system/argosy-operator"

        def messages() -> dict[str, str]:
            """Once the API server has read the role: then the account lacks a permission."""
            found = {f["about"]: f["message"] for f in argosy(stage, "doctor")[1]["findings"]}
            return found if account in found else {}

        found = until(messages, "the missing permission", 10.0)
        assert "it may not list nodes, watch nodes, which the operator needs" in found[account]
        assert "it has besides spec.colour" in found["CustomResourceDefinition routerpolicies.argosy.dev"]
    finally:
        rules = json.dumps({"rules": role["rules"]})
        stage.kubectl("patch", "clusterrole", "argosy-operator", "--type=merge", "-p", rules)
        del schema["colour"]
        removed = [
            {
                "op": "remove",
                "path": "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/colour",
            }
        ]
        stage.kubectl("patch", "crd", "routerpolicies.argosy.dev", "--type=json", "-p", json.dumps(removed))


def forget_what_was_measured(stage: OperatorStage) -> None:
    """A new process has no requests of the last five minutes: earlier tests' may have missed an SLO."""
    name = stage.leader.name
    stage.end_operator(name)
    stage.start_operator(name)
    stage.until_at_rest()


def test_at_rest_nothing_is_broken_and_every_look_tells_the_same(stage: OperatorStage) -> None:
    forget_what_was_measured(stage)

    def healthy() -> Any:
        """What doctor tells; None while Envoy has not come back to the new process."""
        code, found = argosy(stage, "doctor")
        return found if code == 0 else None

    found = until(healthy, "Envoy to be connected to the new process")
    assert [f for f in found["findings"] if f["severity"] != "Hint"] == []
    assert (found["leader"], found["envoys"]) == (stage.holder(), 1)
    code, found = argosy(stage, "doctor", "--namespace", "nowhere")
    assert code == 3
    (broken,) = [f for f in found["findings"] if f["about"] == "namespace nowhere"]
    assert "kubectl create namespace nowhere" in broken["remedy"]

    applied = stage.applied()
    code, found = argosy(stage, "routes")
    assert code == 0
    chat = next(row for row in found["routes"] if row["class"] == "default/chat")
    assert (chat["share"], chat["replicas_ready"], chat["replicas_planned"]) == (1.0, 2, 2)
    assert chat["why"] == f"as revision {applied['spec']['revision']} plans it"

    _, found = argosy(stage, "top")
    rows = {row["key"]: row for row in found["classes"]}
    assert (rows["default/chat"]["ready"], rows["default/chat"]["state"]) == (CHAT_REPLICAS, "Ready")
    total = sum(row["usd_per_hour"] for row in rows.values())
    assert total == pytest.approx(found["fleet"]["usd_per_hour"])

    _, found = argosy(stage, "plans")
    (row,) = [row for row in found["plans"] if row["is_applied"]]
    assert row["name"] == applied["metadata"]["name"]

    stage.kubectl("wait", "--for=condition=Ready", "wclass,smodel,fleet", "--all", "--timeout=20s")
    heading, *rows = stage.kubectl("get", "wclass").splitlines()
    columns = "NAME PLANNED/S OBSERVED/S KEPT SLO REPLICAS $/H PRIORITY READY REASON AGE"
    assert " ".join(heading.split()) == columns
    assert any(row.startswith("chat") and " True " in row for row in rows)
    assert "PLANNING" in stage.kubectl("get", "fleet").splitlines()[0]
    for kind in KINDS:
        text = stage.kubectl("explain", f"{kind.PLURAL}.spec")
        assert "<no description>" not in text
        assert "FIELDS:" in text


def test_a_paused_fleet_makes_no_plan_and_describe_reads_as_a_story(stage: OperatorStage) -> None:
    before = stage.applied()
    code, found = argosy(stage, "pause", "a freeze")
    assert (code, found["is_answered"]) == (0, True)
    assert "(a freeze)" in found["message"]
    stage.patch("wclass", "chat", minReplicas=3)
    until_equal(("False", "Paused"), lambda: current(stage), "the wanted plan to differ")
    assert stage.applied()["metadata"]["name"] == before["metadata"]["name"]
    assert condition(stage.class_of("chat"), "Ready")["status"] == "True", "two replicas serve it whole"

    code, found = argosy(stage, "resume")
    assert code == 0
    until(lambda: len(stage.ready_pods("chat")) == 3, "the third replica")
    described = stage.kubectl("describe", "fleet", "default")
    events = described.partition("\nEvents:")[2]
    told = [line.split()[1] for line in events.splitlines() if line.split()[:1] in (["Normal"], ["Warning"])]
    assert described.index("Conditions:") < described.index("\nEvents:")
    assert told.index("Paused") < told.index("Resumed"), "the newest is the last"
    assert argosy(stage, "resume")[0] == 2


def test_going_back_makes_an_earlier_plan_a_new_revision_until_the_user_resumes(stage: OperatorStage) -> None:
    first = stage.applied()
    stage.patch("wclass", "chat", minReplicas=3)
    until(lambda: replicas(stage.applied()) != replicas(first), "another plan")
    second = stage.applied()
    with stage.load() as load:
        number = first["spec"]["revision"]
        code, found = argosy(stage, "rollback", str(number), "a bad day")
        assert code == 0
        assert f"of revision {number} are held" in found["message"]
        held = stage.applied()
        assert held["spec"]["revision"] > second["spec"]["revision"]
        assert (held["spec"]["restores"], replicas(held)) == (number, replicas(first))
        until(lambda: len(stage.ready_pods("chat")) == CHAT_REPLICAS, "the earlier replicas alone")
        assert current(stage)[1] == "RolledBack"
    assert load.lost == ()
    assert argosy(stage, "rollback", "99999")[0] == 2
    argosy(stage, "resume")
    until_equal(replicas(second), lambda: replicas(stage.applied()), "the wanted plan again")


def test_in_mode_recommend_an_approved_plan_is_carried_out_and_no_other(stage: OperatorStage) -> None:
    stage.patch("fleet", "default", mode="Recommend")
    stage.patch("wclass", "chat", minReplicas=3)

    def recommended() -> dict[str, Any]:
        latest = stage.plans()[-1]
        return latest if latest["status"].get("phase") == "Recommended" else {}

    latest = until(recommended, "a recommendation")
    assert len(stage.pods("chat")) == CHAT_REPLICAS
    code, found = argosy(stage, "approve")
    assert code == 0
    assert f"Argosy acts on revision {latest['spec']['revision']}" in found["message"]
    until(lambda: len(stage.ready_pods("chat")) == 3, "the third replica")
    assert stage.applied()["metadata"]["name"] == latest["metadata"]["name"]
    assert argosy(stage, "approve")[0] == 2, "nothing waits for approval"


def apply_from_git(stage: OperatorStage, manager: str) -> str:
    """Apply the world as a GitOps controller does; returns the manifests."""
    items = [item for item in yaml.safe_load_all((WORLD / "world.yaml").read_text()) if item]
    for item in items:
        if item["kind"] == "Fleet":
            item["spec"]["gateway"] = stage.stage.gateway_settings
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": items})
    stage.kubectl(
        "apply",
        "--server-side",
        "--force-conflicts",
        f"--field-manager={manager}",
        "-f",
        "-",
        stdin=text,
    )
    return text


def difference(stage: OperatorStage, manager: str, text: str) -> str:
    """What applying the manifests again would change: empty for nothing."""
    control_plane = stage.stage.control_plane
    command = [str(control_plane.binaries.kubectl), f"--kubeconfig={control_plane.admin_kubeconfig}", "diff"]
    command += ["--server-side", f"--field-manager={manager}", "-f", "-"]
    found = subprocess.run(command, input=text, capture_output=True, text=True, check=False, timeout=60)
    assert found.returncode in (0, 1), found.stderr
    return found.stdout


def test_what_is_kept_in_git_shows_no_difference_whatever_argosy_and_its_user_do(
    stage: OperatorStage,
) -> None:
    text = apply_from_git(stage, "argocd")
    stage.until_at_rest()
    assert difference(stage, "argocd", text) == ""
    argosy(stage, "pause", "while git is read")
    assert difference(stage, "argocd", text) == "", "what a user orders is in no field that git keeps"
    argosy(stage, "resume")
    for plural in ("fleets", "gpupools", "servedmodels", "workloadclasses", "routerpolicies"):
        for item in stage.items(f"{OURS}/{plural}"):
            managers = [m for m in item["metadata"]["managedFields"] if m["manager"] == "argosy"]
            assert {m.get("subresource") for m in managers} <= {"status"}, item["metadata"]["name"]
