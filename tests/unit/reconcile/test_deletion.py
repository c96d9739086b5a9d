"""The process in virtual time while users delete what they applied, and apply it again."""

from __future__ import annotations

from pathlib import Path

from builders import a_class
from virtual_clock import in_virtual_time
from virtual_shell import VirtualShell

from argosy.api.conditions import Reason

CHAT = "default/chat"


def engines(shell: VirtualShell) -> dict[str, int]:
    """Replicas that each Deployment asks for."""
    return {key: d["spec"]["replicas"] for key, d in shell.server.of("deployments").items()}


def message(shell: VirtualShell, plural: str, key: str, type: str) -> str:
    """The sentence of one condition; empty where there is none."""
    rows = (shell.server.of(plural)[key].get("status") or {}).get("conditions") or ()
    return next((r["message"] for r in rows if r["type"] == type), "")


def last_plan(shell: VirtualShell) -> str:
    return max(shell.server.of("fleetplans"))


def events(shell: VirtualShell, reason: str) -> list[str]:
    return [e["note"] for e in shell.server.of("events").values() if e["reason"] == reason]


async def settled(directory: Path) -> VirtualShell:
    shell = VirtualShell(directory)
    shell.a_small_fleet()
    async with shell.running():
        await shell.clock.sleep(60.0)
    assert list(engines(shell).values()) == [2]
    return shell


@in_virtual_time
async def test_without_the_fleet_object_its_last_mode_holds_and_every_class_says_so(tmp_path: Path) -> None:
    shell = await settled(tmp_path)
    async with shell.running():
        shell.server.drop("fleets", "default")
        await shell.clock.sleep(40.0)
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
