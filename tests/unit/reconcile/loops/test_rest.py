"""A process that no longer leads: what went wrong with its decisions is not its business any more."""

from __future__ import annotations

from pathlib import Path

import pytest
from settled_shell import settled
from virtual_clock import in_virtual_time

from argosy.control.triggers import Trigger
from argosy.errors import ObservationError
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
