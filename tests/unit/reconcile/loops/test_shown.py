"""What /metrics shows while the loops run: of the leader's decisions, and of what every process counts."""

from __future__ import annotations

from pathlib import Path

import pytest
from builders import a_fleet
from virtual_clock import in_virtual_time
from virtual_shell import VirtualShell

COST = "argosy_running_cost_usd_per_hour"
OF_DECISIONS = (COST, "argosy_budget_usd_per_hour", "argosy_demand_requests_per_second")


def shown(shell: VirtualShell, name: str) -> list[float]:
    """The values of a metric, over all its labels."""
    families = shell.state.metrics.registry.collect()
    return [s.value for family in families for s in family.samples if s.name == name]


@in_virtual_time
async def test_a_process_that_lost_its_lease_shows_no_costs_until_it_leads_again(tmp_path: Path) -> None:
    shell = VirtualShell(tmp_path)
    shell.a_small_fleet()
    shell.apply(a_fleet(budgetUsdPerHour=50))
    async with shell.running():
        await shell.clock.sleep(60.0)
        before = {name: shown(shell, name) for name in OF_DECISIONS}
        assert [len(values) for values in before.values()] == [1, 1, 1]
        shell.election.lose()
        await shell.clock.sleep(60.0)
        assert [shown(shell, name) for name in OF_DECISIONS] == [[], [], []]
        shell.election.gain()
        await shell.clock.sleep(10.0)
        assert {name: shown(shell, name) for name in OF_DECISIONS} == before


@in_virtual_time
async def test_requests_are_counted_by_a_process_that_does_not_lead_as_well(tmp_path: Path) -> None:
    shell = VirtualShell(tmp_path)
    shell.a_small_fleet()
    shell.scraper.answer = shell.counting(5.0)
    async with shell.running(traffic=True):
        await shell.clock.sleep(60.0)
        first = shown(shell, "argosy_class_requests_total")
        shell.election.lose()
        await shell.clock.sleep(100.0)
        second = shown(shell, "argosy_class_requests_total")
    assert second[0] - first[0] == pytest.approx(500.0, rel=0.05)
    assert shown(shell, "argosy_class_failed_requests_total") == [0.0, 0.0]
