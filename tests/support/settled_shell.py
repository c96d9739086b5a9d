"""A process in virtual time whose small fleet has come to rest: two replicas of one class."""

from __future__ import annotations

from pathlib import Path

from virtual_shell import VirtualShell

CHAT = "default/chat"


def engines(shell: VirtualShell) -> dict[str, int]:
    """Replicas that each Deployment asks for."""
    return {key: d["spec"]["replicas"] for key, d in shell.server.of("deployments").items()}


async def settled(directory: Path) -> VirtualShell:
    shell = VirtualShell(directory)
    shell.a_small_fleet()
    async with shell.running():
        await shell.clock.sleep(60.0)
    assert list(engines(shell).values()) == [2]
    return shell
