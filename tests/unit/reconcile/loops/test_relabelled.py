"""A node that its pool does not select any more, in virtual time: what runs there moves into the pool."""

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
async def test_a_replica_on_a_node_that_leaves_its_pool_goes_once_one_on_another_node_serves(
    tmp_path: Path,
) -> None:
    shell = await settled(tmp_path)
    async with shell.running():
        used = nodes_in_use(shell)
        relabel(shell, used[0], "another")
        for _ in range(60):
            await shell.clock.sleep(1.0)
            assert sum(shell.cluster.serving().values()) >= 2
        moved = nodes_in_use(shell)
        assert len(moved) == 2
        assert used[0] not in moved
        assert "node l40s-0 changed (label nvidia.com/gpu.product)" in shell.plan_triggers()[-1]

        relabel(shell, used[0], "l40s")
        await shell.clock.sleep(60.0)
        assert nodes_in_use(shell) == moved, "what serves elsewhere does not come back"


@in_virtual_time
async def test_a_replica_lost_on_a_relabelled_node_is_replaced_on_a_node_of_the_pool(tmp_path: Path) -> None:
    shell = await settled(tmp_path)
    async with shell.running():
        used = nodes_in_use(shell)
        (lost,) = [k for k, p in shell.server.of("pods").items() if p["spec"]["nodeName"] == used[0]]
        relabel(shell, used[0], "another")
        shell.server.drop("pods", lost)
        await shell.clock.sleep(60.0)
        assert len(nodes_in_use(shell)) == 2
        assert used[0] not in nodes_in_use(shell)
        assert shell.condition("workloadclasses", "default/chat", "Ready") == ("True", "Ready")
