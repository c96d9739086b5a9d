"""The engine that a user measured: a model and a GPU of the catalogue, or described by flags.

Owns what `--config` and `--gpu-memory` may be, and from which priors a fit begins. Input: a replica. Output:
the replica with what the flags describe, and the questions of its fit; refusals end the command.
"""

from __future__ import annotations

import math
import time
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from argosy.cli.output import Output
from argosy.cli.screens.architecture import read_architecture
from argosy.errors import SpecError
from argosy.perf import LibraryPerfModel, shipped_library
from argosy.perf.catalogue import find_gpu, find_model
from argosy.perf.catalogue.gpu import only_memory
from argosy.perf.footprint.memory import engine_limits
from argosy.perf.library import DECLARED_UNCERTAINTY
from argosy.perf.measurements import FitQuestion
from argosy.perf.model import wanted_profile
from argosy.perf.protocol import OutOfRange, TooLarge
from argosy.snapshot import Architecture, Variant

_T = TypeVar("_T")
_BEGINNINGS = ("H100", "A100", "L40S", "L4", "V100")
"""Cards of every speed, from whose step times the fit of an unknown card begins."""


def architecture_beyond_catalogue(model: str, file: Path) -> Architecture:
    """Raises SpecError for a model of the catalogue, whose dimensions are there, and a file of no use."""
    if not isinstance(found := find_model(model), OutOfRange):
        raise SpecError(f"{model} is in the catalogue as {found.key}: leave the file out", "--config")
    return read_architecture(file)


def require_described(variant: Variant, output: Output) -> None:
    """Refuses a model that is neither in the catalogue nor described by `--config`."""
    found = find_model(variant.model_id)
    if isinstance(found, OutOfRange) and variant.architecture is None:
        message = f"{found.message.partition('; known are')[0]}, and give that file here by --config"
        output.refused(replace(found, message=message))


def with_declared_gpu(variant: Variant, memory_gib: float | None, output: Output) -> Variant:
    """With the GPU that `--gpu-memory` declares. Raises SpecError where the catalogue has it already."""
    found = find_gpu(variant.gpu)
    if not isinstance(found, OutOfRange):
        if memory_gib is not None:
            raise SpecError(
                f"{variant.gpu} is in the catalogue as {found.name}: leave it out", "--gpu-memory"
            )
        return variant
    if memory_gib is None:
        message = f"{found.message}; of a card that the catalogue does not have, give --gpu-memory"
        output.refused(replace(found, message=message))
    if not (math.isfinite(memory_gib) and memory_gib > 0):
        raise SpecError(f"must be a positive number of GiB, got {memory_gib:g}", "--gpu-memory")
    return replace(variant, declared_gpu=only_memory(variant.gpu, memory_gib))


def fit_questions(variant: Variant, output: Output) -> list[FitQuestion]:
    """What is fitted: the shipped profile is where the fit begins. Refuses where there is none.

    Nothing is known of a GPU that is not in the catalogue: there the fit begins at each of several cards.
    """
    perf = LibraryPerfModel(shipped_library(), {})
    wanted, room = _known(wanted_profile(variant), output), _known(perf.fits(variant), output)
    limits = engine_limits(variant.engine, room.kv_capacity_tokens)
    if variant.declared_gpu is None:
        priors = [_known(perf.profile(variant), output)]
    else:
        cards = (replace(variant, gpu=name, declared_gpu=None) for name in _BEGINNINGS)
        priors = [_known(perf.profile(card), output) for card in cards]
        priors = [replace(p, uncertainty=DECLARED_UNCERTAINTY * p.uncertainty) for p in priors]
    today = time.strftime("%Y-%m-%d", time.gmtime())
    return [FitQuestion(wanted.key, prior, limits, today) for prior in priors]


def _known(found: _T | OutOfRange | TooLarge, output: Output) -> _T:
    """An answer of the performance model; where it has none, the command ends with its refusal."""
    if isinstance(found, OutOfRange | TooLarge):
        output.refused(found)
    return found
