"""The history of demand as JSON, a part of the control memory's. Nothing writes it yet.

Owns the JSON form of `DemandHistory`. The history of a class that is damaged is discarded with a reason,
the others are kept. Input and output: a history, and what `json.dumps` takes.

A class has up to 91 peaks, and for each Envoy 32 points, so both are written as columns, of which
only the first number stands as it is, and the others as differences. An Envoy answers for all its classes
at once, so equal columns of instants are written once. Instants and the rates of peaks are read again
exactly where they have three decimals, counts where they are whole.

Not written: what came in at each Envoy, which only the next reading needs.
"""

from __future__ import annotations

from itertools import accumulate, pairwise
from typing import Any

from argosy.demand.counters import Count, Track
from argosy.demand.history import ClassHistory, DemandHistory, Estimate
from argosy.documents import (
    LARGEST,
    Discarded,
    Salvage,
    array,
    column,
    differences,
    instant,
    instant_or_never,
    mapping,
    member,
    milliseconds,
    number,
    numbers,
    optional,
    positive,
    short,
    whole,
)
from argosy.keys import CellName, ClassKey

_Columns = dict[tuple[float, ...], int]
"""Distinct columns of instants (seconds), each with its place in the document."""


def history_to_json(history: DemandHistory) -> dict[str, Any]:
    """What `json.dumps` takes."""
    columns: _Columns = {}
    classes = {key: _class_to_json(known, columns) for key, known in history.classes.items()}
    return {
        "observedMs": milliseconds(history.observed_at_s),
        "pointsMs": [differences(at_s) for at_s in columns],
        "classes": classes,
    }


def history_from_json(document: object) -> tuple[DemandHistory, tuple[Discarded, ...]]:
    """The history that was written, and what of it could not be used."""
    salvage = Salvage()
    observed_at_s = salvage.part(
        "the instant of the last reading of demand",
        lambda: instant_or_never(member(document, "observedMs")),
        DemandHistory().observed_at_s,
    )
    columns: list[Any] = salvage.part(
        "the instants of demand's points", lambda: array(member(document, "pointsMs")), []
    )
    classes = salvage.values(
        "demand history of class", lambda: member(document, "classes"), lambda each: _class(each, columns)
    )
    history = DemandHistory({ClassKey(key): known for key, known in classes.items()}, observed_at_s)
    return history, tuple(salvage.discarded)


def _class_to_json(known: ClassHistory, columns: _Columns) -> dict[str, Any]:
    return {
        "tracks": {node: _track_to_json(track, columns) for node, track in known.tracks.items()},
        "changeMs": milliseconds(known.change_s),
        "changedMs": optional(known.changed_at_s, milliseconds),
        "peaks": {
            "ms": differences(at_s for at_s, _ in known.peaks),
            "perThousandSeconds": differences(rate for _, rate in known.peaks),
        },
        "estimate": optional(known.estimate, _estimate_to_json),
    }


def _class(found: object, columns: list[Any]) -> ClassHistory:
    tracks = mapping(member(found, "tracks"))
    return ClassHistory(
        tracks={node: _track(track, columns) for node, track in tracks.items()},
        change_s=instant_or_never(member(found, "changeMs")),
        changed_at_s=optional(member(found, "changedMs"), instant),
        peaks=_peaks(member(found, "peaks")),
        estimate=optional(member(found, "estimate"), _estimate),
    )


def _track_to_json(track: Track, columns: _Columns) -> dict[str, Any]:
    """`at` is the place of its column of instants; `before`, its count and how many seconds it took."""
    counts = [num for _, num in track.points]
    return {
        "at": columns.setdefault(tuple(at_s for at_s, _ in track.points), len(columns)),
        "requests": [short(num) for num in (*counts[:1], *(b - a for a, b in pairwise(counts)))],
        "totals": {cell: short(total) for cell, total in track.totals.items()},
        "before": optional(track.before, lambda before: [short(before.num), short(before.duration_s)]),
    }


def _track(found: object, columns: list[Any]) -> Track:
    place = whole(member(found, "at"))
    if not 0 <= place < len(columns):
        raise ValueError(f"points at the instants {place} of {len(columns)}")
    at_s = column(columns[place])
    counts = tuple(accumulate(numbers(member(found, "requests"), 0.0, LARGEST)))
    if not at_s or len(at_s) != len(counts):
        raise ValueError(f"{len(at_s)} instants and {len(counts)} counts: not one for each, or none")
    if any(after <= before for before, after in pairwise(at_s)):
        raise ValueError("the instants of the points do not increase")
    totals = mapping(member(found, "totals")).items()
    return Track(
        points=tuple(zip(at_s, counts, strict=True)),
        totals={CellName(cell): number(total, 0.0, LARGEST) for cell, total in totals},
        before=optional(member(found, "before"), _count),
    )


def _count(found: object) -> Count:
    num, duration_s = array(found, 2)
    return Count(number(num, 0.0, LARGEST), positive(duration_s))


def _peaks(found: object) -> tuple[tuple[float, float], ...]:
    at_s = column(member(found, "ms"))
    rates = column(member(found, "perThousandSeconds"))
    if len(at_s) != len(rates):
        raise ValueError(f"{len(at_s)} instants and {len(rates)} rates of peaks: not one for each")
    if any(after >= before for before, after in pairwise(rates)) or min(rates, default=0.0) < 0:
        raise ValueError("the rates of the peaks do not fall towards 0")
    return tuple(zip(at_s, rates, strict=True))


def _estimate_to_json(estimate: Estimate) -> list[Any]:
    """Mean and upper rate (requests/s), instant (ms), duration (s)."""
    return [
        short(estimate.mean_per_s),
        short(estimate.upper_per_s),
        milliseconds(estimate.at_s),
        short(estimate.duration_s),
    ]


def _estimate(found: object) -> Estimate:
    mean, upper, at, duration = array(found, 4)
    mean_per_s = number(mean, 0.0, LARGEST)
    return Estimate(mean_per_s, number(upper, mean_per_s, LARGEST), instant(at), positive(duration))
