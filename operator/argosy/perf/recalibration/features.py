"""What the profile says of a window: the mean iteration of an engine under a mean load.

Owns the prediction of a window's mean step time from its means alone. The times are those of the
silicon (s = 1, c0 = cB = 0). Input: `StepTimes` and a `Window`. Output: a `Row` of the regression.

A step time at the mean load is not the mean step time: iterations that compute a prompt are bound
by arithmetic, the others by memory, and a mean iteration with a twentieth of a prompt in it would
be neither. So two kinds of iterations are distinguished, with and without prompts; within each kind
means are used. Prompts arrive by chance, so N iterations with E chunks have N(1 - exp(-E/N)) of the
one kind, and no fewer than the token budget needs. Prompts differ in length, by which the counters
say nothing, so half of them are taken to be `PROMPT_VARIATION` longer and half as much shorter.

Nor is a window's load one load: where traffic changes, full batches count more and prompts come
with them. So each part of a window, from one sample to the next, is predicted by itself and counts
as its gaps do.

What is left of the curvature is a bias of the prediction, which the factor s takes up. Measured on
the simulated engine at steady loads of 0.05-0.9, against the gaps: -0.4..+1.1 % for lengths with a
variation of 1, up to +1.5 % for equal ones, -1.4..+1.1 % for 1.5; scraped every 15 s and not every
2 s, -1.1..+0.3 % for 1. Where the load changes within the windows they scatter by 0.5 % (2 % at
most) around that; by the means of whole windows it was 1.1 % (6 % at most).
Prompts that share cached blocks occupy less KV than is read, so where most of a context is shared
its attention is predicted too small by that share.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from argosy.arrays import Floats
from argosy.engine.step_times import StepTimes, bilinear
from argosy.perf.profile import Calibration
from argosy.perf.recalibration.window import Skipped, SkipReason, Window

PROMPT_VARIATION = 0.7
"""Coefficient of variation, between a benchmark's 0 and a conversation's 1, nearer the latter."""


@dataclass(frozen=True, slots=True)
class Row:
    """One observation's regressors: the silicon's ms per iteration (then 1), the batch, and prefill.

    prefill_tokens: of prompts, per iteration that decodes
    """

    silicon_ms: float
    batch: float
    prefill_tokens: float = 0.0

    def step_ms(self, calibration: Calibration) -> float:
        """Milliseconds of the mean iteration under this load, calibrated."""
        prefill_ms = calibration.prefill_ms_per_token * self.prefill_tokens
        return calibration.s * self.silicon_ms + calibration.c0 + calibration.cb * self.batch + prefill_ms


def row(window: Window, times: StepTimes) -> Row | Skipped:
    """The regressors of a window whose figures are in order (`window_fault`)."""
    max_tokens, max_seqs = len(times.matrix_ms) - 1, len(times.decode_ms) - 1
    largest = max(part.batch for part in (window, *window.parts))
    if window.mean_batch > max_seqs or largest >= max_tokens:
        message = f"batches of up to {largest:.1f}, and the profile ends at {min(max_seqs, max_tokens)}"
        return Skipped(SkipReason.OUT_OF_RANGE, message)
    parts = window.parts or (window,)
    # Of the whole window: scrapes are too close to one another to be dated well enough for a part's.
    silicon_ms = [_silicon_ms(part, times, window.busy_share) for part in parts]
    tokens = sum(part.decode_tokens for part in parts)
    shares = [part.decode_tokens / tokens for part in parts]
    prefills = [window.busy_share * part.prefill_tokens / part.iterations for part in parts]
    return Row(*(_weighted(shares, values) for values in (silicon_ms, [p.batch for p in parts], prefills)))


def _weighted(shares: Sequence[float], values: Sequence[float]) -> float:
    """To a ten-thousandth: rows are kept in files."""
    return round(sum(share * value for share, value in zip(shares, values, strict=True)), 4)


def _silicon_ms(part: Window, times: StepTimes, prompt_share: float) -> float:
    """The mean iteration under a part's means; `prompt_share` of its prompts come while it decodes."""
    mean_ms = _at(times.matrix_ms, part.batch) + _decode_ms(times, part.batch, part.context_tokens)
    # A host that works beside the GPU counts where it takes longer.
    mean_ms = max(mean_ms, (times.host_ms + times.host_ms_per_sequence * part.batch) / times.s)
    if part.prompts > 0 and part.prefill_tokens > 0:
        mean_ms += prompt_share * _prompts_ms(part, times) / part.iterations
    return mean_ms


def _prompts_ms(window: Window, times: StepTimes) -> float:
    """What the window's prompts add to iterations that decode anyway, in all."""
    batch, prefix = window.batch, window.cached_tokens / window.prompts
    budget = len(times.matrix_ms) - 1 - batch
    without_ms, total_ms = _at(times.matrix_ms, batch), 0.0
    for length in (1.0 - PROMPT_VARIATION, 1.0 + PROMPT_VARIATION):
        tokens = window.prefill_tokens / window.prompts * length
        chunks = window.prompts * max(1.0, tokens / budget)
        by_chance = -math.expm1(-chunks / window.iterations) * window.iterations
        prefilling = min(window.iterations, max(by_chance, window.prompts * tokens / budget))
        each = min(budget, window.prompts * tokens / prefilling)
        total_ms += prefilling * (_at(times.matrix_ms, batch + each) - without_ms)
        total_ms += prefilling * times.chunk_ms + window.prompts * _attention_ms(times, tokens, prefix)
    return total_ms / 2.0


def _at(dense: Floats, place: float) -> float:
    """A dense array (index = tokens or sequences) between two of its places."""
    left = min(int(place), len(dense) - 2)
    share = place - left
    return float(dense[left] * (1.0 - share) + dense[left + 1] * share)


def _decode_ms(times: StepTimes, batch: float, context: float) -> float:
    left, share = _between(times.context_knots, context)
    at_context = times.decode_ms[:, left] * (1.0 - share) + times.decode_ms[:, left + 1] * share
    return _at(at_context, min(batch, len(at_context) - 1.0))


def _attention_ms(times: StepTimes, tokens: float, prefix: float) -> float:
    """A whole prompt's: cut into chunks it is the same, as each chunk reads what is before it."""
    knots, at = (times.chunk_knots, times.prefix_knots), (np.asarray(tokens), np.asarray(prefix))
    return tokens * float(bilinear(knots, times.chunk_ms_per_token, at))


def _between(knots: Floats, value: float) -> tuple[int, float]:
    """The knot at or before `value` and the share of the way to the next; goes on beyond the ends."""
    left = int(np.clip(np.searchsorted(knots, value, side="right") - 1, 0, len(knots) - 2))
    return left, float((value - knots[left]) / (knots[left + 1] - knots[left]))
