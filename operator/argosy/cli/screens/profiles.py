"""`argosy perf list`: the shipped profiles and the given ones, each with its origin and its error.

Output: one document per profile, or a table with one line for profiles that differ in their shape only.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from argosy.cli.output import Output, digits, plain_table
from argosy.cli.screens.replica import read_profile
from argosy.keys import ModelKey
from argosy.perf import LibraryPerfModel, shipped_library
from argosy.perf.catalogue import gpus, models
from argosy.perf.library import ProfileLibrary
from argosy.perf.profile import Profile
from argosy.perf.shipped import shipped_forms
from argosy.snapshot import EngineSettings, Variant

ROOFLINE_EXAMPLE = "meta-llama/Llama-3.1-8B"
"""Stands for every model on a GPU without tables, whose profiles are computed from its data sheet."""


def show(files: Sequence[Path], output: Output) -> None:
    """Print all profiles, those in `files` first. Raises SpecError for a file that is not a profile."""
    profiles = list(_profiles(shipped_library().with_users(map(read_profile, files))))
    if output.as_json:
        output.document([_document(profile) for profile in profiles])
    else:
        _print(profiles, output)


def _print(profiles: list[Profile], output: Output) -> None:
    table = plain_table("GPU", "model", "type", "shapes", "origin", "error")
    for (gpu, model, dtype, origin), alike in groupby(
        profiles, key=lambda each: (each.key.gpu, each.key.model, each.key.dtype, each.origin)
    ):
        found = list(alike)
        shapes = " ".join(str(profile.key.shape) for profile in found)
        worst = max(profile.uncertainty for profile in found)
        table.add_row(gpu, model, str(dtype), shapes, str(origin), f"{worst:.0%}")
    output.console.print(table)
    shared = ", ".join(f"{model} those of {table}" for model, table in _sharing(shipped_library()))
    output.console.print(f"Models with the same dimensions use the same tables: {shared}.\n")
    output.console.print(
        f"{len(profiles)} profiles. Error, the largest of the shapes: of a table and a roofline against"
        " measured runs before calibration, of a form against its table."
        "\nAny other model, shape or type on a known GPU is derived or computed: its answer states it."
        "\nargosy perf list --json has the source of each; argosy perf validate recomputes the errors."
    )


def _profiles(library: ProfileLibrary) -> Iterator[Profile]:
    """The given ones; each table and the form fitted to it; the roofline of each GPU without tables."""
    forms = shipped_forms()
    keys = list(library.keys())
    for _, alike in groupby(keys, key=lambda key: (key.gpu, key.model, key.dtype)):
        same = list(alike)
        for find in (library.measured, forms.profile):
            yield from (found for key in same if isinstance(found := find(key), Profile))
    measured = {key.gpu for key in keys}
    perf = LibraryPerfModel(library, {})
    for gpu in gpus():
        if gpu.name not in measured:
            found = perf.profile(
                Variant(ModelKey(""), ROOFLINE_EXAMPLE, (), "", gpu.name, 1, EngineSettings())
            )
            if isinstance(found, Profile):
                yield found


def _sharing(library: ProfileLibrary) -> Iterator[tuple[str, str]]:
    """Models of the catalogue without tables of their own, each with the one whose tables they use."""
    for model in models():
        alike = library.same_dimensions(model.architecture, model.key)
        if alike and alike[0].key != model.key:
            yield model.key, alike[0].key


def _document(profile: Profile) -> dict[str, Any]:
    key = profile.key
    return {
        "gpu": key.gpu,
        "model": key.model,
        "dtype": str(key.dtype),
        "tp": key.shape.tensor_parallel,
        "pp": key.shape.pipeline_parallel,
        "origin": str(profile.origin),
        "error": digits(profile.uncertainty),
        "source": profile.source,
    }
