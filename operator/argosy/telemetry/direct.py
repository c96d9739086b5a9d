"""Direct scraping: every engine's `/metrics` and every Envoy's admin interface, over HTTP.

Owns the requests: how many at a time, how long each may take. `parse` reads the answers and
`last_samples` keeps them. Input: `Targets`. Output: a `TelemetryReading`.

An engine that sends any HTTP answer, a bad or a late one included, is not silent: a silent engine is
taken for dead, and the planner loses its capacity. So a reading waits for each engine for a moment only,
and a request that is then unanswered stays open: the answer counts in a later reading.
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
from argosy.snapshot.liveness import SCRAPE_PATIENCE_S, SCRAPE_TIMEOUT_S
from argosy.telemetry.last_samples import EnvoyScrape, LastSamples
from argosy.telemetry.parse import (
    ROUTE_STATS_FILTER,
    RawRouteCounters,
    UnreadableAnswer,
    UnreadableAnswerReason,
    parse_adapters,
    parse_answered,
    parse_arrivals,
    parse_clusters,
    parse_engine,
    parse_route_stats,
)
from argosy.telemetry.port import CellOf, Targets
from argosy.telemetry.unread import NO_ANSWER, Why, of_answer, of_error

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ScrapeLimits:
    """Limits of one reading.

    patience_s: how long a reading waits for an answer; an Envoy that takes longer is not read
    timeout_s:  when a request to an engine is given up
    num_at_once: requests that a reading waits for
    max_body_bytes: a longer answer is unreadable (vLLM's own is about 60 KB, Envoy's `/clusters` 1.3 KB
    per endpoint)
    """

    patience_s: float = SCRAPE_PATIENCE_S
    timeout_s: float = SCRAPE_TIMEOUT_S
    num_at_once: int = 64
    max_body_bytes: int = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    body: bytes


@dataclass(frozen=True, slots=True)
class _NoAnswer:
    """None came, and why. `refused`: no process listens there."""

    refused: bool = False
    why: Why = NO_ANSWER


@dataclass(frozen=True, slots=True)
class _Asked:
    """A request to an engine that was sent at `at_s` (seconds since the epoch; `loop_s` by the loop's
    clock): its answer, and when it came by that clock.
    """

    at_s: float
    loop_s: float
    answer: asyncio.Task[tuple[_Answer | _NoAnswer, float]]


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
        self._open: dict[str, _Asked] = {}
        self._complaints: dict[str, str] = {}

    async def read(self, targets: Targets, now_s: float) -> TelemetryReading:
        """Read all targets at once; waits for `patience_s` where some target is slow or silent."""
        self._last.forget_all_but(targets)
        for address in self._open.keys() - set(targets.engines):
            self._open.pop(address).answer.cancel()
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
        for asked in self._open.values():
            asked.answer.cancel()
        self._open.clear()
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def _scrape_engine(self, address: str, now_s: float) -> None:
        """Ask, and wait for a moment. The first request without an answer stays open beside later ones:
        a slow engine answers that one, an engine that was cut off for a while a new one.
        """
        first = self._open.get(address)
        if first is not None and first.answer.done():
            del self._open[address]
            self._take(address, first)
            first = None
        asked = await self._ask(address, now_s)
        if asked.answer.done():
            self._take(address, asked)
            if first is not None and address not in self._last.unanswered_since_s:
                self._open.pop(address).answer.cancel()
            return
        if first is None:
            self._open[address] = asked
        else:
            asked.answer.cancel()
        self._last.engine_unanswered(address, asked.at_s)
        self._last.engine_unread(address, NO_ANSWER, asked.at_s)
        self._complain(address, NO_ANSWER[1])

    async def _ask(self, address: str, now_s: float) -> _Asked:
        """A request, answered or not: it holds a slot only as long as the reading waits for it."""
        loop = asyncio.get_running_loop()

        async def timed() -> tuple[_Answer | _NoAnswer, float]:
            answer = await self._get(f"http://{address}/metrics", timeout_s=self._limits.timeout_s)
            return answer, loop.time()

        async with self._slots:
            asked = _Asked(now_s, loop.time(), asyncio.create_task(timed()))
            try:
                await asyncio.wait({asked.answer}, timeout=self._limits.patience_s)
            except asyncio.CancelledError:
                asked.answer.cancel()
                raise
        return asked

    def _take(self, address: str, asked: _Asked) -> None:
        """Take note of how a request ended; an answer is dated with the moment at which it came."""
        answer, came_s = asked.answer.result()
        if isinstance(answer, _NoAnswer):
            self._last.engine_unanswered(address, asked.at_s, refused=answer.refused)
            self._last.engine_unread(address, answer.why, asked.at_s)
            self._complain(address, answer.why[1])
            return
        late_s = came_s - asked.loop_s
        at_s = asked.at_s + (late_s if late_s > self._limits.patience_s else 0.0)
        parsed = parse_engine(answer.body) if answer.status == 200 else _refused(answer)
        if isinstance(parsed, UnreadableAnswer):
            why = of_answer(answer.status, answer.body, parsed)
            self._last.engine_answered(address, None, at_s)
            self._last.engine_unread(address, why, at_s)
            self._complain(address, why[1])
        else:
            self._last.engine_answered(address, parsed, at_s)
            self._complain(address, "")

    async def _scrape_envoy(self, node: str, url: str, now_s: float) -> None:
        """Both answers or none: counters and health belong to one instant."""
        stats, clusters = await asyncio.gather(
            self._in_a_slot(f"{url}/stats", {"filter": ROUTE_STATS_FILTER, "format": "json"}),
            self._in_a_slot(f"{url}/clusters", {"format": "json"}),
        )
        if isinstance(stats, _NoAnswer) or isinstance(clusters, _NoAnswer):
            self._complain(url, f"Envoy {node} does not answer there; check its statistics listener")
            return
        routes = parse_route_stats(stats.body) if stats.status == 200 else _refused(stats)
        endpoints = parse_clusters(clusters.body) if clusters.status == 200 else _refused(clusters)
        if isinstance(routes, UnreadableAnswer) or isinstance(endpoints, UnreadableAnswer):
            self._complain(
                url, next(r.message for r in (routes, endpoints) if isinstance(r, UnreadableAnswer))
            )
            return
        by_cell = {cell: Sample(raw, now_s) for cell, raw in self._by_cell(routes).items()}
        answered, arrived = parse_answered(clusters.body), parse_arrivals(stats.body)
        adapters = parse_adapters(stats.body)
        self._last.envoy_answered(node, EnvoyScrape(now_s, by_cell, endpoints, answered, arrived, adapters))
        self._complain(url, "")

    def _by_cell(self, routes: Mapping[str, RawRouteCounters]) -> dict[CellName, RawRouteCounters]:
        cells = {prefix: self._cell_of(prefix) for prefix in routes}
        return {cell: routes[prefix] for prefix, cell in cells.items() if cell is not None}

    async def _in_a_slot(self, url: str, query: Mapping[str, str]) -> _Answer | _NoAnswer:
        async with self._slots:
            return await self._get(url, query, timeout_s=self._limits.patience_s)

    async def _get(
        self, url: str, query: Mapping[str, str] | None = None, *, timeout_s: float
    ) -> _Answer | _NoAnswer:
        timeout = aiohttp.ClientTimeout(total=timeout_s)
        try:
            async with self._open_session().get(url, params=query, timeout=timeout) as response:
                return _Answer(response.status, await self._body(response))
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            # ValueError: an address that is no URL.
            refused = _is_refusal(error)
            return _NoAnswer(refused, of_error(error, refused=refused))

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


def _is_refusal(error: Exception) -> bool:
    cause = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
    return isinstance(cause, ConnectionRefusedError)


def _refused(answer: _Answer) -> UnreadableAnswer:
    return UnreadableAnswer(UnreadableAnswerReason.NO_ANSWER, f"answers with status {answer.status}")


def _urls(targets: Targets) -> set[str]:
    return {*targets.engines, *(url.rstrip("/") for _, url in targets.envoys)}
