"""The coefficients of one engine's step time.

Owns the closed form of an iteration's duration and the arrays that say the same.

With B sequences decoding over K KV tokens in all, and prefill chunks of c_i tokens on
prefixes of p_i tokens, n = B + sum c_i (docs/design/0003-performance-model.md):

    t  = s * [na(n) + da(B, K) + b0 + sum_i ca(c_i, p_i)] + c0 + cB * B  milliseconds
    na = Wn * (1 + (F*n/Wn)^q)^(1/q) + c1*n        weights read once, then compute bound
    Wn = wn + we * (1 - (1 - p_expert)^n)          an MoE layer reads the experts that n tokens reach
    da = a0 + a1*K + a2*B + aw*B*min(K/B, window)  decode attention (0 where B = 0)
    ca = b1*c + b2*c*(p + c/2)
         + bw*c*min(p + c/2, window)               prefill attention of one chunk; b0, where there
                                                   is any, once: one kernel serves all chunks (in
                                                   the source 64 chunks of 32 tokens take 1.9 ms of
                                                   attention, one 0.9 ms)
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import astuple, dataclass, fields, replace

import numpy as np

from argosy.arrays import Floats
from argosy.engine.step_times import StepTimes, frozen
from argosy.errors import SpecError

# Attention is linear in context, chunk and prefix, so two knots hold it. They lie far apart,
# and a power of two, so that the slopes between them keep all their digits.
_FAR = 2.0**20
_KNOTS = frozen(np.array([0.0, _FAR]))
# A window bends it. Between these shares of the window the bend of a chunk is met within 7 %.
_SHARES = np.array([0.0, 0.25, 0.5, 0.75, 1.0])


@dataclass(frozen=True, slots=True)
class StepCoefficients:
    """All in milliseconds (per token, per sequence) but `q`, `s` and `p_expert`, without a unit.

    Raises SpecError for a coefficient that is not finite, and for `wn`, `q` or `s` that is not
    positive: without them an iteration would take no time. `p_expert` is the share of an MoE
    layer's experts that one more token reaches (in [0, 1)). `aw` and `bw` are of the layers whose window
    is `window` tokens (0: no layer has one).
    """

    wn: float
    f: float
    q: float
    c1: float
    a0: float
    a1: float
    a2: float
    b0: float
    b1: float
    b2: float
    s: float = 1.0
    c0: float = 0.0
    cb: float = 0.0
    we: float = 0.0
    p_expert: float = 0.0
    aw: float = 0.0
    bw: float = 0.0
    window: float = 0.0

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not math.isfinite(value) or (field.name in ("wn", "q", "s") and value <= 0):
                raise SpecError(f"a step time cannot be made of {value}; measure it again", field.name)
        if self.we < 0:
            raise SpecError(f"reading experts takes no less than 0 ms, got {self.we}", "we")
        if self.window < 0:
            raise SpecError(f"a window holds no less than 0 tokens, got {self.window}", "window")
        if not 0 <= self.p_expert < 1:
            raise SpecError(f"a share of the experts lies in [0, 1), got {self.p_expert}", "p_expert")

    def digest(self) -> str:
        """A hash (hexadecimal) of all values."""
        values = np.array(astuple(self), dtype=np.float64)
        return hashlib.sha256(b"coefficients" + values.tobytes()).hexdigest()

    def with_calibration(self, s: float, c0: float, cb: float) -> StepCoefficients:
        """The same times on silicon with another factor and host overhead (ms)."""
        return replace(self, s=s, c0=c0, cb=cb)

    def step_times(self, max_tokens: int, max_seqs: int) -> StepTimes:
        """The closed form as arrays: equal to it at whole numbers, to rounding."""
        tokens, batch = np.arange(max_tokens + 1.0), np.arange(max_seqs + 1.0)[:, None]
        weights_ms = self.wn + self.we * (1.0 - (1.0 - self.p_expert) ** tokens)
        matrix_ms = weights_ms * (1.0 + (self.f * tokens / weights_ms) ** self.q) ** (1.0 / self.q)
        matrix_ms += self.c1 * tokens
        matrix_ms[0] = 0.0
        contexts, chunks, prefixes = self._knots()
        decode_ms = self.a0 + batch * (self.a2 + self.decode_ms_per_sequence(contexts))
        decode_ms[0] = 0.0
        return StepTimes(
            matrix_ms=frozen(matrix_ms),
            context_knots=contexts,
            decode_ms=frozen(decode_ms),
            chunk_ms=self.b0,
            chunk_knots=chunks,
            prefix_knots=prefixes,
            chunk_ms_per_token=frozen(self.chunk_ms_per_token(chunks[:, None], prefixes)),
            s=self.s,
            c0=self.c0,
            cb=self.cb,
        )

    def decode_ms_per_sequence(self, context: Floats) -> Floats:
        """Decode attention of one sequence that grows with its context (tokens)."""
        return self.a1 * context + self.aw * np.minimum(context, self.window)

    def chunk_ms_per_token(self, chunk: Floats, prefix: Floats) -> Floats:
        """Prefill attention of one token in a chunk of so many on that prefix (tokens)."""
        attended = prefix + 0.5 * chunk
        return self.b1 + self.b2 * attended + self.bw * np.minimum(attended, self.window)

    def _knots(self) -> tuple[Floats, Floats, Floats]:
        """Of contexts, chunks and prefixes."""
        if not self.window or not (self.aw or self.bw):
            return _KNOTS, _KNOTS, _KNOTS
        far = max(_FAR, 4.0 * self.window)
        contexts = np.array([0.0, self.window, far])
        chunks = np.append(2.0 * self.window * _SHARES, far)
        prefixes = np.append(self.window * _SHARES, far)
        return frozen(contexts), frozen(chunks), frozen(prefixes)
