"""Iterations to compare step times on, and the range within which a profile answers.

Input: a source of step times, or what an engine asks of one. Output: milliseconds on grids of
iterations, or `OutOfRange` with the quantity and its limit.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from argosy.arrays import Floats
from argosy.engine.step_times import StepTimeSource, step_ms
from argosy.perf.profile import ValidRange
from argosy.perf.protocol import OutOfRange, OutOfRangeReason


@dataclass(frozen=True, slots=True, eq=False)
class Iterations:
    """Iterations to ask for: sequences decoding at a mean context, and one chunk on a prefix.

    All arrays have one shape; a chunk of 0 tokens is no chunk.
    """

    batch: Floats
    context: Floats
    chunk: Floats
    prefix: Floats

    def step_ms(self, source: StepTimeSource) -> Floats:
        """Milliseconds that `source` gives them, of the arrays' shape."""
        chunks = np.stack([self.chunk, self.prefix], axis=-1)[..., None, :]
        return step_ms(source, self.batch, self.batch * self.context, chunks)

    def inside(self, valid: ValidRange) -> Iterations:
        """Those within the range."""
        keep = (self.batch + self.chunk <= valid.max_tokens) & (self.batch <= valid.max_batch)
        keep &= np.maximum(self.context, self.prefix + self.chunk) <= valid.max_context
        return Iterations(self.batch[keep], self.context[keep], self.chunk[keep], self.prefix[keep])


def iterations(
    batch: tuple[int, ...], context: tuple[int, ...], chunk: tuple[int, ...], prefix: tuple[int, ...]
) -> Iterations:
    """Every combination."""
    axes = [np.array(axis, dtype=np.float64) for axis in (batch, context, chunk, prefix)]
    return Iterations(*(grid.ravel() for grid in np.meshgrid(*axes, indexing="ij")))


DECODE_GRID = iterations((1, 8, 32, 64, 128, 256), (512, 1024, 2048, 4096, 8192), (0,), (0,))
PREFILL_GRID = iterations((0,), (0,), (512, 1155, 2048, 4096, 8192), (0,))
"""Two profiles are compared on these: batches and contexts that decode, and lone prompts."""


def within(valid: ValidRange, tokens: float, batch: float, context: float) -> OutOfRange | None:
    """None where a profile answers, else which quantity is beyond which limit."""
    asked = (
        ("tokens in an iteration", tokens, valid.max_tokens),
        ("sequences in an iteration", batch, valid.max_batch),
        ("tokens of context", context, valid.max_context),
    )
    for quantity, value, limit in asked:
        if not 0 <= value <= limit:
            message = (
                f"{value:.0f} {quantity}: the profile answers from 0 to {limit}; "
                "stay within that, or import your own measurements with argosy perf import"
            )
            return OutOfRange(OutOfRangeReason.BEYOND_PROFILE, message, (str(limit),))
    return None
