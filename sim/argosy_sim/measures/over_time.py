"""Measures over time: arrival rates in bins, percentiles in a rolling window.

Owns bins and windows. Input: records, and the length of the run. Output: `Steps` and `Rolling`. Seconds
count from the start of the run. Pure.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

from argosy.client.records import RequestRecord
from argosy.snapshot import Term
from argosy_sim.measures.percentiles import Percentiles, latency_ms
from argosy_sim.measures.steps import Steps

RATE_BIN_S = 5.0
ROLLING_S = 5.0
_ROLLING_STEP_S = 1.0


def arrival_rate(records: Sequence[RequestRecord], duration_s: float) -> Steps:
    """Requests/s that arrived between 0 and `duration_s`, in bins of 5 s; 0 after the last bin."""
    num_bins = math.ceil(duration_s / RATE_BIN_S)
    counts = [0] * num_bins
    for record in records:
        index = int(record.arrival_s // RATE_BIN_S)
        if 0 <= index < num_bins:
            counts[index] += 1
    points = [(index * RATE_BIN_S, count / RATE_BIN_S) for index, count in enumerate(counts)]
    return Steps((*points, (num_bins * RATE_BIN_S, 0.0)))


@dataclass(frozen=True, slots=True)
class Rolling:
    """Percentiles of the requests that arrived in the 5 s around `at_s`; None where none did."""

    at_s: float
    percentiles: Percentiles | None


def rolling_percentiles(
    records: Sequence[RequestRecord], term: Term, duration_s: float
) -> tuple[Rolling, ...]:
    """One value per second, of completed requests."""
    observed = sorted(
        (record.arrival_s, value_ms)
        for record in records
        if (value_ms := latency_ms(record, term)) is not None
    )
    arrivals_s = [arrival_s for arrival_s, _ in observed]
    num_steps = math.floor((duration_s - ROLLING_S) / _ROLLING_STEP_S) + 1
    rolling = []
    for start_s in (step * _ROLLING_STEP_S for step in range(num_steps)):
        first, last = bisect_left(arrivals_s, start_s), bisect_right(arrivals_s, start_s + ROLLING_S)
        of_window = Percentiles.of(value_ms for _, value_ms in observed[first:last])
        rolling.append(Rolling(start_s + ROLLING_S / 2, of_window))
    return tuple(rolling)
