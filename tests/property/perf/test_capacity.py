"""What must hold of capacities whatever the mix: order in the SLO, determinism."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import mixes_of

from argosy.engine import EngineLimits, StepCoefficients
from argosy.perf import Capacity, CapacitySettings, EngineModel, measure_capacity
from argosy.snapshot import Mix, Slo, SloTerm, Term

ENGINE = EngineModel(
    EngineLimits(
        max_num_seqs=32, max_num_batched_tokens=1024, kv_blocks=1500, block_size=16, max_model_len=8192
    ),
    StepCoefficients(
        22.6, 0.0466, 4.87, 0.0231, 0.1, 1.9e-4, 9.6e-3, 0.16, 1.2e-3, 2.7e-6, 0.98, 1.34, 0.046
    ),
)
QUICK = CapacitySettings(num_requests=150, rate_tolerance=0.05)

mixes = mixes_of((10, 3000), (1, 200))
terms = st.sampled_from([(Term.TTFT, 100, 5000), (Term.ITL, 20, 150), (Term.E2E, 500, 20_000)])


def requests_per_s(mix: Mix, slo: Slo) -> float:
    answer = measure_capacity(ENGINE, mix, slo, QUICK)
    assert isinstance(answer, Capacity)
    return answer.requests_per_s


@settings(max_examples=40, deadline=None)
@given(mix=mixes, bounded=terms, strict=st.floats(0, 1), lax=st.floats(0, 1), percentile=st.floats(0.5, 0.99))
def test_a_laxer_bound_never_lowers_the_capacity(
    mix: Mix, bounded: tuple[Term, float, float], strict: float, lax: float, percentile: float
) -> None:
    term, low, high = bounded
    at_strict, at_lax = (
        requests_per_s(mix, Slo((SloTerm(term, percentile, low + share * (high - low)),)))
        for share in sorted((strict, lax))
    )
    assert at_strict <= at_lax


@settings(max_examples=20, deadline=None)
@given(mix=mixes, percentile=st.floats(0.5, 0.9))
def test_a_further_term_or_a_higher_percentile_never_raises_the_capacity(mix: Mix, percentile: float) -> None:
    first = SloTerm(Term.TTFT, percentile, 1000)
    alone = requests_per_s(mix, Slo((first,)))
    assert requests_per_s(mix, Slo((first, SloTerm(Term.ITL, 0.9, 60)))) <= alone
    assert requests_per_s(mix, Slo((SloTerm(Term.TTFT, percentile + 0.09, 1000),))) <= alone


@settings(max_examples=10, deadline=None)
@given(mix=mixes)
def test_the_same_question_has_the_same_answer(mix: Mix) -> None:
    slo = Slo((SloTerm(Term.TTFT, 0.9, 1000), SloTerm(Term.E2E, 0.9, 10_000)))
    assert requests_per_s(mix, slo) == requests_per_s(mix, slo)
