"""A clock that is off: Fleet says why no process leads, dated by the API server's clock."""

from __future__ import annotations

import logging

import pytest
from builders import a_fleet
from memory_api_server import MemoryApiServer
from pictures import a_picture
from virtual_clock import VirtualClock, in_virtual_time, troubles_of

from argosy.api.conditions import Condition, ConditionStatus
from argosy.api.fleet import FleetStatus
from argosy.api.schema.timestamp import rfc3339
from argosy.reconcile.reporting.clock_offset import ClockOffset
from argosy.snapshot.fleet import FleetSnapshot


class Process:
    def __init__(self, ahead_s: float) -> None:
        self.server, self.clock = MemoryApiServer(), VirtualClock()
        self.server.put("fleets", a_fleet().to_object())
        self.server.server_time_s = self.clock.now_s() - ahead_s
        self.offset = ClockOffset(self.server, self.clock, troubles_of(self.clock))
        self.may_lead = self.offset.look()

    def picture(self, *conditions: Condition) -> FleetSnapshot:
        fleet = a_fleet().model_copy(update={"status": FleetStatus(conditions=conditions)})
        return a_picture(fleet=fleet)

    @property
    def ready(self) -> dict[str, str] | None:
        rows = (self.server.of("fleets")["default"].get("status") or {}).get("conditions") or ()
        return next((row for row in rows if row["type"] == "Ready"), None)


@in_virtual_time
async def test_fleet_says_that_no_process_leads_and_why_by_the_api_servers_clock() -> None:
    process = Process(3 * 3600.0)
    await process.offset.report(process.picture())
    assert process.ready is not None
    assert (process.ready["status"], process.ready["reason"]) == ("Unknown", "ClockOff")
    assert "this machine's clock is 3 h ahead of the API server's" in process.ready["message"]
    assert "set both clocks by NTP" in process.ready["message"]
    assert process.server.server_time_s is not None
    assert process.ready["lastTransitionTime"] == rfc3339(process.server.server_time_s)


@in_virtual_time
async def test_two_processes_whose_clocks_are_off_do_not_overwrite_each_others_words() -> None:
    process = Process(-7200.0)
    said = Condition(
        type="Ready", status=ConditionStatus.UNKNOWN, reason="ClockOff", message="of another one"
    )
    await process.offset.report(process.picture(said))
    assert process.ready is None, "nothing is written"


@pytest.mark.parametrize(
    ("ahead_s", "may_lead", "said"),
    [
        pytest.param(0.4, True, "", id="as NTP keeps it"),
        pytest.param(8.0, True, "", id="an answer that took long"),
        pytest.param(-20.0, True, "20 s behind the API server's: ages and waits are misjudged", id="noticed"),
        pytest.param(61.0, False, "1 min ahead of the API server's: at most 60 s is allowed", id="too much"),
    ],
)
@in_virtual_time
async def test_what_a_process_says_of_its_clock(
    ahead_s: float, may_lead: bool, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        process = Process(ahead_s)
    assert process.may_lead is may_lead
    assert process.offset.seconds == pytest.approx(ahead_s)
    assert [said in record.getMessage() for record in caplog.records] == [True] * bool(said)
    await process.offset.report(process.picture())
    assert (process.ready is not None) is not may_lead


@in_virtual_time
async def test_without_an_answer_of_the_api_server_nothing_is_known_of_the_clock() -> None:
    clock, server = VirtualClock(), MemoryApiServer()
    offset = ClockOffset(server, clock, troubles_of(clock))
    assert offset.look()
    assert offset.seconds != offset.seconds
    assert offset.update(a_picture(fleet=a_fleet())) is None
