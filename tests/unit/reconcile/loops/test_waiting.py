"""A change of the plan that waits: the loop looks again when its time has come, and names its causes then."""

from __future__ import annotations

from pathlib import Path

import pytest
from builders import a_class, a_fleet
from virtual_clock import in_virtual_time
from virtual_shell import VirtualShell

from argosy.control.triggers import Trigger

WINDOW_S = 100


async def quiet(directory: Path) -> VirtualShell:
    """Two replicas of `chat` are ready, and nothing has changed for longer than the window."""
    shell = VirtualShell(directory)
    shell.a_small_fleet()
    shell.apply(a_fleet(stabilizationSeconds=WINDOW_S, intervals={"mediumSeconds": 600}))
    async with shell.running():
        await shell.clock.sleep(2.0 * WINDOW_S)
    return shell


async def rise_and_fall(shell: VirtualShell) -> None:
    """A rate that is followed at once, then one whose change waits."""
    await shell.clock.sleep(5.0)
    shell.apply(a_class(rate_per_s=16.0))
    await shell.clock.sleep(30.0)
    shell.apply(a_class(rate_per_s=4.0))
    await shell.clock.sleep(5.0)


@in_virtual_time
async def test_a_rate_that_falls_in_the_window_takes_replicas_away_at_its_end_and_is_named(
    tmp_path: Path,
) -> None:
    shell = await quiet(tmp_path)
    async with shell.running():
        await shell.clock.sleep(5.0)
        shell.apply(a_class(rate_per_s=16.0))
        began_s = shell.clock.monotonic_s()
        await shell.clock.sleep(30.0)
        num_plans = len(shell.plan_triggers())
        for rate_per_s in (4.0, 16.0, 4.0):
            shell.apply(a_class(rate_per_s=rate_per_s))
            await shell.clock.sleep(5.0)
        assert shell.condition("fleets", "default", "PlanCurrent") == ("False", "ChangeWaits")
        assert shell.state.metrics.waiting._value.get() == 1
        told = [
            e["reason"] for e in shell.server.of("events").values() if e["involvedObject"]["kind"] == "Fleet"
        ]
        assert told == ["NewPlan", "Programmed", "NewPlan", "ChangeWaits"]
        assert len(shell.plan_triggers()) == num_plans
        await shell.clock.sleep(WINDOW_S - (shell.clock.monotonic_s() - began_s) + 2.0)
    looked_s = [at_s - began_s for at_s in shell.decider.started_s if at_s - began_s > WINDOW_S / 2]
    assert looked_s[0] == pytest.approx(WINDOW_S, abs=1.5)
    assert shell.plan_triggers()[num_plans] == "WorkloadClass default/chat changed (traffic)"
    assert shell.condition("fleets", "default", "PlanCurrent") == ("True", "PlanCurrent")
    assert shell.state.metrics.waiting._value.get() == 0


@in_virtual_time
async def test_a_change_that_is_taken_back_while_it_waits_leaves_no_trace_in_the_next_trigger(
    tmp_path: Path,
) -> None:
    shell = await quiet(tmp_path)
    async with shell.running():
        await rise_and_fall(shell)
        shell.apply(a_class(rate_per_s=16.0))
        await shell.clock.sleep(5.0)
        assert shell.condition("fleets", "default", "PlanCurrent") == ("True", "PlanCurrent")
        shell.apply(a_class(rate_per_s=16.0, minReplicas=6))
        await shell.clock.sleep(5.0)
    assert shell.plan_triggers()[-1] == "WorkloadClass default/chat changed (minReplicas)"


@in_virtual_time
async def test_what_happens_while_a_change_waits_is_not_put_down_to_its_causes(tmp_path: Path) -> None:
    shell = await quiet(tmp_path)
    async with shell.running():
        await rise_and_fall(shell)
        assert shell.condition("fleets", "default", "PlanCurrent") == ("False", "ChangeWaits")
        shell.planning.wake(Trigger("the connected Envoys changed", is_progress=True))
        await shell.clock.sleep(5.0)
        assert shell.decider.triggers[-1] == "the connected Envoys changed"
        await shell.clock.sleep(WINDOW_S)
    assert shell.plan_triggers()[2] == "WorkloadClass default/chat changed (traffic)"
