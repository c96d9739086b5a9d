"""Arrivals and planned requests: rates per step, a trace's pattern, streams that stay apart."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from argosy_sim.replay.load import ClassLoad, plan_load
from argosy_sim.replay.prompt import prompt_text
from argosy_sim.traffic.archetypes import ARCHETYPES
from argosy_sim.traffic.arrivals import RateStep, poisson_arrivals_s, trace_patterned_arrivals_s
from argosy_sim.traffic.trace import Trace, TraceRequest

CHAT = ARCHETYPES["azure-conversation"]


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


def test_classes_of_one_seed_are_merged_by_time_and_do_not_arrive_in_step() -> None:
    schedule = (RateStep(0, 60, 2.0),)
    chat = ClassLoad("chat", "m", CHAT, schedule, seed=1, headers=(("x-class", "chat"),))
    batch = ClassLoad("batch", "m", CHAT, schedule, seed=1, path="/v1/completions")
    planned = plan_load([chat, batch])

    assert all(a.arrival_s <= b.arrival_s for a, b in pairwise(planned))
    assert len({request.id for request in planned}) == len(planned)
    by_class = {
        name: [request for request in planned if request.class_name == name] for name in ("chat", "batch")
    }
    assert by_class["chat"] == list(plan_load([chat]))  # whatever the other class does
    assert {r.arrival_s for r in by_class["chat"]}.isdisjoint(r.arrival_s for r in by_class["batch"])
    assert (by_class["chat"][0].headers, by_class["batch"][0].path) == (
        (("x-class", "chat"),),
        "/v1/completions",
    )
    assert by_class["chat"][0].id == "chat-000000"


def test_a_trace_brings_lengths_times_and_prefixes() -> None:
    trace = Trace("t", (TraceRequest(0.0, 600, 3, (1, 2)), TraceRequest(2.0, 50, 4)))
    (first, second) = plan_load([ClassLoad("chat", "m", trace)])
    assert (first.arrival_s, first.prompt_tokens, first.output_tokens) == (0.0, 600, 3)
    assert (second.arrival_s, first.prefix_blocks) == (2.0, (1, 2))

    paced = plan_load([ClassLoad("chat", "m", trace, (RateStep(0, 2, 2.0),))])
    assert [request.arrival_s for request in paced] == [0.25, 0.75, 1.25, 1.75]
    assert [request.prompt_tokens for request in paced] == [600, 50, 600, 50]


def test_an_archetype_without_a_schedule_is_refused() -> None:
    with pytest.raises(ValueError, match="needs a schedule"):
        ClassLoad("chat", "m", CHAT)


@pytest.mark.parametrize("num_tokens", [1, 7, 1155, 126_195, 600_000])
def test_a_prompt_has_four_bytes_per_token_and_needs_no_escape(num_tokens: int) -> None:
    text = prompt_text("chat-000001", num_tokens)
    assert len(text.encode()) == 4 * num_tokens
    assert not set('"\\\n') & set(text)
    assert text == prompt_text("chat-000001", num_tokens)


def test_prompts_share_text_only_where_they_share_blocks() -> None:
    one, two = prompt_text("a", 1100, (5, 6)), prompt_text("b", 1100, (5, 7))
    assert one[:2048] == two[:2048]
    assert one[2048:2112] != two[2048:2112]
    assert prompt_text("a", 1100)[:64] != prompt_text("b", 1100)[:64]
    assert len(prompt_text("a", 100, (5, 6))) == 400
