"""Specs that change every second starve nothing: a decision is not thrown away for a change of an object."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from builders import a_class
from virtual_clock import in_virtual_time
from virtual_shell import VirtualShell

from argosy.control.decision import Decision

DECISION_S = 3.0
"""Longer than the time between two changes: the world is never the one that was decided on."""

CHURN = [
    pytest.param(
        [{"rate_per_s": 3.0}, {"rate_per_s": 15.0}], id="the rate asks for one replica, then for four"
    ),
    pytest.param([{"minReplicas": 1}, {"minReplicas": 3}], id="the floor is below the demand, then above it"),
    pytest.param([{"priority": 1}, {"priority": 2}], id="a field that no replica depends on"),
]


async def change_every_second(shell: VirtualShell, specs: list[dict[str, Any]]) -> None:
    """Apply the class `churning`, which shares no replicas, with one spec after another, for ever."""
    number = 0
    while True:
        shell.apply(a_class("churning", **{"priority": 50, **specs[number % len(specs)]}))
        number += 1
        await shell.clock.sleep(1.0)


def replicas_serving(shell: VirtualShell) -> dict[str, int]:
    """Ready replicas by sharing group."""
    found: dict[str, int] = {}
    for key, deployment in shell.server.of("deployments").items():
        group = deployment["metadata"]["labels"]["argosy.dev/sharing-group"]
        found[group] = found.get(group, 0) + shell.cluster.serving()[key.partition("/")[2]]
    return found


def outdated(shell: VirtualShell, decisions: list[bool]) -> None:
    """Note of each decision whether a spec has changed while it was made."""

    def note(decision: Decision) -> Decision:
        before = {key: c.metadata.generation for key, c in shell.decider.snapshots[-1].classes.items()}
        now = {k: c["metadata"]["generation"] for k, c in shell.server.of("workloadclasses").items()}
        decisions.append(before != now)
        return decision

    shell.decider.change = note


@pytest.mark.parametrize("specs", CHURN)
@in_virtual_time
async def test_a_class_whose_spec_changes_every_second_is_served_and_so_is_every_other(
    tmp_path: Path, specs: list[dict[str, Any]]
) -> None:
    shell, was_outdated, served_over_time = VirtualShell(tmp_path), list[bool](), list[dict[str, int]]()
    shell.decider.takes_s = DECISION_S
    shell.a_small_fleet(num_nodes=8)
    outdated(shell, was_outdated)
    churn = asyncio.create_task(change_every_second(shell, specs))
    async with shell.running(traffic=True):
        await shell.clock.sleep(60.0)
        for _ in range(120):
            await shell.clock.sleep(1.0)
            served_over_time.append(replicas_serving(shell))
        churn.cancel()
    assert set(was_outdated) == {True}
    assert len(was_outdated) > 30
    assert len(shell.server.of("fleetplans")) > 0
    assert {served["chat"] for served in served_over_time} == {2}
    assert min(served["churning"] for served in served_over_time) >= 1
    assert shell.condition("workloadclasses", "default/chat", "Ready") == ("True", "Ready")


@in_virtual_time
async def test_once_the_changes_end_the_last_spec_is_what_runs(tmp_path: Path) -> None:
    shell = VirtualShell(tmp_path)
    shell.decider.takes_s = DECISION_S
    shell.a_small_fleet(num_nodes=8)
    churn = asyncio.create_task(change_every_second(shell, [{"rate_per_s": 3.0}, {"rate_per_s": 15.0}]))
    async with shell.running(traffic=True):
        await shell.clock.sleep(60.0)
        churn.cancel()
        shell.apply(a_class("churning", rate_per_s=11.0, priority=50))
        await shell.clock.sleep(120.0)
    assert replicas_serving(shell) == {"chat": 2, "churning": 3}
    assert shell.condition("workloadclasses", "default/churning", "Ready") == ("True", "Ready")
