"""Peaks against all estimates that there were: what thinning them may and may not change."""

from __future__ import annotations

from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from argosy.demand.history import THINNED_S, DemandHistory, Estimate, observe
from argosy.keys import CellName, ClassKey
from argosy.snapshot import RouteCounters, Sample, TelemetryReading

CHAT = ClassKey("ns/chat")
CELL = CellName.of_class(CHAT)
SETTLED_S = 54.0
STEP_PER_S = 0.001

# Some minutes of one mean each, and what chance adds to every reading.
phases = st.lists(st.tuples(st.integers(10, 120), st.integers(0, 60)), min_size=1, max_size=6)


@settings(max_examples=60, deadline=None)
@given(phases, st.randoms(use_true_random=False), st.floats(0, 60))
def test_no_rate_is_held_shorter_than_without_thinning_nor_a_minute_longer(
    counts: list[tuple[int, int]], chance: Random, phase_s: float
) -> None:
    history, now_s, total = DemandHistory(), 1.7e9 + round(phase_s, 3), 0.0
    estimates: list[Estimate] = []
    for num_readings, mean in counts:
        for _ in range(num_readings):
            now_s, total = round(now_s + 2, 3), total + mean + chance.randint(0, 6)
            routes = {("a", CELL): Sample(RouteCounters(total, 0.0, 0.0), now_s)}
            history = observe(history, TelemetryReading(routes=routes), {CELL: CHAT}, now_s)
            if (estimate := history.classes[CHAT].estimate) is not None:
                estimates.append(estimate)
    for since_s in (estimate.at_s for estimate in estimates):
        settled = [e for e in estimates if e.at_s >= since_s and e.duration_s >= SETTLED_S]
        least = max((e.upper_per_s for e in settled), default=0.0)
        most = max(e.upper_per_s for e in estimates if e.at_s >= since_s - THINNED_S)
        assert least - 1e-9 <= history.classes[CHAT].highest_since(since_s) <= most + STEP_PER_S
