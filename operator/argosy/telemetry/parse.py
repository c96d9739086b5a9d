"""From bytes to readings: vLLM's metrics and the answers of Envoy's admin interface.

Owns which names are read and how they add up. Input: the body of an answer. Output: a reading, or
`UnreadableAnswer` with the reason; a value that is missing, cut off or not a number is not read as zero.

Names are those of vLLM v1 and of Envoy 1.40. An engine's body has some 600 lines, about twenty of
which are read, from every engine every two seconds: the body is searched for the names instead of
being split into lines (150 against 200 microseconds for 36 KB; a regular expression takes 300).
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Any

from argosy.addresses import written
from argosy.keys import CellName
from argosy.refusals import Refused
from argosy.route.counters import (
    ADAPTER_COUNTER,
    ADAPTER_NAME,
    ENDPOINT_ENDING,
    GATEWAY,
    REFUSED_CELL,
    REFUSED_COUNTER,
    REFUSED_PREFIX,
    VIRTUAL_HOST,
    stat_prefix_of,
)
from argosy.snapshot import CounterReading, EndpointHealth, EngineReading, RouteCounters, Term
from argosy.snapshot.histogram import Histogram
from argosy.snapshot.telemetry import AdapterCell

RUNNING = "vllm:num_requests_running"
WAITING = "vllm:num_requests_waiting"
KV_USAGE = "vllm:kv_cache_usage_perc"
PROMPT_TOKENS = "vllm:prompt_tokens_total"
GENERATION_TOKENS = "vllm:generation_tokens_total"
REQUESTS = "vllm:request_success_total"

ENGINE_METRICS = (RUNNING, WAITING, KV_USAGE, PROMPT_TOKENS, GENERATION_TOKENS, REQUESTS)
"""Needed for a reading; exact names: `num_requests_waiting` is also a prefix of another one."""

_COUNTERS = {
    "iterations": "vllm:iteration_tokens_total_count",
    "gaps": "vllm:inter_token_latency_seconds_count",
    "gap_s": "vllm:inter_token_latency_seconds_sum",
    "prompts": "vllm:time_to_first_token_seconds_count",
    "cached_prompt_tokens": "vllm:prompt_tokens_cached_total",
    "preemptions": "vllm:num_preemptions_total",
}
LATENCY_BUCKETS = {
    Term.TTFT: "vllm:time_to_first_token_seconds_bucket",
    Term.ITL: "vllm:request_time_per_output_token_seconds_bucket",
    Term.E2E: "vllm:e2e_request_latency_seconds_bucket",
}
"""Each request's latencies; an engine without them is read all the same."""
CACHE_CONFIG = "vllm:cache_config_info"
START_TIME = "process_start_time_seconds"

ALL_ENGINE_METRICS = (*ENGINE_METRICS, *_COUNTERS.values(), CACHE_CONFIG, START_TIME)
"""Every name that is read. Those not in `ENGINE_METRICS` may be missing: only recalibration needs them."""

_BOUND = re.compile(rb'[{,]le="([^"]+)"')
_LABEL = re.compile(rb'([A-Za-z_]\w*)="((?:[^"\\]|\\.)*)"')

ARRIVALS = f"http.{GATEWAY}.downstream_rq_total"
ADAPTERS = f"{REFUSED_PREFIX}.{ADAPTER_COUNTER}.{REFUSED_CELL}."
REFUSED = f"{REFUSED_PREFIX}.{REFUSED_COUNTER}.{REFUSED_CELL}."

ROUTE_STATS_FILTER = (
    rf"^vhost\.{VIRTUAL_HOST}\.route\..*\.upstream_rq_(total|completed|retry|5xx)$"
    rf"|^{re.escape(REFUSED)}"
    rf"|^{re.escape(ARRIVALS)}$"
    rf"|^{re.escape(ADAPTERS)}"
)
"""Regular expression for Envoy's `/stats?filter=`: what `parse_route_stats`, `parse_arrivals` and
`parse_adapters` read."""


class UnreadableAnswerReason(StrEnum):
    """Why there is no reading."""

    NO_ANSWER = "NoAnswer"
    """None came in time, or the source refused to answer."""
    OTHER_FORMAT = "OtherFormat"
    """Not what this source writes: no JSON, or JSON of another shape."""
    MISSING_METRIC = "MissingMetric"
    BAD_VALUE = "BadValue"


@dataclass(frozen=True, slots=True)
class UnreadableAnswer(Refused[UnreadableAnswerReason]):
    """No reading, and why, in a sentence for the log."""


@dataclass(frozen=True, slots=True)
class RawRouteCounters:
    """One route's counters as Envoy has them (totals since its start).

    attempts:  sent to an upstream, counted when sent, retries included (`upstream_rq_total`)
    completed: answered, by an upstream or by Envoy itself; counted at the response header
    retries:   attempts after the first (`upstream_rq_retry`)
    errors_5xx: answers with a 5xx, and what Envoy refused because of a limit: it counts a 503, though the
               client gets a 429
    refused:   of these, the refused ones
    """

    attempts: float
    completed: float
    retries: float
    errors_5xx: float
    refused: float = 0.0

    def counters(self) -> RouteCounters:
        """The requests that arrived.

        A request waiting for its header is in `attempts` only, one that Envoy refused (no healthy
        endpoint, 503) in `completed` only; one whose client gave up before the header in `attempts`
        only. Measured on 1.40: with neither refusals nor waiting both agree. The larger of the two
        misses at most the refusals that came while as many others still waited, until those are
        answered; their sum with corrections would need a count of refusals, which Envoy has per
        cluster only.
        """
        return RouteCounters(
            requests_total=max(self.attempts - self.retries, self.completed),
            # Between the two counters of a request that is being refused a scrape may come.
            errors_5xx_total=max(0.0, self.errors_5xx - self.refused),
            retries_total=self.retries,
            refused_total=self.refused,
        )


def parse_engine(body: bytes) -> EngineReading | UnreadableAnswer:
    """An engine's state from the text of its `/metrics`.

    Engines behind one address (data parallelism) add up; their caches' usage is averaged.
    """
    values = {
        name: tuple(map(_value, _samples(body, name.encode())))
        for name in ALL_ENGINE_METRICS
        if name != CACHE_CONFIG
    }
    caches = [_labels(sample) for sample in _samples(body, CACHE_CONFIG.encode())]
    buckets = {term: _buckets(body, name.encode()) for term, name in LATENCY_BUCKETS.items()}
    return engine_reading(values, caches, buckets)


def engine_reading(
    values_by_name: Mapping[str, tuple[float, ...]],
    caches: Sequence[Mapping[str, str]] = (),
    buckets: Mapping[Term, Sequence[tuple[float, float]]] = MappingProxyType({}),
) -> EngineReading | UnreadableAnswer:
    """An engine's state from all values of each of `ALL_ENGINE_METRICS`.

    caches: the labels of each `CACHE_CONFIG`; buckets: (upper bound in seconds, count) of each series
    of `LATENCY_BUCKETS`
    """
    missing = [name for name in ENGINE_METRICS if not values_by_name.get(name)]
    if missing:
        message = f"no value of {', '.join(missing)}"
        return UnreadableAnswer(UnreadableAnswerReason.MISSING_METRIC, message)
    odd = [name for name in ENGINE_METRICS if not all(_is_count(value) for value in values_by_name[name])]
    if odd:
        message = f"not a number of zero or more: {', '.join(odd)}"
        return UnreadableAnswer(UnreadableAnswerReason.BAD_VALUE, message)
    usages = values_by_name[KV_USAGE]
    return EngineReading(
        num_running=round(sum(values_by_name[RUNNING])),
        num_waiting=round(sum(values_by_name[WAITING])),
        kv_cache_usage=min(1.0, math.fsum(usages) / len(usages)),
        prompt_tokens_total=math.fsum(values_by_name[PROMPT_TOKENS]),
        generation_tokens_total=math.fsum(values_by_name[GENERATION_TOKENS]),
        requests_total=math.fsum(values_by_name[REQUESTS]),
        counters=_counter_reading(values_by_name, caches),
        latencies=_latencies(buckets),
    )


def _latencies(buckets: Mapping[Term, Sequence[tuple[float, float]]]) -> dict[Term, Histogram]:
    """The histograms that can be read; engines behind one address add up."""
    found: dict[Term, Histogram] = {}
    for term, series in buckets.items():
        counts: dict[float, float] = {}
        for bound_s, count in series:
            counts[bound_s] = counts.get(bound_s, 0.0) + count
        histogram = Histogram.of_buckets(counts)
        if histogram is not None:
            found[term] = histogram
    return found


def _counter_reading(
    values_by_name: Mapping[str, tuple[float, ...]], caches: Sequence[Mapping[str, str]]
) -> CounterReading | None:
    """What recalibration reads. A value that is not a number stays so: recalibration checks it."""
    if not any(values_by_name.get(name) for name in _COUNTERS.values()):
        return None
    totals = {
        field: sum(values) if (values := values_by_name.get(name)) else None
        for field, name in _COUNTERS.items()
    }
    usages, starts_s = values_by_name[KV_USAGE], values_by_name.get(START_TIME)
    sizes = set(_numbers(caches, "block_size"))
    blocks = _numbers(caches, "num_gpu_blocks")
    return CounterReading(
        **totals,
        prompt_tokens=math.fsum(values_by_name[PROMPT_TOKENS]),
        num_running=math.fsum(values_by_name[RUNNING]),
        kv_cache_usage=min(1.0, math.fsum(usages) / len(usages)),
        kv_blocks=sum(blocks) if blocks else None,
        block_size=sizes.pop() if len(sizes) == 1 else None,
        start_time_s=max(starts_s) if starts_s else None,
    )


def _numbers(caches: Sequence[Mapping[str, str]], label: str) -> list[float]:
    """A label's value in every cache's; empty unless each has a number (vLLM may write None)."""
    try:
        return [float(cache[label]) for cache in caches]
    except (KeyError, ValueError):
        return []


def parse_route_stats(body: bytes) -> Mapping[str, RawRouteCounters] | UnreadableAnswer:
    """Counters by the route's stat prefix, from `/stats?format=json` (see `ROUTE_STATS_FILTER`)."""
    document = _json_object(body)
    if isinstance(document, UnreadableAnswer):
        return document
    start = f"vhost.{VIRTUAL_HOST}.route."
    found: dict[str, dict[str, float]] = {}
    for stat in _objects(document.get("stats")):
        name, value = stat.get("name"), stat.get("value")
        if not isinstance(name, str) or not isinstance(value, int | float):
            continue
        if name.startswith(REFUSED):
            prefix = stat_prefix_of(CellName(name.removeprefix(REFUSED)))
            found.setdefault(prefix, {})["refused"] = float(value)
        elif name.startswith(start):
            prefix, _, counter = name.removeprefix(start).rpartition(".upstream_rq_")
            found.setdefault(prefix, {})[counter] = float(value)
    return {
        prefix: raw
        for prefix, values in found.items()
        if prefix and (raw := raw_route_counters(values)) is not None
    }


def parse_arrivals(body: bytes) -> float | None:
    """The requests that came in, from the answer that `parse_route_stats` reads; None where it has none."""
    document = _json_object(body)
    stats = [] if isinstance(document, UnreadableAnswer) else _objects(document.get("stats"))
    found = (stat.get("value") for stat in stats if stat.get("name") == ARRIVALS)
    return next((float(v) for v in found if isinstance(v, int | float) and _is_count(v)), None)


def parse_adapters(body: bytes) -> Mapping[AdapterCell, float]:
    """Requests by cell and LoRA adapter (totals), from the answer that `parse_route_stats` reads.

    Envoy creates a counter at the first such request; empty where the answer cannot be read.
    """
    document = _json_object(body)
    found: dict[AdapterCell, float] = {}
    for stat in [] if isinstance(document, UnreadableAnswer) else _objects(document.get("stats")):
        name, value = stat.get("name"), stat.get("value")
        if isinstance(name, str) and name.startswith(ADAPTERS) and isinstance(value, int | float):
            # No name of a cell has an underscore.
            cell, _, adapter = name.removeprefix(ADAPTERS).partition(f".{ADAPTER_NAME}.")
            if adapter and _is_count(value):
                found[CellName(cell), adapter] = float(value)
    return found


def raw_route_counters(values: Mapping[str, float]) -> RawRouteCounters | None:
    """Counters by the end of their name (`total`, `completed`, `retry`, `5xx`); None without `total`.

    Envoy creates `completed`, `5xx` and `refused` at the first such answer: until then their absence is a
    zero, which that of `total` (created with the route) never is.
    """
    if "total" not in values or not all(_is_count(value) for value in values.values()):
        return None
    return RawRouteCounters(
        attempts=values["total"],
        completed=values.get("completed", 0.0),
        retries=values.get("retry", 0.0),
        errors_5xx=values.get("5xx", 0.0),
        refused=values.get("refused", 0.0),
    )


def parse_clusters(body: bytes) -> Mapping[str, EndpointHealth] | UnreadableAnswer:
    """Health by endpoint address `ip:port`, from `/clusters?format=json`.

    An address in several clusters gets the worst of its states: each replica is in an HTTP cluster,
    where its address is internal and has the replica's own as its id, and in a TCP cluster. A host that
    EDS has removed and that only drains is left out: it is no endpoint any more.
    """
    document = _json_object(body)
    if isinstance(document, UnreadableAnswer):
        return document
    found: dict[str, EndpointHealth] = {}
    for address, host in _hosts(document):
        flags = host.get("health_status")
        if isinstance(flags, dict) and not flags.get("pending_dynamic_removal"):
            found[address] = worst(found.get(address), _health(flags))
    return found


def parse_answered(body: bytes) -> Mapping[str, float]:
    """Requests answered without an error by endpoint address, from `/clusters?format=json` (totals).

    Envoy counts them when the response header comes; its health checks are not among them. Empty where
    the answer cannot be read.
    """
    document = _json_object(body)
    found: dict[str, float] = {}
    for address, host in () if isinstance(document, UnreadableAnswer) else _hosts(document):
        for stat in _objects(host.get("stats")):
            # Counters are written as text, and left out while they are zero.
            if stat.get("name") == "rq_success" and str(stat.get("value", "0")).isdigit():
                found[address] = found.get(address, 0.0) + float(stat.get("value", 0))
    return found


def _hosts(document: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every endpoint of every cluster, by its address."""
    for cluster in _objects(document.get("cluster_statuses")):
        for host in _objects(cluster.get("host_statuses")):
            address = _address(host)
            if address is not None:
                yield address, host


def worst(known: EndpointHealth | None, seen: EndpointHealth) -> EndpointHealth:
    """The worse of two views of one endpoint."""
    return seen if known is None else max(known, seen, key=_BADNESS.__getitem__)


_BADNESS = {EndpointHealth.HEALTHY: 0, EndpointHealth.PENDING: 1, EndpointHealth.UNHEALTHY: 2}


def _health(flags: Mapping[str, Any]) -> EndpointHealth:
    if flags.get("failed_outlier_check") or flags.get("eds_health_status") in {"UNHEALTHY", "TIMEOUT"}:
        return EndpointHealth.UNHEALTHY
    # A new host fails its active check until the first one has passed: it is pending, not unhealthy.
    if flags.get("pending_active_hc"):
        return EndpointHealth.PENDING
    if flags.get("failed_active_health_check"):
        return EndpointHealth.UNHEALTHY
    return EndpointHealth.HEALTHY


def _address(host: Mapping[str, Any]) -> str | None:
    address = host.get("address")
    if not isinstance(address, dict):
        return None
    internal = address.get("envoy_internal_address")
    if isinstance(internal, dict) and isinstance(internal.get("endpoint_id"), str):
        endpoint = internal["endpoint_id"]
        return None if endpoint.endswith(ENDPOINT_ENDING) else endpoint or None
    socket = address.get("socket_address")
    if not isinstance(socket, dict) or not socket.get("address") or not socket.get("port_value"):
        return None
    return written(str(socket["address"]), socket["port_value"])


def _json_object(body: bytes) -> dict[str, Any] | UnreadableAnswer:
    try:
        document = json.loads(body)
    except ValueError as error:
        return UnreadableAnswer(UnreadableAnswerReason.OTHER_FORMAT, f"not JSON: {error}")
    if isinstance(document, dict):
        return document
    return UnreadableAnswer(UnreadableAnswerReason.OTHER_FORMAT, "not a JSON object")


def _objects(value: object) -> Iterator[dict[str, Any]]:
    if isinstance(value, list):
        yield from (item for item in value if isinstance(item, dict))


def _is_count(value: float) -> bool:
    return math.isfinite(value) and value >= 0


def _samples(body: bytes, name: bytes) -> Iterator[bytes]:
    """The lines of the metric called exactly `name`, without it: `{labels} value [timestamp]`.

    A line counts from its start and only with its line end: a body that was cut off may end in
    the middle of a number.
    """
    at = body.find(name)
    while at >= 0:
        after = at + len(name)
        end = body.find(b"\n", after)
        if end < 0:
            return
        if (at == 0 or body[at - 1 : at] == b"\n") and body[after : after + 1] in (b"{", b" "):
            yield body[after:end]
        at = body.find(name, end)


def _buckets(body: bytes, name: bytes) -> list[tuple[float, float]]:
    """(upper bound, count) of every bucket; NaN where the text is not a number."""
    found = []
    for sample in _samples(body, name):
        bound = _BOUND.search(sample)
        found.append((_number(bound[1]) if bound else math.nan, _value(sample)))
    return found


def _labels(rest: bytes) -> dict[str, str]:
    """The labels in a line without its name; escapes stay, since only numbers are read from them."""
    return {name.decode(): value.decode(errors="replace") for name, value in _LABEL.findall(rest)}


def _value(rest: bytes) -> float:
    """The value in a line without its name; NaN where the text is not a number."""
    if rest.startswith(b"{"):
        # A label's value may hold a brace; nothing after the labels does.
        rest = rest[rest.rfind(b"}") + 1 :]
    fields = rest.split()
    return _number(fields[0]) if fields else math.nan


def _number(text: bytes) -> float:
    """The number; NaN where the text is none. `+Inf` is infinity."""
    try:
        return float(text)
    except ValueError:
        return math.nan
