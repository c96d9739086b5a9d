"""`argosy perf capacities FILES`: how much one replica of every variant carries of every class.

Input: the objects of files. Output: requests/s as a table or a document, looked up in capacity surfaces
(`perf.capacity.surfaces`). Surfaces are kept in the user's cache; missing ones are built in processes that
are started here.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context
from typing import Any

import numpy as np
import typer
from rich.table import Table

from argosy.api import WorkloadClass
from argosy.cli.output import Output, digits, plain_table
from argosy.cli.progress import progress
from argosy.control.candidates.variants import variants_of
from argosy.control.candidates.workload import mix_of, slo_of
from argosy.errors import SpecError
from argosy.exit_codes import exit_code
from argosy.files.surfaces import SurfaceFiles, cache_folder
from argosy.keys import NamespacedName
from argosy.perf import LibraryPerfModel, shipped_library
from argosy.perf.capacity.search import EngineModel
from argosy.perf.capacity.surfaces.cache import CellCapacities, SurfaceCache
from argosy.perf.capacity.surfaces.surface import RELATIVE_ERROR
from argosy.perf.profile import Profile
from argosy.snapshot import Variant
from argosy.snapshot.fleet import FleetSnapshot

MAX_PROCESSES = 8


@dataclass(frozen=True, slots=True)
class _Found:
    """Requests/s of `classes` (rows) on `engines` (columns), and the variants without an engine."""

    classes: Sequence[str]
    engines: Sequence[str]
    cells: CellCapacities
    refused: Mapping[str, str]

    @property
    def uncarried(self) -> list[str]:
        """Classes that no variant carries within their SLO."""
        rates = self.cells.requests_per_s
        return [name for row, name in enumerate(self.classes) if not (rates[row] > 0).any()]


def show(snapshot: FleetSnapshot, output: Output) -> None:
    """Print all capacities; exit code 3 where no variant carries a class. Raises SpecError."""
    variants = [variant for model in snapshot.models.values() for variant in variants_of(snapshot, model)]
    if not variants:
        raise SpecError("no variant: the files need at least one ServedModel and one GPUPool", "FILES")
    if not snapshot.classes:
        raise SpecError("no WorkloadClass: the files need at least one, for its lengths and its SLO", "FILES")
    engines, refused = engines_of(variants, LibraryPerfModel(shipped_library(), {}))
    cells = _capacities(list(engines.values()), list(snapshot.classes.values()))
    found = _Found(list(snapshot.classes), list(engines), cells, refused)
    if output.as_json:
        output.document(_document(found))
    else:
        _print(found, output)
    raise typer.Exit(exit_code(not found.uncarried))


def engines_of(
    variants: list[Variant], perf: LibraryPerfModel
) -> tuple[dict[str, EngineModel], dict[str, str]]:
    """The engine of each variant by its name, or why there is none.

    An engine accepts no longer context than its profile covers.
    """
    found: dict[str, EngineModel] = {}
    refused: dict[str, str] = {}
    for variant in variants:
        profile, engine = perf.profile(variant), perf.engine(variant)
        if not isinstance(engine, EngineModel):
            refused[variant.name] = engine.message
        elif isinstance(profile, Profile):
            longest = min(engine.limits.max_model_len, profile.valid.max_context)
            found[variant.name] = replace(engine, limits=replace(engine.limits, max_model_len=longest))
    return found, refused


def _capacities(engines: Sequence[EngineModel], classes: Sequence[WorkloadClass]) -> CellCapacities:
    """Each class on each engine; missing surfaces are built in several processes."""
    if not engines:
        none = np.empty((len(classes), 0))
        return CellCapacities(none, none.astype(np.bool_), none)
    mixes = [mix_of(each.spec.traffic.lengths) for each in classes]
    slos = [slo_of(each) for each in classes]
    workers = min(MAX_PROCESSES, os.cpu_count() or 1)
    with (
        progress("building capacity surfaces") as bar,
        ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool,
    ):
        surfaces = SurfaceCache(SurfaceFiles(cache_folder() / "surfaces"), pool.map, bar.done)
        return surfaces.capacities(engines, mixes, slos)


def _print(found: _Found, output: Output) -> None:
    if found.engines:
        output.console.print(_table(found))
        output.console.print(
            f"nine of ten are within {RELATIVE_ERROR:.0%} of a simulation; * is simulated;"
            " 0 cannot keep the SLO at any rate"
        )
    for name, message in found.refused.items():
        output.console.print(f"{name}: {message}")
    for name in found.uncarried:
        output.console.print(f"{name}: no variant carries it within its SLO")


def _table(found: _Found) -> Table:
    table = plain_table("requests/s of a replica", numbers=headings(found.classes))
    table.columns[0].no_wrap = True
    for column, variant in enumerate(found.engines):
        table.add_row(variant, *(_cell(found.cells, row, column) for row in range(len(found.classes))))
    return table


def headings(names: Sequence[str]) -> list[str]:
    """`namespace/name`, without the namespace where the name alone is unique."""
    short = [NamespacedName(name).name for name in names]
    return [name if short.count(last) > 1 else last for name, last in zip(names, short, strict=True)]


def _cell(cells: CellCapacities, row: int, column: int) -> str:
    rate = cells.requests_per_s[row, column]
    if math.isnan(rate):
        return "too long"
    return f"{rate:.2f}{'*' if cells.simulated[row, column] else ''}"


def _document(found: _Found) -> dict[str, Any]:
    """What --json prints; requests_per_s is null where the engine refuses the class's lengths."""
    rows = range(len(found.classes))
    return {
        "variants": [
            {"name": name, "classes": [_cell_document(found, row, column) for row in rows]}
            for column, name in enumerate(found.engines)
        ],
        "refused": [{"name": name, "message": message} for name, message in found.refused.items()],
        "uncarried": found.uncarried,
    }


def _cell_document(found: _Found, row: int, column: int) -> dict[str, Any]:
    cells = found.cells
    return {
        "name": found.classes[row],
        "requests_per_s": digits(float(cells.requests_per_s[row, column])),
        "relative_error": digits(float(cells.relative_error[row, column])),
        "is_simulated": bool(cells.simulated[row, column]),
    }
