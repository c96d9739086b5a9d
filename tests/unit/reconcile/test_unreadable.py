"""Objects that cannot be read, from the API server to their status and back to a spec that can."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
from builders import a_class, a_fleet
from virtual_clock import in_virtual_time
from virtual_shell import VirtualShell


def a_bad_class(name: str = "bad") -> dict[str, Any]:
    body = a_class(name).to_object()
    body["spec"]["slo"] = {"ttft": {"p95Milliseconds": -5}}
    return body


def status_writes(shell: VirtualShell, key: str) -> int:
    return sum(c.key == key and c.sub == "status" for c in shell.server.calls)


@in_virtual_time
async def test_an_object_that_cannot_be_read_reports_it_once_and_stops_nothing(tmp_path: Path) -> None:
    shell = VirtualShell(tmp_path)
    shell.a_small_fleet()
    shell.server.put("workloadclasses", a_bad_class())
    async with shell.running():
        await shell.clock.sleep(300.0)
    assert len(shell.decider.started_s) > 10
    assert shell.condition("workloadclasses", "default/bad", "Accepted") == ("False", "InvalidSpec")
    assert status_writes(shell, "default/bad") == 1
    assert shell.condition("workloadclasses", "default/chat", "Ready") == ("True", "Ready")


@in_virtual_time
async def test_a_class_that_becomes_unreadable_is_served_as_before_says_so_and_recovers(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    shell = VirtualShell(tmp_path)
    shell.a_small_fleet()
    async with shell.running():
        await shell.clock.sleep(60.0)
        shell.server.put("workloadclasses", a_bad_class("chat"))
        await shell.clock.sleep(5.0)
        assert shell.condition("workloadclasses", "default/chat", "Accepted") == ("False", "InvalidSpec")
        assert shell.condition("workloadclasses", "default/chat", "Ready") == ("True", "LastReadableUsed")
        shell.apply(a_class())
        await shell.clock.sleep(60.0)
        assert shell.condition("workloadclasses", "default/chat", "Accepted") == ("True", "Accepted")
        assert shell.condition("workloadclasses", "default/chat", "Ready") == ("True", "Ready")
    said = [line for line in caplog.messages if line.startswith("unreadable: WorkloadClass default/chat: ")]
    first, last = said
    assert "it cannot be read" in first
    assert "works again after" in last


@in_virtual_time
async def test_an_unreadable_fleet_reports_it_and_nothing_is_acted_on(tmp_path: Path) -> None:
    shell = VirtualShell(tmp_path)
    shell.a_small_fleet()
    body = a_fleet().to_object()
    body["spec"]["robustnessMargin"] = "much"
    shell.server.put("fleets", body)
    async with shell.running():
        await shell.clock.sleep(60.0)
    assert shell.condition("fleets", "default", "Accepted") == ("False", "InvalidSpec")
    assert shell.server.of("deployments") == {}
