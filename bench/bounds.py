"""Runs the benchmarks and holds their figures to the bounds beside them.

    python bench/bounds.py [NAME ...]      NAME: plan_time, engine_twin, ...; all where none is given

A benchmark `NAME.py` prints its figures as one JSON line, `{"figures": {key: number}}`, after whatever
it prints for people. `NAME.bounds.yaml` lists every figure with its unit, one bound (`upper` or
`lower`, which the figure may reach) and its `history`: earlier figures with date and note. Exit code 1
where a figure is beyond its bound or missing, where one has no bound, or where a benchmark fails. A
new figure that is worth keeping is added to the history by hand, in the commit that explains it.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import yaml

BENCH = Path(__file__).resolve().parent
SUFFIX = ".bounds.yaml"


@dataclass(frozen=True, slots=True)
class Earlier:
    """A figure of an earlier run. `note`: what was measured, or the circumstances."""

    day: date
    figure: float
    note: str = ""


@dataclass(frozen=True, slots=True)
class Bound:
    """One figure and its bound. `is_upper`: larger figures are worse."""

    key: str
    what: str
    unit: str
    limit: float
    is_upper: bool
    history: tuple[Earlier, ...]

    def holds(self, figure: float) -> bool:
        """True where a finite figure is within the bound; it may equal it."""
        return math.isfinite(figure) and (figure <= self.limit if self.is_upper else figure >= self.limit)

    def quantity(self, figure: float) -> str:
        """A figure with its unit."""
        return f"{figure:,.4g} {self.unit}".strip()


def read_bounds(path: Path) -> tuple[Bound, ...]:
    """The bounds of a `.bounds.yaml`, in its order.

    Raises ValueError, with file and figure, for a figure without exactly one of upper and lower,
    without history, or that occurs twice.
    """
    rows = yaml.safe_load(path.read_text("utf-8"))["figures"]
    bounds = tuple(_bound(path.name, row) for row in rows)
    for bound in bounds:
        if sum(other.key == bound.key for other in bounds) > 1:
            raise ValueError(f"{path.name}: {bound.key} occurs twice; each figure has one bound")
    return bounds


def _bound(file: str, row: Mapping[str, Any]) -> Bound:
    key = row["key"]
    given = [side for side in ("upper", "lower") if side in row]
    if len(given) != 1:
        raise ValueError(f"{file}: {key} must have exactly one of upper and lower, has {given or 'none'}")
    history = tuple(Earlier(h["date"], float(h["figure"]), h.get("note", "")) for h in row.get("history", ()))
    if not history:
        raise ValueError(f"{file}: {key} has no history; add the figure that its bound comes from")
    return Bound(key, row["what"], row.get("unit", ""), float(row[given[0]]), given == ["upper"], history)


def figures_of(output: str) -> dict[str, float]:
    """The figures in a benchmark's output: its last JSON line. Raises ValueError where there is none."""
    for line in reversed(output.splitlines()):
        if line.startswith('{"figures"'):
            return {key: float(figure) for key, figure in json.loads(line)["figures"].items()}
    raise ValueError('it printed no line {"figures": {...}}')


def complaints(name: str, bounds: tuple[Bound, ...], figures: Mapping[str, float]) -> Iterator[str]:
    """A sentence for each figure that is beyond its bound, missing, or without a bound."""
    for bound in bounds:
        if bound.key not in figures:
            yield f"{name}: {bound.key} was not measured; print it, or remove it from {name}{SUFFIX}"
        elif not bound.holds(figures[bound.key]):
            side = "at most" if bound.is_upper else "at least"
            earlier = ", ".join(f"{bound.quantity(h.figure)} ({h.day})" for h in bound.history)
            yield (
                f"{name}: {bound.key} ({bound.what}) is {bound.quantity(figures[bound.key])} and must be"
                f" {side} {bound.quantity(bound.limit)}; earlier: {earlier}"
            )
    for key in sorted(set(figures) - {bound.key for bound in bounds}):
        yield f"{name}: {key} has no bound; add it to {name}{SUFFIX}"


def check(name: str, folder: Path = BENCH) -> list[str]:
    """Run one benchmark, pass its output on, and list what is wrong with its figures."""
    bounds = read_bounds(folder / f"{name}{SUFFIX}")
    lines = []
    command = [sys.executable, "-u", str(folder / f"{name}.py")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        for line in running.stdout:
            print(line, end="", flush=True)
            lines.append(line)
    if running.returncode != 0:
        return [f"{name}: it ended with exit code {running.returncode}"]
    try:
        return list(complaints(name, bounds, figures_of("".join(lines))))
    except ValueError as error:
        return [f"{name}: {error}"]


def benchmarks(folder: Path = BENCH) -> list[str]:
    """Names of all benchmarks, in alphabetical order."""
    return sorted(path.stem for path in folder.glob("*.py") if path.stem != Path(__file__).stem)


def main(names: list[str], folder: Path = BENCH) -> int:
    """Run the benchmarks; exit code 0, or 1 where a figure is beyond its bound."""
    found = []
    for name in names or benchmarks(folder):
        print(f"== {name}", flush=True)
        found += check(name, folder)
    for sentence in found:
        print(sentence, file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME")
    asked = parser.parse_args().names
    if unknown := sorted(set(asked) - set(benchmarks())):
        parser.error(f"there is no benchmark {', '.join(unknown)}; use {', '.join(benchmarks())}")
    sys.exit(main(asked))
