"""What was measured, as one reading that all decisions share.

Owns the shape of a telemetry reading, which `telemetry` fills. What was not read is absent: a gap is
never filled with a zero.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from argosy.keys import CellName
from argosy.snapshot.histogram import Histogram
from argosy.snapshot.sample import Sample
from argosy.snapshot.workload import Term


@dataclass(frozen=True, slots=True)
class CounterReading:
    """One engine's metrics at one instant; None where it does not show one.

    Totals since its start: iterations (`iteration_tokens_total_count`), gaps and gap_s
    (`inter_token_latency_seconds_count`, `_sum`), prompts (`time_to_first_token_seconds_count`),
    prompt_tokens, cached_prompt_tokens (`prompt_tokens_cached_total`) and preemptions.
    Gauges: num_running, kv_cache_usage (0-1). From the labels of `cache_config_info`: kv_blocks,
    block_size. start_time_s: `process_start_time_seconds`; a restart without it shows in the
    counters. Engines behind one address add up, their caches' usage is averaged.
    """

    iterations: float | None
    gaps: float | None
    gap_s: float | None
    prompts: float | None
    prompt_tokens: float | None
    cached_prompt_tokens: float | None
    preemptions: float | None
    num_running: float | None
    kv_cache_usage: float | None
    kv_blocks: float | None
    block_size: float | None
    start_time_s: float | None = None


@dataclass(frozen=True, slots=True)
class EngineReading:
    """One engine's state, from vLLM's metrics (names as in vLLM v1).

    Counters are totals since the engine's start; `kv_cache_usage` is 0-1. `counters`: what only
    recalibration reads; None where the engine shows nothing of it. `latencies`: of the requests
    answered since its start, in seconds; a term that the engine does not show is absent.
    """

    num_running: int
    num_waiting: int
    kv_cache_usage: float
    prompt_tokens_total: float
    generation_tokens_total: float
    requests_total: float
    counters: CounterReading | None = None
    latencies: Mapping[Term, Histogram] = field(default_factory=dict)


class EndpointHealth(StrEnum):
    """Envoy's health status of an endpoint."""

    HEALTHY = "Healthy"
    UNHEALTHY = "Unhealthy"
    """Failed its active health checks, or was ejected as an outlier."""
    PENDING = "Pending"
    """Added, first health check not passed yet."""


class UnreadCause(StrEnum):
    """Why an engine's metrics cannot be read; the values are those of the metric's label `reason`."""

    OLD_METRICS = "OldMetrics"
    """Names of vLLM before 0.9.2."""
    BAD_METRICS = "BadMetrics"
    """A metric is missing, or no number."""
    NO_METRICS = "NoMetrics"
    """An answer without any metric of vLLM."""
    STATUS = "Status"
    """An HTTP status other than 200."""
    TLS = "Tls"
    """It wants TLS."""
    UNREACHABLE = "Unreachable"
    """No answer, no connection."""


@dataclass(frozen=True, slots=True)
class Unread:
    """Why an engine's metrics cannot be read, in words, and since when (epoch seconds)."""

    cause: UnreadCause
    detail: str
    since_s: float


@dataclass(frozen=True, slots=True)
class RouteCounters:
    """One route cell's request counters at one Envoy (totals since its start).

    errors_5xx_total: answered with a 5xx; refused_total: refused with 429 because of a limit, and no errors
    """

    requests_total: float
    errors_5xx_total: float
    retries_total: float
    refused_total: float = 0.0


AdapterCell = tuple[CellName, str]
"""A route cell, and the name of a LoRA adapter."""


@dataclass(frozen=True, slots=True)
class TelemetryReading:
    """Everything measured, each with its age.

    engines:    by endpoint address `ip:port`; an engine that did not answer keeps its last sample
    unanswered_since_s: by endpoint address, when the first of the scrapes was sent that have all gone
                without an answer
    refused_since_s: of these, the ones that refuse connections now: since when they do in a row
    unread:     by endpoint address, why the last scrape gave no sample
    endpoints:  by endpoint address, Envoy's view; where several Envoys differ, the worst
    envoys:     by node id, that Envoy's view alone: health by endpoint address
    answered_at_s: by endpoint address, when an Envoy last showed that a request was answered there
    routes:     by (Envoy's node id, route cell)
    arrivals:   by Envoy's node id, the requests that came in, whatever became of them (total since its start)
    adapters:   by Envoy's node id, the requests that have ended, by cell and LoRA adapter (totals since its
                start); an adapter without a request is absent
    """

    engines: Mapping[str, Sample[EngineReading]] = field(default_factory=dict)
    unanswered_since_s: Mapping[str, float] = field(default_factory=dict)
    refused_since_s: Mapping[str, float] = field(default_factory=dict)
    endpoints: Mapping[str, Sample[EndpointHealth]] = field(default_factory=dict)
    envoys: Mapping[str, Sample[Mapping[str, EndpointHealth]]] = field(default_factory=dict)
    answered_at_s: Mapping[str, float] = field(default_factory=dict)
    routes: Mapping[tuple[str, CellName], Sample[RouteCounters]] = field(default_factory=dict)
    arrivals: Mapping[str, Sample[float]] = field(default_factory=dict)
    adapters: Mapping[str, Sample[Mapping[AdapterCell, float]]] = field(default_factory=dict)
    unread: Mapping[str, Unread] = field(default_factory=dict)
