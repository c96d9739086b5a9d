"""What requests got in the last five minutes: rates, errors and latencies, as measured.

Owns the running history of it, in slots of `SLOT_S`. Input: readings, one after another. Output: a new
history; `Observed` of a class. vLLM's histograms do not tell the classes of a sharing group apart: the
latencies of a class are those of all requests of its groups, and `shared_by` counts the classes.

What was counted before a process began to watch, and by an engine before its first reading, is no
part of it: a counter's first value is where counting begins.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TypeVar

from argosy.keys import CellName, ClassKey, GroupName
from argosy.snapshot import RouteCounters, Slo, SloTerm, TelemetryReading, Term, fresh
from argosy.snapshot.histogram import Histogram, total_of

WINDOW_S = 300.0
SLOT_S = 15.0
FRESH_S = 10.0
"""An engine's queue is counted while its sample is younger than five readings of the traffic loop."""

Latencies = Mapping[Term, Histogram]


@dataclass(frozen=True, slots=True)
class Requests:
    """Requests of a class that arrived; those of them that were answered with a 5xx, and those that Envoy
    refused with 429 because of a limit, which are no errors."""

    num: float = 0.0
    errors: float = 0.0
    refused: float = 0.0

    def plus(self, other: Requests) -> Requests:
        """Both together."""
        return Requests(self.num + other.num, self.errors + other.errors, self.refused + other.refused)

    @property
    def answered_share(self) -> float:
        """The share (0-1) that was answered; 1 where none arrived."""
        return 1.0 - min(1.0, (self.errors + self.refused) / self.num) if self.num > 0 else 1.0


@dataclass(frozen=True, slots=True)
class Measured:
    """A reading, at `now_s`, and what its addresses and cells belong to.

    groups: by the address of an engine; classes: by route cell. What is in neither map is not counted.
    """

    reading: TelemetryReading
    now_s: float
    groups: Mapping[str, GroupName]
    classes: Mapping[CellName, ClassKey]


@dataclass(frozen=True, slots=True)
class ObservedHistory:
    """What was counted, by slot (its number since the epoch), and the totals as last read.

    started_s: when the first reading was taken (seconds since the epoch); None before it
    """

    started_s: float | None = None
    engines: Mapping[str, Latencies] = field(default_factory=dict)
    routes: Mapping[tuple[str, CellName], RouteCounters] = field(default_factory=dict)
    latencies: Mapping[GroupName, Mapping[int, Latencies]] = field(default_factory=dict)
    requests: Mapping[ClassKey, Mapping[int, Requests]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Observed:
    """A class over the last `window_s` seconds; what was not measured is None, or absent.

    latencies:   in seconds, of all requests of the class's groups
    num_waiting: requests in the queues of the groups' engines now; None where no engine answers
    """

    window_s: float
    requests: Requests | None
    latencies: Latencies
    num_waiting: int | None

    @property
    def requests_per_s(self) -> float | None:
        """Requests that arrived, per second; None where they could not be counted."""
        return self._per_s(self.requests.num) if self.requests else None

    @property
    def errors_per_s(self) -> float | None:
        """Requests answered with a 5xx, per second; None where they could not be counted."""
        return self._per_s(self.requests.errors) if self.requests else None

    @property
    def refused_per_s(self) -> float | None:
        """Requests refused because of a limit, per second; None where they could not be counted."""
        return self._per_s(self.requests.refused) if self.requests else None

    def _per_s(self, num: float) -> float | None:
        return num / self.window_s if self.window_s > 0 else None

    def kept(self, term: SloTerm) -> tuple[float, float] | None:
        """The share (0-1) of requests that kept a term of an SLO: the least and the most that it may be.

        Buckets give an interval. A request that failed or was refused kept no term: where none was answered,
        the share is 0. None where none was measured.
        """
        answered = self.requests.answered_share if self.requests is not None else 1.0
        if answered <= 0:
            return 0.0, 0.0
        measured = self.latencies.get(term.term)
        within = measured.share_within(term.bound_ms / 1000) if measured is not None else None
        if within is None:
            return None
        return within[0] * answered, within[1] * answered

    def attainment(self, slo: Slo) -> float | None:
        """The smallest share over the SLO's terms, each at its lower end; None where none was measured."""
        return min((kept[0] for term in slo.terms if (kept := self.kept(term)) is not None), default=None)

    def missed(self, slo: Slo) -> SloTerm | None:
        """The first term that was certainly not kept; None where each may have been.

        Certainly: at the upper end of the interval, and by more than chance explains (three standard
        deviations of a binomial count, and more than one request).
        """
        for term in slo.terms:
            kept = self.kept(term)
            if kept is not None:
                num = self._num_measured(term.term)
                allowed = num * (1 - term.percentile)
                slack = 3 * math.sqrt(allowed * term.percentile) + 1
                if num * (1 - kept[1]) > allowed + slack:
                    return term
        return None

    def _num_measured(self, term: Term) -> float:
        """The requests whose term is known: the answered ones, or, where none was, those that arrived."""
        measured = self.latencies.get(term)
        if measured is not None and measured.total > 0:
            return measured.total
        return self.requests.num if self.requests is not None else 0.0


def observe(history: ObservedHistory, measured: Measured) -> ObservedHistory:
    """The history with one more reading; classes and groups that are gone are dropped."""
    now_s, reading = measured.now_s, measured.reading
    return ObservedHistory(
        started_s=now_s if history.started_s is None else min(history.started_s, now_s),
        engines={a: s.value.latencies for a, s in reading.engines.items() if a in measured.groups},
        routes={key: s.value for key, s in reading.routes.items() if key[1] in measured.classes},
        latencies=_with_latencies(history, measured),
        requests=_with_requests(history, measured),
    )


def new_latencies(history: ObservedHistory, measured: Measured) -> dict[GroupName, Latencies]:
    """What the engines of each group counted since the reading that `history` ends with."""
    gained: dict[GroupName, dict[Term, list[Histogram]]] = {}
    for address, group in measured.groups.items():
        sample = measured.reading.engines.get(address)
        latencies, before = sample.value.latencies if sample else {}, history.engines.get(address, {})
        for term in latencies.keys() & before.keys():
            gained.setdefault(group, {}).setdefault(term, []).append(latencies[term].since(before[term]))
    return {group: _nonempty_totals(parts) for group, parts in gained.items()}


def new_requests(history: ObservedHistory, measured: Measured) -> dict[ClassKey, Requests]:
    """The requests of each class that Envoys counted since the reading that `history` ends with.

    A class of which no Envoy has been read twice is absent.
    """
    gained: dict[ClassKey, Requests] = {}
    for (node, cell), sample in measured.reading.routes.items():
        before = history.routes.get((node, cell))
        if before is not None and cell in measured.classes:
            key = measured.classes[cell]
            gained[key] = gained.get(key, Requests()).plus(_gained(before, sample.value))
    return gained


def observed(
    history: ObservedHistory, measured: Measured, key: ClassKey, groups: Iterable[GroupName]
) -> Observed:
    """What the requests of a class got. `groups`: those that serve it."""
    served_by = frozenset(groups)
    slots = [
        latencies for group in sorted(served_by) for latencies in history.latencies.get(group, {}).values()
    ]
    totals = {term: total_of(latencies[term] for latencies in slots if term in latencies) for term in Term}
    return Observed(
        window_s=_window_s(history, measured.now_s),
        requests=_total(history.requests.get(key, {}).values()),
        latencies={term: total for term, total in totals.items() if total is not None},
        num_waiting=_num_waiting(measured, served_by),
    )


def _window_s(history: ObservedHistory, now_s: float) -> float:
    """From the beginning of the oldest slot to now, or since the first reading where that is later."""
    if history.started_s is None:
        return 0.0
    oldest_s = (_slot(now_s) + 1) * SLOT_S - WINDOW_S
    return max(0.0, now_s - max(oldest_s, history.started_s))


def _total(counted: Iterable[Requests]) -> Requests | None:
    total: Requests | None = None
    for each in counted:
        total = each if total is None else total.plus(each)
    return total


def _num_waiting(measured: Measured, groups: frozenset[GroupName]) -> int | None:
    """Requests that wait in the queues of the groups' engines; None where none was read lately."""
    engines = measured.reading.engines
    read = [
        fresh(engines.get(address), measured.now_s, FRESH_S)
        for address, group in measured.groups.items()
        if group in groups
    ]
    waiting = [engine.num_waiting for engine in read if engine is not None]
    return sum(waiting) if waiting else None


def _with_latencies(history: ObservedHistory, measured: Measured) -> dict[GroupName, Mapping[int, Latencies]]:
    slot, gained = _slot(measured.now_s), new_latencies(history, measured)
    found: dict[GroupName, Mapping[int, Latencies]] = {}
    for group in sorted(set(measured.groups.values())):
        slots = _recent(history.latencies.get(group, {}), slot)
        here, more = slots.get(slot, {}), gained.get(group, {})
        parts = {term: [each[term] for each in (here, more) if term in each] for term in Term}
        found[group] = {**slots, slot: _nonempty_totals(parts)}
    return found


def _nonempty_totals(parts: Mapping[Term, Iterable[Histogram]]) -> dict[Term, Histogram]:
    totals = {term: total_of(part for part in each if part.total) for term, each in parts.items()}
    return {term: total for term, total in totals.items() if total is not None}


def _with_requests(history: ObservedHistory, measured: Measured) -> dict[ClassKey, Mapping[int, Requests]]:
    classes, slot = sorted(set(measured.classes.values())), _slot(measured.now_s)
    found = {key: _recent(history.requests.get(key, {}), slot) for key in classes}
    for key, more in new_requests(history, measured).items():
        found[key][slot] = found[key].get(slot, Requests()).plus(more)
    return dict(found)


def _slot(now_s: float) -> int:
    return math.floor(now_s / SLOT_S)


def _gained(before: RouteCounters, now: RouteCounters) -> Requests:
    """What came since the last reading; all of it where the counters began again."""
    if now.requests_total < before.requests_total:
        before = replace(now, requests_total=0.0, errors_5xx_total=0.0, refused_total=0.0)
    errors = max(0.0, now.errors_5xx_total - before.errors_5xx_total)
    refused = max(0.0, now.refused_total - before.refused_total)
    return Requests(now.requests_total - before.requests_total, errors, refused)


S = TypeVar("S")


def _recent(slots: Mapping[int, S], slot: int) -> dict[int, S]:
    """The slots of the window that ends with `slot`; those of a clock that went back are dropped too."""
    oldest = slot - round(WINDOW_S / SLOT_S) + 1
    return {number: found for number, found in slots.items() if oldest <= number <= slot}
