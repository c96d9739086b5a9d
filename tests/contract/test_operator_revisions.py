"""Plans that are deleted, and CRDs that are installed anew: numbers go on, and no Envoy is left behind."""

from __future__ import annotations

import json
import shutil
from typing import Any

from operator_stage import OURS, REPOSITORY, OperatorStage, condition, names, until, until_equal
from watching import Watch

from argosy.xds.hold import HOLD_S

FLEETS = f"{OURS}/fleets"
FLEET = f"{FLEETS}/default"
CLASSES = f"{OURS}/namespaces/default/workloadclasses"


def envoy_revision(stage: OperatorStage) -> int:
    """The FleetPlan revision that Envoy acknowledged last. (Its own dump names the one that changed it.)"""
    (envoy,) = stage.read(FLEET)["status"]["envoys"]
    return int(envoy["acknowledgedVersion"].partition("-")[0])


def test_after_all_plans_are_deleted_a_changed_engine_reaches_envoy_and_no_request_is_lost(
    stage: OperatorStage,
) -> None:
    last, before = int(stage.applied()["spec"]["revision"]), set(stage.deployments())
    pods = names(stage.pods("chat"))
    try:
        with (
            stage.load() as load,
            Watch(f"{stage.proxy}{FLEETS}") as fleets,
            Watch(f"{stage.proxy}{CLASSES}") as classes,
        ):
            stage.kubectl("delete", "fplan", "--all", "--wait=false")
            reasons: set[str] = set()

            def applied() -> Any:
                reasons.update(reasons_of(stage))
                return stage.applied()

            again = until(applied, "another plan to be applied", 5.0)
            reasons |= reasons_of(stage)
            assert "NoPlan" not in reasons, "Envoy has the routes of the deleted one"
            assert again["spec"]["revision"] > last
            assert names(stage.pods("chat")) == pods

            stage.patch("smodel", "llama-8b", engine={"maxNumSeqs": 100})
            until(lambda: len(set(stage.deployments()) - before) == 1, "a Deployment of the changed engine")
            until(lambda: not set(names(stage.pods("chat"))) & set(pods), "the old replicas to go")
            until(lambda: len(stage.ready_pods("chat")) == len(pods), "the new ones to be ready")
            until_equal(
                stage.applied()["spec"]["revision"], lambda: envoy_revision(stage), "Envoy to have it all"
            )
            seen = len(load.answers)
            until(lambda: len(load.answers) > seen + 4, "more answers")
        assert load.lost == ()
        for item, seen in ((stage.read(FLEET), fleets), (stage.class_of("chat"), classes)):
            reasons = {row["reason"] for row in seen.conditions(item, "Programmed")}
            assert "Programmed" in reasons
            assert "NoPlan" not in reasons, "all was routed all the time"
    finally:
        stage.patch("smodel", "llama-8b", engine=None)


def test_with_plans_and_definitions_gone_envoy_keeps_its_routes_and_the_numbers_go_on(
    stage: OperatorStage,
) -> None:
    operator, last = stage.leader, envoy_revision(stage)
    with stage.load() as load:
        operator.kill()
        shutil.rmtree(stage.state_dir(operator.name))
        stage.kubectl("delete", "-f", str(REPOSITORY / "crds"))
        stage.kubectl("apply", "--server-side", "-f", str(REPOSITORY / "crds"))
        stage.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=30s")
        stage.apply_world()
        stage.start_operator(operator.name)
        applied = until(stage.applied, "a plan to be applied")
        assert applied["spec"]["revision"] > last
        until_equal(applied["spec"]["revision"], lambda: envoy_revision(stage), "Envoy to follow it")
    assert load.lost == ()


def test_an_envoy_with_routes_of_a_later_plan_than_a_backup_has_is_led_back_without_a_restart(
    stage: OperatorStage,
) -> None:
    backup, operator = stage.applied(), stage.leader
    stage.patch("wclass", "chat", minReplicas=3)
    last = until(lambda: later_than(stage, backup), "a later plan, which Envoy has")
    with stage.load() as load:
        operator.kill()
        shutil.rmtree(stage.state_dir(operator.name))
        stage.kubectl("delete", "fplan", "--all")
        stage.patch("fleet", "default", mode="Recommend")  # so that no plan of its own takes Envoy along
        restore(stage, backup)
        stage.start_operator(operator.name)

        until_equal("EnvoyAhead", lambda: programmed(stage)["reason"], "the Envoy ahead to be named")
        assert f"revision {last}," in programmed(stage)["message"]
        until_equal(
            backup["spec"]["revision"],
            lambda: envoy_revision(stage),
            f"Envoy to be led back after {HOLD_S} s",
        )
        until(lambda: f"had routes of FleetPlan revision {last}" in events(stage), "the event")

        stage.patch("wclass", "chat", minReplicas=None)
        stage.patch("fleet", "default", mode="Auto")
    assert load.lost == ()
    assert "it is served what the API server has now" in stage.log(operator.name)


def later_than(stage: OperatorStage, plan: dict[str, Any]) -> int:
    """The revision that Envoy has where it is later than a plan's; else 0."""
    found = envoy_revision(stage)
    return found if found > plan["spec"]["revision"] else 0


def restore(stage: OperatorStage, plan: dict[str, Any]) -> None:
    """As a backup does: the object, then its status."""
    kept = {key: plan[key] for key in ("apiVersion", "kind", "spec", "status")}
    body = json.dumps({**kept, "metadata": {"name": plan["metadata"]["name"]}})
    stage.kubectl("create", "-f", "-", stdin=body)
    stage.kubectl(
        "patch", "fplan", plan["metadata"]["name"], "--subresource=status", "--type=merge", "-p", body
    )


def programmed(stage: OperatorStage) -> dict[str, str]:
    return condition(stage.read(FLEET), "Programmed")


def reasons_of(stage: OperatorStage) -> set[str]:
    """Every reason in the conditions of the Fleet and its classes."""
    items = [stage.read(FLEET), *stage.items(f"{OURS}/workloadclasses")]
    return {row["reason"] for item in items for row in item["status"]["conditions"]}


def events(stage: OperatorStage) -> str:
    """The texts of all events."""
    return "\n".join(e.get("note", "") for e in stage.items("/apis/events.k8s.io/v1/events"))
