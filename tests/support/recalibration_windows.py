"""Windows made by hand, for the tests of recalibration that need no engine.

Owns a usual window and those that a given truth would show. Never runs an engine.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
from perf_engines import H100_8B

from argosy.engine import EngineLimits, StepCoefficients
from argosy.engine.step_times import StepTimes, StepTimeSource
from argosy.perf.profile import HOST_OVERHEAD, Calibration, ProfileKey, Shape
from argosy.perf.recalibration.features import Row, row
from argosy.perf.recalibration.fit import estimate
from argosy.perf.recalibration.memory import (
    CalibrationMemory,
)
from argosy.perf.recalibration.recalibrate import (
    Drifted,
    Prior,
    WindowReport,
    recalibrate,
)
from argosy.perf.recalibration.window import CalibrationKey, Skipped, SkipReason, Window
from argosy.snapshot.architecture import Dtype

# Without host overhead: what is calibrated.
H100 = replace(H100_8B, s=1.0, c0=0.0, cb=0.0)
L40S = StepCoefficients(
    wn=22.581,
    f=0.0465502,
    q=4.87031,
    c1=0.023087,
    a0=0.103882,
    a1=0.000192248,
    a2=0.00962797,
    b0=0.162163,
    b1=0.00123578,
    b2=2.67795e-06,
)
LIMITS = EngineLimits(256, 8192, 27_000, 16, 16_384)

KEY = CalibrationKey(ProfileKey("H100", "llama-3.1-8b", Dtype.BF16, Shape(1)), "v0.24.0")
NOW_S = 1_700_000_000.0

USUAL = Window(
    key=KEY,
    replica="10.0.0.1:8000",
    start_s=NOW_S - 15.0,
    end_s=NOW_S,
    iterations=1200.0,
    decode_tokens=24_000.0,
    gap_ms=12.0,
    prompts=110.0,
    prefill_tokens=127_000.0,
    cached_tokens=0.0,
    preemptions=0.0,
    mean_running=20.0,
    running_variance=20.0,
    context_tokens=1300.0,
    was_idle=False,
)


def prior_of(source: StepTimeSource) -> Prior:
    """A profile without host overhead as what recalibration corrects, from the usual overhead on."""
    return Prior(source.step_times(LIMITS.max_num_batched_tokens, LIMITS.max_num_seqs), source.digest())


def row_of(window: Window, times: StepTimes) -> Row:
    """The regressors of a window that has some."""
    found = row(window, times)
    assert isinstance(found, Row)
    return found


def shown(window: Window, times: StepTimes, truth: Calibration, factor: float = 1.0) -> Window:
    """The window as an engine of this truth shows it, `factor` times as slow.

    Batch and prompts per iteration stay as they are; their number goes with the iterations.
    """
    return paced(window, row_of(window, times).step_ms(truth) * factor)


def paced(window: Window, gap_ms: float) -> Window:
    """The window with other step times, under the same load per iteration."""
    iterations = window.wall_ms / gap_ms
    share = iterations / window.iterations
    return replace(
        window,
        gap_ms=gap_ms,
        iterations=iterations,
        decode_tokens=window.decode_tokens * share,
        prompts=window.prompts * share,
        prefill_tokens=window.prefill_tokens * share,
    )


def at_batch(batch: float, place: int, replica: str = USUAL.replica) -> Window:
    """The usual window with another batch, the `place`-th in a row (0 ends now)."""
    return replace(
        USUAL,
        replica=replica,
        start_s=NOW_S + 15.0 * (place - 1),
        end_s=NOW_S + 15.0 * place,
        decode_tokens=batch * USUAL.iterations,
        mean_running=batch,
        running_variance=batch,
    )


def traffic(
    times: StepTimes, truth: Calibration, num: int, rng: np.random.Generator, noise: float = 0.03
) -> Iterator[Window]:
    """Windows in a row of one replica whose batch wanders between 8 and 80."""
    for place in range(num):
        window = at_batch(float(rng.uniform(8.0, 80.0)), place)
        yield shown(window, times, truth, 1.0 + noise * float(rng.standard_normal()))


PRIOR = prior_of(H100)
PRIORS = {KEY: PRIOR}
TIMES = PRIOR.step_times


@dataclass(frozen=True)
class Learnt:
    memory: CalibrationMemory
    reports: list[WindowReport]

    @property
    def calibration(self) -> Calibration:
        state = self.memory.states[KEY]
        return estimate(state.evidence, state.start)

    @property
    def alarms(self) -> list[WindowReport]:
        return [report for report in self.reports if isinstance(report.outcome, Drifted)]

    @property
    def skips(self) -> list[SkipReason]:
        return [r.outcome.reason for r in self.reports if isinstance(r.outcome, Skipped)]


def learn(windows: Iterable[Window], memory: CalibrationMemory | None = None) -> Learnt:
    """All windows one by one, each judged when it ends."""
    memory = memory or CalibrationMemory()
    reports: list[WindowReport] = []
    for window in windows:
        memory, new = recalibrate(memory, [window], PRIORS, window.end_s)
        reports += new
    return Learnt(memory, reports)


def some(num: int, truth: Calibration = HOST_OVERHEAD, seed: int = 0) -> list[Window]:
    return list(traffic(TIMES, truth, num, np.random.default_rng(seed)))


def moved(window: Window, seconds: float) -> Window:
    return replace(window, start_s=window.start_s + seconds, end_s=window.end_s + seconds)


FLEET = Calibration(1.3, 1.3, 0.046)


def fleet(
    num: int, slow: Mapping[int, float], rounds: int = 12, seed: int = 0, truth: Calibration = FLEET
) -> Learnt:
    rng = np.random.default_rng(seed)
    memory = CalibrationMemory()
    reports: list[WindowReport] = []
    for place in range(rounds):
        windows = []
        for i in range(num):
            window = at_batch(float(rng.uniform(8, 80)), place, f"10.0.0.{i}:8000")
            factor = slow.get(i, 1.0) * (1.0 + 0.03 * float(rng.standard_normal()))
            windows.append(shown(window, TIMES, truth, factor))
        memory, new = recalibrate(memory, windows, PRIORS, windows[0].end_s)
        reports += new
    return Learnt(memory, reports)
