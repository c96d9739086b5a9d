"""A measured run, repeated on a simulated engine.

Owns the requests that stand for a run's (drawn once, so that every step time is judged on the same
ones), and the comparison of what was measured with what the engine would have shown. `fit` chooses
the step time. Input: a row and an engine's limits. Output: quantities with their measured and
predicted values.

`validation.runs` repeats runs too, by the one protocol of its rows: a published figure must not move
with what is assumed here of reports that leave their lengths, their statistics or their load unsaid.
What the two share is `twin.simulate_loop`, which knows neither.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from statistics import NormalDist

import numpy as np

from argosy.arrays import Floats, Integers
from argosy.engine import ClosedLoop, twin
from argosy.engine.request import EngineLimits
from argosy.engine.simulate import Requests, RequestTimes
from argosy.engine.step_times import StepTimeSource
from argosy.perf.measurements.rows import (
    ClosedLoopLoad,
    Latency,
    Measurement,
    OpenLoopLoad,
    SaturatingLoad,
    TokenLengths,
)

# Where a report does not say how lengths vary: enough that requests do not march in step, which
# no client's requests are for long, and about what InferenceMAX draws (uniform on [0.8 L, L]).
UNKNOWN_SPREAD = 0.1
_SEED = 1
_ROUNDS = 10
_LEAST_REQUESTS = 40
_MOST_REQUESTS = 2000
_OPEN_REQUESTS = 200
# One draw of arrivals is not the one that was measured: the mean over a few is nearer to it.
_OPEN_DRAWS = 4
_SHORTEST_GAP = 1e-200


class Quantity(StrEnum):
    """What can be compared."""

    ITL = "ITL"
    TTFT = "TTFT"
    E2E = "E2E"
    THROUGHPUT = "throughput"


# Relative noise of a measured mean. A TTFT holds queueing and the client's own delays; a table's
# throughput was found by a search over a coarse grid of rates.
_NOISE = {Quantity.ITL: 0.02, Quantity.TTFT: 0.15, Quantity.E2E: 0.03, Quantity.THROUGHPUT: 0.05}
# Under open load the requests met other neighbours than ours do.
_OPEN_NOISE_FACTOR = 2.0
_UNKNOWN_SPREAD_FACTOR = 2.0


@dataclass(frozen=True, slots=True)
class ObservedStatistic:
    """A measured value (milliseconds; requests/s for a throughput) and which statistic it is.

    percentile: None for a mean
    """

    quantity: Quantity
    value: float
    percentile: float | None = None


@dataclass(frozen=True, slots=True)
class Trial:
    """A run that can be repeated: lengths per request, and arrivals per draw or a concurrency."""

    measurement: Measurement
    observed: tuple[ObservedStatistic, ...]
    prompts: Integers
    outputs: Integers
    arrivals_s: tuple[Floats, ...]
    concurrency: int

    @property
    def longest(self) -> int:
        """Prompt and output of the longest request, tokens."""
        return int((self.prompts + self.outputs).max())

    @property
    def noise(self) -> tuple[float, ...]:
        """Relative standard error of each observed value."""
        return tuple(_noise(self.measurement, one) for one in self.observed)

    def predict(self, limits: EngineLimits, source: StepTimeSource) -> Floats:
        """What an engine with these step times shows for each of `observed`; shape (len(observed),)."""
        draws = [self._values(times, span_s) for times, span_s in self._runs(limits, source)]
        mean: Floats = np.mean(draws, axis=0)
        return mean

    def _runs(self, limits: EngineLimits, source: StepTimeSource) -> list[tuple[RequestTimes, float]]:
        """The times of each draw, and seconds from its start to its last token."""
        if not self.arrivals_s:
            loop = ClosedLoop(self.prompts, self.outputs, self.concurrency)
            closed = twin.simulate_loop(loop, limits, source)
            return [(closed.times, closed.duration_s)]
        requests = [Requests(arrivals_s, self.prompts, self.outputs) for arrivals_s in self.arrivals_s]
        row = twin.simulate_row([twin.EngineRun(one, limits, source) for one in requests])
        draws = [(one, row.of_engine(index)) for index, one in enumerate(requests)]
        return [(times, float((one.arrivals_s + times.e2e_ms / 1e3).max())) for one, times in draws]

    def _values(self, times: RequestTimes, span_s: float) -> list[float]:
        arrays = {Quantity.ITL: times.itl_ms, Quantity.TTFT: times.ttft_ms, Quantity.E2E: times.e2e_ms}
        return [
            len(self.prompts) / span_s
            if one.quantity is Quantity.THROUGHPUT
            else _statistic(arrays[one.quantity], one.percentile)
            for one in self.observed
        ]


def _noise(row: Measurement, observed: ObservedStatistic) -> float:
    noise = _NOISE[observed.quantity]
    if isinstance(row.load, OpenLoopLoad):
        noise *= _OPEN_NOISE_FACTOR
    if observed.quantity is Quantity.TTFT and row.output.std is None:
        noise *= _UNKNOWN_SPREAD_FACTOR
    return noise


def trial_of(measurement: Measurement, limits: EngineLimits) -> Trial | None:
    """None where the row measured nothing that an engine's step time decides."""
    rng = np.random.default_rng(_SEED)
    load = measurement.load
    count = _num_requests(measurement, limits)
    prompts = _draw(measurement.prompt, count, rng)
    outputs = _draw(measurement.output, count, rng)
    # Answers of one token have no gap, whatever a report says of theirs.
    observed = _observed(measurement if outputs.max() > 1 else replace(measurement, itl=None))
    if not observed:
        return None
    arrivals: tuple[Floats, ...] = ()
    if isinstance(load, OpenLoopLoad):
        draws = _OPEN_DRAWS if load.gap_cv else 1
        arrivals = tuple(_arrivals_s(load, count, rng) for _ in range(draws))
    return Trial(measurement, observed, prompts, outputs, arrivals, _in_flight(measurement, limits))


def _observed(row: Measurement) -> tuple[ObservedStatistic, ...]:
    """ITL and TTFT where they were measured; else E2E, else the throughput, which contain both."""
    found = [
        _latency(quantity, latency)
        for quantity, latency in ((Quantity.ITL, row.itl), (Quantity.TTFT, row.ttft))
        if latency is not None
    ]
    if not any(one.quantity is Quantity.ITL for one in found) and row.e2e is not None:
        found.append(_latency(Quantity.E2E, row.e2e))
    if found or isinstance(row.load, OpenLoopLoad):
        # Below saturation an open loop completes what is sent, whatever the engine.
        return tuple(found)
    rate = row.requests_per_s
    if rate is None and row.output_tokens_per_s is not None:
        rate = row.output_tokens_per_s / row.output.mean
    return () if rate is None else (ObservedStatistic(Quantity.THROUGHPUT, rate),)


def _latency(quantity: Quantity, latency: Latency) -> ObservedStatistic:
    """The mean where there is one, else the lowest percentile (the steadiest)."""
    if latency.mean_ms is not None:
        return ObservedStatistic(quantity, latency.mean_ms)
    percentiles = {50: latency.p50_ms, 90: latency.p90_ms, 95: latency.p95_ms, 99: latency.p99_ms}
    percentile, value = next((p, value) for p, value in percentiles.items() if value is not None)
    return ObservedStatistic(quantity, value, float(percentile))


def _statistic(values: Floats, percentile: float | None) -> float:
    """Over the requests that have one (an answer of one token has no gap)."""
    return float(np.nanmean(values) if percentile is None else np.nanpercentile(values, percentile))


def _in_flight(row: Measurement, limits: EngineLimits) -> int:
    if isinstance(row.load, ClosedLoopLoad):
        return row.load.concurrency
    return limits.max_num_seqs if isinstance(row.load, SaturatingLoad) else 0


def _num_requests(row: Measurement, limits: EngineLimits) -> int:
    """As many as were measured, for a start and an end weigh more in a short run."""
    rounds = max(_LEAST_REQUESTS, _ROUNDS * _in_flight(row, limits))
    assumed = _OPEN_REQUESTS if isinstance(row.load, OpenLoopLoad) else rounds
    return min(row.num_requests or assumed, _MOST_REQUESTS)


def _draw(lengths: TokenLengths, count: int, rng: np.random.Generator) -> Integers:
    """Lengths with this mean and spread: quantiles of a normal in random order, at least 1."""
    std = UNKNOWN_SPREAD * lengths.mean if lengths.std is None else lengths.std
    quantiles = rng.permutation((np.arange(count) + 0.5) / count)
    drawn = lengths.mean + std * _normal(quantiles)
    return np.maximum(1, np.rint(drawn)).astype(np.int64)


def _normal(quantiles: Floats) -> Floats:
    """The standard normal at these quantiles."""
    inverse = NormalDist().inv_cdf
    return np.array([inverse(quantile) for quantile in quantiles.tolist()])


def _arrivals_s(load: OpenLoopLoad, count: int, rng: np.random.Generator) -> Floats:
    """Gamma distributed gaps, stretched to have exactly the mean rate."""
    gaps = rng.gamma(load.gap_cv**-2.0, size=count) if load.gap_cv else np.ones(count)
    # Of wild bursts all gaps may underflow, and their sum is divided by.
    gaps = np.maximum(gaps, _SHORTEST_GAP)
    arrivals: Floats = np.cumsum(gaps) * (count / (gaps.sum() * load.requests_per_s))
    return arrivals
