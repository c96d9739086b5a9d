"""How far the model is from measured runs, group by group.

Owns the comparison: even rows calibrate, odd rows judge. Input: the runs and a library of
profiles; output: one `GroupReport` per (model, GPU, number type), or why a group has none.

What the source does not record is the KV cache's number type. It is taken per group from the
calibration half: the type under which that half is predicted better (on H100 Llama-70B queues
for a minute as only a bfloat16 cache makes it; on H200 it does not queue where only FP8 has room).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from argosy.engine.step_times import StepTable
from argosy.perf.catalogue import find_gpu, find_model
from argosy.perf.footprint.memory import engine_limits, fits
from argosy.perf.library import ProfileLibrary
from argosy.perf.profile import ProfileKey
from argosy.perf.profiles.kv_dtype import KvTypes
from argosy.perf.protocol import Fits, OutOfRange, OutOfRangeReason, TooLarge
from argosy.perf.validation.calibration import RAW, Errors, RunCalibration, ValidationCase, calibrate, errors
from argosy.perf.validation.runs import MAX_BATCHED_TOKENS, Group, Run, halves
from argosy.snapshot.architecture import Dtype
from argosy.snapshot.variant import EngineSettings, Variant

KV_DTYPES = (Dtype.BF16, Dtype.FP8)
_LEAST_RUNS = 4


@dataclass(frozen=True, slots=True)
class GroupReport:
    """One group's errors on its odd rows, raw and calibrated on its even rows.

    num_left_out: rows that no profile can say anything about (data- or expert-parallel, or a
                  shape without a table); `why_not` says why there is no report at all
    """

    group: Group
    num_left_out: int
    why_not: str = ""
    kv_dtype: Dtype = Dtype.BF16
    calibration: RunCalibration = RAW
    raw: Errors | None = None
    calibrated: Errors | None = None


def reports(runs: Sequence[Run], library: ProfileLibrary) -> tuple[GroupReport, ...]:
    """All groups, in the order of their names."""
    ordered = sorted(runs, key=lambda run: (run.group, run.row))
    return tuple(report(tuple(rows), library) for _, rows in groupby(ordered, key=lambda run: run.group))


def report(runs: tuple[Run, ...], library: ProfileLibrary) -> GroupReport:
    """One group."""
    group = runs[0].group
    found = [(run, case(run, Dtype.FP8, library)) for run in runs]
    usable = tuple(run for run, answer in found if isinstance(answer, ValidationCase))
    left_out = len(runs) - len(usable)
    if len(usable) < _LEAST_RUNS:
        refused = (answer.message for _, answer in found if not isinstance(answer, ValidationCase))
        why = next(refused, f"{len(usable)} runs are too few to calibrate on one half")
        return GroupReport(group, left_out, why)
    even, odd = halves(usable)
    choices = []
    for kv_dtype in KV_DTYPES:
        known = _cases(even, kv_dtype, library)
        if len(known) == len(even):
            fitted = calibrate(known)
            on_known = errors(known, fitted)
            choices.append((on_known.tpot_mape + on_known.ttft_mape, kv_dtype, fitted))
    _, kv_dtype, calibration = min(choices, key=lambda choice: choice[0])
    held_out = _cases(odd, kv_dtype, library)
    return GroupReport(
        group, left_out, "", kv_dtype, calibration, errors(held_out, RAW), errors(held_out, calibration)
    )


def _cases(runs: Sequence[Run], kv_dtype: Dtype, library: ProfileLibrary) -> tuple[ValidationCase, ...]:
    found = (case(run, kv_dtype, library) for run in runs)
    return tuple(each for each in found if isinstance(each, ValidationCase))


def case(run: Run, kv_dtype: Dtype, library: ProfileLibrary) -> ValidationCase | OutOfRange | TooLarge:
    """The run with its engine, or why there is none."""
    gpu, model = find_gpu(run.group.system), find_model(run.group.model)
    if isinstance(gpu, OutOfRange):
        return gpu
    if isinstance(model, OutOfRange):
        return model
    if not run.is_sharded_only:
        message = "data- and expert-parallel runs have no profile"
        return OutOfRange(OutOfRangeReason.NO_PROFILE, message)
    profile = library.measured(ProfileKey(gpu.name, model.key, run.group.dtype, run.shape))
    if isinstance(profile, OutOfRange):
        return profile
    assert isinstance(profile.step_times, StepTable)
    engine = EngineSettings(
        max_num_seqs=run.concurrency,
        max_num_batched_tokens=max(MAX_BATCHED_TOKENS, run.concurrency),
        max_model_len=run.prompt_tokens + run.output_tokens,
        quantization=run.group.dtype,
        kv_cache_dtype=kv_dtype,
    )
    shape = run.shape
    variant = Variant("", run.group.model, (), "", gpu.name, shape.tensor_parallel, engine)
    room = fits(variant)
    if not isinstance(room, Fits):
        return room
    limits = engine_limits(engine, room.kv_capacity_tokens)
    kv_types = KvTypes(library.kv_measured(profile.key), kv_dtype)
    return ValidationCase(run, limits, profile.step_times, gpu.name, kv_types)
