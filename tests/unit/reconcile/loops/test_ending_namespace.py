"""A namespace that is deleted in the middle of a roll-out: one attempt, one sentence."""

from __future__ import annotations

from pathlib import Path

import pytest
from virtual_clock import in_virtual_time
from virtual_shell import Call, VirtualShell

from argosy.errors import NextStep, Obstacle


@in_virtual_time
async def test_nothing_is_made_again_and_again_in_a_namespace_that_is_being_deleted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shell = VirtualShell(tmp_path)
    shell.a_small_fleet()
    tries: list[float] = []

    def refusal(call: Call) -> NextStep | None:
        if (call.verb, call.plural) != ("apply", "deployments"):
            return None
        tries.append(shell.clock.monotonic_s())
        return NextStep.GIVE_UP

    shell.server.refusal, shell.server.obstacle = refusal, Obstacle.NAMESPACE_MISSING
    async with shell.running():
        await shell.clock.sleep(100.0)
    assert len(tries) == 2
    assert tries[1] - tries[0] >= 60.0
    said = [line for line in caplog.messages if "refused by the test" in line]
    assert len(said) == 2
    assert said[1].startswith("namespace default: still, after 60 s")  # the reminder


@in_virtual_time
async def test_a_namespace_that_is_back_gets_its_replicas(tmp_path: Path) -> None:
    shell = VirtualShell(tmp_path)
    shell.a_small_fleet()
    shell.refuse(
        Call("apply", "deployments"), next_step=NextStep.GIVE_UP, obstacle=Obstacle.NAMESPACE_MISSING
    )
    async with shell.running():
        await shell.clock.sleep(10.0)
        shell.refuse_nothing()
        await shell.clock.sleep(150.0)
    assert sum(shell.cluster.serving().values()) == 2
