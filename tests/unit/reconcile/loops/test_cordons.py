"""A loop of a user over the nodes of a pool: one or two plans, and no replica is paid for in vain."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
from builders import a_class, a_fleet, a_model, a_pool
from virtual_clock import in_virtual_time
from virtual_shell import VirtualShell, node_object

from argosy.reconcile.loops.planning import NODES_LONGEST_S, NODES_QUIET_S
from argosy.snapshot.cluster import LABEL_POOL

NUM_NODES = 6
PRICES = {"l40s": 0.9, "h100": 6.0}


async def a_shell(directory: Path, rate_per_s: float = 12.0) -> VirtualShell:
    """Three replicas on six L40S; one H100 would carry as much for more than twice the price."""
    shell = VirtualShell(directory)
    for number in range(NUM_NODES):
        shell.server.put("nodes", node_object(f"l40s-{number}", gpus=1))
        shell.server.put("nodes", node_object(f"h100-{number}", "h100", gpus=1))
    shell.apply(a_fleet(stabilizationSeconds=0, intervals={"mediumSeconds": 600}), a_model())
    shell.apply(a_pool(gpusPerNode=1), a_pool("h100", "H100", gpusPerNode=1, priceUsdPerHour=6.0))
    shell.apply(a_class(rate_per_s=rate_per_s))
    return shell


def cordon(shell: VirtualShell, name: str) -> None:
    node = shell.server.of("nodes")[name]
    shell.server.put("nodes", {**node, "spec": {"unschedulable": True}})


def cost(shell: VirtualShell) -> float:
    """US dollars per hour of the replicas that exist."""
    pods = shell.server.of("pods").values()
    return sum(PRICES[pod["metadata"]["labels"][LABEL_POOL]] for pod in pods)


async def costs(shell: VirtualShell, seconds: float) -> list[float]:
    found = []
    for _ in range(int(2 * seconds)):
        await shell.clock.sleep(0.5)
        found.append(cost(shell))
    return found


async def cordoned(shell: VirtualShell) -> list[float]:
    """All nodes of the pool, one each second; returns what the fleet cost each half second, and then."""
    found: list[float] = []
    for number in range(NUM_NODES):
        cordon(shell, f"l40s-{number}")
        found += await costs(shell, 1.0)
    return found + await costs(shell, 120.0)


@pytest.mark.parametrize("is_exchanging", [False, True], ids=["at rest", "beside an exchange"])
@in_virtual_time
async def test_nodes_that_are_cordoned_one_each_second_make_two_plans_and_cost_little_more(
    is_exchanging: bool, tmp_path: Path
) -> None:
    shell = await a_shell(tmp_path)
    async with shell.running():
        await shell.clock.sleep(100.0)
        before, num_plans = cost(shell), len(shell.plan_triggers())
        if is_exchanging:
            shell.apply(a_model(engine={"maxNumSeqs": 64}))
            await shell.clock.sleep(2.0)
            num_plans += 1
        found = await cordoned(shell)
    assert len(shell.plan_triggers()) - num_plans == (1 if is_exchanging else 2)
    assert max(found) <= 1.5 * max(before, found[-1]), found
    assert shell.cluster.serving().total() == 1
    assert not [e for e in shell.server.of("events").values() if e["reason"] == "RemovalWaits"]


@in_virtual_time
async def test_the_first_cordon_of_a_fleet_at_rest_is_followed_at_once(tmp_path: Path) -> None:
    shell = await a_shell(tmp_path)
    async with shell.running():
        await shell.clock.sleep(100.0)
        began_s = shell.clock.monotonic_s()
        busy = next(iter(shell.server.of("pods").values()))["spec"]["nodeName"]
        cordon(shell, busy)
        await shell.clock.sleep(NODES_QUIET_S)
    assert [at_s for at_s in shell.decider.started_s if began_s <= at_s < began_s + 1.0]


@in_virtual_time
async def test_a_loop_without_an_end_is_followed_after_a_stated_time(tmp_path: Path) -> None:
    shell = await a_shell(tmp_path)
    async with shell.running():
        await shell.clock.sleep(100.0)
        shell.apply(a_class(rate_per_s=20.0))
        await shell.clock.sleep(1.0)
        began_s, num_before = shell.clock.monotonic_s(), len(shell.decider.started_s)
        for number in range(2 * round(NODES_LONGEST_S) + 5):
            node = shell.server.of("nodes")["l40s-0"]
            shell.server.put("nodes", {**node, "spec": {"unschedulable": number % 2 == 0}})
            await shell.clock.sleep(1.0)
    decided_s = pairwise([began_s, *shell.decider.started_s[num_before:]])
    assert max(after_s - before_s for before_s, after_s in decided_s) <= NODES_LONGEST_S + 2.0


@in_virtual_time
async def test_a_node_that_becomes_unavailable_is_not_waited_with(tmp_path: Path) -> None:
    shell = await a_shell(tmp_path)
    async with shell.running():
        await shell.clock.sleep(100.0)
        shell.apply(a_class(rate_per_s=16.0))
        await shell.clock.sleep(2.0)
        began_s = shell.clock.monotonic_s()
        cordon(shell, "l40s-0")
        await shell.clock.sleep(0.5)
        node = shell.server.of("nodes")["l40s-1"]
        status = {**node["status"], "conditions": [{"type": "Ready", "status": "False"}]}
        shell.server.put("nodes", {**node, "status": status})
        await shell.clock.sleep(1.0)
    assert [at_s for at_s in shell.decider.started_s if began_s + 0.5 <= at_s <= began_s + 1.5]
