"""Checks of the flags of `argosy sim replay`, which turn them into values.

Owns which lengths and times may be asked for; `argosy.client.flags` has the endpoint's. Input: the flags as
the user wrote them. Output: lengths and a schedule; raises `SpecError` with the flag's name where a value
cannot be used.
"""

from __future__ import annotations

import math

from argosy.errors import SpecError
from argosy.traces.trace import BadTrace, Trace, load_trace
from argosy_sim.replay.options import DEFAULT_DURATION_S, Pace, Source
from argosy_sim.traffic.archetypes import Archetype, UnknownArchetype, find_archetype
from argosy_sim.traffic.arrivals import RateStep, Schedule


def lengths_of(source: Source) -> Archetype | Trace:
    """The lengths that the flags choose; raises `SpecError`."""
    if (source.trace is None) == (source.archetype is None):
        raise SpecError("give either a trace or an archetype", "--trace")
    if source.archetype is not None:
        return _archetype(source.archetype, source.window)
    assert source.trace is not None
    trace = load_trace(source.trace, source.skip_bad_lines)
    if isinstance(trace, BadTrace):
        hint = "; --skip-bad-lines goes on without them" if trace.bad_lines.num_lines else ""
        raise SpecError(f"{trace}{'' if source.skip_bad_lines else hint}", "--trace")
    return trace if source.window is None else _sliced(trace, source.window)


def _archetype(name: str, window: str | None) -> Archetype:
    if window is not None:
        raise SpecError("an archetype has no time to slice", "--slice")
    archetype = find_archetype(name)
    if isinstance(archetype, UnknownArchetype):
        raise SpecError(str(archetype), "--archetype")
    return archetype


def _sliced(trace: Trace, text: str) -> Trace:
    start, _, end = text.partition(":")
    try:
        sliced = trace.window(float(start or 0), float(end or math.inf))
    except ValueError as error:
        raise SpecError(
            f"START:END in seconds expected, START before END, got {text!r}", "--slice"
        ) from error
    if not sliced.requests:
        last_s = trace.requests[-1].arrival_s
        raise SpecError(f"{trace.name} has no request in {text}, its last is at {last_s:.1f} s", "--slice")
    return sliced


def paced(lengths: Archetype | Trace, pace: Pace) -> tuple[Archetype | Trace, Schedule | None]:
    """The lengths and the schedule at which they arrive; None where a trace keeps its own times.

    Raises `SpecError` for a number that is not positive, or an archetype without a rate.
    """
    for flag, value in (
        ("--rate", pace.rate),
        ("--rate-scale", pace.rate_scale),
        ("--duration", pace.duration_s),
    ):
        if value is not None and not 0 < value < math.inf:
            raise SpecError(f"a positive number expected, got {value}", flag)
    if pace.rate is not None:
        duration_s = pace.duration_s or DEFAULT_DURATION_S
        return lengths, (RateStep(0.0, duration_s, pace.rate * pace.rate_scale),)
    if isinstance(lengths, Archetype):
        raise SpecError("an archetype has no rate of its own, say how many requests per second", "--rate")
    scaled = lengths.rescaled(pace.rate_scale)
    return (scaled if pace.duration_s is None else scaled.window(0, pace.duration_s)), None
