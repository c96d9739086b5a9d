"""The history of each class's requests, and the rate estimated from it.

Owns the running estimate: the mean since the last change, over at most `HISTORY_S`. `forecast`
combines it with the declared rate. Input: readings, one after another. Output: a new history; the
old one stays as it was.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from argosy.demand.arrivals import Arrivals, Backlog
from argosy.demand.band import Side, likeliest_change, side
from argosy.demand.counters import HISTORY_S, NO_BACKLOG, SHORTEST_S, WINDOW_S, Count, Track, total
from argosy.keys import CellName, ClassKey
from argosy.snapshot import RouteCounters, Sample, TelemetryReading

LONGEST_STABILIZATION_S = 3600.0
"""The API's bound on `stabilizationSeconds`: older peaks are forgotten."""

THINNED_S = 60.0
"""Of peaks older than this, one is kept for each minute of the clock: the highest rate, with the latest
instant. A rate that falls slowly settles anew at every reading, 1,800 times in an hour; it now has 61
such peaks at most, and those of the last minute. The forecast of a stabilisation window of up to a
minute stays exact; a longer window may hold a rate for up to one minute longer, never shorter."""

_PEAK_STEPS = 1000
"""A peak's rate is rounded up to 0.001 requests/s, a sixteenth of its standard error or less: it is written
with three decimals, because the memory of 100 classes has to fit 256 KiB and a third of it are peaks."""

_FULL_S = HISTORY_S - WINDOW_S
"""An estimate over this long is settled: more samples hardly change it, so it is entered among the peaks."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A class's rate as observed.

    mean_per_s: the mean since the last change
    upper_per_s: the mean plus one standard error, so that few samples do not undersize a fleet
    at_s: when its newest sample was true
    duration_s: how long it averages over
    """

    mean_per_s: float
    upper_per_s: float
    at_s: float
    duration_s: float

    @property
    def is_settled(self) -> bool:
        """Whether it averages over so long that more samples hardly change it."""
        return self.duration_s >= _FULL_S


_CellSamples = dict[CellName, Sample[RouteCounters]]
"""One Envoy's counters of a class, by route cell."""


@dataclass(frozen=True, slots=True)
class ClassHistory:
    """One class's history.

    tracks:     its requests at each Envoy, by node id: its route cells' counters added up, because a new
                plan may cut the class into other cells while its rate stays what it is
    change_s:   when the rate last changed (minus infinity: never since the first sample)
    changed_at_s: when that change was detected
    peaks:      (at_s, rate) of settled estimates, those older than `THINNED_S` one for each minute, by
                time with falling rates: for any instant, the first at or after it is the highest since
    """

    tracks: Mapping[str, Track] = field(default_factory=dict)
    change_s: float = -math.inf
    changed_at_s: float | None = None
    peaks: tuple[tuple[float, float], ...] = ()
    estimate: Estimate | None = None

    @property
    def is_cut_by_a_change(self) -> bool:
        """Whether the estimate is not settled because the rate has changed, not for want of samples."""
        if self.estimate is None or self.estimate.is_settled:
            return False
        return self.estimate.at_s - self.estimate.duration_s - self.change_s < WINDOW_S

    def last_window(self) -> Count | None:
        """Requests of the last `WINDOW_S` at all Envoys that still answer; None while unknown."""
        return _total(track.count(track.latest_s - WINDOW_S) for track in _heard(self.tracks))

    def highest_since(self, start_s: float) -> float:
        """The highest rate that was settled at or after `start_s`; 0 where none was. More than
        `THINNED_S` ago it may have been settled earlier in the same minute.
        """
        return next((rate for at_s, rate in self.peaks if at_s >= start_s), 0.0)


@dataclass(frozen=True, slots=True)
class DemandHistory:
    """All classes' histories, by class key. `observed_at_s`: the instant of the last reading.

    arrivals: by Envoy's node id, what came in against what its routes have counted
    """

    classes: Mapping[ClassKey, ClassHistory] = field(default_factory=dict)
    observed_at_s: float = -math.inf
    arrivals: Mapping[str, Arrivals] = field(default_factory=dict)


def observe(
    history: DemandHistory,
    reading: TelemetryReading,
    class_by_cell: Mapping[CellName, ClassKey],
    now_s: float,
) -> DemandHistory:
    """The history with one more reading; a class that no cell belongs to is dropped."""
    samples: dict[ClassKey, dict[str, _CellSamples]] = {}
    for (node, cell), sample in reading.routes.items():
        if cell in class_by_cell:
            samples.setdefault(class_by_cell[cell], {}).setdefault(node, {})[cell] = sample
    arrivals, backlogs = _arrivals(history.arrivals, reading)
    clock_went_back = now_s < history.observed_at_s
    classes = {}
    for key in sorted(set(class_by_cell.values())):
        known = history.classes.get(key, ClassHistory())
        if clock_went_back:
            known = _not_after(known, now_s)
        classes[key] = _observe_class(known, _Seen(samples.get(key, {}), backlogs), now_s)
    return DemandHistory(classes, now_s, arrivals)


def _arrivals(
    known: Mapping[str, Arrivals], reading: TelemetryReading
) -> tuple[dict[str, Arrivals], dict[str, Backlog]]:
    """By node id, of Envoys that show what came in together with what was counted."""
    counted: dict[str, _CellSamples] = {}
    for (node, cell), sample in reading.routes.items():
        if (arrived := reading.arrivals.get(node)) is not None and arrived.at_s == sample.at_s:
            counted.setdefault(node, {})[cell] = sample
    found: dict[str, Arrivals] = {}
    backlogs: dict[str, Backlog] = {}
    for node, cells in counted.items():
        arrived = reading.arrivals[node]
        totals = {cell: sample.value.requests_total for cell, sample in cells.items()}
        if not all(map(math.isfinite, (arrived.value, *totals.values()))):
            continue
        before = known.get(node) or Arrivals(arrived.at_s, arrived.value, totals)
        found[node], backlogs[node] = before.observed(arrived.at_s, arrived.value, totals)
    return found, backlogs


@dataclass(frozen=True, slots=True)
class _Seen:
    """What a reading shows of one class, by node id: its counters, and what of them is late."""

    samples: Mapping[str, _CellSamples]
    backlogs: Mapping[str, Backlog]


def _observe_class(known: ClassHistory, seen_now: _Seen, now_s: float) -> ClassHistory:
    tracks = {
        node: _track(known.tracks.get(node), cells, seen_now.backlogs.get(node, NO_BACKLOG))
        for node, cells in seen_now.samples.items()
    }
    seen = replace(known, tracks=tracks)
    if all(known.tracks.get(key) is track for key, track in tracks.items()):
        return seen
    if any(track.has_just_begun_again for track in tracks.values()):
        seen = _settled(seen)
    return _estimated(_changed(seen, now_s))


def _track(known: Track | None, samples: _CellSamples, backlog: Backlog) -> Track:
    at_s = max(sample.at_s for sample in samples.values())  # an Envoy's counters are read together
    totals = {cell: sample.value.requests_total for cell, sample in samples.items()}
    return Track.starting(at_s, totals) if known is None else known.observed(at_s, totals, backlog)


def _changed(seen: ClassHistory, now_s: float) -> ClassHistory:
    """The history after looking for a change of the rate in the last window.

    At a change the estimate before it is entered among the peaks: it was the rate until then.
    """
    heard = _heard(seen.tracks)
    recent = seen.last_window()
    before = _total(track.count(seen.change_s, track.latest_s - WINDOW_S) for track in heard)
    if recent is None or before is None:
        return seen
    if side(recent, before.rate_per_s, before.rate_variance) is Side.INSIDE:
        return seen
    newest_s = max(track.latest_s for track in heard)
    instants = {
        at_s
        for track in heard
        for at_s, _ in track.points
        if newest_s - recent.duration_s <= at_s <= newest_s - SHORTEST_S
    }

    def since(at_s: float) -> Count:
        return _total(track.count(at_s) for track in heard) or recent

    change_s = likeliest_change(sorted(instants), since, before.rate_per_s) if instants else newest_s
    return replace(_settled(seen), change_s=change_s, changed_at_s=now_s)


def _estimated(seen: ClassHistory) -> ClassHistory:
    """The history with the estimate that its tracks give; unchanged where they give none."""
    counts = [count for track in seen.tracks.values() if (count := track.since(seen.change_s)) is not None]
    if not counts:
        return seen
    mean = math.fsum(count.rate_per_s for count in counts)
    error = math.sqrt(math.fsum(count.rate_variance for count in counts))
    at_s = max(track.latest_s for track in seen.tracks.values())
    estimate = Estimate(mean, mean + error, at_s, min(count.duration_s for count in counts))
    estimated = replace(seen, estimate=estimate)
    return _settled(estimated) if estimate.is_settled else estimated


def _settled(seen: ClassHistory) -> ClassHistory:
    """The history with its estimate among the peaks, and without those older than any window."""
    if seen.estimate is None:
        return seen
    at_s = seen.estimate.at_s
    rate = math.ceil(seen.estimate.upper_per_s * _PEAK_STEPS) / _PEAK_STEPS
    higher = tuple(
        peak for peak in seen.peaks if peak[1] > rate and peak[0] >= at_s - LONGEST_STABILIZATION_S
    )
    return replace(seen, peaks=_thinned((*higher, (at_s, rate)), at_s))


def _thinned(peaks: Iterable[tuple[float, float]], now_s: float) -> tuple[tuple[float, float], ...]:
    """Peaks with falling rates; of those older than `THINNED_S`, each minute's first rate and latest instant.

    Of several at one instant, as after the clock went back, the first is kept.
    """
    kept: list[tuple[float, float]] = []
    for at_s, rate in peaks:
        last_s = kept[-1][0] if kept else -math.inf
        is_old = at_s < now_s - THINNED_S
        if at_s == last_s or (is_old and at_s // 60.0 == last_s // 60.0):
            kept[-1] = (max(last_s, at_s), kept[-1][1])
        else:
            kept.append((at_s, rate))
    return tuple(kept)


def _not_after(known: ClassHistory, now_s: float) -> ClassHistory:
    """The history after the clock went back: times in the future become `now_s`, so that they can age."""
    estimate = known.estimate
    return replace(
        known,
        change_s=min(known.change_s, now_s),
        changed_at_s=None,
        peaks=tuple((min(at_s, now_s), rate) for at_s, rate in known.peaks),
        estimate=None if estimate is None else replace(estimate, at_s=min(estimate.at_s, now_s)),
    )


def _heard(tracks: Mapping[str, Track]) -> tuple[Track, ...]:
    """The tracks of Envoys that answered within a window of the one that answered last."""
    newest_s = max((track.latest_s for track in tracks.values()), default=0.0)
    return tuple(track for track in tracks.values() if track.latest_s >= newest_s - WINDOW_S)


def _total(counts: Iterable[Count | None]) -> Count | None:
    """All counts as one; None where one is missing: a part of the rate is not the rate."""
    known = tuple(counts)
    present = tuple(count for count in known if count is not None)
    return total(present) if present and len(present) == len(known) else None
