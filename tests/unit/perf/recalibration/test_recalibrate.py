"""Online recalibration: the figures, the guards, and what is published. The engine is the simulated one."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import astuple, dataclass, replace
from typing import Any

import numpy as np
import pytest
from recalibration_windows import (
    H100,
    KEY,
    L40S,
    LIMITS,
    NOW_S,
    PRIOR,
    PRIORS,
    TIMES,
    USUAL,
    Learnt,
    at_batch,
    learn,
    moved,
    prior_of,
    row_of,
    shown,
    some,
    traffic,
)
from scraped_engine import ScrapedEngine, Scraper, Traffic

from argosy.documents import Discarded
from argosy.engine import StepCoefficients
from argosy.engine.step_times import StepTable, StepTimeSource, step_ms
from argosy.errors import InvariantError
from argosy.perf.profile import HOST_OVERHEAD, Calibration
from argosy.perf.recalibration.features import Row, row
from argosy.perf.recalibration.fit import estimate, relative_variance
from argosy.perf.recalibration.memory import (
    CalibrationMemory,
)
from argosy.perf.recalibration.observe import (
    ObservedReplica,
    WindowMemory,
    observe,
)
from argosy.perf.recalibration.recalibrate import MIN_WINDOWS, NUM_ALIKE, Prior, Updated, recalibrate
from argosy.perf.recalibration.window import Skipped, SkipReason, Window

# The figure: a prior 30 % wrong, on the simulated engine, scraped with jitter.


@dataclass(frozen=True)
class Case:
    """A GPU's profile, the truth, and requests/s at full load of an engine as the prior has it."""

    prior: StepCoefficients
    truth: Calibration
    full_load_per_s: float

    @property
    def true_source(self) -> StepTimeSource:
        return self.truth.applied_to(self.prior)

    def load_per_s(self, load: float) -> float:
        """A share of what the true engine carries."""
        guess, truth = HOST_OVERHEAD.applied_to(self.prior), self.true_source
        return load * self.full_load_per_s * step_ms(guess, 64, 80_000) / step_ms(truth, 64, 80_000)


CASES = {
    "an H100 whose silicon is 43 % slower than the profile": Case(H100, Calibration(1.43, 1.3, 0.046), 22.0),
    "an H100 whose silicon is 30 % faster than the profile": Case(H100, Calibration(0.7, 1.3, 0.046), 22.0),
    "an H100 with slower silicon on a slower host": Case(H100, Calibration(1.3, 2.0, 0.07), 22.0),
    "an L40S whose silicon is 43 % slower than the profile": Case(L40S, Calibration(1.43, 1.3, 0.046), 5.0),
    "an L40S whose silicon is 30 % faster than the profile": Case(L40S, Calibration(0.7, 1.3, 0.046), 5.0),
}


def scraped_windows(case: Case, loads: tuple[float, float], num: int, seed: int) -> list[Window]:
    """Windows of an engine whose load changes at random, with 3 % noise of 15 s at a time."""
    rng = np.random.default_rng(seed)
    engine = ScrapedEngine(LIMITS, case.true_source, rng, noise=0.03)
    memory = WindowMemory()
    windows: list[Window] = []
    while len(windows) < num:
        load = Traffic(case.load_per_s(rng.uniform(*loads)))
        for sample in engine.scrapes(load, rng.uniform(20.0, 60.0), Scraper()):
            seen = observe(memory, {"10.0.0.1:8000": ObservedReplica(KEY, sample)}, sample.at_s + 0.3)
            memory = seen.memory
            windows += seen.windows
    return windows[:num]


def errors(case: Case, calibration: Calibration, loads: tuple[float, ...]) -> list[float]:
    """Relative errors of the mean iteration at some loads of usual traffic."""
    found = []
    for load in loads:
        truth, guess = case.true_source, calibration.applied_to(case.prior)
        batch, share = steady_batch(truth, case.load_per_s(load))

        def mean_ms(source: StepTimeSource, batch: float = batch, share: float = share) -> float:
            context = batch * 1366.0
            with_prompt = step_ms(source, batch, context, [(1155.0, 0.0)])
            return (1.0 - share) * step_ms(source, batch, context) + share * with_prompt

        found.append(mean_ms(guess) / mean_ms(truth) - 1.0)
    return found


def steady_batch(source: StepTimeSource, rate_per_s: float) -> tuple[float, float]:
    """Sequences and prompts per iteration under usual traffic: B = rate x output x step time."""
    short_ms, long_ms = 0.1, 400.0
    for _ in range(50):
        step = (short_ms + long_ms) / 2.0
        batch = min(255.0, rate_per_s * 211.0 * step / 1e3)
        share = rate_per_s * step / 1e3
        alone = step_ms(source, batch, batch * 1366.0)
        mean = alone + share * (step_ms(source, batch, batch * 1366.0, [(1155.0, 0.0)]) - alone)
        short_ms, long_ms = (step, long_ms) if mean > step else (short_ms, step)
    return batch, share


def prior_for(case: Case) -> dict[Any, Prior]:
    return {KEY: prior_of(case.prior)}


def after(case: Case, windows: list[Window]) -> Calibration:
    memory, _ = recalibrate(CalibrationMemory(), windows, prior_for(case), windows[-1].end_s)
    state = memory.states[KEY]
    return estimate(state.evidence, state.start)


# History of the bounds (worst of the loads 0.3, 0.6 and 0.9). 5 cases x 16 seeds, of which these are
# the first five: after four windows root mean square 1.7 %, 95th percentile 3.6 %, worst 4.5 %; after
# twenty 0.9 %, 1.9 % and 3.2 %, one run of 80 above 3 %. Of 1000 runs with other seeds one (3.6 %).
# That is the scatter of 20 windows with 3 % noise, not of this estimator: all at once, by Bayesian
# regression with the true noise, the same windows give 3.2 % in the same run of 80 (above 3 % in two
# of the 1000), and still 3.3 % where each window is exactly what the truth predicts, but for the
# engine's noise: its mean over that run is +2.0 %, three times its standard error.
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_prior_thirty_percent_wrong_is_within_three_after_twenty_windows(case: Case) -> None:
    loads = (0.3, 0.6, 0.9)
    assert min(abs(e) for e in errors(case, HOST_OVERHEAD, loads)) > 0.24
    after_four, after_twenty = [], []
    for seed in range(5):
        windows = scraped_windows(case, (0.3, 0.9), 20, seed)
        after_four.append(max(abs(e) for e in errors(case, after(case, windows[:4]), loads)))
        after_twenty.append(max(abs(e) for e in errors(case, after(case, windows), loads)))
    assert max(after_four) < 0.05
    assert max(after_twenty) < 0.03


# History: 5 cases x 6 seeds, root mean square 1.0 %, 95th percentile 1.9 %, worst 2.0 %.
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_it_holds_for_loads_beyond_those_it_was_learnt_under(case: Case) -> None:
    windows = scraped_windows(case, (0.2, 0.5), 20, seed=3)
    assert max(abs(e) for e in errors(case, after(case, windows), (0.8, 0.9))) < 0.03


def test_without_noise_an_estimate_extrapolates_to_a_fifth_of_a_percent() -> None:
    """What the reference claims: 28 % wrong, then 0.2 % beyond the loads seen."""
    truth = Calibration(1.4, 1.9, 0.06)
    learnt = learn(traffic(TIMES, truth, 200, np.random.default_rng(0), noise=0.0))
    far = row_of(at_batch(200.0, 0), TIMES)
    assert far.step_ms(HOST_OVERHEAD) / far.step_ms(truth) - 1.0 < -0.25
    assert far.step_ms(learnt.calibration) == pytest.approx(far.step_ms(truth), rel=0.002)


# How long an engine computed, without asking it.


@pytest.mark.parametrize("load", [0.05, 0.3, 0.6, 0.9])
def test_gaps_tell_how_long_an_engine_computed(load: float) -> None:
    case = CASES["an L40S whose silicon is 43 % slower than the profile"]
    engine = ScrapedEngine(LIMITS, case.true_source, np.random.default_rng(7))
    memory, ratios, predicted = WindowMemory(), [], []
    computed_ms: dict[float, float] = {}
    times = prior_for(case)[KEY].step_times
    for sample in engine.scrapes(Traffic(case.load_per_s(load)), 400.0, Scraper(date_error_s=0.0)):
        computed_ms[sample.at_s] = engine.computed_s * 1e3
        seen = observe(memory, {"r": ObservedReplica(KEY, sample)}, sample.at_s)
        memory = seen.memory
        for window in seen.windows:
            ratios.append(window.busy_ms / (computed_ms[window.end_s] - computed_ms[window.start_s]))
            predicted.append(row_of(window, times).step_ms(case.truth) / window.gap_ms)
    assert len(ratios) >= 6
    # Worst while this was written: -1.6 % at 0.05, where prompts are computed with nobody decoding.
    assert np.mean(ratios) == pytest.approx(1.0, abs=0.02)
    assert np.mean(predicted) == pytest.approx(1.0, abs=0.02)


def test_a_load_that_changes_within_a_window_is_predicted_part_by_part() -> None:
    case = CASES["an H100 with slower silicon on a slower host"]
    engine, times = ScrapedEngine(LIMITS, case.true_source, np.random.default_rng(7)), PRIOR.step_times
    memory, by_parts, by_means = WindowMemory(), [], []
    for turn in range(40):
        for sample in engine.scrapes(Traffic(case.load_per_s((0.3, 0.9)[turn % 2])), 11.0, Scraper()):
            seen = observe(memory, {"r": ObservedReplica(KEY, sample)}, sample.at_s + 0.3)
            memory = seen.memory
            for window in seen.windows:
                whole = replace(window, parts=())
                by_parts.append(row_of(window, times).step_ms(case.truth) / window.gap_ms - 1.0)
                by_means.append(row_of(whole, times).step_ms(case.truth) / window.gap_ms - 1.0)
    assert len(by_parts) >= 20
    # 1.5 % at most; by the means of whole windows 21 %.
    assert max(map(abs, by_parts)) < 0.03
    assert np.std(by_parts) < 0.5 * np.std(by_means)


# Nothing wrong may ever update an estimate.

WRONG_WINDOWS: dict[str, tuple[Mapping[str, Any], SkipReason]] = {
    "an engine that idles": ({"iterations": 200.0}, SkipReason.TOO_FEW_ITERATIONS),
    "an engine that did nothing": (
        {"iterations": 0.0, "decode_tokens": 0.0, "gap_ms": 0.0},
        SkipReason.TOO_FEW_ITERATIONS,
    ),
    "a NaN gap": ({"gap_ms": math.nan}, SkipReason.NOT_A_NUMBER),
    "an infinite gap": ({"gap_ms": math.inf}, SkipReason.NOT_A_NUMBER),
    "a NaN context": ({"context_tokens": math.nan}, SkipReason.NOT_A_NUMBER),
    "a NaN end": ({"end_s": math.nan}, SkipReason.NOT_A_NUMBER),
    "a negative count of prompts": ({"prompts": -1.0}, SkipReason.NOT_A_NUMBER),
    "negative prefill": ({"prefill_tokens": -5.0}, SkipReason.NOT_A_NUMBER),
    "sequences that were preempted": ({"preemptions": 1.0}, SkipReason.PREEMPTED),
    "iterations without a gap": ({"gap_ms": 0.0}, SkipReason.INCONSISTENT),
    "no decode token": ({"decode_tokens": 0.0}, SkipReason.INCONSISTENT),
    "nothing in the KV cache": ({"context_tokens": 0.0}, SkipReason.INCONSISTENT),
    "a window that ends before it starts": ({"start_s": NOW_S + 1.0}, SkipReason.INCONSISTENT),
    "more computing than time": ({"iterations": 1600.0, "decode_tokens": 32_000.0}, SkipReason.INCONSISTENT),
    "two API servers that each count their own iterations": (
        {"decode_tokens": 6_000.0},
        SkipReason.INCONSISTENT,
    ),
    "the gauge of another engine": ({"mean_running": 100.0}, SkipReason.INCONSISTENT),
    "a batch that the profile does not cover": (
        {"decode_tokens": 1200.0 * 300, "mean_running": 300.0},
        SkipReason.OUT_OF_RANGE,
    ),
    "a window from the future": ({"start_s": NOW_S + 85.0, "end_s": NOW_S + 100.0}, SkipReason.CLOCK_JUMP),
    "five times as slow as anything": (
        {
            "iterations": 250.0,
            "decode_tokens": 5000.0,
            "prompts": 9.0,
            "prefill_tokens": 9000.0,
            "gap_ms": 58.0,
        },
        SkipReason.IMPLAUSIBLE,
    ),
    "faster than memory can be read": ({"gap_ms": 2.0}, SkipReason.IMPLAUSIBLE),
}


@pytest.mark.parametrize("case", WRONG_WINDOWS.values(), ids=WRONG_WINDOWS)
@pytest.mark.parametrize("is_first", [True, False], ids=["at first", "later"])
def test_a_wrong_window_updates_nothing(case: tuple[Mapping[str, Any], SkipReason], is_first: bool) -> None:
    changes, reason = case
    before = CalibrationMemory()
    if not is_first:
        before = learn([moved(w, -900.0) for w in some(12)]).memory
    memory, reports = recalibrate(before, [replace(USUAL, **changes)], PRIORS, NOW_S)
    assert [type(r.outcome) for r in reports] == [Skipped]
    assert reports[0].outcome.reason is reason  # type: ignore[union-attr]
    assert memory == before


def test_the_usual_window_itself_is_learnt_from() -> None:
    _, reports = recalibrate(CalibrationMemory(), [USUAL], PRIORS, NOW_S)
    assert [type(r.outcome) for r in reports] == [Updated]


def test_a_batch_beyond_the_profile_is_named_with_its_size() -> None:
    times = H100.step_times(40, 256)
    part = replace(USUAL, decode_tokens=36_000.0, mean_running=30.0, running_variance=300.0)
    found = row(replace(USUAL, parts=(part,)), times)
    message = "batches of up to 40.0, and the profile ends at 40"
    assert found == Skipped(SkipReason.OUT_OF_RANGE, message)


def test_a_window_without_a_profile_is_named() -> None:
    memory, reports = recalibrate(CalibrationMemory(), [USUAL], {}, NOW_S)
    assert memory == CalibrationMemory()
    assert reports[0].outcome == Skipped(SkipReason.NO_PRIOR, f"no profile of {KEY}")


def test_the_same_window_counts_once() -> None:
    once = learn(some(8))
    twice = learn([window for window in some(8) for _ in range(2)])
    assert twice.memory == once.memory
    assert twice.skips == [SkipReason.SEEN_BEFORE] * 8


def test_a_wild_window_among_good_ones_is_left_out_and_a_lasting_change_is_not() -> None:
    settled = learn(some(30))
    wild = shown(at_batch(30.0, 31), TIMES, HOST_OVERHEAD, 1.6)
    memory, reports = recalibrate(settled.memory, [wild], PRIORS, wild.end_s)
    assert isinstance(reports[0].outcome, Skipped)
    assert reports[0].outcome.reason is SkipReason.OUTLIER
    assert memory.states[KEY].evidence == settled.memory.states[KEY].evidence
    slower = [moved(w, 900.0) for w in some(20, Calibration(1.6, 2.0, 0.07))]
    changed = learn(slower, memory)
    assert len(changed.alarms) == 1
    assert changed.calibration.s > 1.4


def test_a_constant_batch_corrects_the_level_and_is_then_skipped() -> None:
    truth = Calibration(1.4, 1.3, 0.046)
    windows = [shown(at_batch(24.0, place), TIMES, truth) for place in range(20)]
    learnt = learn(windows)
    assert learnt.skips == [SkipReason.LITTLE_VARIATION] * (20 - NUM_ALIKE)
    here = row_of(windows[0], TIMES)
    assert here.step_ms(learnt.calibration) == pytest.approx(here.step_ms(truth), rel=0.01)
    # The prior divides the correction: most of it goes to the silicon, of which it is least sure.
    far = row_of(at_batch(128.0, 0), TIMES)
    assert far.step_ms(learnt.calibration) == pytest.approx(far.step_ms(truth), rel=0.05)


def test_an_odd_window_counts_no_more_than_one_at_three_deviations() -> None:
    settled = learn(some(40)).memory
    here = row_of(at_batch(30.0, 41), TIMES)

    def moved_by(factor: float) -> float:
        window = shown(at_batch(30.0, 41), TIMES, HOST_OVERHEAD, factor)
        learnt = learn([window], settled)
        assert isinstance(learnt.reports[0].outcome, Updated)
        return here.step_ms(learnt.calibration) / here.step_ms(Learnt(settled, []).calibration) - 1.0

    spread = settled.states[KEY].health.spread
    usual, odd = moved_by(1.0 + 3 * spread), moved_by(1.0 + 6 * spread)
    # Its weight is halved, its residual doubled.
    assert usual > 0.0
    assert odd == pytest.approx(usual, rel=0.25)


def test_many_replicas_forget_no_faster_than_one() -> None:
    def unsure(num: int) -> float:
        """Of large batches, after forty rounds of small ones."""
        memory = learn(some(40)).memory
        for place in range(40, 80):
            windows = [
                shown(at_batch(8.0 + (place + i) % 2, place, f"10.0.0.{i}:8000"), TIMES, HOST_OVERHEAD)
                for i in range(num)
            ]
            memory, _ = recalibrate(memory, windows, PRIORS, windows[0].end_s)
        state = memory.states[KEY]
        return relative_variance(state.evidence, state.start, row_of(at_batch(200.0, 0), TIMES))

    assert unsure(20) < unsure(1)


# Publishing, applying, remembering.


def test_a_calibration_is_published_after_four_windows_and_then_only_when_it_matters() -> None:
    published = []
    memory = CalibrationMemory()
    for window in some(60, Calibration(1.3, 1.3, 0.046)):
        memory, _ = recalibrate(memory, [window], PRIORS, window.end_s)
        published.append(memory.states[KEY].published)
    assert published[: MIN_WINDOWS - 1] == [None] * (MIN_WINDOWS - 1)
    assert published[MIN_WINDOWS - 1] is not None
    assert len(set(published)) <= 5
    here = row_of(window, TIMES)
    last = published[-1]
    assert last is not None
    assert here.step_ms(last) == pytest.approx(here.step_ms(Calibration(1.3, 1.3, 0.046)), rel=0.03)


def test_a_calibration_replaces_that_of_its_source() -> None:
    wanted = Calibration(1.2, 2.0, 0.05)
    source = wanted.applied_to(replace(H100, s=0.98, c0=1.34, cb=0.046))
    assert isinstance(source, StepCoefficients)
    assert (source.s, source.c0, source.cb, 0.0) == astuple(wanted)
    assert step_ms(source, 32, 40_000) == pytest.approx(
        1.2 * step_ms(H100, 32, 40_000) + 2.0 + 0.05 * 32, rel=1e-12
    )
    knots = np.array([1.0, 8.0])
    table = StepTable(knots, knots, knots, knots, np.ones((2, 2)), knots, knots, np.ones((2, 2)))
    changed = wanted.applied_to(table)
    assert isinstance(changed, StepTable)
    assert (changed.s, changed.c0, changed.cb, 0.0) == astuple(wanted)
    assert changed.digest() != table.digest()


def test_a_source_without_a_calibration_cannot_be_calibrated() -> None:
    class Bare:
        def step_times(self, max_tokens: int, max_seqs: int) -> Any: ...

        def digest(self) -> str:
            return ""

    with pytest.raises(InvariantError):
        HOST_OVERHEAD.applied_to(Bare())


def test_a_calibration_does_not_outlive_its_profile() -> None:
    learnt = learn(some(10))
    window = replace(USUAL, start_s=NOW_S + 900.0, end_s=NOW_S + 915.0)
    memory, reports = recalibrate(learnt.memory, [window], {KEY: replace(PRIOR, digest="new")}, window.end_s)
    assert isinstance(reports[0].outcome, Discarded)
    assert isinstance(reports[1].outcome, Updated)
    assert memory.states[KEY].health.num_windows == 1


def test_a_row_knows_that_prompts_and_batches_take_time() -> None:
    usual = row_of(USUAL, TIMES)
    assert usual == Row(usual.silicon_ms, 21.0, pytest.approx(127_000 / 1200))
    without = row_of(replace(USUAL, prompts=0.0, prefill_tokens=0.0), TIMES)
    assert without.silicon_ms == pytest.approx(step_ms(H100, 21.0, 21.0 * 1300.0), rel=1e-5)
    assert usual.silicon_ms > without.silicon_ms
