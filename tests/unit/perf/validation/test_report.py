"""The model against measured vLLM runs, and against published figures.

Bounds of the hold-out half (odd rows of each group). A four-parameter fit had reached TPOT 6.0 / 5.1 /
8.6 % and TTFT 14 / 10 / 21 % on H100 / H200 / B200; these are never to be exceeded. Measured on
2026-12-01: TPOT 2.4 / 4.2 / 4.9 %, TTFT 5.2 / 4.7 / 15.7 %. The hold-out half was looked at twice: at
first H200 stood at 5.6 %, with FP8 caches taken for half of bfloat16's bytes; the second look is
after that factor was taken from the kernels' own tables instead.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from packaging.version import Version

from argosy.errors import SpecError
from argosy.perf import shipped_library
from argosy.perf.answers.replica import TTFT_OF_CLIENTS
from argosy.perf.host import host_of_version
from argosy.perf.shipped import shipped_forms, shipped_measurements
from argosy.perf.validation.calibration import Errors, RunCalibration, ValidationCase, calibrate, errors
from argosy.perf.validation.figures import (
    energy_rows,
    form_medians,
    itl_comparisons,
    kv_comparisons,
    power_comparisons,
)
from argosy.perf.validation.report import GroupReport, Unstated, case, reports
from argosy.perf.validation.runs import Group, Run, halves, parse_runs, predict
from argosy.snapshot import Dtype

LIBRARY = shipped_library()
RUNS = parse_runs(shipped_measurements())
LLAMA = "meta-llama/Llama-3.1-70B"
TPOT_BOUND = {"h100_sxm": 0.060, "h200_sxm": 0.051, "b200_sxm": 0.086}
TTFT_BOUND = {"h100_sxm": 0.14, "h200_sxm": 0.10, "b200_sxm": 0.21}


OLD = Unstated(Dtype.BF16, host_of_version(Version("0.11.2")))


def group(model: str, system: str, dtype: Dtype, version: str = "") -> tuple[Run, ...]:
    return tuple(run for run in RUNS if run.group == Group(model, system, dtype, version))


@pytest.mark.parametrize("system", list(TPOT_BOUND))
def test_llama_70b_fp8_is_predicted_on_runs_it_was_not_calibrated_on(system: str) -> None:
    (found,) = reports(group(LLAMA, system, Dtype.FP8), LIBRARY)
    assert found.calibrated is not None
    assert found.calibrated.num_runs >= 22
    assert found.calibrated.tpot_mape <= TPOT_BOUND[system]
    assert found.calibrated.ttft_mape <= TTFT_BOUND[system]
    assert found.raw is not None
    low, high = TTFT_OF_CLIENTS
    # What users are told of TTFT that no run has corrected.
    assert low <= 1 / (1 + found.raw.ttft_bias) <= high


def test_what_is_calibrated_and_what_judges_do_not_meet() -> None:
    even, odd = halves(group(LLAMA, "h100_sxm", Dtype.FP8))
    assert (len(even), len(odd)) == (23, 22)
    assert not {run.row for run in even} & {run.row for run in odd}


def test_a_group_without_a_profile_says_why() -> None:
    (found,) = reports(group("MiniMaxAI/MiniMax-M2.5", "h100_sxm", Dtype.FP8, "0.18.0"), LIBRARY)
    assert found == GroupReport(
        Group("MiniMaxAI/MiniMax-M2.5", "h100_sxm", Dtype.FP8, "0.18.0"),
        30,
        "data- and expert-parallel runs have no profile",
    )


def test_a_known_calibration_is_found_again() -> None:
    truth = RunCalibration(1.10, 2.5, 0.08, 0.02, 12.0)
    even, _ = halves(group(LLAMA, "h100_sxm", Dtype.FP8))
    known = [found for run in even if isinstance(found := case(run, OLD, LIBRARY), ValidationCase)]
    told = []
    for each in known:
        seen = each.predict(truth)
        told.append(replace(each, run=replace(each.run, ttft_ms=seen.ttft_ms, tpot_ms=seen.tpot_ms)))
    assert errors(told, truth) == Errors(len(told), 0.0, 0.0, 0.0, 0.0)
    after = errors(told, calibrate(told).calibration)
    assert after.tpot_mape < 0.01
    assert after.ttft_mape < 0.03
    assert errors(told).tpot_mape > 0.1


def test_a_run_is_always_the_same_and_faster_with_fewer_requests_in_flight() -> None:
    run = group(LLAMA, "h100_sxm", Dtype.FP8)[0]
    asked = case(run, OLD, LIBRARY)
    assert isinstance(asked, ValidationCase)
    source = asked.source(asked.raw)
    once, again = predict(run, asked.limits, source), predict(run, asked.limits, source)
    assert once == again
    alone = predict(replace(run, concurrency=1), asked.limits, source)
    assert alone.tpot_ms < once.tpot_ms
    assert alone.ttft_ms < once.ttft_ms


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("0,m,h100_sxm,fp8,,1,1,1,1,1,1,1,1,nan,5", "row 1.*positive milliseconds"),
        ("0,m,h100_sxm,fp8,,1,1,1,1,1,1,1,1,5,-1", "row 1.*positive milliseconds"),
        ("0,m,h100_sxm,fp9,,1,1,1,1,1,1,1,1,5,5", "row 1.*fp9"),
        ("0,m,h100_sxm", "row 1"),
    ],
)
def test_a_row_that_is_no_measurement_is_named(line: str, says: str) -> None:
    header = shipped_measurements().decode().splitlines()[1]
    with pytest.raises(SpecError, match=says):
        parse_runs(f"{header}\n{line}\n".encode())


def test_all_runs_are_there() -> None:
    assert len(RUNS) == 1328
    assert len({run.group.subject for run in RUNS}) == 21
    assert len({run.group for run in RUNS}) == 30


def test_forms_are_as_near_to_their_tables_as_is_promised() -> None:
    medians = form_medians(shipped_forms())
    assert medians.num_profiles == len(list(LIBRARY.keys()))
    assert medians.decode <= 0.04
    assert medians.mixed <= 0.035
    assert medians.prefill <= 0.045


def test_published_step_times_kv_capacities_and_powers_are_within_five_percent() -> None:
    rows = [*itl_comparisons(LIBRARY), *kv_comparisons(), *power_comparisons()]
    assert len(rows) == 5 * 6 + 7 + 3 * 6
    assert [row.what for row in rows if abs(row.difference) > 0.05] == []


def test_energy_stands_beside_the_published_figures_with_its_difference() -> None:
    rows = energy_rows(LIBRARY)
    assert len(rows) == 6
    for row in rows:
        assert row.joule_per_token == pytest.approx(row.power_w * row.step_ms / 1e3 / row.figure.batch)
        assert row.difference == pytest.approx(row.joule_per_token / row.figure.joule_per_token - 1)
    assert np.all(np.abs([row.difference for row in rows]) < 0.25)
