"""The compiled twin against the Python scheduler, request by request."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest
from engine_cases import CLOSED_FORM, bent_table, chains, shares, sources_, tight_limits_, traces_
from hypothesis import event, given, settings
from hypothesis import strategies as st

from argosy.engine import (
    ClosedLoop,
    ClosedLoopTimes,
    EngineLimits,
    EngineRequest,
    Requests,
    RequestTimes,
    Scheduler,
    StepTimeSource,
    simulate,
    simulate_loop,
    step_ms,
    twin,
)


def assert_same(actual: RequestTimes, expected: RequestTimes) -> None:
    """To rounding: a stretch added in closed form, or step by step."""
    assert actual.refused.tolist() == expected.refused.tolist()
    for name in ("ttft_ms", "itl_ms", "e2e_ms"):
        np.testing.assert_allclose(getattr(actual, name), getattr(expected, name), rtol=1e-9, atol=1e-6)


@settings(max_examples=500, deadline=None)
@given(requests=traces_(), limits=tight_limits_(), source=sources_)
def test_the_twin_serves_every_request_as_the_scheduler_does(
    requests: Requests, limits: EngineLimits, source: StepTimeSource
) -> None:
    expected = simulate(requests, limits, source)
    assert_same(twin.simulate(requests, limits, source), expected)
    event("refuses" if expected.refused.any() else "serves all")


@settings(max_examples=200, deadline=None)
@given(requests=traces_(), limits=tight_limits_(), source=sources_, concurrency=st.integers(1, 12))
def test_the_twin_closes_the_loop_as_the_scheduler_does(
    requests: Requests, limits: EngineLimits, source: StepTimeSource, concurrency: int
) -> None:
    lengths = requests.prompt_tokens, requests.output_tokens
    loop = ClosedLoop(*lengths, concurrency, requests.cached_tokens, requests.prefixes)
    expected = simulate_loop(loop, limits, source)
    actual = twin.simulate_loop(loop, limits, source)
    assert_same(actual.times, expected.times)
    np.testing.assert_allclose(actual.arrivals_s, expected.arrivals_s, rtol=1e-9, atol=1e-9)
    assert actual.duration_s == pytest.approx(expected.duration_s, rel=1e-9)


@settings(max_examples=100, deadline=None)
@given(
    runs=st.lists(st.builds(twin.EngineRun, traces_(), tight_limits_(), sources_), max_size=6),
    shared=sources_,
)
def test_an_engine_in_a_row_is_as_it_is_alone(runs: list[twin.EngineRun], shared: StepTimeSource) -> None:
    runs += [twin.EngineRun(run.requests, run.limits, shared) for run in runs[::2]]
    row = twin.simulate_row(runs)
    assert len(row.totals.busy_ms) == len(runs)
    for index, run in enumerate(runs):
        alone = twin.simulate(run.requests, run.limits, run.source)
        for name in ("ttft_ms", "itl_ms", "e2e_ms", "refused"):
            np.testing.assert_array_equal(getattr(row.of_engine(index), name), getattr(alone, name))


def summed_steps(run: twin.EngineRun) -> Counter[str]:
    """The totals of one engine, step by step and without the scheduler's own fast-forward."""
    engine, requests, totals = Scheduler(run.limits, run.source), run.requests, Counter[str]()
    due_ms = [*(requests.arrivals_s * 1e3).tolist(), np.inf]
    lengths = zip(requests.prompt_tokens, requests.output_tokens, requests.cached, strict=True)
    shared = requests.prefixes
    arriving = [
        EngineRequest(index, *map(int, each), shared and shared.of(index))
        for index, each in enumerate(lengths)
    ]
    now_ms, following = 0.0, 0
    while True:
        while due_ms[following] <= now_ms:
            engine.add(arriving[following])
            following += 1
        step = engine.start_step()
        if step is None:
            if following == len(arriving):
                break
            now_ms = due_ms[following]
            continue
        totals["busy_ms"] += step.duration_ms
        totals["batch_ms"] += step.num_decodes * step.duration_ms
        totals["kv_token_ms"] += step.kv_tokens * step.duration_ms
        now_ms += step.duration_ms
        engine.finish_step()
    counters = engine.counters
    totals["num_iterations"] = counters.iterations
    totals["generated_tokens"] = counters.generation_tokens
    totals["computed_prompt_tokens"] = counters.computed_prompt_tokens
    totals["num_preemptions"] = counters.preemptions
    totals["cached_prompt_tokens"] = counters.cached_prompt_tokens
    return totals


@settings(max_examples=200, deadline=None)
@given(run=st.builds(twin.EngineRun, traces_(), tight_limits_(), sources_))
def test_the_totals_of_the_twin_are_the_sums_over_the_schedulers_steps(run: twin.EngineRun) -> None:
    expected, actual = summed_steps(run), twin.simulate_row([run]).totals
    event("preempts" if expected["num_preemptions"] else "plain")
    for name in actual.__slots__:
        assert getattr(actual, name)[0] == pytest.approx(expected[name], rel=1e-9, abs=1e-6), name


@settings(max_examples=300, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    slots=st.integers(1, 8),
    kv_blocks=st.integers(20, 60),
    in_flight=st.sampled_from([1, 2]),
    most=st.sampled_from([1, 3, 12]),
)
def test_the_twin_shares_chains_of_hashes_as_the_scheduler_does(
    seed: int, slots: int, kv_blocks: int, in_flight: int, most: int
) -> None:
    rng = np.random.default_rng(seed)
    prompts, outputs = rng.integers(1, 60, 60), rng.integers(1, 12, 60)
    prefixes = chains(rng, np.minimum(shares(rng, prompts), 8 * most), 8)
    requests = Requests(np.cumsum(rng.exponential(0.02, 60)), prompts, outputs, None, prefixes)
    limits = EngineLimits(slots, slots + 24, kv_blocks, 4, 80, in_flight, prefix_caching=True)
    row = twin.simulate_row([twin.EngineRun(requests, limits, CLOSED_FORM)])
    assert_same(row.times, simulate(requests, limits, CLOSED_FORM))
    event("finds" if row.totals.cached_prompt_tokens[0] else "finds nothing")
    event("preempts" if row.totals.num_preemptions[0] else "plain")


def poisson(rate: float, count: int, lengths: tuple[int, int], seed: int) -> Requests:
    """Lengths spread evenly around (prompt, output)."""
    rng = np.random.default_rng(seed)
    prompts, outputs = (rng.integers(mean // 5, 2 * mean - mean // 5, count) for mean in lengths)
    return Requests(np.cumsum(rng.exponential(1 / rate, count)), prompts, outputs)


@pytest.mark.parametrize(
    ("rate", "lengths", "limits", "preempts"),
    [
        pytest.param(
            12.0, (1478, 207), EngineLimits(256, 8192, 27_000, 16, 16_384), False, id="an-h100-at-its-ease"
        ),
        pytest.param(
            30.0, (1478, 207), EngineLimits(256, 2048, 27_000, 16, 16_384), False, id="overloaded-by-half"
        ),
        pytest.param(
            20.0, (400, 300), EngineLimits(128, 2048, 2_000, 16, 2_048), True, id="kv-cache-too-small"
        ),
        pytest.param(
            30.0, (60, 300), EngineLimits(256, 512, 700, 16, 2_048), True, id="short-prompts-that-grow"
        ),
        pytest.param(
            2.0, (9_000, 60), EngineLimits(64, 512, 8_000, 16, 32_768), False, id="long-prompts-in-chunks"
        ),
    ],
)
@pytest.mark.parametrize("source", [CLOSED_FORM, bent_table(3)], ids=["closed-form", "table"])
def test_thousands_of_requests_end_when_the_scheduler_says(
    rate: float, lengths: tuple[int, int], limits: EngineLimits, preempts: bool, source: StepTimeSource
) -> None:
    requests = poisson(rate, 3000, lengths, seed=5)
    row = twin.simulate_row([twin.EngineRun(requests, limits, source)])
    assert_same(row.times, simulate(requests, limits, source))
    if source is CLOSED_FORM:
        assert (row.totals.num_preemptions[0] > 100) == preempts


def test_a_closed_loop_keeps_its_concurrency() -> None:
    limits = EngineLimits(64, 2048, 27_000, 16, 16_384)
    requests = poisson(1.0, 2000, (900, 120), seed=2)
    closed = twin.simulate_loop(
        ClosedLoop(requests.prompt_tokens, requests.output_tokens, 32), limits, CLOSED_FORM
    )
    ends_s = closed.arrivals_s + closed.times.e2e_ms / 1e3
    assert closed.arrivals_s[:32].tolist() == [0.0] * 32
    # Each of the others arrives in the moment one ends: the same times, but for the last 32.
    np.testing.assert_allclose(np.sort(ends_s)[:-32], closed.arrivals_s[32:], rtol=1e-12)


@pytest.mark.parametrize("run", [simulate_loop, twin.simulate_loop], ids=["scheduler", "twin"])
def test_a_closed_loop_computes_only_what_is_not_cached(
    run: Callable[[ClosedLoop, EngineLimits, StepTimeSource], ClosedLoopTimes],
) -> None:
    limits = EngineLimits(64, 2048, 27_000, 16, 16_384)
    prompts, outputs = np.full(8, 1600), np.full(8, 10)
    loops = [ClosedLoop(prompts, outputs, 1, cached) for cached in (None, np.full(8, 800), np.full(8, 1600))]
    whole_ms, half_ms, last_ms = (float(run(loop, limits, CLOSED_FORM).times.ttft_ms[0]) for loop in loops)
    assert last_ms < half_ms < whole_ms
    # Of a prompt that is cached in full the last token is computed, on its own.
    times = CLOSED_FORM.step_times(2048, 64)
    assert last_ms == pytest.approx(float(step_ms(times, 0, 0, [(1, 1599)])))
