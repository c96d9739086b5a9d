"""A step time with its parts made faster or slower: what measurements move.

Owns the parameters of a fit and how they change a known step time. The parts are those that
different software and silicon change independently: everything (`s`), the arithmetic of many tokens
(`compute`: what an iteration takes beyond one token's, and the attention of prefill chunks), the
attention of decoding sequences (`attention`, bound by memory), and the host (`c0` per iteration,
`cb` per sequence).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from argosy.arrays import Floats
from argosy.engine.step_times import StepTable, StepTimeSource
from argosy.errors import SpecError

# Knots are added until lines between them leave the curve by no more than this share of it.
_TOLERANCE = 1e-3
_MOST_KNOTS = 96
_MOST_BATCH_KNOTS = 48


@dataclass(frozen=True, slots=True)
class ScalingFactors:
    """s, compute and attention multiply what was; c0 and cb (milliseconds) replace it."""

    s: float
    compute: float
    attention: float
    c0: float
    cb: float


def scaled(table: StepTable, factors: ScalingFactors) -> StepTable:
    """The step time with these factors applied."""
    one_token_ms = table.matrix_ms[0]
    return StepTable(
        token_knots=table.token_knots,
        matrix_ms=one_token_ms + factors.compute * (table.matrix_ms - one_token_ms),
        batch_knots=table.batch_knots,
        context_knots=table.context_knots,
        decode_ms=factors.attention * table.decode_ms,
        chunk_knots=table.chunk_knots,
        prefix_knots=table.prefix_knots,
        chunk_ms_per_token=factors.compute * table.chunk_ms_per_token,
        s=table.s * factors.s,
        c0=factors.c0,
        cb=factors.cb,
        chunk_ms=factors.compute * table.chunk_ms,
    )


def tabulated(source: StepTimeSource, max_tokens: int, max_seqs: int) -> StepTable:
    """Any step time on knots, up to this size of iteration; a table as it is.

    Raises SpecError where the host works beside the GPU: a table has no place for that.
    """
    if isinstance(source, StepTable):
        return source
    times = source.step_times(max_tokens, max_seqs)
    if times.host_ms or times.host_ms_per_sequence:
        raise SpecError("the host works beside the GPU here; give the source without that", "step_times")
    tokens = _knots(times.matrix_ms[1:, None], _MOST_KNOTS, 0.0) + 1
    batches = _knots(times.decode_ms[1:], _MOST_BATCH_KNOTS, float(times.matrix_ms[1])) + 1
    return StepTable(
        token_knots=tokens.astype(np.float64),
        matrix_ms=times.matrix_ms[tokens],
        batch_knots=batches.astype(np.float64),
        context_knots=times.context_knots,
        decode_ms=times.decode_ms[batches],
        chunk_knots=times.chunk_knots,
        prefix_knots=times.prefix_knots,
        chunk_ms_per_token=times.chunk_ms_per_token,
        s=times.s,
        c0=times.c0,
        cb=times.cb,
        chunk_ms=times.chunk_ms,
    )


def _knots(values: Floats, most: int, floor: float) -> np.ndarray[tuple[int], np.dtype[np.intp]]:
    """Indexes of rows between which lines follow `values` (rows, columns): the worst row first.

    floor: added to the values that an error is a share of, where they are part of a larger time
    """
    chosen = [0, len(values) - 1] if len(values) > 1 else [0]
    at = np.arange(len(values))
    while len(chosen) < min(most, len(values)):
        lines = np.stack([np.interp(at, chosen, column[chosen]) for column in values.T], axis=1)
        errors = np.max(np.abs(lines - values) / (np.abs(values) + floor), axis=1)
        worst = int(np.argmax(errors))
        if errors[worst] <= _TOLERANCE:
            break
        chosen = sorted({*chosen, worst})
    return np.array(chosen, dtype=np.intp)
