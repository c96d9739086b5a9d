"""The history of one class: how many peaks it keeps, and for how long they hold a rate."""

from __future__ import annotations

import math
from collections.abc import Iterable

import pytest

from argosy.demand.history import (
    LONGEST_STABILIZATION_S,
    THINNED_S,
    ClassHistory,
    DemandHistory,
    observe,
)
from argosy.keys import CellName, ClassKey
from argosy.snapshot import RouteCounters, Sample, TelemetryReading

CHAT = ClassKey("ns/chat")
CELL = CellName.of_class(CHAT)
START_S = 1_700_000_000.0
READING_S = 2.0
HOUR = round(LONGEST_STABILIZATION_S / READING_S)


def read_every_two_seconds(rates_per_s: Iterable[float], start_s: float = START_S) -> list[ClassHistory]:
    """The history after each reading of one Envoy."""
    history, now_s, total, found = DemandHistory(), start_s, 0.0, []
    for rate in rates_per_s:
        now_s, total = now_s + READING_S, total + READING_S * rate
        sample = Sample(RouteCounters(math.floor(total), 0.0, 0.0), now_s)
        history = observe(history, TelemetryReading(routes={("a", CELL): sample}), {CELL: CHAT}, now_s)
        found.append(history.classes[CHAT])
    return found


def falling(num: int) -> list[float]:
    """A fall so slow that no reading shows a change, and so steady that each settles lower."""
    return [400 - 250 * i / num for i in range(num)]


def test_a_rate_that_falls_for_three_hours_has_at_most_91_peaks() -> None:
    num_peaks = [len(known.peaks) for known in read_every_two_seconds(falling(3 * HOUR))]
    assert max(num_peaks) <= 91
    # One for each of the last sixty minutes, and those of the last one.
    assert num_peaks[-1] > 60


def test_a_peak_of_the_last_minute_is_forgotten_to_the_second() -> None:
    histories = read_every_two_seconds(falling(300))
    settled = [(known.estimate.at_s, known.estimate.upper_per_s) for known in histories if known.estimate]
    for at_s, rate in settled[-29:]:
        assert histories[-1].highest_since(at_s) == pytest.approx(rate, abs=0.001)


@pytest.mark.parametrize("start_s", [START_S, START_S + 17.3, START_S + 39.999])
def test_an_older_rate_is_held_for_at_most_a_minute_longer_and_never_shorter(start_s: float) -> None:
    histories = read_every_two_seconds(falling(HOUR), start_s)
    settled = [(k.estimate.at_s, k.estimate.upper_per_s) for k in histories if k.estimate and k.peaks]
    for at_s, rate in settled:
        held = histories[-1].highest_since(at_s)
        earlier = [r for t, r in settled if t >= at_s - THINNED_S]
        assert rate <= held <= max(earlier) + 0.001


def test_a_clock_that_goes_back_again_and_again_adds_no_peaks() -> None:
    history, total = DemandHistory(), 0.0
    for i, rate in enumerate(falling(2 * HOUR)):
        total += READING_S * rate
        # A minute and a half on, then back by as much.
        now_s = START_S + READING_S * (i % 45)
        sample = Sample(RouteCounters(math.floor(total), 0.0, 0.0), now_s)
        history = observe(history, TelemetryReading(routes={("a", CELL): sample}), {CELL: CHAT}, now_s)
        assert len(history.classes[CHAT].peaks) <= 91
