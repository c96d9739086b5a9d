"""Direct scraping: every engine's `/metrics` and every Envoy's admin interface, over HTTP.

Owns the requests: how many at a time, how long each may take. `parse` reads the answers and
`last_samples` keeps them. Input: `Targets`. Output: a `TelemetryReading`.

An engine that sends any HTTP answer, a bad one included, is not silent: a silent engine is taken for
dead, and the planner loses its capacity.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp

from argosy.keys import CellName
from argosy.snapshot import Sample, TelemetryReading
from argosy.telemetry.last_samples import EnvoyScrape, LastSamples
from argosy.telemetry.parse import (
    ROUTE_STATS_FILTER,
    RawRouteCounters,
    UnreadableAnswer,
    UnreadableAnswerReason,
    parse_clusters,
    parse_engine,
    parse_route_stats,
)
from argosy.telemetry.port import CellOf, Targets

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ScrapeLimits:
    """Limits of one reading.

    timeout_s: per request. num_at_once: requests in flight. max_body_bytes: a longer answer is
    unreadable (vLLM's own is about 60 KB, Envoy's `/clusters` 1.3 KB per endpoint).
    """

    timeout_s: float = 1.0
    num_at_once: int = 64
    max_body_bytes: int = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    body: bytes


class DirectScraper:
    """A `TelemetrySource` that reads the targets themselves. Needs a running event loop at `read`."""

    def __init__(self, cell_of: CellOf, limits: ScrapeLimits | None = None) -> None:
        self._cell_of = cell_of
        self._limits = limits or ScrapeLimits()
        self._last = LastSamples()
        self._session: aiohttp.ClientSession | None = None
        # Not the connector's limit: the wait for a free connection would then count against the
        # time-out of requests that were not sent yet.
        self._slots = asyncio.Semaphore(self._limits.num_at_once)
        self._complaints: dict[str, str] = {}

    async def read(self, targets: Targets, now_s: float) -> TelemetryReading:
        """Read all targets at once; takes one time-out where some target is silent."""
        self._last.forget_all_but(targets)
        for url in self._complaints.keys() - _urls(targets):
            del self._complaints[url]
        scrapes: list[Coroutine[Any, Any, None]] = [
            self._scrape_envoy(node, url.rstrip("/"), now_s) for node, url in targets.envoys
        ]
        scrapes += [self._scrape_engine(address, now_s) for address in dict.fromkeys(targets.engines)]
        await asyncio.gather(*scrapes)
        return self._last.reading()

    async def close(self) -> None:
        """Close the connections; a later `read` opens new ones."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def _scrape_engine(self, address: str, now_s: float) -> None:
        answer = await self._get(f"http://{address}/metrics")
        if answer is None:
            self._last.engine_unanswered(address, now_s)
            self._complain(address, "does not answer")
            return
        parsed = parse_engine(answer.body) if answer.status == 200 else _refused(answer)
        if isinstance(parsed, UnreadableAnswer):
            self._last.engine_answered(address, None, now_s)
            self._complain(address, parsed.message)
        else:
            self._last.engine_answered(address, parsed, now_s)
            self._complain(address, "")

    async def _scrape_envoy(self, node: str, url: str, now_s: float) -> None:
        """Both answers or none: counters and health belong to one instant."""
        stats, clusters = await asyncio.gather(
            self._get(f"{url}/stats", {"filter": ROUTE_STATS_FILTER, "format": "json"}),
            self._get(f"{url}/clusters", {"format": "json"}),
        )
        if stats is None or clusters is None:
            self._complain(url, "does not answer")
            return
        routes = parse_route_stats(stats.body) if stats.status == 200 else _refused(stats)
        endpoints = parse_clusters(clusters.body) if clusters.status == 200 else _refused(clusters)
        if isinstance(routes, UnreadableAnswer) or isinstance(endpoints, UnreadableAnswer):
            self._complain(
                url, next(r.message for r in (routes, endpoints) if isinstance(r, UnreadableAnswer))
            )
            return
        by_cell = {cell: Sample(raw, now_s) for cell, raw in self._by_cell(routes).items()}
        self._last.envoy_answered(node, EnvoyScrape(now_s, by_cell, endpoints))
        self._complain(url, "")

    def _by_cell(self, routes: Mapping[str, RawRouteCounters]) -> dict[CellName, RawRouteCounters]:
        cells = {prefix: self._cell_of(prefix) for prefix in routes}
        return {cell: routes[prefix] for prefix, cell in cells.items() if cell is not None}

    async def _get(self, url: str, query: Mapping[str, str] | None = None) -> _Answer | None:
        """One answer; None where none came in time."""
        async with self._slots:
            try:
                async with self._open_session().get(url, params=query) as response:
                    return _Answer(response.status, await self._body(response))
            except (aiohttp.ClientError, OSError, TimeoutError, ValueError):
                # ValueError: an address that is no URL.
                return None

    async def _body(self, response: aiohttp.ClientResponse) -> bytes:
        parts: list[bytes] = []
        size = 0
        async for part in response.content.iter_any():
            parts.append(part)
            size += len(part)
            if size > self._limits.max_body_bytes:
                response.close()
                return b""
        return b"".join(parts)

    def _open_session(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=30),
                timeout=aiohttp.ClientTimeout(total=self._limits.timeout_s),
                trust_env=False,
            )
        return self._session

    def _complain(self, target: str, reason: str) -> None:
        """Log a target's trouble once, when it begins, and its end."""
        before = self._complaints.get(target, "")
        if reason == before:
            return
        if reason:
            self._complaints[target] = reason
            _log.warning("telemetry: %s: %s", target, reason)
        else:
            del self._complaints[target]
            _log.info("telemetry: %s is readable again", target)


def _refused(answer: _Answer) -> UnreadableAnswer:
    return UnreadableAnswer(UnreadableAnswerReason.NO_ANSWER, f"answers with status {answer.status}")


def _urls(targets: Targets) -> set[str]:
    return {*targets.engines, *(url.rstrip("/") for _, url in targets.envoys)}
