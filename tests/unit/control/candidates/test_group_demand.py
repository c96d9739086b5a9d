"""What several classes ask for together: one mix, and the strictest SLO."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from argosy.control.candidates.workload import mix_of_all, strictest
from argosy.snapshot import Mix, Slice, Slo, SloTerm, Term

SHORT = Mix((Slice(100, 50, 1.0),))
LONG = Mix((Slice(4000, 50, 0.5), Slice(8000, 50, 0.5)))


def weight_of(mix: Mix, prompt_tokens: int) -> float:
    return math.fsum(s.weight for s in mix.slices if s.prompt_tokens == prompt_tokens)


def test_classes_with_one_mix_have_that_mix_whatever_their_rates() -> None:
    assert mix_of_all([(LONG, 0.1), (LONG, 7.0)]) is LONG


def test_a_mix_is_in_proportion_to_the_rates() -> None:
    found = mix_of_all([(SHORT, 8.0), (LONG, 2.0)])
    assert [weight_of(found, n) for n in (100, 4000, 8000)] == pytest.approx([0.8, 0.1, 0.1])


def test_lengths_that_two_classes_have_are_one_slice() -> None:
    found = mix_of_all([(SHORT, 1.0), (Mix((Slice(100, 50, 0.5), Slice(200, 9, 0.5))), 1.0)])
    assert [(s.prompt_tokens, s.weight) for s in found.slices] == [(100, 0.75), (200, 0.25)]


def test_a_class_without_requests_adds_nothing_unless_none_has_any() -> None:
    assert mix_of_all([(SHORT, 3.0), (LONG, 0.0)]).slices == SHORT.slices
    assert weight_of(mix_of_all([(SHORT, 0.0), (LONG, 0.0)]), 100) == 0.5


@given(
    rates=st.tuples(st.floats(1.5, 2.7), st.floats(6.0, 11.0)),
    others=st.tuples(st.floats(1.5, 2.7), st.floats(6.0, 11.0)),
)
def test_rates_that_wander_make_no_new_mix(rates: tuple[float, float], others: tuple[float, float]) -> None:
    one, other = (mix_of_all([(SHORT, a), (LONG, b)]) for a, b in (rates, others))
    assert one == other


@given(order=st.permutations([(SHORT, 3.0), (LONG, 0.7), (Mix((Slice(9, 9, 1.0),)), 20.0)]))
def test_a_mix_does_not_depend_on_the_order_of_classes(order: list[tuple[Mix, float]]) -> None:
    assert mix_of_all(order) == mix_of_all(sorted(order, key=lambda part: part[1]))


def test_the_strictest_slo_has_the_smallest_bound_of_each_term_and_percentile() -> None:
    def ttft(percentile: float, bound_ms: float) -> SloTerm:
        return SloTerm(Term.TTFT, percentile, bound_ms)

    itl = SloTerm(Term.ITL, 0.95, 80.0)
    slos = [Slo((ttft(0.95, 900.0), ttft(0.99, 2000.0))), Slo((ttft(0.95, 1500.0), itl))]
    assert strictest(slos) == Slo((ttft(0.95, 900.0), ttft(0.99, 2000.0), itl))
    assert strictest(reversed(slos)) == strictest(slos)
