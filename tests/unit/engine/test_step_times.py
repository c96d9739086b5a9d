"""The closed form of an iteration's duration, term by term."""

from __future__ import annotations

import pytest

from argosy.engine import EngineLimits, StepCoefficients, step_lookup, step_ms

# Only the weights' read: every other term is switched on by a case.
QUIET = {
    "wn": 8.0,
    "f": 0.0,
    "q": 4.0,
    "c1": 0.0,
    "a0": 0.0,
    "a1": 0.0,
    "a2": 0.0,
    "b0": 0.0,
    "b1": 0.0,
    "b2": 0.0,
}


@pytest.mark.parametrize(
    ("terms", "expected_ms"),
    [
        pytest.param({}, 8.0, id="weights-are-read-once-whatever-the-batch"),
        pytest.param({"c1": 0.5}, 8.0 + 0.5 * 34, id="a-cost-per-token-counts-decodes-and-chunks"),
        pytest.param(
            {"a0": 1.0, "a1": 0.01, "a2": 0.1}, 8 + 1 + 10 + 0.4, id="decode-attention-by-kv-and-batch"
        ),
        pytest.param({"b0": 1.0}, 8 + 1.0, id="all-chunks-share-one-fixed-cost"),
        pytest.param({"b1": 0.1}, 8 + 0.1 * 30, id="prefill-attention-per-token"),
        # 10 tokens on a prefix of 100, 20 on none: 10*(100+5) + 20*(0+10).
        pytest.param({"b2": 0.01}, 8 + 0.01 * 1250, id="prefill-attention-per-pair-of-tokens"),
        pytest.param({"s": 0.5}, 4.0, id="the-silicon-is-scaled"),
        pytest.param({"s": 0.5, "c0": 1.0, "cb": 0.25}, 4 + 1 + 4 * 0.25, id="the-host-is-not-scaled"),
    ],
)
def test_each_term_adds_what_the_form_says(terms: dict[str, float], expected_ms: float) -> None:
    coefficients = StepCoefficients(**{**QUIET, **terms})
    assert step_ms(coefficients, 4, 1000, ((10, 100), (20, 0))) == pytest.approx(expected_ms)


def test_few_tokens_are_memory_bound_and_many_compute_bound() -> None:
    coefficients = StepCoefficients(**{**QUIET, "f": 0.01})
    few, many = step_ms(coefficients, 8, 0), step_ms(coefficients, 0, 0, ((8192, 0),))
    assert few == pytest.approx(8.0, rel=1e-3)
    assert many == pytest.approx(81.92, rel=1e-3)


def test_without_decodes_there_is_no_decode_attention() -> None:
    coefficients = StepCoefficients(**{**QUIET, "a0": 5.0})
    assert step_ms(coefficients, 0, 0, ((10, 0),)) == pytest.approx(8.0)


@pytest.mark.parametrize("num_decodes", [1, 7, 256])
def test_the_decode_line_has_the_same_bits_as_the_full_form(num_decodes: int) -> None:
    coefficients = StepCoefficients(
        6.3, 0.0107, 4.87, 0.0096, 0.1, 4.2e-5, 2.5e-3, 0.1, 5e-4, 8e-7, 0.98, 1.34, 0.046
    )
    lookup = step_lookup(coefficients, EngineLimits(256, 256, 1, 1, 1))
    line = lookup.decode_ms(num_decodes)
    for kv_tokens in range(0, 300_000, 1_237):
        assert line(kv_tokens) == lookup.step_ms(num_decodes, kv_tokens)
