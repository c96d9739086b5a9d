"""The GPUs and models that Argosy knows by name, and any other model by its config.json.

Owns the two data files beside it, which are read once when first asked for, and looking names up.
Names come in as a user or a node label writes them; an unknown one is answered with the nearest
that exist. So are parts of a card: `H100-MIG-3g.40gb`, `L4-SHARED-4`.

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
from argosy.perf.catalogue.gpu import parse_gpus
from argosy.perf.catalogue.model import Checkpoint, Model, parse_models
from argosy.perf.catalogue.slices import mig_slice, part_name, shared
from argosy.perf.protocol import OutOfRange, OutOfRangeReason
from argosy.snapshot import Gpu, Variant
from argosy.snapshot.architecture import Dtype

__all__ = [
    "PRINT_ARCHITECTURE",
    "Checkpoint",
    "ConfigFault",
    "Gpu",
    "Model",
    "architecture_from_config",
    "find_gpu",
    "find_model",
    "gpu_of",
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


def gpu_of(variant: Variant) -> Gpu | OutOfRange:
    """The GPU of a replica: what its user declares, or else the catalogue's."""
    return variant.declared_gpu or find_gpu(variant.gpu)


@lru_cache(maxsize=256)  # every decision asks for its GPUs
def find_gpu(name: str) -> Gpu | OutOfRange:
    """The GPU by catalogue name, node label or another usual name ("h100_sxm"), in any case; or a part."""
    whole = _card(_plain(name))
    if whole is not None:
        return whole
    parts = part_name(_plain(name))
    card = _card(parts.card)
    if card is None:
        return _unknown_gpu(name)
    found: Gpu | None = mig_slice(card, parts.profile) if parts.profile else card
    if found is None:
        has = f"its profiles are {', '.join(card.mig)}" if card.mig else "MIG does not divide this card"
        message = f'{card.name} has no MIG profile "{parts.profile}" in the catalogue; {has}'
        slices = tuple(f"{card.name}-MIG-{profile}" for profile in card.mig)
        return OutOfRange(OutOfRangeReason.UNKNOWN_GPU, message, slices)
    if parts.sharers == 0:
        message = (
            f'the GPU "{name}" is a card that several containers share, and its name does not contain how'
            f" many; name {found.name} and set spec.sharing.replicasPerGpu of the GPUPool (of a command:"
            f" {found.name}-SHARED-4 for a quarter)"
        )
        return OutOfRange(OutOfRangeReason.UNKNOWN_GPU, message, (found.name,))
    return found if parts.sharers == 1 else shared(found, parts.sharers)


def _card(plain: str) -> Gpu | None:
    """A whole card. Drivers before 470 print no vendor, and some clouds put one where the driver does not."""
    known = _gpus_by_name()
    names = (plain, f"nvidia-{plain}", plain.removeprefix("nvidia-"), plain.removeprefix("amd-instinct-"))
    return next((known[each] for each in names if each in known), None)


def _unknown_gpu(name: str) -> OutOfRange:
    """The nearest names, each with what tells it from another card: a similar name is no similar speed."""
    spelt = {_plain(alias): gpu.name for gpu in gpus() for alias in gpu.aliases}
    spelt |= {_plain(known): known for gpu in gpus() for known in (*gpu.products, gpu.name)}
    nearest = _nearest(name, spelt)
    described = [f"{each} ({_figures(_gpus_by_name()[_plain(each)])})" for each in nearest]
    known = [gpu.name for gpu in gpus()]
    hint = f"did you mean {' or '.join(described)}?" if nearest else f"known are {', '.join(known)}"
    message = f'the GPU "{name}" is not in the catalogue; {hint}'
    if nearest:
        message += " Any other card is declared in spec.gpuSpec of a GPUPool"
    return OutOfRange(OutOfRangeReason.UNKNOWN_GPU, message, nearest)


def _figures(gpu: Gpu) -> str:
    return (
        f"{gpu.memory_bytes / 2**30:.0f} GiB, {gpu.memory_bytes_per_s / 1e12:.2g} TB/s,"
        f" {gpu.flops[Dtype.BF16] / 1e12:.0f} TFLOPS in 16 bits"
    )


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
