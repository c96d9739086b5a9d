"""Telemetry from a Prometheus server, behind the same port as direct scraping.

Owns the queries and what their series mean; `last_samples` keeps the samples. Input: `Targets`.
Output: a `TelemetryReading` whose ages are those of Prometheus's own scrapes.

Every query is an instant query of a *range* selector (`up[90s]`), which answers with the raw samples
and the instants of their scrapes. A plain selector is dated with the moment of the query and repeats
a dead target's last value for five minutes: a silent engine would look alive and fresh.

Prometheus's clock dates the samples: it must agree with this process's to a few seconds, as the nodes
of a cluster do. Endpoint health is absent: Envoy exports no host's state to Prometheus.

Expected of the scrape configuration: `instance` is the engine's `ip:port`, or the host and port at which
Envoy's statistics are read. A route's stat prefix has no dot (`route.counters`), so it is the whole label
`envoy_route`.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import requests
from prometheus_api_client import PrometheusConnect
from prometheus_api_client.exceptions import PrometheusApiClientException
from urllib3.util.retry import Retry

from argosy.keys import CellName
from argosy.route.counters import (
    ADAPTER_COUNTER,
    ADAPTER_NAME,
    GATEWAY,
    REFUSED_CELL,
    REFUSED_COUNTER,
    REFUSED_PREFIX,
    VIRTUAL_HOST,
    stat_prefix_of,
)
from argosy.snapshot import Sample, TelemetryReading
from argosy.snapshot.telemetry import AdapterCell, UnreadCause
from argosy.telemetry.last_samples import EnvoyScrape, LastSamples
from argosy.telemetry.parse import (
    ALL_ENGINE_METRICS,
    CACHE_CONFIG,
    ENGINE_METRICS,
    KV_USAGE,
    LATENCY_BUCKETS,
    RawRouteCounters,
    UnreadableAnswer,
    UnreadableAnswerReason,
    engine_reading,
    raw_route_counters,
)
from argosy.telemetry.port import CellOf, Targets
from argosy.telemetry.unread import FAILED_SCRAPE, NO_TARGET, OLD, OLD_KV_USAGE, Why

_log = logging.getLogger(__name__)

_ROUTE_METRICS = "envoy_vhost_route_upstream_rq_(total|completed|retry|xx)"
_ENGINE_SERIES = frozenset((*ALL_ENGINE_METRICS, *LATENCY_BUCKETS.values()))
_REFUSED = f"envoy_{REFUSED_PREFIX}_{REFUSED_COUNTER}"
_ARRIVALS = "envoy_http_downstream_rq_total"
_ADAPTERS = f"envoy_{REFUSED_PREFIX}_{ADAPTER_COUNTER}"
_OF_ALL = (_ARRIVALS, _ADAPTERS)
_SAME_SCRAPE_S = 0.0005
"""Series of one scrape carry its one time stamp, to the millisecond."""


@dataclass(frozen=True, slots=True)
class PrometheusSettings:
    """Where Prometheus is, and how long to wait for it.

    window_s: how far back samples are asked for; more than two scrape intervals
    timeout_s: for all queries of one reading together
    """

    url: str
    window_s: int = 90
    timeout_s: float = 5.0


@dataclass(frozen=True, slots=True)
class Series:
    """One series: its labels, and its samples (seconds since the epoch, value) in order."""

    labels: Mapping[str, str]
    samples: tuple[tuple[float, float], ...]

    @property
    def name(self) -> str:
        """The metric's name; empty where the query dropped it."""
        return self.labels.get("__name__", "")

    @property
    def newest(self) -> tuple[float, float]:
        """The last sample: (seconds since the epoch, value)."""
        return self.samples[-1]


class PrometheusSource:
    """A `TelemetrySource` that asks a Prometheus server."""

    def __init__(self, settings: PrometheusSettings, cell_of: CellOf) -> None:
        self._settings = settings
        self._cell_of = cell_of
        self._last = LastSamples()
        # The client is synchronous. One thread: a server that sends its answer slowly delays the next
        # query, and the number of threads does not grow.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="prometheus")
        self._asking: asyncio.Future[tuple[Series, ...]] | None = None
        # No retries of its own: the next reading is the retry, and old samples show their age.
        self._client = PrometheusConnect(settings.url.rstrip("/"), retry=Retry(total=0))
        self._trouble = ""

    async def read(self, targets: Targets, now_s: float) -> TelemetryReading:
        """Query once; where Prometheus does not answer, all samples stay and age."""
        self._last.forget_all_but(targets)
        if targets.engines or targets.envoys:
            answer = await self._ask()
            self._complain(answer.message if isinstance(answer, UnreadableAnswer) else "")
            if not isinstance(answer, UnreadableAnswer):
                past = _not_after(answer, now_s)
                self._take_engines(past, targets.engines, now_s)
                self._take_envoys(past, targets.envoys)
        return self._last.reading()

    async def close(self) -> None:
        """End the thread without waiting for a running query."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def _ask(self) -> tuple[Series, ...] | UnreadableAnswer:
        if self._asking is not None and not self._asking.done():
            return UnreadableAnswer(
                UnreadableAnswerReason.NO_ANSWER, "the previous query has not been answered yet"
            )
        self._asking = asyncio.get_running_loop().run_in_executor(self._thread, self._query)
        # After the time-out no code awaits the future: an exception in it must be fetched here, or
        # asyncio logs it.
        self._asking.add_done_callback(lambda asked: asked.cancelled() or asked.exception())
        try:
            return await asyncio.wait_for(asyncio.shield(self._asking), self._settings.timeout_s)
        except TimeoutError:
            return UnreadableAnswer(
                UnreadableAnswerReason.NO_ANSWER, f"no answer within {self._settings.timeout_s:g} s"
            )
        except requests.ConnectionError:
            return UnreadableAnswer(UnreadableAnswerReason.NO_ANSWER, "it does not accept connections")
        except (PrometheusApiClientException, requests.RequestException) as error:
            return UnreadableAnswer(UnreadableAnswerReason.NO_ANSWER, str(error))
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            message = f"not an answer of Prometheus's API: {error!r}"
            return UnreadableAnswer(UnreadableAnswerReason.OTHER_FORMAT, message)

    def _query(self) -> tuple[Series, ...]:
        """All metrics in one query (runs in the thread)."""
        names = "|".join((*sorted(_ENGINE_SERIES), OLD_KV_USAGE, _ROUTE_METRICS, _REFUSED, *_OF_ALL, "up"))
        query = f'{{__name__=~"{names}"}}[{self._settings.window_s}s]'
        result = self._client.custom_query(query, timeout=self._settings.timeout_s)
        return tuple(series for item in result if (series := _series(item)) is not None)

    def _take_engines(self, answer: tuple[Series, ...], addresses: Iterable[str], now_s: float) -> None:
        by_instance = _by_instance(answer)
        for address in addresses:
            all_series = by_instance.get(address, ())
            ups = [series for series in all_series if series.name == "up"]
            silent_since_s = _silent_since_s(ups)
            reading = _engine_sample([series for series in all_series if series.name in _ENGINE_SERIES])
            if reading is not None:
                self._last.engine_answered(address, reading.value, reading.at_s)
            elif ups and silent_since_s is None:
                self._last.engine_answered(address, None, 0.0)
                self._last.engine_unread(address, _why(all_series), now_s)
            elif not ups:
                self._last.engine_unread(address, NO_TARGET, now_s)
            if silent_since_s is not None:
                known = self._last.engines.get(address)
                if known is None or known.at_s < silent_since_s:
                    self._last.engine_unanswered(address, silent_since_s)
                    self._last.engine_unread(address, FAILED_SCRAPE, silent_since_s)

    def _take_envoys(self, answer: tuple[Series, ...], envoys: Iterable[tuple[str, str]]) -> None:
        by_instance = _by_instance(answer)
        for node, url in envoys:
            all_series = by_instance.get(urlsplit(url).netloc, ())
            routes = self._routes(all_series)
            if routes:
                newest_s = max(sample.at_s for sample in routes.values())
                arrived, adapters = _arrived(all_series, newest_s), _adapters(all_series, newest_s)
                scrape = EnvoyScrape(newest_s, routes, arrived=arrived, adapters=adapters)
                self._last.envoy_answered(node, scrape)

    def _routes(self, all_series: Iterable[Series]) -> dict[CellName, Sample[RawRouteCounters]]:
        """One Envoy's counters by route cell, of its newest scrape."""
        counted = [
            series for series in all_series if _prefix(series) is not None and _counter(series) is not None
        ]
        values: dict[str, dict[str, float]] = {}
        at_s, newest = _newest_scrape(counted)
        for series in newest:
            counters = values.setdefault(_prefix(series) or "", {})
            counters[_counter(series) or ""] = series.newest[1]
        found: dict[CellName, Sample[RawRouteCounters]] = {}
        for prefix, counters in values.items():
            key, raw = self._cell_of(prefix), raw_route_counters(counters)
            if key is not None and raw is not None:
                found[key] = Sample(raw, at_s)
        return found

    def _complain(self, reason: str) -> None:
        """Log trouble once, when it begins or changes, and its end."""
        if reason and reason != self._trouble:
            remedy = "check that it runs and that --prometheus names it; until then plans use declared rates"
            _log.warning("telemetry: Prometheus at %s: %s; %s", self._settings.url, reason, remedy)
        elif self._trouble and not reason:
            _log.info("telemetry: Prometheus at %s answers again", self._settings.url)
        self._trouble = reason


def _series(item: Mapping[str, Any]) -> Series | None:
    """One element of a `matrix` result, without samples that are not finite; None where none is left."""
    samples = tuple(
        (float(at_s), value) for at_s, text in item["values"] if math.isfinite(value := float(text))
    )
    return Series({str(k): str(v) for k, v in item["metric"].items()}, samples) if samples else None


def _not_after(answer: Iterable[Series], now_s: float) -> tuple[Series, ...]:
    """The answer without samples from the far future (a wrong clock): they would not age."""
    tolerance_s = 60.0
    cut = (
        Series(series.labels, tuple(s for s in series.samples if s[0] <= now_s + tolerance_s))
        for series in answer
    )
    return tuple(series for series in cut if series.samples)


def _by_instance(answer: Iterable[Series]) -> dict[str, list[Series]]:
    found: dict[str, list[Series]] = {}
    for series in answer:
        found.setdefault(series.labels.get("instance", ""), []).append(series)
    return found


def _newest_scrape(all_series: Iterable[Series]) -> tuple[float, list[Series]]:
    """The instant of the newest scrape, and its series.

    Series that ended earlier belong to a process that is gone (other labels, same address): the sum
    would count both.
    """
    known = list(all_series)
    at_s = max((series.newest[0] for series in known), default=0.0)
    return at_s, [series for series in known if series.newest[0] >= at_s - _SAME_SCRAPE_S]


def _engine_sample(all_series: Iterable[Series]) -> Sample[Any] | None:
    at_s, newest = _newest_scrape(all_series)
    values: dict[str, tuple[float, ...]] = {}
    for series in newest:
        values[series.name] = (*values.get(series.name, ()), series.newest[1])
    caches = [series.labels for series in newest if series.name == CACHE_CONFIG]
    buckets = {
        term: [(_bound(series), series.newest[1]) for series in newest if series.name == name]
        for term, name in LATENCY_BUCKETS.items()
    }
    reading = engine_reading(values, caches, buckets)
    return None if isinstance(reading, UnreadableAnswer) else Sample(reading, at_s)


def _why(all_series: Iterable[Series]) -> Why:
    """Why the series of an engine that Prometheus scrapes are no reading."""
    _, newest = _newest_scrape(all_series)
    names = {series.name for series in newest}
    if OLD_KV_USAGE in names and KV_USAGE not in names:
        return OLD
    missing = [name for name in ENGINE_METRICS if name not in names]
    return UnreadCause.BAD_METRICS, f"Prometheus has no number of {', '.join(missing)}"


def _bound(series: Series) -> float:
    """The upper bound of a histogram's bucket; NaN where it has none."""
    try:
        return float(series.labels.get("le", ""))
    except ValueError:
        return math.nan


def _silent_since_s(ups: Iterable[Series]) -> float | None:
    """When the current run of failed scrapes began; None where the last scrape succeeded."""
    _, newest = _newest_scrape(ups)
    if not newest or any(series.newest[1] > 0 for series in newest):
        return None
    since_s = newest[0].newest[0]
    for at_s, value in reversed(newest[0].samples):
        if value > 0:
            break
        since_s = at_s
    return since_s


def _arrived(all_series: Iterable[Series], at_s: float) -> float | None:
    """The requests that came in at the gateway by this scrape; None where it does not show them."""
    found = (
        series.newest[1]
        for series in all_series
        if series.name == _ARRIVALS
        and series.labels.get("envoy_http_conn_manager_prefix") == GATEWAY
        and abs(series.newest[0] - at_s) <= _SAME_SCRAPE_S
    )
    return next(found, None)


def _adapters(all_series: Iterable[Series], at_s: float) -> dict[AdapterCell, float]:
    """The requests by cell and LoRA adapter of this scrape."""
    return {
        (CellName(series.labels.get(REFUSED_CELL, "")), name): series.newest[1]
        for series in all_series
        if series.name == _ADAPTERS
        and abs(series.newest[0] - at_s) <= _SAME_SCRAPE_S
        and (name := series.labels.get(ADAPTER_NAME, ""))
    }


def _prefix(series: Series) -> str | None:
    """The stat prefix of the route that a series is about; None where it is about none of Argosy's."""
    if series.name == _REFUSED:
        return stat_prefix_of(CellName(series.labels.get(REFUSED_CELL, "")))
    if series.labels.get("envoy_virtual_host") == VIRTUAL_HOST:
        return series.labels.get("envoy_route", "")
    return None


def _counter(series: Series) -> str | None:
    """Which of a route's counters a series is, by the end of its name in Envoy's admin interface."""
    if series.name == _REFUSED:
        return "refused"
    ending = series.name.rpartition("envoy_vhost_route_upstream_rq_")[2]
    if ending == "xx":
        return "5xx" if series.labels.get("envoy_response_code_class") == "5" else None
    return ending if ending in {"total", "completed", "retry"} else None
