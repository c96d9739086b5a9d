"""What `argosy perf MODEL` was asked, from options as written to a variant, a load and a speculation.

Owns which options go together and the sentence for those that do not, each with the option's
name. Never asks the performance model and never prints. Raises SpecError.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from argosy.cli.output import number_type, read_architecture, whole
from argosy.errors import SpecError
from argosy.perf.answer import Load
from argosy.perf.quantities import not_negative, share
from argosy.perf.speculative import Speculation
from argosy.snapshot import Dtype, EngineSettings, Variant

DEFAULT_BATCH = 64
DEFAULT_DRAFT_COST = 0.05
"""Of a one-layer head (EAGLE, MTP), which most who speculate use; it is too careful for n-grams."""


@dataclass(frozen=True, slots=True)
class Asked:
    """The variant's options, as written."""

    model: str
    gpu: str
    tp: int
    pp: int
    dtype: str
    kv_dtype: str
    loras: int


def variant(asked: Asked, load: Load) -> Variant:
    """The replica, with room for the load. Raises SpecError for a shape or a type that is none."""
    for name, value in (("--tp", asked.tp), ("--pp", asked.pp)):
        if value < 1:
            raise SpecError(f"must be at least 1, got {value}", name)
    if asked.loras < 0:
        raise SpecError(f"must be zero or more, got {asked.loras}", "--loras")
    longest = math.ceil(1.1 * (load.prompt_tokens + load.output_tokens))
    engine = EngineSettings(
        max_num_seqs=max(EngineSettings().max_num_seqs, load.batch or 0),
        max_num_batched_tokens=max(EngineSettings().max_num_batched_tokens, load.batch or 0),
        max_model_len=longest,
        quantization=number_type(asked.dtype, tuple(Dtype), "--dtype"),
        max_loras=asked.loras,
        kv_cache_dtype=number_type(asked.kv_dtype, (Dtype.BF16, Dtype.FP8), "--kv-dtype"),
    )
    return Variant(
        model_key="",
        model_id=asked.model,
        served_names=(),
        pool="",
        gpu=asked.gpu,
        tensor_parallel=asked.tp,
        pipeline_parallel=asked.pp,
        engine=engine,
        architecture=read_architecture(Path(asked.model)) if asked.model.endswith(".json") else None,
    )


@dataclass(frozen=True, slots=True)
class Proposed:
    """The options of speculative decoding, as written; None: not given."""

    draft_tokens: float | None
    acceptance: float | None
    draft_cost: float | None


def speculation(proposed: Proposed) -> Speculation | None:
    """How tokens are proposed; None where nothing is said of it. Raises SpecError for a part of it."""
    tokens, acceptance, cost = proposed.draft_tokens, proposed.acceptance, proposed.draft_cost
    if tokens is None and acceptance is None:
        if cost is not None:
            raise SpecError("says nothing without --draft-tokens and --acceptance", "--draft-cost")
        return None
    if tokens is None or acceptance is None:
        raise SpecError(
            "give both or neither: how many tokens are proposed per step, and how likely each is accepted",
            "--draft-tokens, --acceptance",
        )
    return Speculation(
        draft_tokens=whole(tokens, "--draft-tokens"),
        acceptance=share(acceptance, "--acceptance"),
        draft_cost=DEFAULT_DRAFT_COST if cost is None else not_negative(cost, "--draft-cost"),
    )


def batch_size(batch: float | None, rate: float | None) -> int | None:
    """The requests in flight: as asked, else the default, unless there is a rate."""
    if batch is None:
        return None if rate is not None else DEFAULT_BATCH
    return whole(batch, "--batch")


def finite(value: float | None, option: str) -> float | None:
    """A number or nothing. Raises SpecError with the option's name."""
    if value is not None and not math.isfinite(value):
        raise SpecError(f"must be a number, got {value:g}", option)
    return value
