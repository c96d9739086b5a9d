"""A node that its pool does not select any more, in virtual time: what runs there serves on."""

from __future__ import annotations

import copy
from pathlib import Path

from builders import GPU_LABEL
from settled_shell import settled
from virtual_clock import in_virtual_time
from virtual_shell import VirtualShell


def relabel(shell: VirtualShell, node: str, pool: str) -> None:
    item = copy.deepcopy(shell.server.of("nodes")[node])
    item["metadata"]["labels"][GPU_LABEL] = pool
    shell.server.put("nodes", item)


def nodes_in_use(shell: VirtualShell) -> list[str]:
    return sorted(pod["spec"].get("nodeName", "") for pod in shell.server.of("pods").values())


@in_virtual_time
async def test_a_node_relabelled_and_back_makes_no_revision_where_nothing_moves(tmp_path: Path) -> None:
    shell = await settled(tmp_path)
    async with shell.running():
        used = nodes_in_use(shell)
        for pool in ("another", "l40s"):
            relabel(shell, used[0], pool)
            await shell.clock.sleep(60.0)
        assert nodes_in_use(shell) == used
        assert shell.plan_triggers() == ["the operator started"]
        assert "node l40s-0 changed (label nvidia.com/gpu.product)" in shell.decider.triggers


@in_virtual_time
async def test_a_replica_lost_on_a_relabelled_node_is_replaced_on_a_node_of_the_pool(tmp_path: Path) -> None:
    shell = await settled(tmp_path)
    async with shell.running():
        used = nodes_in_use(shell)
        relabel(shell, used[0], "another")
        await shell.clock.sleep(40.0)
        (lost,) = [k for k, p in shell.server.of("pods").items() if p["spec"]["nodeName"] == used[0]]
        shell.server.drop("pods", lost)
        await shell.clock.sleep(60.0)
        assert len(nodes_in_use(shell)) == 2
        assert used[0] not in nodes_in_use(shell)
        assert shell.condition("workloadclasses", "default/chat", "Ready") == ("True", "Ready")
