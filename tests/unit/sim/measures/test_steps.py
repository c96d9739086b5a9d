"""Step functions over time."""

from __future__ import annotations

from argosy_sim.measures.steps import Span, Steps

INFINITY = float("inf")


def test_steps_sum_spans_and_ignore_one_that_ends_before_it_starts() -> None:
    steps = Steps.of_spans([Span(0, 10, 1), Span(5, INFINITY, 2), Span(7, 7, 9), Span(9, 3, 9)])
    assert steps.points == ((0, 1), (5, 3), (10, 2))
    assert [steps.at(at_s) for at_s in (-1, 0, 5, 9.9, 10, 1e9)] == [0, 1, 3, 3, 2, 2]
    assert steps.integral(-5, 12) == 5 + 15 + 4
    assert steps.integral(12, 5) == 0


def test_pieces_cover_an_interval_without_gaps() -> None:
    steps = Steps(((0.0, 1.0), (5.0, 3.0)))
    assert steps.pieces(-2, 8) == ((-2, 0, 0), (0, 5, 1), (5, 8, 3))
    assert steps.pieces(6, 6) == ()
