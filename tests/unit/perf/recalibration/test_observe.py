"""From readings to windows: what a window is, and what never becomes one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from recalibration_windows import KEY, NOW_S

from argosy.perf.recalibration.observe import (
    LONGEST_GAP_S,
    ObservedReplica,
    WindowMemory,
    observe,
)
from argosy.perf.recalibration.window import SkipReason, Window
from argosy.snapshot.sample import Sample
from argosy.snapshot.telemetry import CounterReading

START = CounterReading(
    iterations=1000.0,
    gaps=20_000.0,
    gap_s=240.0,
    prompts=100.0,
    prompt_tokens=115_000.0,
    cached_prompt_tokens=0.0,
    preemptions=0.0,
    num_running=20.0,
    kv_cache_usage=0.06,
    kv_blocks=27_000.0,
    block_size=16.0,
    start_time_s=NOW_S - 36_000.0,
)


def reading(seconds: float, **changes: Any) -> CounterReading:
    """Some seconds after `START`, at 80 iterations/s of 20 sequences."""
    grown = replace(
        START,
        iterations=1000.0 + 80.0 * seconds,
        gaps=20_000.0 + 1600.0 * seconds,
        gap_s=240.0 + 19.2 * seconds,
        prompts=100.0 + 7.0 * seconds,
        prompt_tokens=115_000.0 + 8000.0 * seconds,
        cached_prompt_tokens=1000.0 * seconds,
    )
    return replace(grown, **changes)


def watch(rounds: Sequence[tuple[float, CounterReading | None]]) -> tuple[list[Window], list[SkipReason]]:
    """Rounds of (seconds, reading); the sample is dated with its round."""
    memory = WindowMemory()
    windows: list[Window] = []
    skips: list[SkipReason] = []
    for seconds, seen in rounds:
        sample = None if seen is None else Sample(seen, NOW_S + seconds)
        out = observe(memory, {"r": ObservedReplica(KEY, sample)}, NOW_S + seconds)
        memory = out.memory
        windows += out.windows
        skips += [skipped.reason for _, skipped in out.skipped]
    return windows, skips


def every_two_seconds(until: int) -> list[tuple[float, CounterReading | None]]:
    return [(float(s), reading(float(s))) for s in range(0, until + 1, 2)]


def test_two_readings_fifteen_seconds_apart_make_a_window() -> None:
    (window,), skips = watch(every_two_seconds(16))
    assert skips == []
    assert (window.start_s, window.end_s, window.replica) == (NOW_S, NOW_S + 16.0, "r")
    assert (window.iterations, window.decode_tokens) == (1280.0, 25_600.0)
    assert window.gap_ms == pytest.approx(12.0)
    assert window.busy_ms == pytest.approx(15_360.0)
    assert (window.prompts, window.prefill_tokens, window.cached_tokens) == (112.0, 112_000.0, 16_000.0)
    # 6 % of 27000 blocks of 16, less half a block for each of 20 sequences.
    assert window.context_tokens == pytest.approx((0.06 * 27_000 * 16 - 20 * 7.5) / 20)
    assert (window.mean_running, window.running_variance, window.was_idle) == (20.0, 0.0, False)


def test_a_window_has_a_part_from_each_sample_to_the_next() -> None:
    rounds = [(s, replace(r, num_running=20.0 + s) if r else r) for s, r in every_two_seconds(16)]
    (window,), _ = watch(rounds)
    assert len(window.parts) == 8
    for name in ("iterations", "decode_tokens", "prompts", "prefill_tokens", "cached_tokens"):
        parts = [getattr(part, name) for part in window.parts]
        assert sum(parts) == pytest.approx(getattr(window, name))
    assert [part.mean_running for part in window.parts] == [21.0 + 2.0 * i for i in range(8)]
    # It went up by two in each.
    assert [part.running_variance for part in window.parts] == pytest.approx([4.0 / 6.0] * 8)


def test_a_part_in_which_nothing_was_decoded_is_left_out() -> None:
    paused = [(s, reading(s - 2.0 if s > 8 else s)) for s, _ in every_two_seconds(18)]
    (window,), _ = watch(paused)
    assert [part.start_s - NOW_S for part in window.parts] == [0.0, 2.0, 4.0, 6.0, 10.0, 12.0, 14.0]


def test_windows_of_one_replica_join_without_a_gap() -> None:
    windows, _ = watch(every_two_seconds(64))
    assert [w.start_s - NOW_S for w in windows] == [0.0, 16.0, 32.0, 48.0]
    assert [w.end_s for w in windows[:-1]] == [w.start_s for w in windows[1:]]


def test_a_slow_engine_gets_a_longer_window() -> None:
    slow = [(float(s), replace(reading(0.0), iterations=1000.0 + 5.0 * s)) for s in range(0, 62, 2)]
    (window,), _ = watch(slow)
    assert window.iterations > 200
    assert window.end_s - window.start_s == 42.0


def since_restart(seconds: float) -> CounterReading:
    grown = reading(seconds)
    return replace(
        grown,
        iterations=80.0 * seconds,
        gaps=1600.0 * seconds,
        gap_s=19.2 * seconds,
        prompts=7.0 * seconds,
        prompt_tokens=8000.0 * seconds,
    )


def broken(at: int, seen: CounterReading | None) -> list[tuple[float, CounterReading | None]]:
    """Two seconds apart for 40 s, with something else at one of the rounds."""
    return [(s, seen if s == at else usual) for s, usual in every_two_seconds(40)]


WRONG_READINGS: dict[str, tuple[list[tuple[float, CounterReading | None]], list[SkipReason]]] = {
    "a scrape that failed": (broken(8, None), []),
    "counters that begin again": (
        [(s, r if s < 8 else since_restart(s - 8.0)) for s, r in every_two_seconds(40)],
        [SkipReason.COUNTER_RESET],
    ),
    "one counter that falls": (
        [(s, r if s < 8 or r is None else replace(r, gap_s=19.2 * s)) for s, r in every_two_seconds(40)],
        [SkipReason.COUNTER_RESET],
    ),
    "another process at the address": (
        [
            (s, replace(r, start_time_s=NOW_S - 600.0) if s >= 8 and r else r)
            for s, r in every_two_seconds(40)
        ],
        [SkipReason.RESTARTED],
    ),
    "an engine that started just now": (
        [(s, reading(s, start_time_s=NOW_S - 50.0)) for s, _ in every_two_seconds(40)],
        [SkipReason.WARMING_UP],
    ),
    "a KV cache of another size": (
        [(s, replace(r, kv_blocks=9000.0) if s >= 8 and r else r) for s, r in every_two_seconds(40)],
        [SkipReason.RESTARTED],
    ),
    "an engine without the histogram of gaps": (broken(8, reading(8.0, gap_s=None)), [SkipReason.MISSING]),
    "an engine that does not show its KV cache": (
        broken(8, reading(8.0, kv_blocks=None)),
        [SkipReason.MISSING],
    ),
    "a NaN": (broken(8, reading(8.0, prompt_tokens=math.nan)), [SkipReason.NOT_A_NUMBER]),
    "a cache used to 6000 %": (broken(8, reading(8.0, kv_cache_usage=60.0)), [SkipReason.NOT_A_NUMBER]),
    "a negative gauge": (broken(8, reading(8.0, num_running=-1.0)), [SkipReason.NOT_A_NUMBER]),
    "silence for a minute": (
        [(s, None if 8 <= s < 8 + 60 else r) for s, r in every_two_seconds(90)],
        [SkipReason.STALE],
    ),
    "a leap over a minute": (
        [(s, r) for s, r in every_two_seconds(100) if not 8 < s < 70],
        [SkipReason.STALE],
    ),
    "a clock that goes back an hour": (
        [(s if s < 20 else s - 3600.0, r) for s, r in every_two_seconds(60)],
        [SkipReason.CLOCK_JUMP],
    ),
}


@pytest.mark.parametrize("case", WRONG_READINGS.values(), ids=WRONG_READINGS)
def test_no_window_reaches_over_what_went_wrong(
    case: tuple[list[tuple[float, CounterReading | None]], list[SkipReason]],
) -> None:
    rounds, expected = case
    windows, skips = watch(rounds)
    assert skips == expected
    for window in windows:
        assert window.gap_ms == pytest.approx(12.0)
        assert window.iterations == pytest.approx(80.0 * (window.end_s - window.start_s))
        assert window.end_s - window.start_s < 15.0 + LONGEST_GAP_S


def test_a_roll_out_freezes_a_replica_and_is_said_once() -> None:
    memory = WindowMemory()
    windows: list[Window] = []
    skips: list[SkipReason] = []
    for seconds, seen in every_two_seconds(80):
        assert seen is not None
        is_rolling_out = 10 <= seconds < 40
        sample = Sample(seen, NOW_S + seconds)
        out = observe(memory, {"r": ObservedReplica(KEY, sample, is_rolling_out)}, NOW_S + seconds)
        memory, windows = out.memory, [*windows, *out.windows]
        skips += [skipped.reason for _, skipped in out.skipped]
    assert skips == [SkipReason.ROLLOUT]
    assert [w.start_s - NOW_S for w in windows] == [40.0, 56.0]


def test_a_sample_from_the_future_is_no_border() -> None:
    out = observe(WindowMemory(), {"r": ObservedReplica(KEY, Sample(START, NOW_S + 60.0))}, NOW_S)
    assert [skipped.reason for _, skipped in out.skipped] == [SkipReason.CLOCK_JUMP]
    assert out.memory.tracks["r"].samples == ()


def test_an_address_that_changes_hands_starts_anew() -> None:
    other = replace(KEY, engine_version="v0.25.0")
    first = observe(WindowMemory(), {"r": ObservedReplica(KEY, Sample(START, NOW_S))}, NOW_S)
    sample = Sample(reading(16.0), NOW_S + 16.0)
    second = observe(first.memory, {"r": ObservedReplica(other, sample)}, NOW_S + 16.0)
    assert second.windows == ()
    assert [skipped.reason for _, skipped in second.skipped] == [SkipReason.RESTARTED]


def test_a_replica_that_is_gone_is_forgotten() -> None:
    out = observe(WindowMemory(), {"r": ObservedReplica(KEY, Sample(START, NOW_S))}, NOW_S)
    assert observe(out.memory, {}, NOW_S).memory == WindowMemory()
