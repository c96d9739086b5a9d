"""`argosy perf capacities FILES`: what one replica of every variant carries of every class.

Owns reading the objects, the processes that build missing surfaces, and the table. Never
computes a capacity (`perf.surface.book`).
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from argosy.api import WorkloadClass
from argosy.control.resolve import mix_of, slo_of, variants_of
from argosy.files.objects import read_objects, snapshot_of
from argosy.files.surfaces import SurfaceFiles, cache_folder
from argosy.perf import LibraryPerfModel, shipped_library
from argosy.perf.capacity import Engine
from argosy.perf.profile import Profile
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
    snapshot = snapshot_of(read_objects(paths), time.time())
    variants = [variant for model in snapshot.models.values() for variant, _ in variants_of(snapshot, model)]
    engines, refused = engines_of(variants, LibraryPerfModel(shipped_library(), {}))
    console = Console(highlight=False)
    if engines and snapshot.classes:
        console.print(_table(engines, snapshot.classes))
        console.print(
            f"nine in ten are within {RELATIVE_ERROR:.0%} of a simulation; * is one, 0 breaks the SLO"
        )
    for name, message in refused.items():
        console.print(f"{name}: {message}")
    if not variants:
        console.print("no variant: it takes a ServedModel and a GPUPool to make one")
    if not snapshot.classes:
        console.print("no WorkloadClass says which requests a replica would carry")
    raise typer.Exit(0 if engines and snapshot.classes else 1)


def engines_of(variants: list[Variant], perf: LibraryPerfModel) -> tuple[dict[str, Engine], dict[str, str]]:
    """The engine of each variant by its name, or why there is none.

    An engine takes nothing longer than what its profile answers for.
    """
    found: dict[str, Engine] = {}
    refused: dict[str, str] = {}
    for variant in variants:
        profile, engine = perf.profile(variant), perf.engine(variant)
        if not isinstance(engine, Engine):
            refused[variant.name] = engine.message
        elif isinstance(profile, Profile):
            longest = min(engine.limits.max_model_len, profile.valid.max_context)
            found[variant.name] = replace(engine, limits=replace(engine.limits, max_model_len=longest))
    return found, refused


def _table(engines: dict[str, Engine], classes: Mapping[str, WorkloadClass]) -> Table:
    names = list(classes)
    mixes = [mix_of(classes[name].spec.traffic.lengths) for name in names]
    slos = [slo_of(classes[name]) for name in names]
    workers = min(MAX_PROCESSES, os.cpu_count() or 1)
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        book = SurfaceBook(SurfaceFiles(cache_folder() / "surfaces"), pool.map, _say)
        answer = book.capacities(list(engines.values()), mixes, slos)
    table = Table(box=None, pad_edge=False)
    table.add_column("requests/s of a replica", no_wrap=True)
    for heading in headings(names):
        table.add_column(heading, justify="right", overflow="fold")
    for row, variant in enumerate(engines):
        table.add_row(variant, *(_shown(answer, cell, row) for cell in range(len(names))))
    return table


def headings(names: Sequence[str]) -> list[str]:
    """`namespace/name` without the namespace, where that leaves one of a kind."""
    short = [name.split("/")[-1] for name in names]
    return [name if short.count(last) > 1 else last for name, last in zip(names, short, strict=True)]


def _shown(answer: CellCapacities, cell: int, row: int) -> str:
    rate = answer.requests_per_s[cell, row]
    if math.isnan(rate):
        return "too long"
    return f"{rate:.2f}{'*' if answer.simulated[cell, row] else ''}"


def _say(built: int, missing: int) -> None:
    typer.echo(f"\rbuilding surfaces: {built} of {missing}", err=True, nl=built == missing)
