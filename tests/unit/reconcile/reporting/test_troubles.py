"""What goes wrong is logged once per change, and read by /readyz once it lasts."""

from __future__ import annotations

import logging

import pytest
from virtual_clock import VirtualClock, in_virtual_time, troubles_of

from argosy.reconcile.reporting.troubles import FIRST_REMINDER_S, LASTING_S, MOST_SENTENCES


@pytest.fixture(autouse=True)
def _logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)


@in_virtual_time
async def test_a_failure_that_repeats_twice_a_second_is_logged_when_it_begins_and_ends_and_rarely_between(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock = VirtualClock()
    troubles = troubles_of(clock)
    for _ in range(1200):
        troubles.failed("decisions", "no permission")
        await clock.sleep(0.5)
    troubles.succeeded("decisions")
    assert [message.split(",")[0] for message in caplog.messages] == [
        "decisions: no permission",
        "decisions: still",
        "decisions: still",
        "decisions: still",
        "decisions: works again after 600 s",
    ]
    assert caplog.messages[1] == "decisions: still, after 60 s and 121 times: no permission"


@in_virtual_time
async def test_another_sentence_is_logged_at_once_and_one_that_alternates_is_not(
    caplog: pytest.LogCaptureFixture,
) -> None:
    troubles = troubles_of(VirtualClock())
    for number in range(10):
        troubles.failed("decisions", f"cause {number % 2}")
    assert caplog.messages == ["decisions: cause 0", "decisions: cause 1"]


@in_virtual_time
async def test_sentences_that_differ_each_time_do_not_fill_the_log(caplog: pytest.LogCaptureFixture) -> None:
    troubles = troubles_of(VirtualClock())
    for number in range(1000):
        troubles.failed("decisions", f"after {number} ms")
    assert len(caplog.messages) == MOST_SENTENCES


@in_virtual_time
async def test_only_a_failure_that_lasts_is_a_matter_for_readyz() -> None:
    clock = VirtualClock()
    troubles = troubles_of(clock)
    troubles.failed("decisions", "refused")
    troubles.failed("events", "refused", is_readiness=False)
    await clock.sleep(LASTING_S - 0.1)
    assert troubles.lasting() == ()
    await clock.sleep(0.2)
    assert troubles.lasting() == ("decisions: refused",)
    troubles.succeeded("decisions")
    assert troubles.lasting() == ()


@in_virtual_time
async def test_what_is_gone_is_no_trouble_any_more() -> None:
    clock = VirtualClock()
    troubles = troubles_of(clock)
    for name in ("status of a", "status of b", "decisions"):
        troubles.failed(name, "refused")
    await clock.sleep(FIRST_REMINDER_S)
    troubles.keep_only("status of ", frozenset({"status of b"}))
    assert troubles.lasting() == ("decisions: refused", "status of b: refused")
