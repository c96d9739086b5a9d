"""From an observed run and the options to the engine that is simulated for it.

Owns which of the two says what: an option wins over the run. Raises SpecError with the option's name where
neither says what is needed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from argosy.cli.options import RunEngineOptions
from argosy.cli.output import Output
from argosy.cli.screens.measured import (
    architecture_beyond_catalogue,
    fit_questions,
    require_described,
    with_declared_gpu,
)
from argosy.cli.screens.replica import at_least_one, read_profile
from argosy.engine.request import EngineLimits
from argosy.engine_version import NEWEST, version_of
from argosy.errors import SpecError
from argosy.keys import ModelKey
from argosy.perf import LibraryPerfModel, shipped_library
from argosy.perf.capacity.search import EngineModel
from argosy.perf.host import host_of
from argosy.perf.measurements import FitQuestion
from argosy.perf.observed.readers.reading import read_run
from argosy.perf.observed.run import Engine, ObservedRun, UnreadableRun
from argosy.perf.profile import Profile
from argosy.perf.profiles.iterations import within
from argosy.refusals import Refused
from argosy.snapshot import Dtype, EngineSettings, Variant

_T = TypeVar("_T")
_BLOCK = 16
_ONE_BY_ONE = 1
"""Batches in flight of an engine on a card of which nothing is known: engines for CPUs do not schedule
asynchronously, and what another does is in its step times."""


@dataclass(frozen=True, slots=True)
class RunEngine:
    """The profile that answers for the replica that was observed, and its engine."""

    profile: Profile
    model: EngineModel


def read(file: Path, output: Output) -> ObservedRun:
    """The run in a file; the command ends with a refusal where it holds none.

    Raises SpecError for a file that cannot be read.
    """
    try:
        content = file.read_bytes()
    except OSError as error:
        raise SpecError(f"cannot be read: {error.strerror}", str(file)) from error
    found = read_run(content, file.name)
    if isinstance(found, UnreadableRun):
        output.refused(found)
    return found


def engine_of(
    run: ObservedRun, asked: RunEngineOptions, profiles: tuple[Path, ...], output: Output
) -> RunEngine:
    """The engine; the command ends with a refusal where the performance model has none."""
    variant = _variant(run, asked, output)
    perf = LibraryPerfModel(shipped_library(), {}).with_profiles([read_profile(one) for one in profiles])
    profile, model = _known(perf.profile(variant), output), _known(perf.engine(variant), output)
    _require_within(profile, run, output)
    return RunEngine(profile, replace(model, limits=_as_observed(model.limits, run)))


def questions_of(
    run: ObservedRun, asked: RunEngineOptions, output: Output
) -> tuple[tuple[FitQuestion, EngineModel], ...]:
    """What a calibration begins with, each with the engine that it expects; several of an unknown GPU."""
    variant = _variant(run, asked, output)
    known = variant.declared_gpu is None
    in_flight = host_of(variant).batches_in_flight if known else _ONE_BY_ONE
    found = []
    for question in fit_questions(variant, output):
        _require_within(question.prior, run, output)
        limits = replace(_as_observed(question.limits, run), batches_in_flight=in_flight)
        prior = question.prior
        engine = EngineModel(limits, prior.step_times, prior.front_end_ms)
        found.append((replace(question, limits=limits), engine))
    return tuple(found)


def _require_within(profile: Profile, run: ObservedRun, output: Output) -> None:
    longest = max(one.prompt_tokens + one.output_tokens for one in run.requests)
    beyond = within(profile.valid, 0, 0, longest)
    if beyond is not None:
        output.refused(beyond)


def _variant(run: ObservedRun, asked: RunEngineOptions, output: Output) -> Variant:
    known = run.engine
    gpu, model = asked.gpu or known.gpu, asked.model or known.model
    for flag, value in (("--gpu", gpu), ("--model", model)):
        if value is None:
            raise SpecError(f"is needed: {run.name} does not name it", flag)
    if asked.vllm is not None and version_of(asked.vllm) is None:
        raise SpecError(f"must be a release of vLLM, such as {NEWEST}, got {asked.vllm!r}", "--vllm")
    architecture = None
    if asked.config is not None:
        architecture = architecture_beyond_catalogue(model or "", asked.config)
    variant = Variant(
        model_key=ModelKey(""),
        model_id=model or "",
        served_names=(),
        pool="",
        gpu=gpu or "",
        tensor_parallel=_given(asked.tp, "--tp") or known.tp or 1,
        pipeline_parallel=_given(asked.pp, "--pp") or known.pp or 1,
        engine=_settings(known, asked),
        architecture=architecture,
    )
    variant = with_declared_gpu(variant, asked.gpu_memory, output)
    require_described(variant, output)
    return variant


def _settings(known: Engine, asked: RunEngineOptions) -> EngineSettings:
    default = EngineSettings()
    version = asked.vllm or known.version
    num_seqs = _given(asked.max_num_seqs, "--max-num-seqs") or known.max_num_seqs or default.max_num_seqs
    num_tokens = (
        _given(asked.max_num_batched_tokens, "--max-num-batched-tokens") or known.max_num_batched_tokens
    )
    longest = _given(asked.max_model_len, "--max-model-len") or known.max_model_len or default.max_model_len
    return EngineSettings(
        version=version if version is not None and version_of(version) is not None else None,
        max_num_seqs=num_seqs,
        max_num_batched_tokens=num_tokens or max(default.max_num_batched_tokens, num_seqs),
        max_model_len=longest,
        quantization=asked.dtype or next((one for one in Dtype if one == known.dtype), None),
        kv_cache_dtype=None if asked.kv_dtype is None else Dtype(asked.kv_dtype),
    )


def _given(value: int | None, flag: str) -> int | None:
    """Raises SpecError for a flag that is no count."""
    return None if value is None else at_least_one(value, flag)


def _as_observed(limits: EngineLimits, run: ObservedRun) -> EngineLimits:
    """With the KV cache that the engine reported, where it did."""
    if run.engine.kv_blocks is None:
        return limits
    block = run.engine.block_size or _BLOCK
    return replace(limits, kv_blocks=run.engine.kv_blocks, block_size=block)


def _known(found: _T | Refused[Any], output: Output) -> _T:
    if isinstance(found, Refused):
        output.refused(found)
    return found
