"""Online recalibration: profiles that follow what engines really do, a pure function of samples.

Owns what a window may do to a calibration, and what planners use. `observe` forms the windows,
`features` computes silicon times. Input: complete windows and the profiles they are about. Output:
a new `CalibrationMemory` and a report per window.

    telemetry --observe--> Window --row--> Row --recalibrate--> CalibrationMemory --calibrated--> source

Nothing wrong may ever update an estimate, so a window is learnt from only when no guard objects
(`SkipReason`); what remains is weighed down where it is far from the expected (Huber, at 3 standard
deviations). All replicas of a key teach one calibration; a single replica's lag only tells
stragglers, whose windows teach nothing.

A batch that does not vary cannot tell (s, c0, cB) apart, but it tells how long a step takes. So the
first windows of a kind count, which corrects a fleet under steady load too (the prior divides the
correction), and only more of the same kind are skipped: they would say nothing new while what was
learnt under other loads is forgotten.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from argosy.documents import Discarded, DiscardReason
from argosy.engine.step_times import StepTimes
from argosy.perf.profile import HOST_OVERHEAD, Calibration
from argosy.perf.recalibration.features import Row, row
from argosy.perf.recalibration.fit import (
    FORGETTING,
    NOISE,
    Evidence,
    Observation,
    Start,
    estimate,
    forgotten,
    learnt,
    relative_variance,
    restarted,
)
from argosy.perf.recalibration.health import Lag, ResidualStatistics, Straggler, straggler_scores, stragglers
from argosy.perf.recalibration.memory import (
    MAX_REPLICAS,
    MAX_ROWS,
    CalibrationMemory,
    CalibrationState,
    bounded,
)
from argosy.perf.recalibration.observe import CLOCK_TOLERANCE_S, LONGEST_WINDOW_S, WINDOW_S
from argosy.perf.recalibration.window import (
    CalibrationKey,
    Skipped,
    SkipReason,
    Window,
    window_fault,
)

MIN_WINDOWS = 4
"""Windows before a calibration is published (measured: 28 % wrong before, 3.6 % after four)."""

PUBLISHED_CHANGE = 0.02
"""A step time that changes by less is not worth computing capacities anew."""

NUM_ALIKE = 6
"""Windows of one batch, give or take 5 % or half a sequence, that are learnt from in a row."""

_OTHER_PREFILL = 0.5
"""Of the most prefill per iteration: windows that differ by more tell prefill from decoding."""

_HUBER_Z, _OUTLIER_Z = 3.0, 8.0
"""Standard deviations from the expected beyond which a window weighs less (Huber), or teaches nothing:
noise alone exceeds the first in three windows of a thousand, and the second practically never."""
_WARM_WINDOWS = 10
"""Before, the scatter is not known well enough to call a window an outlier or a drift."""

_IMPLAUSIBLE_RATIO = 4.0
"""Slower or faster than the prior by more is another engine than the profile's: also the bounds of `s`
(`fit.LOWEST`, `fit.HIGHEST`)."""
_LAG_MEMORY_S = 3.0 * LONGEST_WINDOW_S
"""A replica that has not been heard for so long is no longer in its group."""


@dataclass(frozen=True, slots=True)
class Prior:
    """What a calibration corrects.

    step_times: the profile's arrays for the engine's limits (their own calibration is ignored)
    digest:     of the profile, so that a calibration never outlives it
    host:       where the calibration starts; s = 1, c0 = cB = 0 for times that contain the host. Of an
                engine whose host works beside the GPU (vLLM 0.14 and later) c0 and cB are the exposed part
    """

    step_times: StepTimes
    digest: str
    host: Calibration = HOST_OVERHEAD


@dataclass(frozen=True, slots=True)
class Updated:
    """The window was learnt from. `residual`: relative, observed above what was expected."""

    residual: float
    calibration: Calibration


@dataclass(frozen=True, slots=True)
class Drifted:
    """The drift alarm: steps take `ratio` times as long as calibrated. Learning began anew."""

    ratio: float
    message: str


@dataclass(frozen=True, slots=True)
class WindowReport:
    """What became of one window (or, `replica` empty, of a whole calibration)."""

    key: CalibrationKey
    replica: str
    at_s: float
    outcome: Updated | Skipped | Drifted | Discarded


@dataclass(frozen=True, slots=True)
class Confidence:
    """What planners and users get to know of one calibration.

    calibration: to be applied; None before `MIN_WINDOWS` windows
    uncertainty: relative standard error (0-1) of a calibrated step time: the windows' scatter and
                 the estimate's own error, at the most uncertain of the loads last seen
    deviation:   by how much the calibrated step time exceeds the prior's, at the load last seen
    prefill_deviation: the same of a token of a prompt in a full iteration; None where windows did not tell
                 prefill from the rest
    """

    calibration: Calibration | None
    uncertainty: float
    deviation: float
    num_windows: int
    updated_at_s: float
    drifted_at_s: float | None
    stragglers: tuple[Straggler, ...]
    prefill_deviation: float | None = None


def recalibrate(
    memory: CalibrationMemory,
    windows: Iterable[Window],
    priors: Mapping[CalibrationKey, Prior],
    now_s: float,
) -> tuple[CalibrationMemory, tuple[WindowReport, ...]]:
    """The memory after some windows, in the order of their ends, and what became of each."""
    states = dict(memory.states)
    reports: list[WindowReport] = []
    for window in sorted(windows, key=_order):
        prior = priors.get(window.key)
        if prior is None:
            skip = Skipped(SkipReason.NO_PRIOR, f"no profile of {window.key}")
            reports.append(WindowReport(window.key, window.replica, window.end_s, skip))
            continue
        state = states.get(window.key)
        if state is not None and state.prior_digest != prior.digest:
            message = "the profile that it corrected has changed"
            given_up = Discarded(DiscardReason.OUTDATED, message, what=str(window.key))
            reports.append(WindowReport(window.key, "", window.end_s, given_up))
            del states[window.key]
            state = None
        before = state or CalibrationState(prior.digest, Start.of(prior.host, prior.step_times))
        after, outcome = _judge(before, window, prior, now_s)
        reports.append(WindowReport(window.key, window.replica, window.end_s, outcome))
        if after is not before:
            states[window.key] = after
    return bounded(states), tuple(reports)


def _order(window: Window) -> tuple[float, str]:
    return (window.end_s if math.isfinite(window.end_s) else math.inf, window.replica)


def _judge(
    state: CalibrationState, window: Window, prior: Prior, now_s: float
) -> tuple[CalibrationState, Updated | Skipped | Drifted]:
    """What one window does to its calibration."""
    fault = window_fault(window) or _time_fault(state, window, now_s)
    if fault is not None:
        return state, fault
    found = row(window, prior.step_times)
    if isinstance(found, Skipped):
        return state, found
    plausible_ms = found.step_ms(state.start.calibration)
    if not plausible_ms / _IMPLAUSIBLE_RATIO < window.gap_ms < plausible_ms * _IMPLAUSIBLE_RATIO:
        message = f"{window.gap_ms:.1f} ms per iteration, expected {plausible_ms:.1f}"
        return state, Skipped(SkipReason.IMPLAUSIBLE, message)
    residual = window.gap_ms / found.step_ms(estimate(state.evidence, state.start)) - 1.0
    state = _lagging(state, window, math.log1p(residual), now_s)
    mine = straggler_scores(state.lags).get(window.replica)
    if mine is not None and stragglers((mine,)):
        message = f"{mine.ratio:.2f} times as slow as its group"
        return state, Skipped(SkipReason.STRAGGLER, message)
    return _learn(state, window, found, residual)


def _time_fault(state: CalibrationState, window: Window, now_s: float) -> Skipped | None:
    if window.end_s > now_s + CLOCK_TOLERANCE_S:
        message = f"the window ends at {window.end_s:g} s, now is {now_s:g} s"
        return Skipped(SkipReason.CLOCK_JUMP, message)
    lag = state.lags.get(window.replica)
    # A lag from the future is of a clock that went back since.
    if lag is not None and window.start_s < lag.end_s - 1e-6 and lag.end_s <= now_s + CLOCK_TOLERANCE_S:
        return Skipped(SkipReason.SEEN_BEFORE, f"windows up to {lag.end_s:g} s have been judged")
    return None


def _lagging(state: CalibrationState, window: Window, log_ratio: float, now_s: float) -> CalibrationState:
    """The state with the replica's lag; replicas not heard for long are forgotten."""
    lags = {name: lag for name, lag in state.lags.items() if abs(window.end_s - lag.end_s) <= _LAG_MEMORY_S}
    known = lags.pop(window.replica, Lag(0.0, 0, window.end_s))
    # Early residuals contain the prior's error, so they do not count as a replica's lag.
    is_settled = state.health.num_windows >= MIN_WINDOWS
    lags[window.replica] = known.observed(log_ratio if is_settled else None, window.end_s)
    while len(lags) > MAX_REPLICAS:
        del lags[min(lags, key=lambda name: (lags[name].end_s, name))]
    return replace(state, lags=lags)


def _learn(
    state: CalibrationState, window: Window, found: Row, residual: float
) -> tuple[CalibrationState, Updated | Skipped | Drifted]:
    """The state after a window that nothing is wrong with but, perhaps, what it says."""
    own_share = relative_variance(state.evidence, state.start, found) / NOISE**2
    z = state.health.standardised(residual, own_share)
    is_warm = state.health.num_windows >= _WARM_WINDOWS
    health = state.health.with_drift(z) if is_warm else state.health
    if health.has_drifted:
        return _drifted(state, health, window, residual)
    if is_warm and abs(z) > _OUTLIER_Z:
        message = f"{residual:+.0%} from the expected, {abs(z):.0f} standard deviations"
        return replace(state, health=health), Skipped(SkipReason.OUTLIER, message)
    if _is_alike(state.rows, found):
        message = f"the batch has stayed at {found.batch:.1f}"
        return replace(state, health=health), Skipped(SkipReason.LITTLE_VARIATION, message)
    weight = min(1.0, _HUBER_Z / abs(z)) if z else 1.0
    aged = forgotten(state.evidence, _kept_share(state, window))
    evidence = learnt(aged, state.start, Observation(found, window.gap_ms, weight))
    state = replace(
        state,
        evidence=evidence,
        health=health.with_scatter(residual, own_share),
        rows=(*state.rows, found)[-MAX_ROWS:],
        updated_at_s=_later(state.updated_at_s, window.end_s),
    )
    return _published(state), Updated(residual, estimate(evidence, state.start))


def _kept_share(state: CalibrationState, window: Window) -> float:
    """Forgetting goes by time, one window's worth at most: many replicas forget no faster than one,
    and a quiet night forgets nothing.
    """
    if not state.rows:
        return 1.0
    elapsed_s = min(WINDOW_S, max(0.0, window.end_s - state.updated_at_s))
    return float(FORGETTING ** (elapsed_s / WINDOW_S))


def _later(known_s: float, end_s: float) -> float:
    """The later instant, unless the known one is of a clock that went back since."""
    return end_s if known_s > end_s + LONGEST_WINDOW_S else max(known_s, end_s)


def _is_alike(rows: tuple[Row, ...], found: Row) -> bool:
    """Whether the last windows, as many as are allowed, all had this batch, and as much prefill."""
    if len(rows) < NUM_ALIKE:
        return False
    last = (*rows[-NUM_ALIKE:], found)
    batches, prefills = [each.batch for each in last], [each.prefill_tokens for each in last]
    if max(prefills) - min(prefills) > _OTHER_PREFILL * max(prefills):
        return False
    return max(batches) - min(batches) < max(0.5, 0.05 * found.batch)


def _drifted(
    state: CalibrationState, health: ResidualStatistics, window: Window, residual: float
) -> tuple[CalibrationState, Drifted]:
    """The alarm: the estimate stays and becomes as unsure as it was at first; the next windows teach."""
    way = "slower" if health.above > health.below else "faster"
    message = f"steps are {way} than calibrated for several windows, {residual:+.0%} in the last"
    state = replace(
        state, evidence=restarted(state.evidence, state.start), health=health.alarmed(window.end_s), rows=()
    )
    return state, Drifted(1.0 + residual, message)


def _published(state: CalibrationState) -> CalibrationState:
    """The state, with its estimate published where that matters at a load seen lately."""
    if state.health.num_windows < MIN_WINDOWS:
        return state
    new, old = estimate(state.evidence, state.start), state.published
    if old is not None:
        changes = [abs(each.step_ms(new) / each.step_ms(old) - 1.0) for each in state.rows]
        if max(changes) <= PUBLISHED_CHANGE:
            return state
    return replace(state, published=new)


def confidence(memory: CalibrationMemory, key: CalibrationKey) -> Confidence | None:
    """How far the calibration of `key` can be trusted; None where there is none."""
    state = memory.states.get(key)
    if state is None:
        return None
    known = estimate(state.evidence, state.start)
    newest = state.rows[-1] if state.rows else None
    return Confidence(
        calibration=state.published,
        uncertainty=max((uncertainty_at(state, each) for each in state.rows), default=_unseen(state)),
        deviation=newest.step_ms(known) / newest.step_ms(state.start.calibration) - 1.0 if newest else 0.0,
        num_windows=state.health.num_windows,
        updated_at_s=state.updated_at_s,
        drifted_at_s=state.health.drifted_at_s,
        stragglers=stragglers(straggler_scores(state.lags).values()),
        prefill_deviation=_prefill_deviation(state, known) if state.evidence.knows_prefill else None,
    )


def _prefill_deviation(state: CalibrationState, known: Calibration) -> float:
    start = state.start
    usual_ms, seen_ms = (
        each.s * start.silicon_ms_per_token + each.prefill_ms_per_token for each in (start.calibration, known)
    )
    return seen_ms / usual_ms - 1.0


def uncertainty_at(state: CalibrationState, at: Row) -> float:
    """Relative standard error (0-1) of the calibrated step time under the load of `at`."""
    spread = state.health.spread
    own = relative_variance(state.evidence, state.start, at) * max(1.0, spread / NOISE) ** 2
    return math.sqrt(spread * spread + own)


def _unseen(state: CalibrationState) -> float:
    """The uncertainty with no load seen (after an alarm): a typical iteration's, as the prior has it."""
    typical = Row(silicon_ms=10.0, batch=16.0)
    return math.hypot(state.health.spread, math.sqrt(relative_variance(Evidence(), state.start, typical)))
