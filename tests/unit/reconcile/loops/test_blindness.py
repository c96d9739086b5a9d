"""In virtual time: what is lost of sight turns /readyz back, is a metric, an event and a condition."""

from __future__ import annotations

from pathlib import Path

from memory_api_server import Call
from virtual_clock import in_virtual_time
from virtual_shell import VirtualShell

from argosy.snapshot import TelemetryReading
from argosy.snapshot.fleet import RoutingView


def blind(shell: VirtualShell) -> list[str]:
    """What the metric shows."""
    (family,) = shell.state.metrics.blind.collect()
    return sorted(sample.labels["what"] for sample in family.samples if sample.value)


def told(shell: VirtualShell) -> list[str]:
    reasons = ("TelemetryLost", "EnvoysLost", "PlanNotApplied")
    return [e["reason"] for e in shell.server.of("events").values() if e["reason"] in reasons]


def fleet_ready(shell: VirtualShell) -> tuple[str, str]:
    return shell.condition("fleets", "default", "Ready")


@in_virtual_time
async def test_telemetry_that_is_lost_is_told_after_a_minute_and_over_once_it_is_back(
    tmp_path: Path,
) -> None:
    shell = VirtualShell(tmp_path)
    shell.a_small_fleet()
    async with shell.running(traffic=True):
        await shell.clock.sleep(60.0)
        assert fleet_ready(shell) == ("True", "Ready")
        before = shell.scraper.answer
        shell.scraper.answer = lambda targets, now_s: TelemetryReading()
        await shell.clock.sleep(50.0)
        assert (shell.troubles.lasting(), blind(shell)) == ((), [])
        await shell.clock.sleep(20.0)
        (said,) = shell.troubles.lasting()
        assert said.startswith("lost: telemetry: the last readings of all engines are")
        assert (blind(shell), told(shell)) == (["telemetry"], ["TelemetryLost"])
        assert fleet_ready(shell) == ("True", "ObservationStale")
        shell.scraper.answer = before
        await shell.clock.sleep(10.0)
        assert (shell.troubles.lasting(), blind(shell)) == ((), [])
        assert (fleet_ready(shell), told(shell)) == (("True", "Ready"), ["TelemetryLost"])


@in_virtual_time
async def test_every_envoy_that_was_connected_is_missed_after_a_minute(tmp_path: Path) -> None:
    shell = VirtualShell(tmp_path)
    shell.a_small_fleet()
    async with shell.running(traffic=True):
        await shell.clock.sleep(60.0)
        before, shell.routing = shell.routing, RoutingView("v1", ())
        await shell.clock.sleep(70.0)
        (said,) = shell.troubles.lasting()
        assert said.startswith("lost: envoys: every Envoy that was connected is gone")
        assert (blind(shell), told(shell)) == (["envoys"], ["EnvoysLost"])
        assert shell.condition("fleets", "default", "Programmed") == ("False", "NoEnvoy")
        shell.routing = before
        await shell.clock.sleep(10.0)
        assert (shell.troubles.lasting(), blind(shell)) == ((), [])


@in_virtual_time
async def test_a_plan_that_is_not_applied_for_two_minutes_is_told_and_is_no_matter_of_a_standby(
    tmp_path: Path,
) -> None:
    shell = VirtualShell(tmp_path)
    shell.a_small_fleet()
    shell.refuse(Call("create", "fleetplans"))
    async with shell.running(traffic=True):
        await shell.clock.sleep(110.0)
        assert [said.partition(": ")[0] for said in shell.troubles.lasting()] == ["decisions"]
        await shell.clock.sleep(20.0)
        assert [said.partition(": ")[0] for said in shell.troubles.lasting()] == ["decisions", "lost"]
        assert (blind(shell), told(shell)) == (["plan"], ["PlanNotApplied"])
        shell.election.lose()
        await shell.clock.sleep(60.0)
        assert (shell.troubles.lasting(), blind(shell)) == ((), [])
        shell.election.gain()
        shell.refuse_nothing()
        await shell.clock.sleep(20.0)
        assert (shell.troubles.lasting(), blind(shell)) == ((), [])
