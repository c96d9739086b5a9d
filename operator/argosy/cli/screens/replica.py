"""From options as written to the nouns of the performance model: a variant, a load, a speculation.

Owns which options go together, and the sentence for those that do not. Raises SpecError with the option's
name, the value found and the value needed.
"""

from __future__ import annotations

import math
from pathlib import Path

from argosy.checks import not_negative, share
from argosy.cli.early import config_of
from argosy.cli.options import (
    DEFAULT_BATCH,
    DEFAULT_DRAFT_COST,
    LoadOptions,
    ReplicaOptions,
    SpeculationOptions,
)
from argosy.cli.screens.architecture import read_architecture
from argosy.engine_version import NEWEST, version_of
from argosy.errors import SpecError
from argosy.keys import ModelKey
from argosy.perf.answers.replica import ReplicaLoad
from argosy.perf.measurements import ProfileFault, profile_from_bytes
from argosy.perf.profile import Profile
from argosy.perf.tokens.speculative import Speculation
from argosy.snapshot import Dtype, EngineSettings, Variant

_ROOM = 1.1
"""The engine's longest context, relative to the mean request: lengths vary by a tenth."""


def variant(asked: ReplicaOptions, load: ReplicaLoad) -> Variant:
    """The replica, whose engine has room for the load. Raises SpecError."""
    if asked.loras < 0:
        raise SpecError(f"must be at least 0, got {asked.loras}", "--loras")
    if asked.vllm is not None and version_of(asked.vllm) is None:
        raise SpecError(f"must be a release of vLLM, such as {NEWEST}, got {asked.vllm!r}", "--vllm")
    file = config_of(asked.model, asked.config)
    longest = math.ceil(_ROOM * (load.prompt_tokens + load.output_tokens))
    engine = EngineSettings(
        version=asked.vllm,
        max_num_seqs=max(EngineSettings().max_num_seqs, load.batch or 0),
        max_num_batched_tokens=max(EngineSettings().max_num_batched_tokens, load.batch or 0),
        max_model_len=longest,
        quantization=asked.dtype,
        max_loras=asked.loras,
        kv_cache_dtype=None if asked.kv_dtype is None else Dtype(asked.kv_dtype),
    )
    return Variant(
        model_key=ModelKey(""),
        model_id=asked.model if file is None else str(file),
        served_names=(),
        pool="",
        gpu=asked.gpu,
        tensor_parallel=at_least_one(asked.tp, "--tp"),
        pipeline_parallel=at_least_one(asked.pp, "--pp"),
        engine=engine,
        architecture=None if file is None else read_architecture(file),
    )


def load(asked: LoadOptions) -> ReplicaLoad:
    """The load; without a batch and a rate, `DEFAULT_BATCH` requests in flight. Raises SpecError."""
    is_default = asked.batch is None and asked.rate is None
    batch = DEFAULT_BATCH if is_default else asked.batch
    return ReplicaLoad(
        whole(asked.prompt, "--prompt"),
        whole(asked.output, "--output"),
        None if batch is None else whole(batch, "--batch"),
        finite(asked.rate, "--rate"),
        asked.cached,
    )


def speculation(asked: SpeculationOptions) -> Speculation | None:
    """How tokens are drafted; None where no option is given. Raises SpecError where only some are."""
    tokens, acceptance, cost = asked.draft_tokens, asked.acceptance, asked.draft_cost
    if tokens is None and acceptance is None:
        if cost is not None:
            raise SpecError(
                "has no effect without --draft-tokens and --acceptance: give all three", "--draft-cost"
            )
        return None
    if tokens is None or acceptance is None:
        raise SpecError(
            "give both or neither: tokens drafted per step, and the probability that each is accepted",
            "--draft-tokens, --acceptance",
        )
    return Speculation(
        draft_tokens=whole(tokens, "--draft-tokens"),
        acceptance=share(acceptance, "--acceptance"),
        draft_cost=DEFAULT_DRAFT_COST if cost is None else not_negative(cost, "--draft-cost"),
    )


def whole(value: float, option: str) -> int:
    """`value`, where it is a whole number of at least 1. Raises SpecError."""
    if not (math.isfinite(value) and value >= 1 and value == int(value)):
        raise SpecError(f"must be a whole number of at least 1, got {value:g}", option)
    return int(value)


def at_least_one(value: int, option: str) -> int:
    """Raises SpecError for zero and below."""
    if value < 1:
        raise SpecError(f"must be at least 1, got {value}", option)
    return value


def finite(value: float | None, option: str) -> float | None:
    """A number or nothing. Raises SpecError for NaN and infinity."""
    if value is not None and not math.isfinite(value):
        raise SpecError(f"must be a finite number, got {value:g}", option)
    return value


def read_profile(path: Path) -> Profile:
    """A profile as `argosy perf import` writes it. Raises SpecError."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise SpecError(f"{path} cannot be read: {error.strerror}", "--profile") from error
    found = profile_from_bytes(content, str(path))
    if isinstance(found, ProfileFault):
        raise SpecError(found.message, "--profile")
    return found.profile
