"""What holds of any load: bounds of lengths, counts of schedules, mangled lines, percentiles."""

from __future__ import annotations

import tempfile
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from argosy.client.records import Outcome, RequestRecord
from argosy.snapshot import Slo, SloTerm, Term
from argosy.traces.trace import BadTrace, Trace, load_trace
from argosy_sim.measures.attainment import attainment
from argosy_sim.measures.percentiles import Percentiles
from argosy_sim.traffic.archetypes import Archetype, Quantiles, sample
from argosy_sim.traffic.arrivals import RateStep, Schedule, poisson_arrivals_s, trace_patterned_arrivals_s

seeds = st.integers(0, 2**32)


@st.composite
def quantiles(draw: st.DrawFn) -> Quantiles:
    inner = draw(st.lists(st.floats(0.01, 0.99), max_size=5, unique=True))
    fractions = [0.0, *sorted(inner), 1.0]
    tokens = draw(st.lists(st.integers(1, 100_000), min_size=len(fractions), max_size=len(fractions)))
    return Quantiles(tuple(fractions), tuple(sorted(tokens)))


@st.composite
def schedules(draw: st.DrawFn) -> Schedule:
    borders = draw(st.lists(st.integers(0, 1000), min_size=2, max_size=8, unique=True))
    rates = draw(st.lists(st.floats(0, 5), min_size=len(borders) - 1, max_size=len(borders) - 1))
    return tuple(
        RateStep(start, end, rate)
        for (start, end), rate in zip(pairwise(sorted(borders)), rates, strict=True)
    )


patterns = st.lists(st.floats(0, 10_000), min_size=1, max_size=60).map(sorted)


@given(quantiles(), quantiles(), seeds)
def test_sampled_lengths_lie_within_the_quantiles(prompt: Quantiles, output: Quantiles, seed: int) -> None:
    lengths = sample(Archetype("any", prompt, output, "made up"), np.random.default_rng(seed), 200)
    for drawn, source in ((lengths.prompt_tokens, prompt), (lengths.output_tokens, output)):
        assert len(drawn) == 200
        assert source.tokens[0] <= drawn.min() <= drawn.max() <= source.tokens[-1]


@given(patterns, schedules())
def test_a_warped_trace_has_the_schedules_count_in_every_step(
    pattern: list[float], schedule: Schedule
) -> None:
    arrivals_s = trace_patterned_arrivals_s(pattern, schedule)
    assert (np.diff(arrivals_s) >= 0).all()
    num_before, mean_before = 0, 0.0
    for step in schedule:
        num_before += int(((arrivals_s >= step.start_s) & (arrivals_s < step.end_s)).sum())
        mean_before += step.mean_requests
        assert abs(num_before - mean_before) <= 0.5 + 1e-6  # rounded once, never adding up
    assert num_before == len(arrivals_s)


@given(schedules(), seeds)
def test_poisson_arrivals_lie_in_their_steps_and_scatter_as_they_should(
    schedule: Schedule, seed: int
) -> None:
    arrivals_s = poisson_arrivals_s(schedule, np.random.default_rng(seed))
    assert (np.diff(arrivals_s) >= 0).all()
    num_inside = 0
    for step in schedule:
        num = int(((arrivals_s >= step.start_s) & (arrivals_s < step.end_s)).sum())
        num_inside += num
        # Seven standard deviations, and some more for small means: not in the life of this test.
        assert abs(num - step.mean_requests) <= 7 * step.mean_requests**0.5 + 7
    assert num_inside == len(arrivals_s)


GOOD_AZURE = "2023-11-16 18:15:46.6805900,374,44"
GOOD_MOONCAKE = '{"timestamp": 5, "input_length": 6, "output_length": 5, "hash_ids": [1]}'


def cut(line: str, where: int) -> str:
    return line[: 1 + where % (len(line) - 5)]


mangled = st.one_of(
    st.integers(0, 200).map(lambda where: ("azure", cut(GOOD_AZURE, where))),
    st.integers(0, 200).map(lambda where: ("mooncake", cut(GOOD_MOONCAKE, where))),
    st.sampled_from(["NaN", "-1", "0", "1.5", "", "x", "1e3", "٣", "inf", "9" * 30]).map(
        lambda count: ("azure", f"2023-11-16 18:15:46,374,{count}")
    ),
    st.sampled_from(["NaN", "-1", "0", "1.5", '"5"', "null", "true", "1e3", "[]", "9" * 30]).map(
        lambda count: ("mooncake", f'{{"timestamp": 5, "input_length": {count}, "output_length": 5}}')
    ),
)


@given(mangled, st.integers(1, 30), st.data())
def test_a_mangled_line_is_always_reported_by_its_number(
    case: tuple[str, str], num_good: int, data: st.DataObject
) -> None:
    kind, line = case
    header, good = (
        (["TIMESTAMP,ContextTokens,GeneratedTokens"], GOOD_AZURE) if kind == "azure" else ([], GOOD_MOONCAKE)
    )
    place = data.draw(st.integers(0, num_good))
    body = [good] * place + [line] + [good] * (num_good - place)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace"
        path.write_text("\n".join(header + body), encoding="utf-8")
        refused, trace = load_trace(path), load_trace(path, skip_bad_lines=True)
    assert isinstance(refused, BadTrace)
    assert [bad.number for bad in refused.bad_lines.lines] == [len(header) + place + 1]
    assert isinstance(trace, Trace)
    assert (len(trace.requests), trace.skipped.num_lines) == (num_good, 1)


@given(st.lists(st.integers(1, 50), min_size=1, max_size=60), st.integers(1, 50))
def test_p95_is_within_the_bound_exactly_when_95_percent_are(e2e_ms: list[int], bound_ms: int) -> None:
    records = [
        RequestRecord(str(i), "c", Outcome.COMPLETED, 0.0, 1, 1, value / 1000, 0.0)
        for i, value in enumerate(e2e_ms)
    ]
    share = attainment(records, Slo((SloTerm(Term.E2E, 0.95, bound_ms),)))
    percentiles = Percentiles.of(float(record.e2e_ms or 0) for record in records)
    assert share is not None
    assert percentiles is not None
    assert (share >= 0.95 - 1e-9) == (percentiles.p95 <= bound_ms)


def test_a_schedule_of_many_small_steps_loses_no_request() -> None:
    schedule = tuple(RateStep(i, i + 1, 0.3) for i in range(100))
    assert len(trace_patterned_arrivals_s([0.0, 1.0, 5.0], schedule)) == pytest.approx(30)
