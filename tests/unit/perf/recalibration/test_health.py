"""Drift alarm, confidence and stragglers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from recalibration_windows import (
    H100,
    KEY,
    PRIORS,
    TIMES,
    at_batch,
    fleet,
    learn,
    moved,
    paced,
    row_of,
    some,
    traffic,
)

from argosy.perf.profile import HOST_OVERHEAD, Calibration
from argosy.perf.recalibration.memory import (
    CalibrationMemory,
)
from argosy.perf.recalibration.recalibrate import (
    Drifted,
    confidence,
    recalibrate,
)
from argosy.perf.recalibration.window import Skipped, SkipReason


def test_stationary_noise_raises_no_alarm() -> None:
    """Said to be once in 2 x 10^7 windows, in 2 x 10^5 with a poorly known scatter."""
    for seed, noise in ((0, 0.03), (1, 0.01), (2, 0.06)):
        windows = traffic(TIMES, HOST_OVERHEAD, 2000, np.random.default_rng(seed), noise)
        assert learn(windows).alarms == []


@pytest.mark.parametrize("factor", [1.15, 0.85])
@pytest.mark.parametrize(("noise", "within"), [(0.01, 4), (0.03, 6), (0.05, 14)])
def test_a_shift_of_fifteen_percent_is_noticed(factor: float, noise: float, within: int) -> None:
    for seed in range(5):
        windows = list(traffic(TIMES, HOST_OVERHEAD, 100, np.random.default_rng(seed), noise))
        shifted = [*windows[:60], *(paced(w, w.gap_ms * factor) for w in windows[60:])]
        learnt = learn(shifted)
        assert len(learnt.alarms) == 1
        assert windows[60].end_s <= learnt.alarms[0].at_s <= windows[59 + within].end_s
        state = learnt.memory.states[KEY]
        assert state.health.drifted_at_s == learnt.alarms[0].at_s
        here = row_of(windows[-1], TIMES)
        assert here.step_ms(learnt.calibration) == pytest.approx(
            here.step_ms(HOST_OVERHEAD) * factor, rel=0.05
        )


def test_a_drift_unsettles_the_estimate_without_moving_it() -> None:
    settled = learn(some(60))
    slower = [paced(moved(w, 900.0), w.gap_ms * 1.15) for w in some(10, seed=1)]
    memory = settled.memory
    for window in slower:
        before = confidence(memory, KEY)
        memory, (report,) = recalibrate(memory, [window], PRIORS, window.end_s)
        if isinstance(report.outcome, Drifted):
            break
    after_ = confidence(memory, KEY)
    assert before is not None
    assert after_ is not None
    assert after_.calibration == before.calibration
    assert after_.uncertainty > 3 * before.uncertainty
    assert after_.drifted_at_s == window.end_s


@pytest.mark.parametrize("noise", [0.01, 0.03, 0.08])
def test_the_uncertainty_is_the_scatter_of_windows(noise: float) -> None:
    learnt = learn(traffic(TIMES, Calibration(1.3, 1.3, 0.046), 300, np.random.default_rng(4), noise))
    known = confidence(learnt.memory, KEY)
    assert known is not None
    assert known.uncertainty == pytest.approx(noise, rel=0.25)


def test_an_engine_that_a_profile_explains_badly_is_trusted_less() -> None:
    """Attention three times as slow per token of context: no (s, c0, cB) makes up for that everywhere."""
    rng = np.random.default_rng(0)
    truth = replace(H100, a1=H100.a1 * 3, c0=1.3, cb=0.046).step_times(8192, 256)
    windows = []
    for place in range(60):
        window = replace(
            at_batch(float(rng.uniform(8, 80)), place), context_tokens=float(rng.uniform(500, 6000))
        )
        gap_ms = row_of(window, truth).step_ms(Calibration(1.0, 1.3, 0.046))
        windows.append(paced(window, gap_ms))
    known = confidence(learn(windows).memory, KEY)
    assert known is not None
    assert known.uncertainty > 0.05


def test_confidence_says_how_far_the_prior_was_off() -> None:
    truth = Calibration(1.3, 1.69, 0.0598)
    known = confidence(learn(some(40, truth)).memory, KEY)
    assert known is not None
    assert known.deviation == pytest.approx(0.3, abs=0.03)
    assert known.num_windows == 40
    assert known.drifted_at_s is None


def test_nothing_is_known_of_what_was_never_seen() -> None:
    assert confidence(CalibrationMemory(), KEY) is None


# Stragglers.


@pytest.mark.parametrize("num", [3, 8, 40])
def test_a_straggler_is_named_and_teaches_nothing(num: int) -> None:
    # It has taught for some rounds before it is known: a third of three replicas, then it fades.
    learnt = fleet(num, {1: 1.35}, rounds=40 if num == 3 else 15)
    known = confidence(learnt.memory, KEY)
    assert known is not None
    assert [s.replica for s in known.stragglers] == ["10.0.0.1:8000"]
    assert known.stragglers[0].ratio == pytest.approx(1.35, abs=0.1)
    skipped = [r.replica for r in learnt.reports if isinstance(r.outcome, Skipped)]
    assert set(learnt.skips) <= {SkipReason.STRAGGLER, SkipReason.OUTLIER}
    assert learnt.skips.count(SkipReason.STRAGGLER) >= 7
    assert set(skipped) == {"10.0.0.1:8000"}
    here = row_of(at_batch(40.0, 0), TIMES)
    truth = here.step_ms(Calibration(1.3, 1.3, 0.046))
    assert here.step_ms(learnt.calibration) == pytest.approx(truth, rel=0.04)


@pytest.mark.parametrize("num", [3, 8, 40])
def test_equal_replicas_have_no_straggler(num: int) -> None:
    for seed in range(4):
        learnt = fleet(num, {}, seed=seed)
        known = confidence(learnt.memory, KEY)
        assert known is not None
        assert known.stragglers == ()
        assert SkipReason.STRAGGLER not in learnt.skips


def test_who_comes_first_is_no_straggler_for_meeting_the_error_of_the_prior() -> None:
    learnt = fleet(3, {}, rounds=6, truth=Calibration(2.2, 1.3, 0.046))
    assert SkipReason.STRAGGLER not in learnt.skips


def test_of_two_replicas_neither_is_called_a_straggler() -> None:
    known = confidence(fleet(2, {1: 1.35}).memory, KEY)
    assert known is not None
    assert known.stragglers == ()
