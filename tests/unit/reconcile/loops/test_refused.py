"""The operator's loops while the API server refuses what an administrator has to remedy."""

from __future__ import annotations

from pathlib import Path

import pytest
from builders import a_class, a_fleet, a_pool
from memory_api_server import Call
from virtual_clock import in_virtual_time
from virtual_shell import VirtualShell, node_object

from argosy.errors import NextStep, Obstacle

pytestmark = pytest.mark.filterwarnings("error")


def about_decisions(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [message for message in caplog.messages if message.startswith("decisions: ")]


@in_virtual_time
async def test_writes_that_are_refused_are_said_once_tried_less_and_less_often_and_shown_by_readyz(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    shell = VirtualShell(tmp_path)
    shell.a_small_fleet()
    shell.refuse(Call("create", "fleetplans"), obstacle=Obstacle.FORBIDDEN)
    async with shell.running():
        await shell.clock.sleep(59.0)
        assert len(about_decisions(caplog)) == 1
        assert len(shell.decider.started_s) <= 8  # P12 of the table of faults: 90 in this time
        (lasting,) = shell.troubles.lasting()
        assert lasting.startswith("decisions: trying again: create fleetplans")
        assert shell.condition("fleets", "default", "Ready") == ("False", "WritesRefused")
        shell.refuse_nothing()
        await shell.clock.sleep(45.0)
        assert shell.troubles.lasting() == ()
    assert shell.condition("fleets", "default", "Ready") == ("True", "Ready")
    assert about_decisions(caplog)[-1].startswith("decisions: works again after ")


@in_virtual_time
async def test_a_users_change_is_decided_on_at_once_however_long_the_wait_after_failures_is(
    tmp_path: Path,
) -> None:
    shell = VirtualShell(tmp_path)
    shell.a_small_fleet()
    shell.refuse(Call("create", "fleetplans"), obstacle=Obstacle.KIND_MISSING)
    async with shell.running():
        await shell.clock.sleep(100.0)
        shell.refuse_nothing()
        shell.apply(a_class(minReplicas=3))
        await shell.clock.sleep(2.0)
        assert len(shell.plan_triggers()) == 1


@in_virtual_time
async def test_statuses_are_written_though_deployments_are_refused(tmp_path: Path) -> None:
    shell = VirtualShell(tmp_path)
    shell.a_small_fleet()
    shell.refuse(Call("apply", "deployments"), obstacle=Obstacle.FORBIDDEN)
    async with shell.running():
        await shell.clock.sleep(20.0)
    assert shell.condition("workloadclasses", "default/chat", "Ready") == ("False", "Loading")
    assert shell.condition("fleets", "default", "Ready") == ("False", "WritesRefused")


@in_virtual_time
async def test_one_kind_of_status_that_is_refused_is_named_and_stops_nothing_else(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shell = VirtualShell(tmp_path)
    shell.a_small_fleet()
    shell.apply(a_class("other", priority=1))
    shell.refuse(Call("patch", "workloadclasses", sub="status"), obstacle=Obstacle.FORBIDDEN)
    async with shell.running():
        await shell.clock.sleep(70.0)
        fleet = shell.server.of("fleets")["default"]["status"]
        assert fleet["costUsdPerHour"] > 0
        (ready,) = [row for row in fleet["conditions"] if row["type"] == "Ready"]
        assert (ready["status"], ready["reason"]) == ("True", "StatusRefused")
        assert (
            "refuses to write the status of WorkloadClass, which is out of date: patch " in ready["message"]
        )
        assert shell.condition("servedmodels", "default/llama", "Ready") == ("True", "Ready")
        assert [e for e in shell.server.of("events").values() if e["reason"] == "NewPlan"]
        assert shell.troubles.lasting() != ()
        refused = [message for message in caplog.messages if "was not written" in message]
        assert len(refused) <= 2, "once for the kind, and a reminder"
        assert about_decisions(caplog) == []
        shell.refuse_nothing()
        await shell.clock.sleep(40.0)
        assert shell.troubles.lasting() == ()
    assert shell.condition("fleets", "default", "Ready") == ("True", "Ready")
    assert shell.condition("workloadclasses", "default/chat", "Ready") == ("True", "Ready")


@in_virtual_time
async def test_a_status_that_is_refused_for_a_while_is_tried_again_after_all_others(tmp_path: Path) -> None:
    shell = VirtualShell(tmp_path)
    shell.a_small_fleet()
    shell.refuse(Call("patch", "gpupools", sub="status"))
    shell.server.status = 500
    async with shell.running():
        await shell.clock.sleep(30.0)
        assert shell.condition("workloadclasses", "default/chat", "Ready")[0] != ""
        shell.refuse_nothing()
        await shell.clock.sleep(20.0)
    assert shell.condition("gpupools", "l40s", "Ready")[0] != ""


@in_virtual_time
async def test_old_plans_that_may_not_be_deleted_stop_nothing(tmp_path: Path) -> None:
    shell = VirtualShell(tmp_path)
    shell.a_small_fleet()
    shell.apply(a_fleet("Auto", revisionHistoryLimit=1))
    shell.refuse(Call("delete", "fleetplans"), obstacle=Obstacle.FORBIDDEN)
    async with shell.running():
        for least in (3, 4, 5):
            await shell.clock.sleep(60.0)
            shell.apply(a_class(minReplicas=least))
        await shell.clock.sleep(60.0)
        assert [p for p in shell.troubles.lasting() if "old FleetPlans" in p] == []
        assert shell.condition("fleets", "default", "Ready") == ("True", "Ready")
        assert len(shell.server.of("fleetplans")) == 4


def first_deployment_refused(shell: VirtualShell) -> list[str]:
    """Refuse the first Deployment that is applied, whenever it comes; returns the keys of all that are."""
    created: list[str] = []

    def refusal(call: Call) -> NextStep | None:
        if (call.verb, call.plural) != ("apply", "deployments"):
            return None
        created.append(call.key)
        return NextStep.GIVE_UP if call.key == created[0] else None

    shell.server.refusal = refusal
    return created


@in_virtual_time
async def test_a_namespace_that_is_deleted_in_mid_roll_out_stops_no_other_and_is_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shell = VirtualShell(tmp_path)
    shell.a_small_fleet()
    shell.apply(a_class("other", priority=1))  # else both share replicas
    first_deployment_refused(shell)
    async with shell.running():
        await shell.clock.sleep(100.0)
    ready = [shell.condition("workloadclasses", f"default/{name}", "Ready") for name in ("chat", "other")]
    assert ready.count(("True", "Ready")) == 1
    said = [message for message in caplog.messages if "not taken" in message]
    assert len(said) <= 2  # once, and a reminder
    assert said[0].startswith("step: create Deployment default/")


@in_virtual_time
async def test_a_deployment_that_is_not_admitted_is_told_and_other_hardware_serves(tmp_path: Path) -> None:
    shell = VirtualShell(tmp_path)
    shell.a_small_fleet()
    shell.apply(a_pool("h100", "H100", priceUsdPerHour=6.0))
    shell.server.put("nodes", node_object("h100-0", "h100"))
    created = first_deployment_refused(shell)
    shell.server.status = 403
    async with shell.running():
        await shell.clock.sleep(9.0)
        assert shell.condition("servedmodels", "default/llama", "Ready") == ("False", "PodsRefused")
        await shell.clock.sleep(26.0)
        assert len(set(created)) == 2
        assert shell.condition("workloadclasses", "default/chat", "Ready") == ("True", "OthersServe")
        events = shell.server.of("events").values()
    [message] = [item["message"] for item in events if item["reason"] == "ReplicasRefused"]
    assert "The API server refuses replicas of llama-l40s-tp1-" in message
    assert "refused by the test" in message


@in_virtual_time
async def test_a_decision_is_one_line_that_names_classes_and_steps(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    shell = VirtualShell(tmp_path)
    shell.a_small_fleet()
    async with shell.running():
        await shell.clock.sleep(60.0)
    (made,) = [record for record in caplog.records if record.getMessage().startswith("revision 1 (")]
    assert made.getMessage().startswith(
        "revision 1 (the operator started): default/chat: 2 x llama-l40s-tp1-"
    )
    assert "; $1.80/h; 1 step: create Deployment default/llama-" in made.getMessage()
    assert made.fields["revision"] == 1  # type: ignore[attr-defined]
    assert list(made.fields["replicas"]) == ["default/chat"]  # type: ignore[attr-defined]
    assert len(caplog.messages) <= 3
