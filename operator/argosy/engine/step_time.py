"""How long one iteration of an engine takes.

Owns the arithmetic of the closed form in `coefficients`. Never decides what an iteration
computes (`scheduler` does) and never waits: milliseconds come out, nothing else happens.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from argosy.engine.coefficients import StepCoefficients


def step_ms(
    coefficients: StepCoefficients,
    num_decodes: int,
    kv_tokens: int,
    chunks: Iterable[tuple[int, int]] = (),
) -> float:
    """Milliseconds of an iteration that computes at least one token.

    num_decodes: sequences that decode one token each
    kv_tokens:   tokens those sequences have in the KV cache before the iteration, in all
    chunks:      (tokens, prefix) per prefill chunk; the prefix is what is already computed
    """
    k = coefficients
    num_tokens = num_decodes
    attention = k.a0 + k.a1 * kv_tokens + k.a2 * num_decodes if num_decodes else 0.0
    for tokens, prefix in chunks:
        num_tokens += tokens
        attention += k.b0 + k.b1 * tokens + k.b2 * tokens * (prefix + 0.5 * tokens)
    return k.s * (_matrix_ms(k, num_tokens) + attention) + k.c0 + k.cb * num_decodes


def decode_ms(coefficients: StepCoefficients, num_decodes: int) -> Callable[[int], float]:
    """`step_ms` of iterations that only decode one batch, as a function of its KV tokens.

    The same operations in the same order, hence the same bits; what does not change while the
    batch stays the same is computed once.
    """
    k = coefficients
    matrix, a0, a1, per_batch = _matrix_ms(k, num_decodes), k.a0, k.a1, k.a2 * num_decodes
    s, c0, overhead = k.s, k.c0, k.cb * num_decodes

    def at(kv_tokens: int) -> float:
        return s * (matrix + (a0 + a1 * kv_tokens + per_batch)) + c0 + overhead

    return at


def _matrix_ms(k: StepCoefficients, num_tokens: int) -> float:
    """`na`: memory bound for few tokens, compute bound for many, smooth in between."""
    smooth_max: float = k.wn * (1.0 + (k.f * num_tokens / k.wn) ** k.q) ** (1.0 / k.q)
    return smooth_max + k.c1 * num_tokens
