"""Step times as arrays: made from the closed form or from knots, and asked three ways."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
from engine_cases import CLOSED_FORM, bent_table
from hypothesis import given, settings
from hypothesis import strategies as st

from argosy.engine import (
    EngineLimits,
    HostBeside,
    Requests,
    RequestTimes,
    StepTable,
    StepTimes,
    StepTimeSource,
    simulate,
    step_lookup,
    step_ms,
    twin,
)
from argosy.errors import InvariantError, SpecError

LIMITS = EngineLimits(
    max_num_seqs=300, max_num_batched_tokens=9000, kv_blocks=10**6, block_size=16, max_model_len=10**6
)
both_sources = pytest.mark.parametrize("source", [CLOSED_FORM, bent_table(1)], ids=["closed-form", "table"])
TABLE = StepTable(
    token_knots=np.array([1.0, 11.0, 31.0]),
    matrix_ms=np.array([5.0, 6.0, 10.0]),
    batch_knots=np.array([1.0, 5.0]),
    context_knots=np.array([100.0, 200.0, 400.0]),
    decode_ms=np.array([[1.0, 2.0, 3.0], [5.0, 10.0, 11.0]]),
    chunk_knots=np.array([10.0, 20.0]),
    prefix_knots=np.array([0.0, 100.0]),
    chunk_ms_per_token=np.array([[0.1, 0.2], [0.3, 0.8]]),
)


def closed_form_ms(num_decodes: int, kv_tokens: int, chunks: list[tuple[int, int]]) -> float:
    """As `coefficients` writes it."""
    k = CLOSED_FORM
    tokens = num_decodes + sum(c for c, _ in chunks)
    matrix = k.wn * (1 + (k.f * tokens / k.wn) ** k.q) ** (1 / k.q) + k.c1 * tokens
    decode = k.a0 + k.a1 * kv_tokens + k.a2 * num_decodes if num_decodes else 0.0
    chunk = (k.b0 if chunks else 0.0) + sum(k.b1 * c + k.b2 * c * (p + c / 2) for c, p in chunks)
    return k.s * (matrix + decode + chunk) + k.c0 + k.cb * num_decodes


iterations_ = st.tuples(
    st.integers(0, 256),
    st.integers(1, 3000),
    st.lists(st.tuples(st.integers(1, 2000), st.integers(0, 50_000)), max_size=3),
).filter(lambda iteration: bool(iteration[0] or iteration[2]))


@given(iteration=iterations_)
def test_the_arrays_say_what_the_closed_form_says(
    iteration: tuple[int, int, list[tuple[int, int]]],
) -> None:
    num_decodes, context, chunks = iteration
    expected = closed_form_ms(num_decodes, num_decodes * context, chunks)
    assert step_ms(CLOSED_FORM, num_decodes, num_decodes * context, chunks) == pytest.approx(
        expected, rel=1e-12
    )


@both_sources
@given(iterations=st.lists(iterations_, min_size=1, max_size=5))
def test_a_vector_and_a_lookup_give_the_same(
    source: StepTimeSource, iterations: list[tuple[int, int, list[tuple[int, int]]]]
) -> None:
    lookup = step_lookup(source, LIMITS)
    batch, kv = np.array([(b, b * context + b // 2) for b, context, _ in iterations]).T
    chunks = np.zeros((len(iterations), 3, 2))
    for row, (_, _, pieces) in enumerate(iterations):
        chunks[row, : len(pieces)] = np.reshape(pieces, (-1, 2))
    expected = [lookup.step_ms(b, int(k), pieces) for (b, _, pieces), k in zip(iterations, kv, strict=True)]
    actual = step_ms(source.step_times(9000, 300), batch, kv, chunks)
    np.testing.assert_allclose(actual, expected, rtol=1e-12)


@both_sources
@settings(deadline=None)  # the first example loads the compiled code
@given(prompt=st.integers(1, 20_000), cached=st.integers(0, 9_000))
def test_the_twin_computes_a_prompt_in_the_same_steps(
    source: StepTimeSource, prompt: int, cached: int
) -> None:
    lookup, start = step_lookup(source, LIMITS), min(cached, prompt - 1)
    expected_ms = sum(
        lookup.step_ms(0, 0, [(min(9000, prompt - at), at)]) for at in range(start, prompt, 9000)
    )
    requests = Requests(np.zeros(1), np.array([prompt]), np.array([1]), np.array([min(cached, prompt)]))
    assert twin.simulate(requests, LIMITS, source).ttft_ms[0] == pytest.approx(expected_ms, rel=1e-12)


@pytest.mark.parametrize(
    ("batch", "context", "chunks", "expected_ms"),
    [
        pytest.param(0, 0, [(10, 0)], 5.9 + 10 * 0.1, id="on-a-knot-of-the-chunks"),
        pytest.param(0, 0, [(15, 50)], 6.8 + 15 * 0.35, id="in-the-middle-of-the-patch"),
        pytest.param(0, 0, [(20, 200)], 7.8 + 20 * 1.3, id="beyond-the-last-prefix"),
        pytest.param(1, 100, [], 5.0 + 1.0, id="on-a-knot-of-the-contexts"),
        pytest.param(3, 300, [], 5.2 + (2.5 + 10.5) / 2, id="between-batches-and-contexts"),
        pytest.param(9, 500, [], 5.8 + 3.5 + 2 * (11.5 - 3.5), id="beyond-batches-and-contexts"),
        pytest.param(1, 0, [], 5.0 + 0.0, id="before-the-first-context"),
        pytest.param(0, 0, [(41, 0)], 12.0 + 41 * (0.1 + 3.1 * 0.2), id="beyond-the-last-token"),
    ],
)
def test_a_table_is_linear_between_its_knots_and_beyond(
    batch: int, context: int, chunks: list[tuple[int, int]], expected_ms: float
) -> None:
    assert step_ms(TABLE, batch, batch * context, chunks) == pytest.approx(expected_ms)


def test_half_a_sequence_costs_what_lies_in_between() -> None:
    """A mean batch has no need to be whole."""
    at_mean = step_ms(CLOSED_FORM, 10.5, 10.5 * 1000)
    around = [step_ms(CLOSED_FORM, batch, batch * 1000) for batch in (10, 11)]
    assert at_mean == pytest.approx(np.mean(around), rel=1e-12)


@pytest.mark.parametrize(
    "question",
    [
        pytest.param((0, 0), id="no-token"),
        pytest.param((4, np.nan), id="nan"),
        pytest.param((-1, 100), id="less-than-no-sequence"),
        pytest.param((4, 100, [(5, -1)]), id="a-negative-prefix"),
        pytest.param((np.inf, 100), id="endless"),
    ],
)
def test_an_iteration_that_cannot_be_run_has_no_time(question: tuple[Any, ...]) -> None:
    with pytest.raises(SpecError):
        step_ms(CLOSED_FORM, *question)


def test_arrays_are_a_source_for_engines_that_are_not_larger() -> None:
    times = CLOSED_FORM.step_times(100, 10)
    assert times.step_times(50, 10) is times
    with pytest.raises(ValueError, match="100 tokens and 10 sequences"):
        times.step_times(101, 10)


def test_engines_that_are_alike_share_their_lists() -> None:
    again = replace(CLOSED_FORM)
    assert step_lookup(CLOSED_FORM, LIMITS) is step_lookup(again, LIMITS)
    assert step_lookup(CLOSED_FORM, LIMITS) is not step_lookup(CLOSED_FORM, replace(LIMITS, max_num_seqs=299))


def moved(value: Any) -> Any:
    """Another value of a field that the field takes (the first knots are fixed)."""
    if not isinstance(value, np.ndarray):
        return 0.5 * value + 0.1
    other = value.copy()
    other[-1] += 1
    return other


@both_sources
def test_a_digest_changes_with_every_value(source: Any) -> None:
    digests = {source.digest(), source.step_times(40, 8).digest()}
    for field in fields(source):
        digests.add(replace(source, **{field.name: moved(getattr(source, field.name))}).digest())
    assert len(digests) == 2 + len(fields(source))
    assert replace(source).digest() == source.digest()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param(
            {"token_knots": np.array([2.0, 3.0, 4.0])}, "token_knots: the first", id="no-first-token"
        ),
        pytest.param({"batch_knots": np.array([1.0, 1.0])}, "batch_knots: knots must", id="knots-that-stand"),
        pytest.param({"context_knots": np.array([5.0])}, "context_knots: needs at least 2", id="one-context"),
        pytest.param({"prefix_knots": np.array([0.0, np.nan])}, "prefix_knots: knots must", id="nan-knot"),
        pytest.param({"matrix_ms": np.array([5.0, 6.0])}, r"matrix_ms: has shape \(2,\)", id="a-value-short"),
        pytest.param({"matrix_ms": np.array([0.0, 6.0, 7.0])}, "must take time", id="a-step-in-no-time"),
        pytest.param({"decode_ms": np.full((2, 3), np.nan)}, "decode_ms: milliseconds", id="nan"),
        pytest.param({"chunk_ms_per_token": -np.ones((2, 2))}, "chunk_ms_per_token: mill", id="negative"),
        pytest.param({"s": 0.0}, "s have to be positive", id="scaled-to-nothing"),
        pytest.param({"c0": np.inf}, "overhead", id="endless-overhead"),
    ],
)
def test_a_table_that_measures_nothing_is_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        replace(TABLE, **change)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"matrix_ms": np.array([0.0, np.nan])}, id="nan"),
        pytest.param({"decode_ms": np.ones((3, 1))}, id="a-knot-without-values"),
        pytest.param({"chunk_knots": np.array([0.0])}, id="values-without-a-knot"),
        pytest.param({"context_knots": np.zeros(1), "decode_ms": np.ones((3, 1))}, id="no-line"),
        pytest.param({"host_ms": np.inf}, id="an-endless-host"),
        pytest.param({"host_ms_per_sequence": np.nan}, id="a-host-without-a-number"),
    ],
)
def test_arrays_that_compiled_code_would_misread_are_our_bug(change: dict[str, Any]) -> None:
    with pytest.raises(InvariantError):
        replace(CLOSED_FORM.step_times(40, 8), **change)


# The host beside the GPU.


@pytest.mark.parametrize(
    ("batch", "context", "expected_ms"),
    [
        # The GPU takes 5 + 1 + 0.01 * (context - 100) ms for one sequence, the host 7 + 0.5.
        pytest.param(1, 100, 7.5 + 0.2, id="the-host-is-longer"),
        pytest.param(1, 200, 7.5 + 0.2, id="still"),
        pytest.param(1, 400, 8.0 + 0.2, id="the-gpu-is-longer"),
        pytest.param(5, 200, 5.4 + 10.0 + 0.2, id="a-larger-batch"),
    ],
)
def test_a_host_beside_the_gpu_counts_where_it_takes_longer(
    batch: int, context: int, expected_ms: float
) -> None:
    source = HostBeside(replace(TABLE, c0=0.2, cb=0.0), 7.0, 0.5)
    assert step_ms(source, batch, batch * context) == pytest.approx(expected_ms)
    lookup = step_lookup(source, LIMITS)
    assert lookup.step_ms(batch, batch * context) == pytest.approx(expected_ms)
    assert lookup.decode_ms(batch)(batch * context) == pytest.approx(expected_ms)


@pytest.mark.parametrize("slope", [0.01, -0.002], ids=["falls-behind", "overtakes"])
@pytest.mark.parametrize("host_ms", [0.0, 6.6, 7.3, 7.31, 9.0])
def test_many_iterations_add_up_on_both_sides_of_the_crossing(slope: float, host_ms: float) -> None:
    """One request decodes 300 tokens, first slower than the host and then faster, or the other way."""
    decode_ms = np.array([[2.0, 2.0 + 100 * slope, 2.0 + 300 * slope], [5.0, 10.0, 11.0]])
    source = replace(
        replace(TABLE, decode_ms=decode_ms).step_times(9000, 300), host_ms=host_ms, host_ms_per_sequence=0.1
    )
    requests = Requests(np.zeros(1), np.array([120]), np.array([300]))
    expected_ms = sum(float(step_ms(source, 1, 120 + step)) for step in range(299))
    for run in (simulate, twin.simulate):
        times = run(requests, LIMITS, source)
        assert times.e2e_ms[0] - times.ttft_ms[0] == pytest.approx(expected_ms, rel=1e-12)


def test_a_calibration_leaves_the_hosts_work_beside_the_gpu_as_it_is() -> None:
    source = HostBeside(TABLE, 7.0, 0.5).with_calibration(2.0, 0.2, 0.1)
    times = source.step_times(40, 8)
    assert (times.s, times.c0, times.cb) == (2.0, 0.2, 0.1)
    assert (times.host_ms, times.host_ms_per_sequence) == (7.0, 0.5)
    digests = {source.digest(), HostBeside(TABLE, 7.0, 0.5).digest(), HostBeside(TABLE, 7.0).digest()}
    assert len(digests) == 3
    for work in (np.nan, -1.0):
        with pytest.raises(SpecError, match="beside_ms"):
            HostBeside(TABLE, work)
    with pytest.raises(SpecError, match="not kept apart"):
        HostBeside(Stingy(), 0.2).with_calibration(1.0, 0.0, 0.0)


class Stingy:
    """A source that gives half of what is asked."""

    def step_times(self, max_tokens: int, max_seqs: int) -> StepTimes:
        return CLOSED_FORM.step_times(max_tokens // 2, max_seqs // 2)

    def digest(self) -> str:
        return "stingy"


@pytest.mark.parametrize("run", [simulate, twin.simulate], ids=["scheduler", "twin"])
def test_arrays_that_are_too_short_are_refused(run: Callable[..., RequestTimes]) -> None:
    requests = Requests(np.zeros(1), np.array([8]), np.array([1]))
    with pytest.raises(ValueError, match="these step times end at 4500 tokens"):
        run(requests, LIMITS, Stingy())


@pytest.mark.parametrize(
    "change",
    [
        {"wn": 0.0},
        {"q": -1.0},
        {"s": 0.0},
        {"a1": np.nan},
        {"c0": np.inf},
        {"we": -1.0},
        {"p_expert": 1.0},
        {"p_expert": -0.1},
    ],
)
def test_coefficients_that_make_no_time_are_named(change: dict[str, float]) -> None:
    with pytest.raises(SpecError) as refused:
        replace(CLOSED_FORM, **change)
    assert refused.value.field == next(iter(change))


def test_the_engine_is_imported_without_a_compiler() -> None:
    program = (
        "import sys, argosy.engine, argosy.engine.twin; sys.exit(bool({'numba', 'scipy'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0
