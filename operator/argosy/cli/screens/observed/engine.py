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
from argosy.cli.screens.replica import at_least_one, read_profile
from argosy.engine.request import EngineLimits
from argosy.engine_version import NEWEST, version_of
from argosy.errors import SpecError
from argosy.keys import ModelKey
from argosy.perf import LibraryPerfModel, shipped_library
from argosy.perf.capacity.search import EngineModel
from argosy.perf.observed.readers.reading import read_run
from argosy.perf.observed.run import Engine, ObservedRun, UnreadableRun
from argosy.perf.profile import Profile
from argosy.perf.profiles.iterations import within
from argosy.refusals import Refused
from argosy.snapshot import Dtype, EngineSettings, Variant

_T = TypeVar("_T")
_BLOCK = 16


@dataclass(frozen=True, slots=True)
class RunEngine:
    """The replica that was observed: what it is, the profile that answers for it, and the engine."""

    variant: Variant
    profile: Profile
    model: EngineModel


def read(file: Path, output: Output) -> ObservedRun:
    """The run in a file; the command ends with a refusal where there is none."""
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
    variant = _variant(run, asked)
    perf = LibraryPerfModel(shipped_library(), {}).with_profiles([read_profile(one) for one in profiles])
    profile, model = _known(perf.profile(variant), output), _known(perf.engine(variant), output)
    longest = max(one.prompt_tokens + one.output_tokens for one in run.requests)
    beyond = within(profile.valid, 0, 0, longest)
    if beyond is not None:
        output.refused(beyond)
    return RunEngine(variant, profile, replace(model, limits=_as_observed(model, run)))


def _variant(run: ObservedRun, asked: RunEngineOptions) -> Variant:
    known = run.engine
    gpu, model = asked.gpu or known.gpu, asked.model or known.model
    for flag, value in (("--gpu", gpu), ("--model", model)):
        if value is None:
            raise SpecError(f"is needed: {run.name} does not name it", flag)
    if asked.vllm is not None and version_of(asked.vllm) is None:
        raise SpecError(f"must be a release of vLLM, such as {NEWEST}, got {asked.vllm!r}", "--vllm")
    return Variant(
        model_key=ModelKey(""),
        model_id=model or "",
        served_names=(),
        pool="",
        gpu=gpu or "",
        tensor_parallel=at_least_one(asked.tp or known.tp or 1, "--tp"),
        pipeline_parallel=at_least_one(asked.pp or known.pp or 1, "--pp"),
        engine=_settings(known, asked),
    )


def _settings(known: Engine, asked: RunEngineOptions) -> EngineSettings:
    default = EngineSettings()
    version = asked.vllm or known.version
    num_seqs = asked.max_num_seqs or known.max_num_seqs or default.max_num_seqs
    num_tokens = asked.max_num_batched_tokens or known.max_num_batched_tokens
    for flag, value in (
        ("--max-num-seqs", asked.max_num_seqs),
        ("--max-num-batched-tokens", asked.max_num_batched_tokens),
        ("--max-model-len", asked.max_model_len),
    ):
        if value is not None:
            at_least_one(value, flag)
    return EngineSettings(
        version=version if version is not None and version_of(version) is not None else None,
        max_num_seqs=num_seqs,
        max_num_batched_tokens=num_tokens or max(default.max_num_batched_tokens, num_seqs),
        max_model_len=asked.max_model_len or known.max_model_len or default.max_model_len,
        quantization=asked.dtype or next((one for one in Dtype if one == known.dtype), None),
        kv_cache_dtype=None if asked.kv_dtype is None else Dtype(asked.kv_dtype),
    )


def _as_observed(model: EngineModel, run: ObservedRun) -> EngineLimits:
    """With the KV cache that the engine reported, where it did."""
    if run.engine.kv_blocks is None:
        return model.limits
    block = run.engine.block_size or _BLOCK
    return replace(model.limits, kv_blocks=run.engine.kv_blocks, block_size=block)


def _known(found: _T | Refused[Any], output: Output) -> _T:
    if isinstance(found, Refused):
        output.refused(found)
    return found
