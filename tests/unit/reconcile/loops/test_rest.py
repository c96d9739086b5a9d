"""A process that no longer leads: what went wrong with its decisions is not its business any more."""

from __future__ import annotations

from pathlib import Path

import pytest
from builders import a_class
from memory_api_server import Call
from settled_shell import settled
from virtual_clock import in_virtual_time

from argosy.control.triggers import Trigger
from argosy.errors import ObservationError, Obstacle
from argosy.reconcile.loops.planning import LONGEST_ITERATION_S


@in_virtual_time
async def test_one_whose_decisions_failed_is_neither_late_nor_in_trouble_once_it_no_longer_leads(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shell = await settled(tmp_path)

    def fail() -> None:
        raise ObservationError("the test's engines cannot be read")

    shell.decider.meanwhile = fail
    async with shell.running():
        await shell.clock.sleep(120.0)
        assert any("the test's engines cannot be read" in line for line in shell.troubles.lasting())
        assert shell.state.due_since_s is not None
        shell.election.lose()
        shell.planning.wake(Trigger("the Lease is another process's"))
        await shell.clock.sleep(2 * LONGEST_ITERATION_S + 60.0)
        assert shell.troubles.lasting() == ()
        assert shell.state.heartbeats.late() == ()
        assert shell.state.due_since_s is None
        shell.decider.meanwhile = lambda: None
        shell.election.gain()
        await shell.clock.sleep(10.0)
        assert shell.decider.triggers[-1].endswith("this process took over")


@in_virtual_time
async def test_what_was_refused_while_it_led_is_no_trouble_of_a_standby(tmp_path: Path) -> None:
    """Another process is refused the same by then, or it was allowed: this one does not ask any more."""
    shell = await settled(tmp_path)
    shell.refuse(Call("patch", "workloadclasses", sub="status"), Call("create", "events"))
    shell.server.obstacle = Obstacle.FORBIDDEN
    async with shell.running():
        shell.apply(a_class("other", priority=1))
        await shell.clock.sleep(60.0)
        assert {"events", "status of workloadclasses"} <= set(shell.troubles.lasting_activities())
        shell.election.lose()
        await shell.clock.sleep(60.0)
        assert (shell.troubles.lasting(), shell.troubles.lasting_activities()) == ((), ())


@in_virtual_time
async def test_an_event_that_was_lost_is_no_trouble_until_the_next_one(tmp_path: Path) -> None:
    shell = await settled(tmp_path)
    shell.refuse(Call("create", "events"))
    async with shell.running():
        shell.apply(a_class("other", priority=1))
        await shell.clock.sleep(30.0)
        shell.refuse_nothing()
        posted = shell.server.count("create", "events")
        await shell.clock.sleep(60.0)
        assert shell.server.count("create", "events") == posted, "there was none to post"
        assert shell.troubles.lasting_activities() == ()
