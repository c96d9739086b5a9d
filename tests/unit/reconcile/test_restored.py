"""The process in virtual time while etcd is restored to an older snapshot: the past comes back."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from builders import a_class, a_fleet
from settled_shell import CHAT, engines, settled
from virtual_clock import in_virtual_time
from virtual_shell import VirtualShell

from argosy.control.triggers import RESTORED
from argosy.reconcile.loops.planning import RESTORED_S


def posted(shell: VirtualShell, reason: str) -> list[str]:
    return [e["message"] for e in shell.server.of("events").values() if e["reason"] == reason]


def num_restored(shell: VirtualShell) -> float | None:
    return shell.state.metrics.registry.get_sample_value("argosy_api_restored_total")


VERSIONS = pytest.mark.parametrize(
    "version",
    [pytest.param(None, id="the version has fallen"), pytest.param(9000, id="the start wrote much")],
)


@VERSIONS
@in_virtual_time
async def test_a_class_deleted_in_the_lost_future_is_there_again_and_its_engines_stay(
    tmp_path: Path, version: int | None, caplog: pytest.LogCaptureFixture
) -> None:
    shell = await settled(tmp_path)
    async with shell.running():
        await shell.clock.sleep(40.0)
        backup = shell.server.backup()
        shell.server.drop("workloadclasses", CHAT)
        await shell.clock.sleep(20.0)
        assert [str(ref) for ref in shell.state.snapshot().seen.parting] == [f"WorkloadClass {CHAT}"]
        with caplog.at_level(logging.WARNING):
            shell.server.restore(backup, version)
            await shell.clock.sleep(120.0)
        assert list(engines(shell).values()) == [2]
        assert shell.state.snapshot().seen.parting == {}
        assert shell.condition("workloadclasses", CHAT, "Ready") == ("True", "Ready")
    assert sum("was restored to an earlier state" in r.message for r in caplog.records) >= 1
    assert num_restored(shell) == 1
    assert len(posted(shell, "StateRestored")) == 1
    assert not any("deleted" in trigger for trigger in shell.plan_triggers())


@VERSIONS
@in_virtual_time
async def test_a_class_of_which_the_engines_have_drained_since_the_backup_is_served_again(
    tmp_path: Path, version: int | None
) -> None:
    shell = await settled(tmp_path)
    async with shell.running():
        backup = shell.server.backup()
        shell.server.drop("workloadclasses", CHAT)
        await shell.clock.sleep(120.0)
        assert sum(engines(shell).values()) == 0
        shell.server.restore(backup, version)
        await shell.clock.sleep(120.0)
        assert list(engines(shell).values()) == [2]
        assert shell.condition("workloadclasses", CHAT, "Ready") == ("True", "Ready")
    assert not posted(shell, "ChangedByHand")


@in_virtual_time
async def test_a_rate_of_the_past_is_planned_for_with_the_restore_as_the_reason(tmp_path: Path) -> None:
    shell = await settled(tmp_path)
    async with shell.running():
        backup = shell.server.backup()
        shell.apply(a_class(rate_per_s=12.0))
        await shell.clock.sleep(90.0)
        assert sum(engines(shell).values()) > 2
        numbers = len(shell.server.of("fleetplans"))
        backup[0]["workloadclasses"][CHAT]["spec"] = a_class(rate_per_s=20.0).to_object()["spec"]
        shell.server.restore(backup)
        await shell.clock.sleep(90.0)
        plans = sorted(shell.server.of("fleetplans"))
        assert shell.plan_triggers()[-1] == RESTORED
        assert int(plans[-1].removeprefix("plan-")) > numbers, "no number is used twice"


@in_virtual_time
async def test_a_decision_on_the_lost_future_is_not_carried_out(tmp_path: Path) -> None:
    shell = await settled(tmp_path)
    async with shell.running():
        backup = shell.server.backup()
        shell.decider.takes_s = 20.0
        shell.apply(a_class(rate_per_s=12.0))
        await shell.clock.sleep(1.0)
        shell.server.restore(backup)
        await shell.clock.sleep(60.0)
        assert list(engines(shell).values()) == [2]


@pytest.mark.parametrize(
    ("away_s", "num_posted"),
    [
        pytest.param(RESTORED_S - 20.0, 1, id="it is still news"),
        pytest.param(RESTORED_S + 20.0, 0, id="it is not news any more"),
    ],
)
@in_virtual_time
async def test_a_process_that_leads_only_later_posts_the_event_while_it_is_news(
    tmp_path: Path, away_s: float, num_posted: int
) -> None:
    shell = await settled(tmp_path)
    async with shell.running():
        await shell.clock.sleep(10.0)
        backup = shell.server.backup()
        shell.apply(a_class(rate_per_s=12.0))
        await shell.clock.sleep(10.0)
        shell.election.lose()
        shell.server.restore(backup)
        await shell.clock.sleep(away_s)
        shell.election.gain()
        await shell.clock.sleep(10.0)
        assert num_restored(shell) == 1
        assert list(engines(shell).values()) == [2]
    assert len(posted(shell, "StateRestored")) == num_posted


@in_virtual_time
async def test_in_mode_observe_a_restore_is_a_line_of_the_log_and_no_event(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shell = await settled(tmp_path)
    async with shell.running():
        shell.apply(a_fleet("Observe"))
        await shell.clock.sleep(10.0)
        backup = shell.server.backup()
        shell.apply(a_class(rate_per_s=12.0))
        await shell.clock.sleep(10.0)
        with caplog.at_level(logging.WARNING):
            shell.server.restore(backup)
            await shell.clock.sleep(60.0)
    assert num_restored(shell) == 1
    assert any("was restored to an earlier state" in r.message for r in caplog.records)
    assert posted(shell, "StateRestored") == []


@in_virtual_time
async def test_a_second_restore_is_found_as_well_and_takes_no_engine(tmp_path: Path) -> None:
    shell = await settled(tmp_path)
    async with shell.running():
        await shell.clock.sleep(10.0)
        backup = shell.server.backup()
        for number in (1, 2):
            shell.apply(a_class(rate_per_s=12.0))
            await shell.clock.sleep(40.0)
            shell.server.restore(backup)
            await shell.clock.sleep(100.0)
            assert num_restored(shell) == number
            assert list(engines(shell).values()) == [2]
