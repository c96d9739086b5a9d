"""From successive readings of an engine's counters to windows.

Owns the open window of each replica, and every reason why two readings make none. `recalibrate`
judges what a window says. Input: one round of samples. Output: the windows that it completes, and
what was skipped and why.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean, variance

from argosy.perf.recalibration.window import (
    MIN_ITERATIONS,
    CalibrationKey,
    Skipped,
    SkipReason,
    Window,
)
from argosy.snapshot.sample import Sample
from argosy.snapshot.telemetry import CounterReading

WINDOW_S = 15.0
"""Shortest window: some samples of the gauges, and hundreds of iterations."""

LONGEST_WINDOW_S = 300.0
"""A window without enough iterations is prolonged so far, for engines with slow iterations (up to 1.5 s)."""

IDLE_WINDOW_S = 60.0
"""So far, where it computes for less than `_BUSY` of the time: it has no slow iterations, it has few."""
_BUSY = 0.3

LONGEST_GAP_S = 35.0
"""Between two samples of a window: one lost scrape of a Prometheus that asks every 15 s."""

WARM_UP_S = 60.0
"""A young engine compiles and captures graphs: its gaps are not those of its life."""

_SLACK_S = 0.5
"""Samples every 2 s, give or take, make a window of 15 s."""

CLOCK_TOLERANCE_S = 5.0
"""A sample further in the future was dated by a wrong clock."""

_COUNTERS = (
    "iterations",
    "gaps",
    "gap_s",
    "prompts",
    "prompt_tokens",
    "cached_prompt_tokens",
    "preemptions",
)
_NEEDED = (*_COUNTERS, "num_running", "kv_cache_usage", "kv_blocks", "block_size")


@dataclass(frozen=True, slots=True)
class ObservedReplica:
    """One replica in one round. `is_rolling_out`: it, or its Deployment, is being changed."""

    key: CalibrationKey
    sample: Sample[CounterReading] | None
    is_rolling_out: bool = False


@dataclass(frozen=True, slots=True)
class ReplicaTrack:
    """One replica between two windows.

    samples: of the open window, oldest first; none where none is open
    skipped: the reason reported last, so that a lasting one is reported once
    """

    key: CalibrationKey
    samples: tuple[Sample[CounterReading], ...] = ()
    skipped: SkipReason | None = None


@dataclass(frozen=True, slots=True)
class WindowMemory:
    """Open windows by replica (endpoint address); lost at a restart without harm."""

    tracks: Mapping[str, ReplicaTrack] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ObservedWindows:
    """What a round brought: the memory after it, complete windows, and what was skipped, by replica."""

    memory: WindowMemory
    windows: tuple[Window, ...]
    skipped: tuple[tuple[str, Skipped], ...]


def observe(memory: WindowMemory, replicas: Mapping[str, ObservedReplica], now_s: float) -> ObservedWindows:
    """Take in one round; replicas that are not in it are forgotten."""
    tracks: dict[str, ReplicaTrack] = {}
    windows: list[Window] = []
    skipped: list[tuple[str, Skipped]] = []
    for name, seen in sorted(replicas.items()):
        known = memory.tracks.get(name, ReplicaTrack(seen.key))
        track, outcome = _take(known, seen, now_s)
        if isinstance(outcome, Skipped):
            if outcome.reason is not known.skipped:
                skipped.append((name, outcome))
            track = replace(track, skipped=outcome.reason)
        elif outcome is not None:
            windows.append(replace(outcome, replica=name))
            track = replace(track, skipped=None)
        tracks[name] = track
    return ObservedWindows(WindowMemory(tracks), tuple(windows), tuple(skipped))


def _take(
    track: ReplicaTrack, seen: ObservedReplica, now_s: float
) -> tuple[ReplicaTrack, Window | Skipped | None]:
    closed = replace(track, key=seen.key, samples=())
    if seen.is_rolling_out:
        return closed, Skipped(SkipReason.ROLLOUT, "a roll-out is in progress")
    sample, last = seen.sample, track.samples[-1] if track.samples else None
    if sample is None or (last is not None and sample.at_s == last.at_s):
        age_s = 0.0 if last is None else now_s - last.at_s
        if age_s > LONGEST_GAP_S:
            return closed, Skipped(SkipReason.STALE, f"no sample for {age_s:.0f} s")
        return track, None
    fault = sample_fault(sample, now_s)
    if fault is not None:
        return closed, fault
    young = _warming_up(sample)
    started = closed if young else replace(closed, samples=(sample,))
    broken = None if last is None else _broken(track, seen.key, sample)
    if last is None or broken is not None or young is not None:
        return started, broken or young
    track = replace(track, samples=(*track.samples, sample))
    window = _complete(track)
    return (track, None) if window is None else (started, window)


def sample_fault(sample: Sample[CounterReading], now_s: float) -> Skipped | None:
    """Why a sample can be no window's border."""
    if not math.isfinite(sample.at_s) or sample.at_s > now_s + CLOCK_TOLERANCE_S:
        return Skipped(SkipReason.CLOCK_JUMP, f"the sample is of {sample.at_s:g} s, now is {now_s:g} s")
    if now_s - sample.at_s > LONGEST_GAP_S:
        return Skipped(SkipReason.STALE, f"the newest sample is {now_s - sample.at_s:.0f} s old")
    reading = sample.value
    missing = [name for name in _NEEDED if getattr(reading, name) is None]
    if missing:
        return Skipped(SkipReason.MISSING, f"the engine shows no {', '.join(missing)}")
    odd = [name for name in _NEEDED if not _is_count(getattr(reading, name))]
    odd += ["kv_cache_usage"] if (reading.kv_cache_usage or 0.0) > 1.0 else []
    if odd:
        return Skipped(SkipReason.NOT_A_NUMBER, f"no usable number: {', '.join(odd)}")
    return None


def _warming_up(sample: Sample[CounterReading]) -> Skipped | None:
    start_s = sample.value.start_time_s
    if start_s is None or not sample.at_s - start_s < WARM_UP_S:
        return None
    return Skipped(SkipReason.WARMING_UP, f"the engine is {sample.at_s - start_s:.0f} s old")


def _broken(track: ReplicaTrack, key: CalibrationKey, sample: Sample[CounterReading]) -> Skipped | None:
    """Why the open window ends without a result at `sample`."""
    last = track.samples[-1]
    gap_s, before, after = sample.at_s - last.at_s, last.value, sample.value
    if key != track.key:
        return Skipped(SkipReason.RESTARTED, f"the address was that of {track.key}")
    if gap_s < 0:
        return Skipped(SkipReason.CLOCK_JUMP, f"the sample is {-gap_s:g} s older than the one before")
    if gap_s > LONGEST_GAP_S:
        return Skipped(SkipReason.STALE, f"{gap_s:.0f} s between two samples")
    if _moved(before.start_time_s, after.start_time_s):
        return Skipped(SkipReason.RESTARTED, "the process started anew")
    fell = [name for name in _COUNTERS if getattr(after, name) < getattr(before, name)]
    if fell:
        return Skipped(SkipReason.COUNTER_RESET, f"fell: {', '.join(fell)}")
    if (before.kv_blocks, before.block_size) != (after.kv_blocks, after.block_size):
        return Skipped(SkipReason.RESTARTED, "the KV cache has another size")
    return None


def _moved(before_s: float | None, after_s: float | None) -> bool:
    """Whether a process start time shows another process; it is computed anew, to the centisecond."""
    return before_s is not None and after_s is not None and not abs(after_s - before_s) < 1.0


def _complete(track: ReplicaTrack) -> Window | None:
    """The window from the track's first to its newest sample, where that is long enough."""
    first, last = track.samples[0], track.samples[-1]
    duration_s = last.at_s - first.at_s
    iterations = (last.value.iterations or 0.0) - (first.value.iterations or 0.0)
    if duration_s < WINDOW_S - _SLACK_S:
        return None
    whole = _between(track.key, track.samples)
    is_busy = whole.busy_ms >= _BUSY * whole.wall_ms
    longest_s = LONGEST_WINDOW_S if is_busy else IDLE_WINDOW_S
    if iterations <= MIN_ITERATIONS and duration_s < longest_s:
        return None
    pairs = [_between(track.key, pair) for pair in itertools.pairwise(track.samples)]
    decoding = [pair for pair in pairs if pair.iterations > 0 and pair.decode_tokens > 0]
    return replace(whole, parts=tuple(_part(pair, whole) for pair in decoding))


def _part(pair: Window, whole: Window) -> Window:
    """A window of two samples as a part of one.

    The batch wanders from one sample to the other. A random walk strays from its own mean by a sixth
    of the square that it gets on by, and two values' variance is a half of that square.
    """
    context_tokens = pair.context_tokens or whole.context_tokens
    return replace(pair, running_variance=pair.running_variance / 3.0, context_tokens=context_tokens)


def _between(key: CalibrationKey, samples: Sequence[Sample[CounterReading]]) -> Window:
    """What happened from the first sample to the last, with the means of the gauges."""
    first, last = samples[0], samples[-1]

    def gained(name: str) -> float:
        return float(getattr(last.value, name) - getattr(first.value, name))

    gaps = gained("gaps")
    running = [sample.value.num_running or 0.0 for sample in samples]
    kv_tokens = sum(_kv_tokens(sample.value) for sample in samples)
    return Window(
        key=key,
        replica="",
        start_s=first.at_s,
        end_s=last.at_s,
        iterations=gained("iterations"),
        decode_tokens=gaps,
        gap_ms=gained("gap_s") / gaps * 1e3 if gaps > 0 else 0.0,
        prompts=gained("prompts"),
        # Two counters that are not of one instant: a prompt may be in one and not yet in the other.
        prefill_tokens=max(0.0, gained("prompt_tokens") - gained("cached_prompt_tokens")),
        cached_tokens=gained("cached_prompt_tokens"),
        preemptions=gained("preemptions"),
        mean_running=fmean(running),
        running_variance=variance(running),
        context_tokens=kv_tokens / sum(running) if any(running) else 0.0,
        was_idle=min(running) == 0,
    )


def _kv_tokens(reading: CounterReading) -> float:
    """Tokens in the KV cache by the gauges: half of each sequence's last block is empty."""
    blocks = (reading.kv_cache_usage or 0.0) * (reading.kv_blocks or 0.0)
    size = reading.block_size or 0.0
    return max(0.0, blocks * size - (reading.num_running or 0.0) * (size - 1.0) / 2.0)


def _is_count(value: float) -> bool:
    return math.isfinite(value) and value >= 0
