"""The process in virtual time while users delete what they applied, and apply it again."""

from __future__ import annotations

from pathlib import Path

import pytest
from builders import a_class, a_fleet
from settled_shell import CHAT, engines, settled
from virtual_clock import in_virtual_time
from virtual_shell import VirtualShell

from argosy.api.conditions import Reason
from argosy.api.kinds import kind_of
from argosy.control.edits.report import CHANGED_BY_HAND
from argosy.control.picture.parting import TAKEN_OVER
from argosy.snapshot.cluster import LABEL_MANAGED_BY


def message(shell: VirtualShell, plural: str, key: str, type: str) -> str:
    """The sentence of one condition; empty where there is none."""
    rows = (shell.server.of(plural)[key].get("status") or {}).get("conditions") or ()
    return next((r["message"] for r in rows if r["type"] == type), "")


def last_plan(shell: VirtualShell) -> str:
    return max(shell.server.of("fleetplans"))


def events(shell: VirtualShell, reason: str) -> list[str]:
    return [e["message"] for e in shell.server.of("events").values() if e["reason"] == reason]


@in_virtual_time
async def test_without_the_fleet_object_its_last_mode_holds_and_every_class_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shell = await settled(tmp_path)
    async with shell.running():
        await shell.clock.sleep(40.0)
        assert [line for line in caplog.messages if line.startswith("fleet:")] == []
        shell.server.drop("fleets", "default")
        await shell.clock.sleep(40.0)
        [line] = [line for line in caplog.messages if line.startswith("fleet:")]
        assert line.startswith("fleet: There is no Fleet/default since ")
        assert list(engines(shell).values()) == [2]
        assert shell.condition("workloadclasses", CHAT, "Ready") == ("True", "Ready")
        said = message(shell, "workloadclasses", CHAT, "Ready")
        assert "There is no Fleet/default since " in said
        assert "spec.mode Auto" in said
        plan = last_plan(shell)
        assert shell.condition("fleetplans", plan, "FleetFound") == ("False", "FleetGone")
        assert len(events(shell, Reason.FLEET_GONE)) == 1
        assert shell.state.metrics.registry.get_sample_value("argosy_fleet_missing") == 1
        shell.apply(a_class(rate_per_s=12.0))
        await shell.clock.sleep(90.0)
        assert sum(engines(shell).values()) > 2, "it still acts"
        assert last_plan(shell) > plan
        assert shell.condition("fleetplans", last_plan(shell), "FleetFound") == ("False", "FleetGone")
        assert len(events(shell, Reason.FLEET_GONE)) == 1


@in_virtual_time
async def test_a_process_that_never_saw_the_fleet_object_goes_on_in_its_mode(tmp_path: Path) -> None:
    shell = await settled(tmp_path)
    shell.server.drop("fleets", "default")
    fresh = VirtualShell(tmp_path, before=shell)
    async with fresh.running():
        await fresh.clock.sleep(60.0)
        fresh.apply(a_class(rate_per_s=12.0))
        await fresh.clock.sleep(90.0)
        assert sum(engines(fresh).values()) > 2
        assert "spec.mode Auto" in message(fresh, "workloadclasses", CHAT, "Ready")


@in_virtual_time
async def test_a_fleet_that_comes_back_takes_over(tmp_path: Path) -> None:
    shell = await settled(tmp_path)
    async with shell.running():
        shell.server.drop("fleets", "default")
        await shell.clock.sleep(40.0)
        shell.a_small_fleet("Recommend")
        await shell.clock.sleep(40.0)
        assert shell.condition("fleetplans", last_plan(shell), "FleetFound") == ("True", "FleetFound")
        assert "There is no Fleet" not in message(shell, "workloadclasses", CHAT, "Ready")
        before = engines(shell)
        shell.apply(a_class(rate_per_s=12.0))
        await shell.clock.sleep(60.0)
        assert engines(shell) == before, "it recommends"


MODEL = "default/llama"
KINDS = pytest.mark.parametrize(
    ("plural", "key"), [("servedmodels", MODEL), ("workloadclasses", CHAT), ("gpupools", "l40s")]
)


def pods(shell: VirtualShell) -> list[str]:
    return sorted(shell.server.of("pods"))


@KINDS
@in_virtual_time
async def test_what_is_deleted_and_applied_again_within_its_grace_restarts_nothing(
    tmp_path: Path, plural: str, key: str
) -> None:
    shell = await settled(tmp_path)
    before, plan = pods(shell), last_plan(shell)
    async with shell.running():
        shell.server.drop(plural, key)
        await shell.clock.sleep(20.0)
        assert shell.condition("fleetplans", plan, "Draining") == ("True", "Removing")
        said = message(shell, "fleetplans", plan, "Draining")
        assert f"{key} was deleted: 2 replicas serve until " in said
        assert "then finish their requests within 300 s" in said
        assert shell.state.metrics.registry.get_sample_value("argosy_draining_replicas") == 2
        shell.a_small_fleet()
        await shell.clock.sleep(60.0)
        assert (pods(shell), last_plan(shell)) == (before, plan)
        assert shell.condition("fleetplans", plan, "Draining") == ("False", "Drained")
        assert len(events(shell, Reason.REMOVING)) == 1


@KINDS
@in_virtual_time
async def test_after_its_grace_what_was_made_for_a_deleted_object_goes(
    tmp_path: Path, plural: str, key: str
) -> None:
    shell = await settled(tmp_path)
    async with shell.running():
        shell.server.drop(plural, key)
        await shell.clock.sleep(28.0)
        assert list(engines(shell).values()) == [2]
        await shell.clock.sleep(7.0)
        assert sum(engines(shell).values()) == 0
        assert shell.plan_triggers()[-1] == f"{kind_of(plural).name} {key} was deleted"


@pytest.mark.parametrize("is_applied_first", [False, True], ids=["deleted first", "applied first"])
@in_virtual_time
async def test_a_class_with_the_match_of_a_deleted_one_takes_over_at_once_with_its_replicas(
    tmp_path: Path, is_applied_first: bool
) -> None:
    shell = await settled(tmp_path)
    before, talk = pods(shell), "default/talk"
    latter = a_class("talk", match=shell.server.of("workloadclasses")[CHAT]["spec"]["match"])
    async with shell.running():
        if is_applied_first:
            shell.apply(latter)
            await shell.clock.sleep(5.0)
            assert shell.condition("workloadclasses", talk, "Ready") == ("False", "Conflicted")
        shell.server.drop("workloadclasses", CHAT)
        if not is_applied_first:
            await shell.clock.sleep(3.0)
            shell.apply(latter)
        await shell.clock.sleep(5.0)
        for type in ("Accepted", "Ready"):
            assert shell.condition("workloadclasses", talk, type)[0] == "True"
        assert [note for note in events(shell, TAKEN_OVER) if CHAT in note] != []
        await shell.clock.sleep(60.0)
        assert pods(shell) == before
        assert shell.condition("workloadclasses", talk, "Ready") == ("True", "Ready")
        assert len(events(shell, TAKEN_OVER)) == 1


@in_virtual_time
async def test_a_class_of_a_model_that_does_not_exist_takes_nothing_over(tmp_path: Path) -> None:
    shell = await settled(tmp_path)
    before, grace_s = pods(shell), 30.0
    match = shell.server.of("workloadclasses")[CHAT]["spec"]["match"]
    async with shell.running():
        shell.server.drop("workloadclasses", CHAT)
        shell.apply(a_class("talk", match=match, models=[{"name": "misspelt"}]))
        await shell.clock.sleep(grace_s - 5.0)
        assert pods(shell) == before, "the deleted class serves until its grace ends"
        assert events(shell, TAKEN_OVER) == []


@in_virtual_time
async def test_a_grace_of_no_time_takes_a_deleted_class_away_at_once(tmp_path: Path) -> None:
    shell = await settled(tmp_path)
    async with shell.running():
        shell.apply(a_fleet("Auto", deletionGraceSeconds=0))
        shell.server.drop("workloadclasses", CHAT)
        await shell.clock.sleep(5.0)
        assert engines(shell) == {}


@in_virtual_time
async def test_a_process_that_starts_within_a_grace_keeps_the_replicas_until_its_end(tmp_path: Path) -> None:
    shell = await settled(tmp_path)
    async with shell.running():
        shell.apply(a_fleet("Auto", deletionGraceSeconds=300))
        await shell.clock.sleep(40.0)
        shell.server.drop("servedmodels", MODEL)
        await shell.clock.sleep(20.0)
    fresh = VirtualShell(tmp_path, before=shell)
    async with fresh.running():
        await fresh.clock.sleep(200.0)
        assert sum(engines(fresh).values()) == 2
        assert MODEL in message(fresh, "fleetplans", last_plan(fresh), "Draining")
        await fresh.clock.sleep(120.0)
        assert sum(engines(fresh).values()) == 0


@in_virtual_time
async def test_a_model_deleted_while_no_process_ran_drains_after_a_grace(tmp_path: Path) -> None:
    shell = await settled(tmp_path)
    shell.server.drop("servedmodels", MODEL)
    fresh = VirtualShell(tmp_path, before=shell)
    async with fresh.running():
        await fresh.clock.sleep(25.0)
        assert sum(engines(fresh).values()) == 2
        await fresh.clock.sleep(100.0)
        assert sum(engines(fresh).values()) == 0


@in_virtual_time
async def test_everything_deleted_at_once_leaves_nothing_and_a_plan_of_nothing(tmp_path: Path) -> None:
    shell = await settled(tmp_path)
    async with shell.running():
        for plural, key in (
            ("fleets", "default"),
            ("gpupools", "l40s"),
            ("servedmodels", MODEL),
            ("workloadclasses", CHAT),
        ):
            shell.server.drop(plural, key)
        await shell.clock.sleep(20.0)
        assert list(engines(shell).values()) == [2]
        await shell.clock.sleep(120.0)
        assert engines(shell) == {}
        assert pods(shell) == []
        last = shell.server.of("fleetplans")[last_plan(shell)]
        assert (last["spec"].get("deployments") or []) == []
        assert shell.condition("fleetplans", last_plan(shell), "Draining") == ("False", "Drained")


@in_virtual_time
async def test_nothing_that_is_written_has_an_owner(tmp_path: Path) -> None:
    shell = await settled(tmp_path)
    kinds = ("deployments", "poddisruptionbudgets", "fleetplans", "events", "leases")
    written = [item for plural in kinds for item in shell.server.of(plural).values()]
    assert written
    assert [i["metadata"] for i in written if i["metadata"].get("ownerReferences")] == []


@in_virtual_time
async def test_an_applied_plan_that_is_marked_as_superseded_by_hand_is_replaced_at_once(
    tmp_path: Path,
) -> None:
    shell = await settled(tmp_path)
    async with shell.running():
        await shell.clock.sleep(32.0)
        plan = last_plan(shell)
        rows = [{"type": "Applied", "status": "False", "reason": "Superseded", "message": "by hand"}]
        item = shell.server.of("fleetplans")[plan]
        shell.server.put("fleetplans", {**item, "status": {"phase": "Superseded", "conditions": rows}})
        await shell.clock.sleep(3.0)
        assert last_plan(shell) > plan
        assert shell.condition("fleetplans", last_plan(shell), "Applied") == ("True", "Applied")
        assert shell.plan_triggers()[-1].startswith(f"FleetPlan {plan} was marked as superseded")
        assert list(engines(shell).values()) == [2]


@in_virtual_time
async def test_a_disruption_budget_that_lost_its_label_gets_it_back_and_is_not_said_to_be_deleted(
    tmp_path: Path,
) -> None:
    shell = await settled(tmp_path)
    async with shell.running():
        await shell.clock.sleep(10.0)
        [(key, budget)] = shell.server.of("poddisruptionbudgets").items()
        labels = {k: v for k, v in budget["metadata"]["labels"].items() if k != LABEL_MANAGED_BY}
        bare = {**budget, "metadata": {**budget["metadata"], "labels": labels}}
        shell.server.put("poddisruptionbudgets", bare)
        await shell.clock.sleep(5.0)
        assert (
            shell.server.of("poddisruptionbudgets")[key]["metadata"]["labels"][LABEL_MANAGED_BY] == "argosy"
        )
        [note] = events(shell, CHANGED_BY_HAND)
        assert "(label app.kubernetes.io/managed-by argosy -> none): set back" in note
