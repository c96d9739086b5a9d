"""Groups in the running shell: from one for each class to a shared one, step by step at the API server."""

from __future__ import annotations

from pathlib import Path

from builders import a_class
from virtual_clock import in_virtual_time
from virtual_shell import VirtualShell

NAMES = ("a", "b", "c")


def serving_by_group(shell: VirtualShell) -> dict[str, int]:
    """Ready replicas by sharing group, those without any left out."""
    found: dict[str, int] = {}
    for key, deployment in shell.server.of("deployments").items():
        group = deployment["metadata"]["labels"]["argosy.dev/sharing-group"]
        if ready := shell.cluster.serving()[key.partition("/")[2]]:
            found[group] = found.get(group, 0) + ready
    return found


@in_virtual_time
async def test_classes_that_become_compatible_move_to_one_replica_make_before_break(tmp_path: Path) -> None:
    shell = VirtualShell(tmp_path)
    shell.a_small_fleet()
    served_over_time: list[int] = []
    async with shell.running(traffic=True):
        for priority, name in enumerate(NAMES):
            shell.apply(a_class(name, rate_per_s=0.1, priority=priority))
        await shell.clock.sleep(60.0)
        assert serving_by_group(shell) == {"chat": 2, "a": 1, "b": 1, "c": 1}

        shell.apply(*(a_class(name, rate_per_s=0.1, priority=50) for name in NAMES))
        for _ in range(60):
            await shell.clock.sleep(1.0)
            served_over_time.append(sum(serving_by_group(shell).values()))
        assert serving_by_group(shell) == {"chat": 2, "a": 1}
        assert min(served_over_time) >= 3
        deployments = set(shell.server.of("deployments"))

        shell.apply(a_class("d", rate_per_s=0.1, priority=50))
        await shell.clock.sleep(60.0)
        assert set(shell.server.of("deployments")) == deployments
        assert serving_by_group(shell) == {"chat": 2, "a": 1}
    for name in (*NAMES, "d"):
        assert shell.condition("workloadclasses", f"default/{name}", "Ready") == ("True", "Ready")
