"""Arrival times: rates per step, a trace's pattern."""

from __future__ import annotations

import numpy as np
import pytest

from argosy_sim.traffic.arrivals import RateStep, poisson_arrivals_s, trace_patterned_arrivals_s


@pytest.mark.parametrize(
    ("pattern_s", "schedule", "expected"),
    [
        pytest.param(
            [0, 1, 2, 3],
            (RateStep(10, 14, 1.0),),
            [10.5, 11.5, 12.5, 13.5],
            id="an even trace at its own rate is only moved",
        ),
        pytest.param(
            [0, 1, 2, 3],
            (RateStep(0, 4, 1.0), RateStep(4, 8, 2.0)),
            [0.5, 1.5, 2.5, 3.5, 4.25, 4.75, 5.25, 5.75, 6.25, 6.75, 7.25, 7.75],
            id="twice the rate is twice as dense, and the trace repeats",
        ),
        pytest.param(
            [0, 0, 0, 8],  # its period is 32/3 s: borders at -4/3 and 28/3
            (RateStep(0, 32 / 3, 3 / 8),),
            [4 / 3, 4 / 3, 4 / 3, 28 / 3],
            id="a burst stays a burst",
        ),
        pytest.param(
            [0, 1, 1, 1, 1, 1, 2],
            (RateStep(0, 3, 1.0), RateStep(3, 7, 0.5)),
            [3 / 7, 3, 3, 5, 5],
            id="a step in the midst of one instant has it in the middle",
        ),
        pytest.param([5, 5, 5], (RateStep(0, 4, 0.5),), [1.0, 3.0], id="all at one instant come evenly"),
        pytest.param([7], (RateStep(0, 4, 0.5),), [1.0, 3.0], id="one request repeats evenly"),
        pytest.param([0, 1], (RateStep(0, 4, 0.0),), [], id="no rate"),
        pytest.param([], (RateStep(0, 4, 1.0),), [], id="no trace"),
        pytest.param([0, 1], (), [], id="no schedule"),
    ],
)
def test_a_schedule_warps_a_trace(
    pattern_s: list[float], schedule: tuple[RateStep, ...], expected: list[float]
) -> None:
    assert trace_patterned_arrivals_s(pattern_s, schedule).tolist() == pytest.approx(expected)


def test_a_warped_trace_keeps_its_burstiness_and_poisson_has_that_of_chance() -> None:
    rng = np.random.default_rng(5)
    bursty = np.cumsum(rng.gamma(0.25, 4.0, 4000))  # coefficient of variation 2
    step = (RateStep(0, 400, 10.0),)
    for arrivals_s, expected in (
        (trace_patterned_arrivals_s(bursty.tolist(), step), 2.0),
        (poisson_arrivals_s(step, rng), 1.0),
    ):
        gaps_s = np.diff(arrivals_s)
        assert gaps_s.std() / gaps_s.mean() == pytest.approx(expected, rel=0.1)


def test_a_change_of_one_step_leaves_the_arrivals_of_the_others() -> None:
    def arrivals_after_20_s(first_rate: float) -> list[float]:
        schedule = (RateStep(0, 20, first_rate), RateStep(20, 40, 3.0))
        return [at_s for at_s in poisson_arrivals_s(schedule, np.random.default_rng(1)) if at_s >= 20]

    assert arrivals_after_20_s(8.0) == arrivals_after_20_s(2.0) != []


@pytest.mark.parametrize(
    "bad",
    [(-1, 2, 1.0), (2, 2, 1.0), (3, 2, 1.0), (0, float("inf"), 1.0), (0, 1, -1.0), (0, 1, float("nan"))],
)
def test_a_step_without_extent_or_rate_is_refused(bad: tuple[float, float, float]) -> None:
    with pytest.raises(ValueError, match="a rate"):
        RateStep(*bad)


def test_overlapping_steps_are_refused() -> None:
    overlapping = (RateStep(0, 2, 1.0), RateStep(1, 3, 1.0))
    with pytest.raises(ValueError, match="overlap"):
        poisson_arrivals_s(overlapping, np.random.default_rng(0))
    with pytest.raises(ValueError, match="overlap"):
        trace_patterned_arrivals_s([1.0], overlapping)
