"""Engines with known step times, for tests that need one but not a particular one.

Llama-3.1-8B in bf16 on one H100: the closed form fitted to NVIDIA's silicon tables (vLLM 0.24),
host overhead included, and the KV blocks that its 80 GB leave.
"""

from __future__ import annotations

import numpy as np

from argosy.engine import EngineLimits, StepCoefficients, StepTable
from argosy.perf.capacity.search import EngineModel

H100_8B = StepCoefficients(
    wn=6.31341,
    f=0.0106555,
    q=4.86786,
    c1=0.00957151,
    a0=0.0990087,
    a1=4.15796e-05,
    a2=0.00253011,
    b0=0.110976,
    b1=0.000532592,
    b2=7.8496e-07,
    s=0.98,
    c0=1.34,
    cb=0.046,
)
H100_70B_TP4 = StepCoefficients(
    wn=13.8815,
    f=0.0292777,
    q=4.14033,
    c1=0.0183426,
    a0=1.3333,
    a1=3.97894e-05,
    a2=0.00203262,
    b0=1.38,
    b1=0.00109751,
    b2=1.47255e-06,
    s=0.98,
    c0=1.34,
    cb=0.046,
)
"""Llama-3.1-70B in bf16 on four H100s, made the same way."""
H100_LIMITS = EngineLimits(
    max_num_seqs=256,
    max_num_batched_tokens=8192,
    kv_blocks=432_992 // 16,
    block_size=16,
    max_model_len=16_384,
)
H100_ENGINE = EngineModel(H100_LIMITS, H100_8B)


def table_of(source: StepCoefficients) -> StepTable:
    """A table that says exactly what the closed form says, on knots as an export has them."""
    tokens = np.unique(np.geomspace(1, 16_384, 60).round())
    batch = np.unique(np.geomspace(1, 512, 25).round())
    context = np.array([1.0, 128, 512, 1024, 2048, 4096, 8192, 16_384])
    chunk = np.array([1.0, 64, 256, 1024, 2048, 4096, 8192, 16_384])
    prefix = np.array([0.0, 1024, 4096, 8192, 16_384])
    c = source
    return StepTable(
        token_knots=tokens,
        matrix_ms=c.step_times(16_384, 1).matrix_ms[tokens.astype(int)],
        batch_knots=batch,
        context_knots=context,
        decode_ms=c.a0 + batch[:, None] * (c.a2 + c.a1 * context),
        chunk_knots=chunk,
        prefix_knots=prefix,
        chunk_ms_per_token=c.b1 + c.b2 * (prefix + 0.5 * chunk[:, None]),
        chunk_ms=c.b0,
    )
