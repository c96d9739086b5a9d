"""An observed run on the simulated engine: the same requests at the same times.

Owns the replay and the comparison of what was observed with what the engine shows. Input: a run and an
engine. Output: a `Replay`, or a `CannotReplay`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from argosy.arrays import Floats
from argosy.engine import twin
from argosy.perf.capacity.search import EngineModel
from argosy.perf.observed.run import ObservedRun
from argosy.refusals import Refused

STATISTICS: Mapping[str, float | None] = {"mean": None, "p50": 50.0, "p95": 95.0, "p99": 99.0}
"""What a measure is compared by; a percentile is a value that was observed."""


class Measure(StrEnum):
    """What clients see of a request, in milliseconds."""

    TTFT = "TTFT"
    ITL = "ITL"
    E2E = "E2E"


class CannotReplayReason(StrEnum):
    """Why a run cannot be repeated."""

    BEYOND_LIMITS = "BeyondLimits"
    """A request is longer than the engine takes."""


@dataclass(frozen=True, slots=True)
class CannotReplay(Refused[CannotReplayReason]):
    """No replay, and why."""


@dataclass(frozen=True, slots=True)
class Statistic:
    """One statistic of one measure, milliseconds."""

    name: str
    observed_ms: float
    predicted_ms: float

    @property
    def error(self) -> float:
        """Relative; positive where the prediction is too high."""
        return self.predicted_ms / self.observed_ms - 1


@dataclass(frozen=True, slots=True)
class Comparison:
    """One measure over requests that have it.

    median_request_error: median over requests of the error's absolute value, relative
    """

    measure: Measure
    num_requests: int
    statistics: tuple[Statistic, ...]
    median_request_error: float

    def of(self, name: str) -> Statistic:
        """The statistic of this name."""
        return next(one for one in self.statistics if one.name == name)


@dataclass(frozen=True, slots=True)
class Latencies:
    """Milliseconds per request, shape (N,) each; NaN where a request has none."""

    ttft_ms: Floats
    itl_ms: Floats
    e2e_ms: Floats

    def items(self) -> Iterator[tuple[Measure, Floats]]:
        """Each measure with its values."""
        yield Measure.TTFT, self.ttft_ms
        yield Measure.ITL, self.itl_ms
        yield Measure.E2E, self.e2e_ms

    def part(self, where: slice) -> Latencies:
        """Of some of the requests."""
        return Latencies(self.ttft_ms[where], self.itl_ms[where], self.e2e_ms[where])


@dataclass(frozen=True, slots=True)
class Replay:
    """What was observed and what the engine shows, request by request."""

    observed: Latencies
    predicted: Latencies

    def comparisons(self, where: slice = slice(None)) -> tuple[Comparison, ...]:
        """Each measure that some of these requests have."""
        observed, predicted = self.observed.part(where), self.predicted.part(where)
        pairs = zip(observed.items(), predicted.items(), strict=True)
        found = (_compared(measure, seen, shown) for (measure, seen), (_, shown) in pairs)
        return tuple(one for one in found if one is not None)


def replayed(run: ObservedRun, engine: EngineModel) -> Replay | CannotReplay:
    """The run on this engine, which takes every request at the time when it was sent."""
    requests = run.as_requests()
    longest, most = (
        int((requests.prompt_tokens + requests.output_tokens).max()),
        engine.limits.longest_request,
    )
    if longest > most:
        message = (
            f"{run.name}: a request of {longest} tokens is longer than the {most} that the engine takes; "
            "give the --max-model-len that it was started with"
        )
        return CannotReplay(CannotReplayReason.BEYOND_LIMITS, message)
    times = twin.simulate(requests, engine.limits, engine.step_times)
    front_ms = engine.front_end_ms
    shown = Latencies(times.ttft_ms + front_ms, times.itl_ms, times.e2e_ms + front_ms)
    return Replay(latencies_of(run), shown)


def latencies_of(run: ObservedRun) -> Latencies:
    """What was observed."""
    return Latencies(run.of("ttft_ms"), run.of("itl_ms"), run.of("e2e_ms"))


def _compared(measure: Measure, observed: Floats, predicted: Floats) -> Comparison | None:
    """None where no request has the measure. A gap of 0 (tokens in one packet) has no relative error."""
    both = np.isfinite(observed) & np.isfinite(predicted) & (observed > 0)
    if not both.any():
        return None
    seen, shown = observed[both], predicted[both]
    statistics = tuple(
        Statistic(name, _statistic(seen, percentile), _statistic(shown, percentile))
        for name, percentile in STATISTICS.items()
    )
    error = float(np.median(np.abs(shown / seen - 1)))
    return Comparison(measure, len(seen), statistics, error)


def _statistic(values: Floats, percentile: float | None) -> float:
    if percentile is None:
        return float(np.mean(values))
    return float(np.percentile(values, percentile, method="inverted_cdf"))
