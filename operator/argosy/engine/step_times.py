"""An engine's step time as arrays: what the scheduler, and its compiled twin, look up.

Owns the array layout, the arithmetic of one iteration, and the two compact descriptions that
the arrays are made from: the closed form (`coefficients`) and a table on knots (`StepTable`).
Never knows which GPU or model the numbers belong to (`perf` does) and never holds a clock.

With B sequences decoding over K KV tokens in all, and prefill chunks of c_i tokens on
prefixes of p_i tokens, n = B + sum c_i:

    t = s * [matrix(n) + decode(B, K/B) + sum_i (chunk_ms + c_i * chunk(c_i, p_i))] + c0 + cB*B    ms

`matrix` is everything that is not attention, a function of the number of tokens alone (the
source's mixed steps separate exactly so); `decode` is the attention of the decoding sequences
at their mean context (0 where B = 0), piecewise linear in the context, so that iterations of
one batch add up in closed form between two knots; `chunk` is the attention of a chunk per
token, bilinear in chunk and prefix. Beyond the last knots all continue linearly: who asks
outside the measured range is refused earlier, in `perf`.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class StepTimes:
    """What one engine looks up. Milliseconds; arrays are float64, C-contiguous, read-only.

    matrix_ms:          shape (max tokens + 1,), by number of tokens of the iteration; [0] = 0
    context_knots:      shape (Q,), Q >= 2, ascending, tokens
    decode_ms:          shape (max sequences + 1, Q), by batch and context knot; [0] = 0
    chunk_ms:           per chunk
    chunk_knots:        shape (C,), C >= 2, ascending, tokens of the chunk
    prefix_knots:       shape (P,), P >= 2, ascending, tokens before the chunk
    chunk_ms_per_token: shape (C, P)
    s, c0, cb:          calibration: a factor, ms per iteration, ms per decoding sequence
    """

    matrix_ms: Floats
    context_knots: Floats
    decode_ms: Floats
    chunk_ms: float
    chunk_knots: Floats
    prefix_knots: Floats
    chunk_ms_per_token: Floats
    s: float = 1.0
    c0: float = 0.0
    cb: float = 0.0


class StepTimeSource(Protocol):
    """A compact description that gives an engine of any limits its arrays."""

    def step_times(self, max_tokens: int, max_seqs: int) -> StepTimes:
        """The arrays for at most `max_tokens` tokens and `max_seqs` sequences per iteration."""
        ...

    def digest(self) -> str:
        """A hash (hexadecimal) of all values: equal descriptions, equal digests."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class StepTable:
    """Step times measured on knots, as compact as they are stored (float64, milliseconds).

    token_knots (N,) with matrix_ms (N,): the knots start at 1; linear between them;
    batch_knots (M,) and context_knots (Q,) with decode_ms (M, Q): the batches start at 1;
    chunk_knots (C,) and prefix_knots (P,) with chunk_ms_per_token (C, P).
    """

    token_knots: Floats
    matrix_ms: Floats
    batch_knots: Floats
    context_knots: Floats
    decode_ms: Floats
    chunk_knots: Floats
    prefix_knots: Floats
    chunk_ms_per_token: Floats
    s: float = 1.0
    c0: float = 0.0
    cb: float = 0.0

    def step_times(self, max_tokens: int, max_seqs: int) -> StepTimes:
        """Linear between knots, and with the slope of the last two beyond them."""
        matrix = _along(self.token_knots, self.matrix_ms[:, None], max_tokens)[:, 0]
        return StepTimes(
            matrix_ms=_frozen(matrix),
            context_knots=_frozen(self.context_knots),
            decode_ms=_frozen(_along(self.batch_knots, self.decode_ms, max_seqs)),
            chunk_ms=0.0,
            chunk_knots=_frozen(self.chunk_knots),
            prefix_knots=_frozen(self.prefix_knots),
            chunk_ms_per_token=_frozen(self.chunk_ms_per_token),
            s=self.s,
            c0=self.c0,
            cb=self.cb,
        )

    def digest(self) -> str:
        """A hash of all arrays and the calibration."""
        content = hashlib.sha256()
        for name in self.__slots__:
            value = np.ascontiguousarray(getattr(self, name), dtype=np.float64)
            content.update(f"{name}{value.shape}".encode())
            content.update(value.tobytes())
        return content.hexdigest()


def _along(knots: Floats, values: Floats, last: int) -> Floats:
    """`values` (knots, columns) at 0..last: linear, continued at the end, row 0 zero."""
    at = np.arange(last + 1, dtype=np.float64)
    if len(knots) == 1:
        dense = np.repeat(values, last + 1, axis=0)
    else:
        left = np.clip(np.searchsorted(knots, at, side="right") - 1, 0, len(knots) - 2)
        share = ((at - knots[left]) / (knots[left + 1] - knots[left]))[:, None]
        dense = values[left] + share * (values[left + 1] - values[left])
    dense[0] = 0.0
    return dense


def _frozen(values: Floats) -> Floats:
    """A contiguous copy that nobody can write."""
    copy = np.array(values, dtype=np.float64, order="C")
    copy.setflags(write=False)
    return copy
