"""What each mechanism is worth: the steps differ in what they name, and in nothing else."""

from __future__ import annotations

from dataclasses import replace

import pytest

from argosy.engine_version import version_of
from argosy.perf import shipped_library
from argosy.perf.host import host_of_version
from argosy.perf.shipped import shipped_measurements
from argosy.perf.validation.ablation import Mechanism, ablation
from argosy.perf.validation.calibration import ValidationCase
from argosy.perf.validation.report import GroupReport, Unstated, case
from argosy.perf.validation.runs import Run, parse_runs
from argosy.snapshot import Dtype

LIBRARY = shipped_library()
RUNS = parse_runs(shipped_measurements())


def a_report(version: str, model: str) -> GroupReport:
    """Of four short runs that nothing was fitted to."""
    mine = [run for run in RUNS if run.group.version == version and model in run.group.model]
    short = sorted((run for run in mine if run.is_sharded_only), key=lambda run: (run.concurrency, run.row))[
        :4
    ]
    return GroupReport(short[0].group, 0, held_out=tuple(the_case(run) for run in short))


def the_case(run: Run) -> ValidationCase:
    found = case(run, Unstated(Dtype.FP8, host_of_version(version_of(run.group.version))), LIBRARY)
    assert isinstance(found, ValidationCase)
    return found


OLD, NEW = a_report("0.12.0", "Qwen3-32B"), a_report("0.18.0", "gpt-oss")


def test_each_version_has_a_row_per_mechanism_and_all_runs_come_last() -> None:
    rows = ablation([NEW, OLD])
    assert [row.version for row in rows[:: len(Mechanism)]] == ["0.12", "0.18", "all"]
    assert [row.mechanism for row in rows[: len(Mechanism)]] == list(Mechanism)
    assert [row.num_runs for row in rows[:: len(Mechanism)]] == [4, 4, 8]


def test_nothing_overlaps_before_its_version_and_the_front_end_is_in_ttft_alone() -> None:
    none, overlap, in_flight, front_end, calibrated = ablation([OLD])[: len(Mechanism)]
    assert none.itl == overlap.itl == in_flight.itl == front_end.itl
    assert none.ttft == overlap.ttft == in_flight.ttft
    assert front_end.ttft.bias > in_flight.ttft.bias
    # Without a calibration there is nothing to add.
    assert replace(calibrated, mechanism=front_end.mechanism) == front_end


def test_from_0_14_on_overlap_shortens_gaps_and_a_batch_decided_ahead_lengthens_ttft() -> None:
    none, overlap, in_flight, front_end, _ = ablation([NEW])[: len(Mechanism)]
    assert overlap.itl.bias < none.itl.bias - 0.05
    assert in_flight.ttft.bias > overlap.ttft.bias
    assert front_end.ttft.bias > in_flight.ttft.bias
    assert front_end.itl == in_flight.itl


@pytest.mark.parametrize("reports", [[], [GroupReport(OLD.group, 3, "no profile")]])
def test_no_run_makes_no_row(reports: list[GroupReport]) -> None:
    assert ablation(reports) == ()
