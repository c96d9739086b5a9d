"""The coefficients of one engine's step time.

Owns the closed form of an iteration's duration and its array layout. Never knows which GPU
or model the numbers belong to (`perf` does) and never holds a clock.

With B sequences decoding over K KV tokens in all, and prefill chunks of c_i tokens on
prefixes of p_i tokens, n = B + sum c_i (reference: form fitted to NVIDIA's silicon tables):

    t  = s * [na(n) + da(B, K) + sum_i ca(c_i, p_i)] + c0 + cB * B       milliseconds
    na = Wn * (1 + (F*n/Wn)^q)^(1/q) + c1*n        weights read once, then compute bound
    da = a0 + a1*K + a2*B                          decode attention (0 where B = 0)
    ca = b0 + b1*c + b2*c*(p + c/2)                prefill attention of one chunk
"""

from __future__ import annotations

from dataclasses import astuple, dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, slots=True)
class StepCoefficients:
    """All in milliseconds (per token, per sequence) but `q` and `s`, which have no unit."""

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

    def as_array(self) -> npt.NDArray[np.float64]:
        """Shape (13,), in the order of the fields: what compiled code takes."""
        return np.array(astuple(self), dtype=np.float64)
