"""`argosy perf capacities FILES`: what one replica of every variant carries of every class.

Owns reading the objects, the two processes that build missing surfaces, and the table. Never
computes a capacity (`perf.surface.book`).
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from argosy.api import WorkloadClass
from argosy.cli.cache import DirectoryCache, cache_directory
from argosy.cli.plan import read_objects, snapshot_of
from argosy.control.resolve import mix_of, slo_of, variants_of
from argosy.perf import LibraryPerfModel, shipped_library
from argosy.perf.capacity import Engine
from argosy.perf.surface.book import CellCapacities, SurfaceBook
from argosy.perf.surface.surface import RELATIVE_ERROR
from argosy.snapshot import Variant

MAX_PROCESSES = 8


def show_capacities(
    paths: Annotated[list[Path], typer.Argument(help="YAML files or folders: pools, models and classes.")],
) -> None:
    """Show what one replica of each variant carries of each class, in requests/s.

    The first time a variant is asked about, its surface is built (about two seconds of a core) and
    kept in the user's cache; every class and every later question is a look-up.
    """
    snapshot = snapshot_of(read_objects(paths))
    variants = [variant for model in snapshot.models.values() for variant, _ in variants_of(snapshot, model)]
    engines, refused = _engines(variants, LibraryPerfModel(shipped_library(), {}))
    console = Console(highlight=False)
    if engines and snapshot.classes:
        console.print(_table(engines, snapshot.classes))
        console.print(
            f"nine in ten are within {RELATIVE_ERROR:.0%} of a simulation; * is one, 0 breaks the SLO"
        )
    for name, message in refused.items():
        console.print(f"{name}: {message}")
    raise typer.Exit(0 if engines and snapshot.classes else 1)


def _engines(variants: list[Variant], perf: LibraryPerfModel) -> tuple[dict[str, Engine], dict[str, str]]:
    found: dict[str, Engine] = {}
    refused: dict[str, str] = {}
    for variant in variants:
        engine = perf.engine(variant)
        if isinstance(engine, Engine):
            found[variant.name] = engine
        else:
            refused[variant.name] = engine.message
    return found, refused


def _table(engines: dict[str, Engine], classes: Mapping[str, WorkloadClass]) -> Table:
    names = list(classes)
    mixes = [mix_of(classes[name].spec.traffic.lengths) for name in names]
    slos = [slo_of(classes[name]) for name in names]
    workers = min(MAX_PROCESSES, os.cpu_count() or 1)
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        book = SurfaceBook(DirectoryCache(cache_directory() / "surfaces"), pool.map, _say)
        answer = book.capacities(list(engines.values()), mixes, slos)
    table = Table(box=None, pad_edge=False)
    table.add_column("requests/s of a replica", no_wrap=True)
    for name in names:
        table.add_column(name.split("/")[-1], justify="right")
    for row, variant in enumerate(engines):
        table.add_row(variant, *(_shown(answer, cell, row) for cell in range(len(names))))
    return table


def _shown(answer: CellCapacities, cell: int, row: int) -> str:
    rate = answer.requests_per_s[cell, row]
    if math.isnan(rate):
        return "too long"
    return f"{rate:.2f}{'*' if answer.simulated[cell, row] else ''}"


def _say(built: int, missing: int) -> None:
    typer.echo(f"\rbuilding surfaces: {built} of {missing}", err=True, nl=built == missing)
