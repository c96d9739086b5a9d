"""Prefill in online recalibration: found where its share varies, left alone where it does not; slow engines;
communication; the exposed host of newer engines.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from recalibration_windows import (
    H100,
    KEY,
    L40S,
    LIMITS,
    TIMES,
    at_batch,
    learn,
    row_of,
    shown,
)
from scraped_engine import ScrapedEngine, Scraper, Traffic

from argosy.engine import StepCoefficients
from argosy.engine.step_times import SlowerPrefill, StepTimeSource, step_ms
from argosy.errors import SpecError
from argosy.perf.host import OVERLAPPED
from argosy.perf.profile import HOST_OVERHEAD, Calibration
from argosy.perf.recalibration.features import Row
from argosy.perf.recalibration.fit import (
    PREFILL_ERROR,
    Evidence,
    Observation,
    Start,
    estimate,
    learnt,
    restarted,
)
from argosy.perf.recalibration.memory import CalibrationMemory
from argosy.perf.recalibration.observe import ObservedReplica, WindowMemory, observe
from argosy.perf.recalibration.recalibrate import Prior, confidence, recalibrate
from argosy.perf.recalibration.window import Window

SILICON_MS = float(TIMES.matrix_ms[-1]) / (len(TIMES.matrix_ms) - 1)
"""What a token of a prompt takes in the largest iteration."""
SLOW = 0.3 * SILICON_MS


def with_prefill(window: Window, share: float) -> Window:
    """The window with `share` times its prompts."""
    return replace(window, prompts=share * window.prompts, prefill_tokens=share * window.prefill_tokens)


def varied(truth: Calibration, num: int, seed: int = 0, noise: float = 0.03) -> Iterator[Window]:
    """Windows whose batch and whose share of prefill wander independently of each other."""
    rng = np.random.default_rng(seed)
    for place in range(num):
        window = with_prefill(at_batch(float(rng.uniform(8.0, 80.0)), place), float(rng.uniform(0.0, 4.0)))
        yield shown(window, TIMES, truth, 1.0 + noise * float(rng.standard_normal()))


@pytest.mark.parametrize("seed", range(4))
def test_prefill_thirty_per_cent_slow_is_found(seed: int) -> None:
    truth = replace(HOST_OVERHEAD, prefill_ms_per_token=SLOW)
    found = learn(varied(truth, 40, seed)).calibration
    assert found.prefill_ms_per_token == pytest.approx(SLOW, rel=0.35)
    for window in varied(truth, 5, seed=99, noise=0.0):
        at = row_of(window, TIMES)
        assert at.step_ms(found) == pytest.approx(at.step_ms(truth), rel=0.02)


def test_what_users_see_of_prefill_is_its_time_over_the_profiles_and_nothing_where_it_is_not_known() -> None:
    slow = learn(varied(Calibration(0.98, 1.34, 0.046, SLOW), 200, noise=0.0))
    found = confidence(slow.memory, KEY)
    assert found is not None
    # Of a full iteration: 0.98 of the silicon's and 0.3 of it more.
    assert found.prefill_deviation == pytest.approx(0.3 / 0.98, rel=0.25)
    unknown = confidence(learn(varied(HOST_OVERHEAD, 5)).memory, KEY)
    assert unknown is not None
    assert unknown.prefill_deviation is None


def test_slow_silicon_and_slow_prefill_are_told_apart_without_noise() -> None:
    truth = Calibration(1.3, 1.9, 0.06, SLOW)
    found = learn(varied(truth, 200, noise=0.0)).calibration
    assert found.prefill_ms_per_token == pytest.approx(SLOW, rel=0.2)
    assert found.s == pytest.approx(1.3, rel=0.05)
    for window in (with_prefill(at_batch(100.0, 0), 0.0), with_prefill(at_batch(20.0, 0), 8.0)):
        at = row_of(window, TIMES)
        assert at.step_ms(found) == pytest.approx(at.step_ms(truth), rel=0.01)


@pytest.mark.parametrize("seed", range(4))
def test_without_prompts_prefill_stays_at_the_prior(seed: int) -> None:
    truth = Calibration(1.3, 1.9, 0.06, SLOW)
    rng = np.random.default_rng(seed)
    windows = [
        shown(with_prefill(at_batch(float(rng.uniform(8.0, 80.0)), place), 0.0), TIMES, truth)
        for place in range(40)
    ]
    learnt_of = learn(windows)
    assert learnt_of.calibration.prefill_ms_per_token == 0.0
    assert not learnt_of.memory.states[KEY].evidence.knows_prefill
    assert learnt_of.calibration.s == pytest.approx(1.3, rel=0.1)


def test_a_constant_share_of_prefill_leaves_it_at_the_prior_and_corrects_the_level() -> None:
    truth = Calibration(1.4, 1.3, 0.046, SLOW)
    windows = [shown(at_batch(24.0, place), TIMES, truth) for place in range(20)]
    found = learn(windows).calibration
    assert found.prefill_ms_per_token == 0.0
    here = row_of(windows[0], TIMES)
    assert here.step_ms(found) == pytest.approx(here.step_ms(truth), rel=0.01)


def test_prefill_as_the_prior_has_it_is_seldom_called_slow() -> None:
    """2.5 standard errors: one run of eighty by noise; of these forty none or few."""
    moved = [
        learn(varied(Calibration(1.3, 1.3, 0.046), 30, seed)).calibration.prefill_ms_per_token
        for seed in range(40)
    ]
    assert sum(value != 0.0 for value in moved) <= 3


def scraped(source: StepTimeSource, loads_per_s: tuple[float, float], num: int, seed: int) -> list[Window]:
    """Windows of a simulated engine under loads that change at random."""
    rng = np.random.default_rng(seed)
    engine, memory, windows = ScrapedEngine(LIMITS, source, rng, noise=0.03), WindowMemory(), list[Window]()
    while len(windows) < num:
        load = Traffic(float(rng.uniform(*loads_per_s)))
        for sample in engine.scrapes(load, rng.uniform(20.0, 60.0), Scraper()):
            seen = observe(memory, {"r": ObservedReplica(KEY, sample)}, sample.at_s + 0.3)
            memory = seen.memory
            windows += seen.windows
    return windows[:num]


def after(prior: StepTimeSource, windows: list[Window]) -> Calibration:
    times = prior.step_times(LIMITS.max_num_batched_tokens, LIMITS.max_num_seqs)
    memory, _ = recalibrate(CalibrationMemory(), windows, {KEY: Prior(times, "d")}, windows[-1].end_s)
    state = memory.states[KEY]
    return estimate(state.evidence, state.start)


def test_a_simulated_engine_with_slow_prefill_is_found_out() -> None:
    truth = replace(HOST_OVERHEAD, prefill_ms_per_token=SLOW)
    source = truth.applied_to(H100)
    found = after(H100, scraped(source, (4.0, 17.0), 40, seed=11))
    assert found.prefill_ms_per_token == pytest.approx(SLOW, rel=0.4)
    prompt = [(2048.0, 0.0)]
    mine, theirs = step_ms(found.applied_to(H100), 16, 16_000, prompt), step_ms(source, 16, 16_000, prompt)
    assert mine == pytest.approx(theirs, rel=0.06)
    assert step_ms(HOST_OVERHEAD.applied_to(H100), 16, 16_000, prompt) < 0.82 * theirs


# --- slow engines


SLOWEST = StepCoefficients(
    *(8.0 * value for value in (L40S.wn, L40S.f)),
    L40S.q,
    L40S.c1,
    *(L40S.a0, L40S.a1, L40S.a2, L40S.b0, L40S.b1, L40S.b2),
)


@pytest.mark.parametrize("seed", range(2))
def test_an_engine_of_slow_iterations_gets_long_windows_and_converges(seed: int) -> None:
    truth = Calibration(1.4, 1.34, 0.046)
    source = truth.applied_to(SLOWEST)
    alone_ms = step_ms(source, 8, 8 * 1300)
    assert alone_ms > 200.0, "fewer than 75 iterations in 15 s"
    windows = scraped(source, (0.05, 0.35), 6, seed)
    assert all(window.iterations > 200 for window in windows)
    assert max(window.end_s - window.start_s for window in windows) > 40.0
    found = after(SLOWEST, windows[:4])
    prior_ms = step_ms(HOST_OVERHEAD.applied_to(SLOWEST), 8, 8 * 1300)
    assert prior_ms < 0.75 * alone_ms
    assert step_ms(found.applied_to(SLOWEST), 8, 8 * 1300) == pytest.approx(alone_ms, rel=0.04)


# --- communication, and the exposed host


def test_slow_communication_is_found_as_host_and_prefill() -> None:
    """An all-reduce adds a time per iteration, per sequence and per token of a prompt."""
    latency_ms, per_token_ms = 0.8, 0.15 * SILICON_MS
    truth = Calibration(0.98, 1.34 + latency_ms, 0.046 + per_token_ms, per_token_ms)
    found = learn(varied(truth, 60, noise=0.0)).calibration
    for window in (at_batch(200.0, 0), with_prefill(at_batch(40.0, 0), 3.0)):
        at = row_of(window, TIMES)
        assert at.step_ms(found) == pytest.approx(at.step_ms(truth), rel=0.01)


def test_where_the_host_works_beside_the_gpu_the_prior_is_that_of_the_exposed_part() -> None:
    overlapped = OVERLAPPED.applied_to(H100).step_times(8192, 256)
    start = Start.of(OVERLAPPED.exposed, overlapped)
    assert start.is_overlapped
    assert start.calibration == OVERLAPPED.exposed
    assert start.prefill_spread == pytest.approx(PREFILL_ERROR * SILICON_MS)
    waiting = Start.of(HOST_OVERHEAD, TIMES)
    assert not waiting.is_overlapped
    # A host 40 % slower adds to c0 and cB together; what is exposed of a hidden one has no such tie.
    assert waiting.root[2, 1] > 0
    assert start.root[2, 1] == 0
    # What is exposed lies between nothing and the whole host, within three standard deviations.
    assert start.calibration.c0 - 3 * start.root[1, 1] <= 0
    assert start.calibration.c0 + 3 * start.root[1, 1] >= HOST_OVERHEAD.c0
    assert 3 * start.root[2, 2] >= 0.9 * HOST_OVERHEAD.cb


def test_an_overlapped_engine_is_learnt_from_its_exposed_host() -> None:
    source = OVERLAPPED.applied_to(H100)
    prior = Prior(source.step_times(8192, 256), "d", OVERLAPPED.exposed)
    truth = Calibration(1.25, 0.9, 0.01)
    memory = CalibrationMemory()
    for place in range(20):
        batch = float(np.random.default_rng(place).uniform(8.0, 80.0))
        window = shown(at_batch(batch, place), prior.step_times, truth)
        memory, _ = recalibrate(memory, [window], {KEY: prior}, window.end_s)
    state = memory.states[KEY]
    assert state.start.is_overlapped
    found = estimate(state.evidence, state.start)
    for batch in (8.0, 80.0):
        at = row_of(at_batch(batch, 0), prior.step_times)
        assert at.step_ms(found) == pytest.approx(at.step_ms(truth), rel=0.01)


# --- the pieces


def test_after_an_alarm_the_estimate_stays_prefill_included() -> None:
    start = Start(HOST_OVERHEAD, prefill_spread=0.25 * SILICON_MS)
    truth, evidence = replace(HOST_OVERHEAD, s=1.2, prefill_ms_per_token=SLOW), Evidence()
    for window in varied(truth, 60, noise=0.0):
        row = row_of(window, TIMES)
        evidence = learnt(evidence, start, Observation(row, row.step_ms(truth)))
    before = estimate(evidence, start)
    assert before.prefill_ms_per_token == pytest.approx(SLOW, rel=0.2)
    again = restarted(evidence, start)
    assert estimate(again, start).values() == pytest.approx(before.values(), rel=1e-9)
    assert again.is_sound()


def test_slower_prefill_adds_to_each_token_of_a_prompt_and_to_nothing_else() -> None:
    source = Calibration(1.2, 2.0, 0.05, 0.004).applied_to(H100)
    assert isinstance(source, SlowerPrefill)
    without = Calibration(1.2, 2.0, 0.05).applied_to(H100)
    assert step_ms(source, 32, 40_000) == step_ms(without, 32, 40_000)
    chunks = [(512.0, 0.0), (100.0, 800.0)]
    added = step_ms(source, 32, 40_000, chunks) - step_ms(without, 32, 40_000, chunks)
    assert added == pytest.approx(0.004 * 612, rel=1e-9)
    assert source.digest() not in (without.digest(), replace(source, ms_per_token=0.005).digest())
    # Another calibration replaces it.
    assert HOST_OVERHEAD.applied_to(source).digest() == HOST_OVERHEAD.applied_to(H100).digest()


def test_faster_prefill_never_takes_negative_time() -> None:
    source = SlowerPrefill(H100, -1.0)
    assert step_ms(source, 0, 0, [(8192.0, 0.0)]) > 0.4 * step_ms(H100, 0, 0, [(8192.0, 0.0)])
    assert step_ms(source, 0, 0, [(1.0, 0.0)]) > 0
    with pytest.raises(SpecError, match="finite"):
        SlowerPrefill(H100, float("nan"))


def test_a_row_has_the_prefill_tokens_of_iterations_that_decode() -> None:
    busy = at_batch(20.0, 0)
    assert row_of(busy, TIMES).prefill_tokens == pytest.approx(busy.prefill_tokens / busy.iterations)
    idle = replace(busy, was_idle=True, end_s=busy.start_s + 2 * busy.busy_ms / 1e3)
    assert row_of(idle, TIMES).prefill_tokens == pytest.approx(0.5 * busy.prefill_tokens / busy.iterations)
    assert Row(9.0, 20.0, 100.0).step_ms(Calibration(1.0, 1.0, 0.0, 0.01)) == pytest.approx(11.0)
