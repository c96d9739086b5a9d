"""The last sample of each target, kept between two readings, and counters that do not fall.

Owns ageing: a target that answered has a new sample, one that did not keeps the old one, and one that
is no longer read is dropped. Input: answers with their time. Output: a `TelemetryReading`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from argosy.keys import CellName
from argosy.snapshot import EndpointHealth, EngineReading, RouteCounters, Sample, TelemetryReading
from argosy.snapshot.telemetry import AdapterCell, Unread
from argosy.telemetry.parse import RawRouteCounters, worst
from argosy.telemetry.port import Targets
from argosy.telemetry.unread import Why


@dataclass(frozen=True, slots=True)
class EnvoyScrape:
    """One Envoy as it was at `at_s`: counters by route cell; by endpoint address its health and the
    requests that it has answered (totals); the requests that came in (total; None where not shown); those for
    LoRA adapters that have ended (totals).
    """

    at_s: float
    routes: Mapping[CellName, Sample[RawRouteCounters]] = field(default_factory=dict)
    endpoints: Mapping[str, EndpointHealth] = field(default_factory=dict)
    answered: Mapping[str, float] = field(default_factory=dict)
    arrived: float | None = None
    adapters: Mapping[AdapterCell, float] = field(default_factory=dict)


@dataclass(slots=True)
class LastSamples:
    """The last samples of all targets; changed in place by its owner, one source."""

    engines: dict[str, Sample[EngineReading]] = field(default_factory=dict)
    unanswered_since_s: dict[str, float] = field(default_factory=dict)
    refused_since_s: dict[str, float] = field(default_factory=dict)
    _answered_at_s: dict[str, float] = field(default_factory=dict)
    _unread: dict[str, Unread] = field(default_factory=dict)
    _envoys: dict[str, EnvoyScrape] = field(default_factory=dict)
    _routes: dict[tuple[str, CellName], tuple[RawRouteCounters, Sample[RouteCounters]]] = field(
        default_factory=dict
    )

    def forget_all_but(self, targets: Targets) -> None:
        """Drop the samples of targets that are no longer read."""
        engines, nodes = set(targets.engines), {node for node, _ in targets.envoys}
        for address in self.engines.keys() - engines:
            del self.engines[address]
        by_engine: tuple[dict[str, Any], ...] = (
            self.unanswered_since_s,
            self.refused_since_s,
            self._answered_at_s,
            self._unread,
        )
        for known in by_engine:
            for address in known.keys() - engines:
                del known[address]
        for node in self._envoys.keys() - nodes:
            del self._envoys[node]
        for key in [key for key in self._routes if key[0] not in nodes]:
            del self._routes[key]

    def engine_answered(self, address: str, reading: EngineReading | None, at_s: float) -> None:
        """An engine answered; `reading` is None where its answer could not be read.

        An engine with an unreadable answer is not silent: only its sample ages.
        """
        self.unanswered_since_s.pop(address, None)
        self.refused_since_s.pop(address, None)
        if reading is not None:
            self.engines[address] = Sample(reading, at_s)
            self._unread.pop(address, None)

    def engine_unread(self, address: str, why: Why, at_s: float) -> None:
        """An engine's metrics cannot be read; the first time in a row with this cause is kept."""
        cause, detail = why
        before = self._unread.get(address)
        since_s = before.since_s if before is not None and before.cause is cause else at_s
        self._unread[address] = Unread(cause, detail, since_s)

    def engine_unanswered(self, address: str, at_s: float, *, refused: bool = False) -> None:
        """An engine has not answered what it was sent at `at_s`; the first time in a row is kept.

        `refused`: no process listens there.
        """
        self.unanswered_since_s.setdefault(address, at_s)
        if refused:
            self.refused_since_s.setdefault(address, at_s)
        else:
            self.refused_since_s.pop(address, None)

    def envoy_answered(self, node: str, view: EnvoyScrape) -> None:
        """An Envoy answered: its routes and endpoints are those of `view` and no others."""
        for key in [key for key in self._routes if key[0] == node and key[1] not in view.routes]:
            del self._routes[key]
        for cell, sample in view.routes.items():
            known = self._routes.get((node, cell))
            counters = _monotone(known, sample.value)
            self._routes[node, cell] = (sample.value, Sample(counters, sample.at_s))
        before = self._envoys.get(node, EnvoyScrape(view.at_s)).answered
        for address, total in view.answered.items():
            if total > before.get(address, math.inf):  # a first total may be from any time before
                self._answered_at_s[address] = view.at_s
        self._envoys[node] = view

    def reading(self) -> TelemetryReading:
        """All samples, as values that later readings do not change."""
        return TelemetryReading(
            engines=dict(self.engines),
            unanswered_since_s=dict(self.unanswered_since_s),
            refused_since_s=dict(self.refused_since_s),
            answered_at_s=dict(self._answered_at_s),
            unread=dict(self._unread),
            arrivals={
                node: Sample(view.arrived, view.at_s)
                for node, view in self._envoys.items()
                if view.arrived is not None
            },
            adapters={node: Sample(view.adapters, view.at_s) for node, view in self._envoys.items()},
            endpoints=self._endpoints(),
            envoys={
                node: Sample(view.endpoints, view.at_s)
                for node, view in self._envoys.items()
                if view.endpoints
            },
            routes={key: sample for key, (_, sample) in self._routes.items()},
        )

    def _endpoints(self) -> dict[str, Sample[EndpointHealth]]:
        """Per endpoint the worst health of the newest scrapes: an Envoy that no longer answers does not
        override the others with its last view.
        """
        found: dict[str, Sample[EndpointHealth]] = {}
        for view in sorted(self._envoys.values(), key=lambda view: -view.at_s):
            for address, health in view.endpoints.items():
                known = found.get(address)
                if known is None:
                    found[address] = Sample(health, view.at_s)
                elif known.at_s == view.at_s:
                    found[address] = Sample(worst(known.value, health), view.at_s)
        return found


def _monotone(
    known: tuple[RawRouteCounters, Sample[RouteCounters]] | None, raw: RawRouteCounters
) -> RouteCounters:
    """The counters of `raw`, never falling while Envoy runs.

    Envoy counts a retry when it decides on it and the attempt when it is sent, so the difference
    of the two dips for a moment. `demand` takes a fall for a restart, so the dip is removed here;
    after a restart a raw counter itself has fallen.
    """
    counters = raw.counters()
    if known is None:
        return counters
    before, sample = known
    if raw.attempts < before.attempts or raw.completed < before.completed:
        return counters
    return replace(counters, requests_total=max(counters.requests_total, sample.value.requests_total))
