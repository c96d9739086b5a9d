"""What each mechanism of the model is worth: hold-out errors with and without it, by vLLM's version.

Owns the steps from an engine whose host always comes before the GPU to the whole model. Input: reports of
groups. Output: median errors of ITL, E2E and mean TTFT over the hold-out runs of each version.

    none       the GPU waits for the host, whatever the version; no front end
    overlap    from vLLM 0.14 on the host works while the GPU computes
    in flight  and the next batch is decided while one runs
    front end  and HTTP and the tokenizer are in TTFT: the whole model, uncalibrated
    calibrated and each group's even runs correct its odd ones
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np

from argosy.arrays import Floats
from argosy.engine_version import version_of
from argosy.perf.host import SYNCHRONOUS
from argosy.perf.validation.calibration import RunCalibration, ValidationCase, uncalibrated
from argosy.perf.validation.report import GroupReport

NOT_STATED = "not stated"


class Mechanism(StrEnum):
    """The steps, each with all before it."""

    NONE = "none"
    OVERLAP = "overlap"
    IN_FLIGHT = "in flight"
    FRONT_END = "front end"
    CALIBRATED = "calibrated"


@dataclass(frozen=True, slots=True)
class MedianError:
    """Over runs, 0-1: the median absolute error, and the median error (positive: predicted too slow)."""

    off: float
    bias: float


@dataclass(frozen=True, slots=True)
class AblationRow:
    """One version's hold-out runs with the mechanisms up to one."""

    version: str
    mechanism: Mechanism
    num_runs: int
    itl: MedianError
    e2e: MedianError
    ttft: MedianError


def ablation(reports: Sequence[GroupReport]) -> tuple[AblationRow, ...]:
    """By version, those of no known version first and all together last; mechanisms in their order."""
    judged = [report for report in reports if report.held_out]
    names = sorted({_version(report) for report in judged}, key=lambda name: (name != NOT_STATED, name))
    groups = [(name, [report for report in judged if _version(report) == name]) for name in names]
    return tuple(
        _row(name, mechanism, members)
        for name, members in [*groups, ("all", judged)]
        for mechanism in Mechanism
        if members
    )


def _version(report: GroupReport) -> str:
    version = version_of(report.group.version)
    return NOT_STATED if version is None else f"{version.major}.{version.minor:02}"


def _row(version: str, mechanism: Mechanism, reports: Iterable[GroupReport]) -> AblationRow:
    found = np.array([errors for report in reports for errors in _errors(mechanism, report)])
    itl, e2e, ttft = (_median(column) for column in found.T)
    return AblationRow(version, mechanism, len(found), itl, e2e, ttft)


def _median(errors: Floats) -> MedianError:
    return MedianError(float(np.median(np.abs(errors))), float(np.median(errors)))


def _errors(mechanism: Mechanism, report: GroupReport) -> Iterator[tuple[float, float, float]]:
    """Relative errors of ITL, E2E and TTFT of each hold-out run."""
    for case in report.held_out:
        known, calibration = _with(mechanism, case, report.calibration)
        seen, run = known.predict(calibration), case.run
        yield (
            seen.tpot_ms / run.tpot_ms - 1,
            seen.e2e_ms(run) / run.e2e_ms - 1,
            seen.ttft_ms / run.ttft_ms - 1,
        )


def _with(
    mechanism: Mechanism, case: ValidationCase, fitted: RunCalibration | None
) -> tuple[ValidationCase, RunCalibration]:
    """The case and its calibration with the mechanisms up to this one."""
    if mechanism is Mechanism.CALIBRATED and fitted is not None:
        return case, fitted
    if mechanism in (Mechanism.FRONT_END, Mechanism.CALIBRATED):
        return case, case.raw
    if mechanism is Mechanism.IN_FLIGHT:
        return case, uncalibrated(case.host, 0.0)
    host = replace(case.host, overhead=SYNCHRONOUS) if mechanism is Mechanism.NONE else case.host
    alone = replace(case, host=host, limits=replace(case.limits, batches_in_flight=1))
    return alone, uncalibrated(host, 0.0)
