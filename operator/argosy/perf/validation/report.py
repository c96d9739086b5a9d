"""How far the model is from measured runs, group by group.

Owns the comparison: even rows calibrate, odd rows judge. Input: the runs and a library of
profiles; output: one `GroupReport` per (model, GPU, number type, version), or why a group has none.

What the source does not record is the KV cache's number type, and of some rows vLLM's version. Both are taken
per group from the calibration half: the type, and the way of scheduling, under which that half is more likely
(on H100 Llama-70B queues for a minute as only a bfloat16 cache makes it; on H200 it does not queue
where only FP8 has room).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from argosy.engine.step_times import StepTable
from argosy.engine_version import version_of
from argosy.keys import ModelKey
from argosy.perf.catalogue import find_gpu, find_model
from argosy.perf.footprint.memory import engine_limits, fits
from argosy.perf.host import Host, host_of_version
from argosy.perf.library import ProfileLibrary
from argosy.perf.profile import ProfileKey
from argosy.perf.profiles.kv_dtype import KvTypes
from argosy.perf.protocol import Fits, OutOfRange, OutOfRangeReason, TooLarge
from argosy.perf.validation.calibration import Errors, RunCalibration, ValidationCase, calibrate, errors
from argosy.perf.validation.runs import MAX_BATCHED_TOKENS, Group, Run, halves
from argosy.snapshot.architecture import Dtype
from argosy.snapshot.variant import EngineSettings, Variant

KV_DTYPES = (Dtype.BF16, Dtype.FP8)
_LEAST_RUNS = 2
"""In each half."""


@dataclass(frozen=True, slots=True)
class GroupReport:
    """One group's errors on its odd rows, raw and calibrated on its even rows.

    num_left_out: rows that no profile can say anything about (data- or expert-parallel, or a
                  shape without a table); `why_not` says why there is no report at all
    known, held_out: the even and the odd rows with their engines
    calibration:  None where there is no report
    """

    group: Group
    num_left_out: int
    why_not: str = ""
    kv_dtype: Dtype = Dtype.BF16
    calibration: RunCalibration | None = None
    known: tuple[ValidationCase, ...] = ()
    held_out: tuple[ValidationCase, ...] = ()
    raw: Errors | None = None
    calibrated: Errors | None = None


@dataclass(frozen=True, slots=True)
class Unstated:
    """What a source does not state of a group's engines."""

    kv_dtype: Dtype
    host: Host


def reports(runs: Sequence[Run], library: ProfileLibrary) -> tuple[GroupReport, ...]:
    """All groups, in the order of their names."""
    ordered = sorted(runs, key=lambda run: (run.group.subject, run.row))
    by_subject = groupby(ordered, key=lambda run: run.group.subject)
    return tuple(found for _, rows in by_subject for found in _of_subject(tuple(rows), library))


def _of_subject(runs: tuple[Run, ...], library: ProfileLibrary) -> Iterator[GroupReport]:
    """Halves of all its usable rows, whatever their version; then one report per version."""
    anything = Unstated(Dtype.FP8, host_of_version(None))
    found = [(run, case(run, anything, library)) for run in runs]
    even, odd = halves(tuple(run for run, answer in found if isinstance(answer, ValidationCase)))
    for group in sorted({run.group for run in runs}):
        mine = [tuple(run for run in half if run.group == group) for half in (even, odd)]
        left_out = sum(run.group == group for run in runs) - sum(map(len, mine))
        if min(map(len, mine)) < _LEAST_RUNS:
            refused = (
                answer.message
                for run, answer in found
                if run.group == group and not isinstance(answer, ValidationCase)
            )
            count = sum(map(len, mine))
            few = f"{count} runs with a profile are too few to calibrate on one half and judge on the other"
            yield GroupReport(group, left_out, few if count else next(refused, few))
        else:
            yield _report(mine[0], mine[1], left_out, library)


def _report(
    even: tuple[Run, ...], odd: tuple[Run, ...], left_out: int, library: ProfileLibrary
) -> GroupReport:
    """One group, whose halves are not empty."""
    choices = []
    for unstated in _possible(even[0].group):
        known = _cases(even, unstated, library)
        if len(known) == len(even):
            choices.append((calibrate(known), unstated, known))
    # What departs far from the usual to fit as well is less likely: the cost counts both.
    fitted, chosen, known = min(choices, key=lambda choice: choice[0].cost)
    calibration = fitted.calibration
    held_out = _cases(odd, chosen, library)
    return GroupReport(
        even[0].group,
        left_out,
        kv_dtype=chosen.kv_dtype,
        calibration=calibration,
        known=known,
        held_out=held_out,
        raw=errors(held_out),
        calibrated=errors(held_out, calibration),
    )


def _possible(group: Group) -> Iterator[Unstated]:
    """What the engines of a group may have been: where the version is not known, of either scheduling."""
    version = version_of(group.version)
    hosts = [host_of_version(version)]
    if version is None:
        hosts.append(host_of_version(None, ("--no-async-scheduling",)))
    for kv_dtype in KV_DTYPES:
        for host in hosts:
            yield Unstated(kv_dtype, host)


def _cases(runs: Sequence[Run], unstated: Unstated, library: ProfileLibrary) -> tuple[ValidationCase, ...]:
    found = (case(run, unstated, library) for run in runs)
    return tuple(each for each in found if isinstance(each, ValidationCase))


def case(run: Run, unstated: Unstated, library: ProfileLibrary) -> ValidationCase | OutOfRange | TooLarge:
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
        kv_cache_dtype=unstated.kv_dtype,
    )
    shape = run.shape
    variant = Variant(ModelKey(), run.group.model, (), "", gpu.name, shape.tensor_parallel, engine)
    room = fits(variant)
    if not isinstance(room, Fits):
        return room
    limits = engine_limits(engine, room.kv_capacity_tokens)
    limits = replace(limits, batches_in_flight=unstated.host.batches_in_flight)
    kv_types = KvTypes(library.kv_measured(profile.key), unstated.kv_dtype)
    return ValidationCase(run, limits, profile.step_times, gpu.name, kv_types, unstated.host)
