"""The GPUs and models that Argosy knows by name, and any other model by its config.json.

Owns the two data files beside it, which are read once when first asked for, and looking names up.
Names come in as a user or a node label writes them; an unknown one is answered with the nearest
that exist.

gpus.json is kept by hand; models.json is written by hack/export_catalogue.py. Every entry of
both names its source.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import cache, lru_cache
from importlib.resources import files

from argosy.perf.catalogue.config import architecture_from_config
from argosy.perf.catalogue.fields import ConfigFault
from argosy.perf.catalogue.gpu import Gpu, parse_gpus
from argosy.perf.catalogue.model import Checkpoint, Model, parse_models
from argosy.perf.protocol import OutOfRange, OutOfRangeReason

__all__ = [
    "Checkpoint",
    "PRINT_ARCHITECTURE",
    "ConfigFault",
    "Gpu",
    "Model",
    "architecture_from_config",
    "find_gpu",
    "find_model",
    "gpus",
    "models",
    "parse_gpus",
    "parse_models",
]

PRINT_ARCHITECTURE = "argosy perf show --config config.json --yaml"
_NEAR = 0.6
_NUM_NEAREST = 3


@cache
def gpus() -> tuple[Gpu, ...]:
    """All GPU types, the usual ones first."""
    return parse_gpus(files(__name__).joinpath("gpus.json").read_bytes())


@cache
def models() -> tuple[Model, ...]:
    """All models."""
    return parse_models(files(__name__).joinpath("models.json").read_bytes())


def find_gpu(name: str) -> Gpu | OutOfRange:
    """The GPU by catalogue name, node label or another usual name ("h100_sxm"), in any case."""
    found = _gpus_by_name().get(_plain(name))
    if found is not None:
        return found
    spelt = {_plain(alias): gpu.name for gpu in gpus() for alias in gpu.aliases}
    spelt |= {_plain(known): known for gpu in gpus() for known in (*gpu.products, gpu.name)}
    known = [gpu.name for gpu in gpus()]
    return _unknown(OutOfRangeReason.UNKNOWN_GPU, f'the GPU "{name}"', _nearest(name, spelt), known)


@lru_cache(
    maxsize=256
)  # every decision asks for its models, and to find names near an unknown one takes 7 ms
def find_model(name: str) -> Model | OutOfRange:
    """The model with this checkpoint id or key, in any case; its architecture is the checkpoint's."""
    found = _models_by_name().get(_plain(name))
    if found is not None:
        return found
    spelt = {_plain(known): known for model in models() for known in (*model.names, model.key)}
    # Most people leave the owner out; a full id is still the better answer of two.
    spelt |= {_plain(known.split("/")[-1]): known for model in models() for known in model.names}
    spelt |= {_plain(model.key): model.key for model in models()}
    nearest = _nearest(name, spelt)
    known = ", ".join(nearest) if nearest else ", ".join(model.key for model in models())
    others = f"the nearest known are {known}" if nearest else f"known are {known}"
    return OutOfRange(
        OutOfRangeReason.UNKNOWN_MODEL,
        f'the model "{name}" is not in the catalogue; set spec.architecture of its ServedModel to what'
        f" `{PRINT_ARCHITECTURE}` prints from the model's config.json; {others}",
        nearest,
    )


@cache
def _gpus_by_name() -> Mapping[str, Gpu]:
    return {_plain(name): gpu for gpu in gpus() for name in (gpu.name, *gpu.products, *gpu.aliases)}


@cache
def _models_by_name() -> Mapping[str, Model]:
    by_name = {_plain(model.key): model for model in models()}
    for model in models():
        for checkpoint in model.checkpoints:
            by_name[_plain(checkpoint.name)] = replace(model, architecture=checkpoint.architecture)
    return by_name


def _plain(name: str) -> str:
    """Node labels, device names and system files separate words differently."""
    return name.strip().lower().replace("_", "-").replace(" ", "-")


def _unknown(
    reason: OutOfRangeReason, what: str, nearest: tuple[str, ...], known: Iterable[str]
) -> OutOfRange:
    hint = f"did you mean {' or '.join(nearest)}?" if nearest else f"known are {', '.join(known)}"
    return OutOfRange(reason, f"{what} is not in the catalogue; {hint}", nearest)


def _nearest(name: str, spelt: Mapping[str, str]) -> tuple[str, ...]:
    """At most three of the names that look like `name`, the likeliest first."""
    matches = difflib.get_close_matches(_plain(name), spelt, n=2 * _NUM_NEAREST, cutoff=_NEAR)
    distinct = dict.fromkeys(spelt[match] for match in matches)
    return tuple(distinct)[:_NUM_NEAREST]
