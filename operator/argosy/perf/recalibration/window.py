"""What one replica did in some fifteen seconds, and what forbids learning from it.

Owns the nouns `Window` and `SkipReason`, and the guards on a window's own figures. `observe` forms
windows from readings, `features` predicts them. Missing is never zero.

How long an engine computed. `busy_ms` = iterations x mean gap between tokens
(`inter_token_latency_seconds`: sum/count). The gaps are taken on the engine's own monotonic clock
and grow only while it decodes, so neither the jitter of scrapes nor idle time is in them, which
rules the wall clock out: half a second on fifteen is 3 %. Every sequence of an iteration counts its
gap, so a gap's mean weighs an iteration with its batch. Measured on the simulated engine with
lognormal lengths, 15 s windows: 0..+1.3 % above the mean iteration at loads of 0.1-0.9, -1.2 % at
0.05, where some prompts are computed while no sequence decodes. Most of it goes where the prediction is
made for the same weighted mean (`Window.batch`).

An iteration that gives no token (one chunk of a prompt, no sequence decoding) is neither in vLLM's
count of iterations nor in the gaps, so the two agree. With several API servers per engine each of
them counts its own iterations: `INCONSISTENT` finds them, the counted batch is not the gauge's.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

from argosy.perf.profile import ProfileKey
from argosy.refusals import Refused

MIN_ITERATIONS = 200
"""A window needs more than these: the means of fewer iterations scatter too much."""


class SkipReason(StrEnum):
    """Why something observed did not update an estimate."""

    ROLLOUT = "Rollout"
    """A roll-out changes the replica, or its neighbours."""
    WARMING_UP = "WarmingUp"
    """The engine started a moment ago."""
    RESTARTED = "Restarted"
    """The engine's process started anew, or another engine has its address."""
    COUNTER_RESET = "CounterReset"
    """A counter fell."""
    MISSING = "Missing"
    """The engine does not show a metric that is needed."""
    STALE = "Stale"
    """No sample for too long."""
    CLOCK_JUMP = "ClockJump"
    """Samples run backwards, or come from the future."""
    NOT_A_NUMBER = "NotANumber"
    """A value is NaN, infinite or negative."""
    TOO_FEW_ITERATIONS = "TooFewIterations"
    """At most `MIN_ITERATIONS` in the window."""
    PREEMPTED = "Preempted"
    """Preempted sequences wait and are computed again: their gaps are not iterations."""
    INCONSISTENT = "Inconsistent"
    """Two metrics of one window contradict each other."""
    NO_PRIOR = "NoPrior"
    """There is no profile that the window could correct."""
    OUT_OF_RANGE = "OutOfRange"
    """The engine's batch or context is beyond what its profile covers."""
    SEEN_BEFORE = "SeenBefore"
    """The window overlaps one of the same replica that has been judged."""
    IMPLAUSIBLE = "Implausible"
    """Several times the expected time, or a fraction of it: not a matter of calibration."""
    OUTLIER = "Outlier"
    """Far outside the scatter of the windows before; if it lasts, the drift alarm takes it up."""
    LITTLE_VARIATION = "LittleVariation"
    """The batch has not varied for several windows: one more of the kind says nothing new."""
    STRAGGLER = "Straggler"
    """The replica is slower than its group: that is its fault, not the profile's."""


@dataclass(frozen=True, slots=True)
class CalibrationKey:
    """What one calibration holds for: GPU, model, dtype and shape, and the engine's version."""

    profile: ProfileKey
    engine_version: str

    def __str__(self) -> str:
        return f"{self.profile}, engine {self.engine_version}"


@dataclass(frozen=True, slots=True)
class Skipped(Refused[SkipReason]):
    """Nothing was learnt, and why."""


@dataclass(frozen=True, slots=True)
class Window:
    """What one replica did from `start_s` to `end_s` (seconds since the epoch).

    iterations, prompts, preemptions: how many; prompts whose first token came
    decode_tokens:   one per decoding sequence and iteration (speculation makes tokens of one more)
    gap_ms:          mean gap between a sequence's iterations
    prefill_tokens:  of the prompts, without `cached_tokens`
    mean_running:    of the gauge's samples, `running_variance` likewise (of a part: within it)
    context_tokens:  mean KV tokens per running sequence, by the gauges
    was_idle:        whether a sample saw nothing running
    parts:           the same from each sample to the next, without those that decoded nothing; none
                     where the load is taken to have been steady
    """

    key: CalibrationKey
    replica: str
    start_s: float
    end_s: float
    iterations: float
    decode_tokens: float
    gap_ms: float
    prompts: float
    prefill_tokens: float
    cached_tokens: float
    preemptions: float
    mean_running: float
    running_variance: float
    context_tokens: float
    was_idle: bool
    parts: tuple[Window, ...] = ()

    @property
    def wall_ms(self) -> float:
        """How long the window is by the scraper's clock."""
        return (self.end_s - self.start_s) * 1e3

    @property
    def busy_ms(self) -> float:
        """How long the engine computed (the module says how that is known)."""
        return self.iterations * self.gap_ms

    @property
    def busy_share(self) -> float:
        """`busy_ms` of `wall_ms` (0-1); 1 where nothing was ever seen idle.

        Prompts come in time, so of them, too, that share meets an engine that decodes.
        """
        return min(1.0, self.busy_ms / self.wall_ms) if self.was_idle else 1.0

    @property
    def mean_batch(self) -> float:
        """Decoding sequences, mean over iterations."""
        return self.decode_tokens / self.iterations

    @property
    def batch(self) -> float:
        """Decoding sequences, mean over iterations weighted as `gap_ms` is: E[B^2]/E[B].

        The variance is that of few samples; no more of it is believed than makes the weighted mean
        twice the mean.
        """
        mean = self.mean_batch
        spread = self.running_variance / self.mean_running if self.mean_running > 0 else 0.0
        return mean + min(mean, spread)


def _is_count(value: float) -> bool:
    return math.isfinite(value) and value >= 0


def window_fault(window: Window) -> Skipped | None:
    """Why a window's own figures forbid learning from it."""
    values = (
        *(window.start_s, window.end_s, window.iterations, window.decode_tokens, window.gap_ms),
        *(window.prompts, window.prefill_tokens, window.cached_tokens, window.preemptions),
        *(window.mean_running, window.running_variance, window.context_tokens),
    )
    if not all(_is_count(value) for value in values):
        return Skipped(SkipReason.NOT_A_NUMBER, "a figure of the window is NaN, infinite or negative")
    if window.iterations <= MIN_ITERATIONS:
        return Skipped(SkipReason.TOO_FEW_ITERATIONS, f"{window.iterations:.0f} iterations")
    if window.preemptions > 0:
        return Skipped(SkipReason.PREEMPTED, f"{window.preemptions:.0f} preemptions")
    return _contradiction(window)


def _contradiction(window: Window) -> Skipped | None:
    if window.wall_ms <= 0 or window.gap_ms <= 0 or window.decode_tokens <= 0 or window.context_tokens <= 0:
        return Skipped(SkipReason.INCONSISTENT, "iterations were counted, but no time, token or KV")
    # Gaps weigh full batches a little more, and scrapes jitter: a tenth over is still in order.
    if window.busy_ms > 1.15 * window.wall_ms:
        return Skipped(
            SkipReason.INCONSISTENT,
            f"busy for {window.busy_ms:.0f} of {window.wall_ms:.0f} ms: not one clock",
        )
    counted, seen = window.mean_batch, window.mean_running / max(window.busy_share, 1e-3)
    if not counted / 1.7 - 3.0 <= seen <= counted * 1.7 + 3.0:
        return Skipped(
            SkipReason.INCONSISTENT,
            f"{counted:.1f} sequences per iteration, but {seen:.1f} were seen running",
        )
    return None
