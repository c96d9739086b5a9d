"""Speculative decoding: tokens per step, longer steps, and where they pay."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from perf_engines import H100_8B, H100_ENGINE, H100_LIMITS

from argosy.engine import Requests, simulate
from argosy.engine.step_times import step_ms
from argosy.errors import SpecError
from argosy.perf.capacity.search import CapacitySettings, measure_capacity
from argosy.perf.protocol import Capacity
from argosy.perf.tokens.speculative import (
    Speculation,
    SpeculativeStepTimes,
    request_itl_ms,
    speculative_engine,
    speculative_mix,
)
from argosy.snapshot import Mix, Slice, Slo, SloTerm, Term

QUICK = CapacitySettings(num_requests=400, rate_tolerance=0.03)
CHAT = Mix((Slice(1155, 211, 0.5), Slice(400, 100, 0.5)))


def promise(itl_ms: float) -> Slo:
    return Slo((SloTerm(Term.TTFT, 0.95, 2000), SloTerm(Term.ITL, 0.95, itl_ms)))


def rate(answer: object) -> float:
    assert isinstance(answer, Capacity)
    return answer.requests_per_s


# Leviathan et al. 2023, equation 1; the first two by hand.
@pytest.mark.parametrize(
    ("draft_tokens", "acceptance", "expected"),
    [
        pytest.param(1, 0.5, 1.5, id="one proposal, accepted every other time"),
        pytest.param(3, 1.0, 4.0, id="all accepted: every proposal and the token after it"),
        pytest.param(5, 0.0, 1.0, id="none accepted: a plain step"),
        pytest.param(4, 0.7, (1 - 0.7**5) / (1 - 0.7), id="the formula"),
    ],
)
def test_a_step_brings_the_expected_tokens(draft_tokens: int, acceptance: float, expected: float) -> None:
    assert Speculation(draft_tokens, acceptance).tokens_per_step == pytest.approx(expected)


@given(draft_tokens=st.integers(1, 8), acceptance=st.floats(0, 1), output_tokens=st.integers(1, 64))
def test_steps_bring_at_least_one_token_and_at_most_all_proposals_and_one(
    draft_tokens: int, acceptance: float, output_tokens: int
) -> None:
    # The first token is the prefill's.
    steps = int(Speculation(draft_tokens, acceptance).num_steps(output_tokens)) - 1
    assert steps <= output_tokens - 1 <= steps * (draft_tokens + 1)


def test_verifying_is_a_step_of_so_many_tokens_over_the_same_kv() -> None:
    speculation = Speculation(3, 0.8)
    longer = SpeculativeStepTimes(H100_8B, speculation)
    plain = H100_8B.step_times(1024, 64)
    verified = float(plain.matrix_ms[4 * 64] - plain.matrix_ms[64]) * H100_8B.s
    expected = float(step_ms(H100_8B, 64, 64 * 1024)) + verified
    assert float(step_ms(longer, 64, 64 * 1024)) == pytest.approx(expected)


def test_a_draft_costs_its_share_of_a_plain_step() -> None:
    free = step_ms(SpeculativeStepTimes(H100_8B, Speculation(4, 0.7)), 8, 8192)
    paid = step_ms(SpeculativeStepTimes(H100_8B, Speculation(4, 0.7, draft_cost=0.1)), 8, 8192)
    silicon = step_ms(H100_8B, 8, 8192) - H100_8B.c0 - 8 * H100_8B.cb
    assert float(paid - free) == pytest.approx(0.4 * float(silicon))


def test_prefill_is_as_long_as_without() -> None:
    longer = SpeculativeStepTimes(H100_8B, Speculation(4, 0.7, draft_cost=0.1))
    chunks = [(2048, 512)]
    assert float(step_ms(longer, 0, 0, chunks)) == pytest.approx(float(step_ms(H100_8B, 0, 0, chunks)))


@given(batch=st.integers(1, 256), context=st.integers(1, 8192), draft_tokens=st.integers(1, 8))
def test_a_step_with_proposals_is_never_shorter(batch: int, context: int, draft_tokens: int) -> None:
    longer = SpeculativeStepTimes(H100_8B, Speculation(draft_tokens, 0.5))
    assert step_ms(longer, batch, batch * context) >= step_ms(H100_8B, batch, batch * context) - 1e-9


def test_a_lone_request_simulated_in_steps_has_the_gap_of_a_step_over_its_tokens() -> None:
    speculation = Speculation(4, 0.7, draft_cost=0.05)
    engine = speculative_engine(H100_ENGINE, speculation)
    piece = speculative_mix(Mix((Slice(1000, 300, 1.0),)), speculation).slices[0]
    columns = (np.array([n]) for n in (piece.prompt_tokens, piece.output_tokens, piece.cached_tokens))
    times = simulate(Requests(np.zeros(1), *columns), engine.limits, engine.step_times)
    measured = float(request_itl_ms(times, np.array([300]), speculation)[0])
    # A lone request's mean context is its prompt and half of its output.
    one_step = float(step_ms(engine.step_times, 1, 1150))
    assert measured == pytest.approx(one_step / speculation.tokens_per_step, rel=0.005)


def test_a_mix_in_steps_keeps_its_mean_kv() -> None:
    speculation = Speculation(4, 0.7)
    piece = speculative_mix(Mix((Slice(1000, 301, 1.0),)), speculation).slices[0]
    assert piece.output_tokens == 1 + round(300 / speculation.tokens_per_step)
    assert piece.prompt_tokens + piece.output_tokens / 2 == pytest.approx(1000 + 301 / 2, abs=1)
    assert piece.prompt_tokens - piece.cached_tokens == 1000


def test_a_request_of_one_token_has_no_steps_to_save() -> None:
    mix = Mix((Slice(1000, 1, 1.0),))
    assert speculative_mix(mix, Speculation(4, 0.7)) == mix


def test_the_budget_leaves_room_for_what_a_full_batch_verifies() -> None:
    engine = speculative_engine(H100_ENGINE, Speculation(4, 0.7))
    assert engine.limits.max_num_batched_tokens == 8192 - 4 * 256
    tight = speculative_engine(H100_ENGINE, Speculation(64, 0.7))
    assert tight.limits.max_num_batched_tokens == H100_LIMITS.max_num_seqs


# Measured: 10.8 -> 28 requests/s.
def test_a_tight_promise_on_gaps_is_where_it_helps_most() -> None:
    speculation = Speculation(4, 0.7, draft_cost=0.05)
    engine, mix = speculative_engine(H100_ENGINE, speculation), speculative_mix(CHAT, speculation)
    # Outputs are counted in steps, so the bound on a gap is one on a step.
    gain = {
        itl_ms: rate(measure_capacity(engine, mix, promise(itl_ms * speculation.tokens_per_step), QUICK))
        / rate(measure_capacity(H100_ENGINE, CHAT, promise(itl_ms), QUICK))
        for itl_ms in (12, 60)
    }
    assert gain[12] > 2
    assert 1 < gain[60] < 1.5


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        pytest.param((0, 0.5), "speculation.draft_tokens", id="nothing is proposed"),
        pytest.param((4, 1.01), "speculation.acceptance", id="more accepted than proposed"),
        pytest.param((4, float("nan")), "speculation.acceptance", id="an acceptance that is no number"),
        pytest.param((4, 0.5, -0.1), "speculation.draft_cost", id="a draft that gives time back"),
        pytest.param((4, 0.5, float("inf")), "speculation.draft_cost", id="a draft that never ends"),
    ],
)
def test_a_speculation_that_means_nothing_is_refused_with_its_field(
    arguments: tuple[float, ...], field: str
) -> None:
    with pytest.raises(SpecError) as refusal:
        Speculation(*arguments)  # type: ignore[arg-type]
    assert refusal.value.field == field


def test_other_speculations_have_other_digests() -> None:
    digests = {SpeculativeStepTimes(H100_8B, Speculation(k, a)).digest() for k in (1, 2) for a in (0.5, 0.6)}
    assert len(digests) == 4
