"""Fitting measured rows: a known truth comes back, the real reports fit, and what cannot be fitted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from perf_engines import H100_8B

from argosy.engine import ClosedLoop, EngineLimits, HostBeside, twin
from argosy.engine.step_times import StepTable, StepTimeSource, step_ms
from argosy.errors import SpecError
from argosy.perf.measurements import (
    CannotFit,
    CannotFitReason,
    ClosedLoopLoad,
    FitQuestion,
    FittedProfile,
    Latency,
    Measurement,
    Measurements,
    OpenLoopLoad,
    SaturatingLoad,
    TokenLengths,
    Tool,
    fit_profile,
    read_measurements,
)
from argosy.perf.measurements.scaled import ScalingFactors, scaled, tabulated
from argosy.perf.profile import Origin, Profile, ProfileKey, Shape, ValidRange
from argosy.snapshot.architecture import Dtype

DATA = Path(__file__).parents[3] / "data" / "perf"
LIMITS = EngineLimits(256, 8192, 27023, 16, 16384)
KEY = ProfileKey("H100", "llama-3.1-8b", Dtype.BF16, Shape())
# Of the server that the reports in tests/data/perf were made with.
SERVER = H100_8B
WRONG = replace(SERVER, s=0.75 * SERVER.s, c0=0.3)
DECODES = ((1, 512), (8, 1024), (32, 1024), (64, 1024), (128, 1024))
PREFILLS = (512, 2048, 8192)


def question(prior: StepTimeSource, uncertainty: float = 0.08) -> FitQuestion:
    profile = Profile(KEY, Origin.TABLE, prior, ValidRange(8192, 256, 16384), uncertainty, "a table")
    return FitQuestion(KEY, profile, LIMITS, "2026-11-22")


def report(*rows: Measurement) -> Measurements:
    return Measurements("runs.csv", "0" * 64, Tool.CSV, rows)


def real(*paths: str) -> list[Measurements]:
    found = [read_measurements((DATA / path).read_bytes(), path) for path in paths]
    return [one for one in found if isinstance(one, Measurements)]


def fitted(reports: Sequence[Measurements], prior: StepTimeSource = WRONG) -> FittedProfile:
    found = fit_profile(reports, question(prior))
    assert isinstance(found, FittedProfile), found
    return found


def refused(reports: Sequence[Measurements], prior: StepTimeSource = WRONG) -> CannotFit:
    found = fit_profile(reports, question(prior))
    assert isinstance(found, CannotFit)
    return found


def run(truth: StepTimeSource, prompt: int, output: int, concurrency: int) -> Measurement:
    """What an engine shows of lengths within 20 % of these; other requests than a fit would draw."""
    rng = np.random.default_rng(prompt + output + concurrency)
    count = 10 * concurrency + 20
    prompts = rng.integers(round(0.8 * prompt), round(1.2 * prompt) + 1, count)
    outputs = rng.integers(round(0.8 * output), round(1.2 * output) + 1, count)
    times = twin.simulate_loop(ClosedLoop(prompts, outputs, concurrency), LIMITS, truth).times
    return Measurement(
        where=f"{prompt}/{output} at {concurrency}",
        prompt=TokenLengths.of(prompts.tolist()),
        output=TokenLengths.of(outputs.tolist()),
        load=ClosedLoopLoad(concurrency),
        ttft=Latency(mean_ms=float(times.ttft_ms.mean())),
        itl=Latency(mean_ms=float(np.nanmean(times.itl_ms))),
        num_requests=count,
    )


def decode_errors(found: FittedProfile, truth: StepTimeSource, decodes: Sequence[tuple[int, int]]) -> float:
    """The largest relative error of a decode step."""
    return max(
        abs(step_ms(found.profile.step_times, b, b * k) / step_ms(truth, b, b * k) - 1) for b, k in decodes
    )


def prefill_errors(found: FittedProfile, truth: StepTimeSource) -> float:
    return max(
        abs(step_ms(found.profile.step_times, 0, 0, [(c, 0)]) / step_ms(truth, 0, 0, [(c, 0)]) - 1)
        for c in PREFILLS
    )


# A known truth.

SLOWER = replace(SERVER, s=1.3 * SERVER.s, c0=SERVER.c0 + 1)
GRID = [(prompt, 128, concurrency) for prompt in (256, 1024, 4096) for concurrency in (4, 16, 64)]
FOUR = [(512, 128, 4), (512, 128, 16), (1024, 128, 32), (256, 256, 64)]


@pytest.mark.parametrize("runs", [FOUR, GRID], ids=["four runs", "a grid of nine"])
def test_a_slower_engine_is_found_within_three_per_cent(runs: list[tuple[int, int, int]]) -> None:
    found = fitted([report(*(run(SLOWER, *one) for one in runs))], SERVER)
    # Measured 0.3-0.4 % and 0.2-0.7 % when this was written.
    assert decode_errors(found, SLOWER, DECODES) < 0.03
    assert prefill_errors(found, SLOWER) < 0.03
    assert found.factors.s == pytest.approx(1.3, rel=0.03)
    assert found.factors.c0 == pytest.approx(2.34, abs=0.3)
    assert found.error.itl is not None
    assert found.prior_error.itl is not None
    assert (found.error.itl.mean_absolute < 0.01, found.prior_error.itl.bias < -0.2) == (True, True)
    assert found.profile.uncertainty == pytest.approx(0.01, abs=0.005)


LONG = [(p, o, c) for p, o in ((512, 512), (2048, 1024), (6000, 2048)) for c in (8, 24, 64)]


def test_a_faster_kernel_for_attention_shows_where_decoding_is_long() -> None:
    truth = scaled(tabulated(SERVER, 8192, 256), ScalingFactors(1.0, 1.0, 0.7, SERVER.c0, SERVER.cb))
    found = fitted([report(*(run(truth, *one) for one in LONG))], SERVER)
    # The prior is 17 % too slow there.
    assert decode_errors(found, truth, [(64, 4096), (8, 4096), *DECODES]) < 0.03


def test_what_the_network_adds_to_a_first_token_is_no_prefill() -> None:
    rows = [run(SLOWER, *one) for one in GRID]
    far = [replace(row, ttft=Latency(row.ttft.mean_ms + 30)) for row in rows if row.ttft and row.ttft.mean_ms]
    found = fitted([report(*far)], SERVER)
    assert found.front_end_ms == pytest.approx(30, abs=2)
    assert prefill_errors(found, SLOWER) < 0.03


def test_one_bad_run_does_not_bend_the_others() -> None:
    rows = [run(SLOWER, *one) for one in GRID]
    rows[4] = replace(rows[4], itl=Latency(mean_ms=60.0))
    found = fitted([report(*rows)], SERVER)
    assert decode_errors(found, SLOWER, DECODES) < 0.03


@settings(max_examples=15, deadline=None)
@given(
    s=st.floats(0.5, 2.0),
    c0_ms=st.floats(0, 4),
    runs=st.lists(st.sampled_from(GRID + FOUR), min_size=1, max_size=5, unique=True),
)
def test_whatever_the_truth_a_fit_stays_near_it_where_it_was_measured(
    s: float, c0_ms: float, runs: list[tuple[int, int, int]]
) -> None:
    truth = replace(SERVER, s=s, c0=c0_ms)
    found = fitted([report(*(run(truth, *one) for one in runs))], SERVER)
    assert found.error.itl is not None
    assert found.error.itl.mean_absolute < 0.04
    # One row is a factor, and what the host takes is then nobody's guess: far, but not away.
    assert prefill_errors(found, truth) < 0.6
    assert decode_errors(found, truth, DECODES) < 0.6


# Which factors are free.

ROW = run(SERVER, 512, 128, 16)
LADDER = {
    "one row: a factor": ([(512, 128, 16)], ("s",)),
    "two rows: prefill apart": ([(512, 128, 16), (512, 128, 32)], ("s", "compute", "front_end_ms")),
    "three rows of like load: no host": (
        [(512, 128, 16), (512, 128, 24), (1024, 128, 32)],
        ("s", "compute", "front_end_ms"),
    ),
    "three rows over a range of load": (
        [(512, 128, 4), (512, 128, 16), (512, 128, 48)],
        ("s", "compute", "front_end_ms", "c0", "cb"),
    ),
    "many rows over a range of contexts": (GRID, ("s", "compute", "front_end_ms", "c0", "cb", "attention")),
}


@pytest.mark.parametrize("case", LADDER)
def test_only_what_the_rows_can_tell_apart_is_fitted(case: str) -> None:
    runs, free = LADDER[case]
    assert fitted([report(*(run(SERVER, *one) for one in runs))]).fitted == free


def test_one_row_keeps_the_uncertainty_of_the_prior() -> None:
    found = fit_profile([report(ROW)], question(WRONG, uncertainty=0.12))
    assert isinstance(found, FittedProfile)
    assert found.profile.uncertainty == 0.12
    assert (found.factors.compute, found.factors.c0) == (1.0, WRONG.c0)


def test_throughputs_alone_give_a_factor() -> None:
    runs = [(256, 64), (256, 256), (1024, 64), (1024, 256)]
    rows = []
    for prompt, output in runs:
        loop = ClosedLoop(np.full(2560, prompt), np.full(2560, output), 256)
        closed = twin.simulate_loop(loop, LIMITS, SLOWER)
        lengths = (TokenLengths(prompt, 0), TokenLengths(output, 0))
        rows.append(Measurement("cell", *lengths, SaturatingLoad(), requests_per_s=2560 / closed.duration_s))
    found = fitted([report(*rows)], SERVER)
    assert found.fitted == ("s",)
    assert found.error.throughput is not None
    assert found.error.throughput.mean_absolute < 0.02
    assert found.factors.s == pytest.approx(1.3, rel=0.05)


def test_a_parameter_at_a_bound_is_a_note() -> None:
    # No front end at all, and TTFTs shorter than those of any step.
    rows = [run(SERVER, *shape) for shape in FOUR]
    short = [replace(row, ttft=Latency(mean_ms=0.4 * (row.ttft.mean_ms or 0.0))) for row in rows if row.ttft]
    found = fitted([report(*short)], SERVER)
    assert found.front_end_ms == 0.0
    assert [move.name for move in found.moves if move.at_bound is not None] == ["front_end_ms"]
    assert any(note.startswith("front_end_ms stopped at its low bound (0)") for note in found.notes)


# The real reports.

REAL = {
    "vllm": ["vllm/c4.json", "vllm/c16.json", "vllm/detailed.json", "vllm/rate10.json", "vllm/sweep.jsonl"],
    "guidellm": ["guidellm/concurrent.json", "guidellm/constant.json"],
    "aiperf": ["aiperf/c4.json", "aiperf/c16.json", "aiperf/c40.json", "aiperf/rate8.json"],
    "aibrix lines": ["aibrix/benchmark.jsonl"],
    "aibrix profile": ["aibrix/profile.json"],
    "melange summary": ["melange/512-96-8-48.txt"],
    "a table": ["csv/runs.csv"],
}
# Largest error of a decode step at batch 1-32 against the server's own, from a prior 25 % too
# fast: measured when the reports were made. Clients and other processes on two cores are in it.
DECODE_BOUNDS = {
    "vllm": 0.025,
    "guidellm": 0.03,
    "aiperf": 0.045,
    "aibrix lines": 0.03,
    "aibrix profile": 0.03,
    "melange summary": 0.04,
    "a table": 0.025,
}


@pytest.mark.parametrize("tool", REAL)
def test_a_real_report_finds_the_server_that_it_measured(tool: str) -> None:
    found = fitted(real(*REAL[tool]))
    assert decode_errors(found, SERVER, DECODES[:3]) < DECODE_BOUNDS[tool]
    measured = found.error.itl or found.error.e2e
    assert measured is not None
    assert measured.mean_absolute < 0.025  # 0.1-1.5 %, the most in the table of AIBrix (E2E only)
    before = found.prior_error.itl or found.prior_error.e2e
    assert before is not None
    assert before.bias < -0.25


def test_a_real_report_agrees_with_the_engine_that_it_measured() -> None:
    found = fitted(real("vllm/c4.json", "vllm/c16.json", "vllm/sweep.jsonl"), SERVER)
    assert found.prior_error.itl is not None
    assert found.prior_error.itl.mean_absolute < 0.005


def test_a_profile_says_what_it_stands_on() -> None:
    found = fitted(real("vllm/sweep.jsonl", "aiperf/c4.json"))
    assert found.profile.origin is Origin.USER
    expected = (
        "user's measurements: 5 rows of vllm/sweep.jsonl, aiperf/c4.json (vllm bench serve, aiperf 0.13.0)"
    )
    assert found.profile.source == expected
    assert found.covered.prompt_tokens == (258.6, 1057.9)
    assert (found.covered.concurrency, found.covered.requests_per_s) == ((4, 48), None)
    assert [(one.name, one.tool, one.num_rows) for one in found.files] == [
        ("vllm/sweep.jsonl", "vllm bench serve", 4),
        ("aiperf/c4.json", "aiperf", 1),
    ]
    assert found.on_date == "2026-11-22"


# What cannot be fitted.


def test_no_row_is_no_profile() -> None:
    assert refused([report()]).reason is CannotFitReason.NO_ROWS


def test_an_offered_rate_alone_says_nothing_about_the_engine() -> None:
    row = Measurement("line 2", TokenLengths(512), TokenLengths(128), OpenLoopLoad(2.0), requests_per_s=2.0)
    assert refused([report(row)]).reason is CannotFitReason.NOTHING_COMPARABLE


def test_rows_of_several_gpus_need_a_choice() -> None:
    (table,) = real("melange/config_with_lengths.json")
    fault = refused([table])
    assert fault.reason is CannotFitReason.SEVERAL_GPUS
    assert "A100, H100, L40S" in fault.message
    assert fitted([table.of_gpu("H100")]).fitted == ("s",)


def test_answers_of_one_token_have_no_gap_to_compare() -> None:
    row = replace(ROW, output=TokenLengths(1, 0), ttft=None)
    assert refused([report(row)]).reason is CannotFitReason.NOTHING_COMPARABLE
    found = fitted([report(row, ROW)])
    assert found.error.itl is not None
    assert found.error.itl.num_rows == 1


@pytest.mark.parametrize("rate", [1e-300, 1e14], ids=["next to nothing", "beyond all bounds"])
def test_a_throughput_that_no_engine_has_is_implausible(rate: float) -> None:
    row = Measurement(
        "cell", TokenLengths(512, 0), TokenLengths(128, 0), SaturatingLoad(), requests_per_s=rate
    )
    assert refused([report(row)], replace(SERVER, c0=0.0, cb=0.0)).reason is CannotFitReason.IMPLAUSIBLE


def test_bursts_without_end_are_still_arrivals() -> None:
    assert fitted([report(replace(ROW, load=OpenLoopLoad(2.0, gap_cv=3e4)))]).fitted == ("s",)


def test_requests_longer_than_the_engine_takes_are_named() -> None:
    fault = refused([report(replace(ROW, where="line 5", prompt=TokenLengths(20_000, 0)))])
    assert fault.reason is CannotFitReason.BEYOND_LIMITS
    assert fault.message.startswith("line 5: requests of ")
    assert "longer than the 16384 that the engine takes" in fault.message


def test_measurements_of_something_else_are_implausible() -> None:
    fault = refused([report(run(replace(SERVER, s=9.0), 512, 128, 16))])
    assert fault.reason is CannotFitReason.IMPLAUSIBLE
    assert "times slower than llama-3.1-8b bf16 on H100 TP1" in fault.message


def test_answers_that_were_not_streamed_are_recognised() -> None:
    fault = refused([report(replace(ROW, where="line 9", ttft=Latency(mean_ms=0.02)))])
    assert fault.reason is CannotFitReason.IMPLAUSIBLE
    assert fault.message.startswith("line 9: TTFT of 0.02 ms")


# The step time that is moved.


def test_the_closed_form_on_knots_is_itself_within_a_fifth_of_a_per_cent() -> None:
    table = tabulated(SERVER, 8192, 256)
    for batch, context in [*DECODES, (256, 4096), (3, 100)]:
        expected = step_ms(SERVER, batch, batch * context)
        assert step_ms(table, batch, batch * context) == pytest.approx(expected, rel=2e-3)
    for chunk, prefix in [(1, 0), (300, 0), (777, 2048), (8192, 8192)]:
        expected = step_ms(SERVER, 0, 0, [(chunk, prefix)])
        assert step_ms(table, 0, 0, [(chunk, prefix)]) == pytest.approx(expected, rel=2e-3)


def test_a_host_beside_the_gpu_is_not_lost_in_a_table() -> None:
    with pytest.raises(SpecError, match="beside the GPU"):
        tabulated(HostBeside(SERVER, 0.2), 8192, 256)


def test_a_table_is_taken_as_it_is() -> None:
    table = tabulated(SERVER, 8192, 256)
    assert tabulated(table, 64, 8) is table
    assert isinstance(table, StepTable)
    same = scaled(table, ScalingFactors(1.0, 1.0, 1.0, table.c0, table.cb))
    assert same.digest() == table.digest()
