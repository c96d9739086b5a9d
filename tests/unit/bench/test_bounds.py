"""Benchmarks' bounds: what is within passes, what is beyond fails and is named with its history."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

BENCH = Path(__file__).parents[3] / "bench"


def the_checker() -> ModuleType:
    spec = importlib.util.spec_from_file_location("bench_bounds", BENCH / "bounds.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


bounds = the_checker()


def row(**changes: Any) -> dict[str, Any]:
    """A figure of a bounds file; None removes a key."""
    history = [{"date": "2026-01-02", "figure": 3}]
    given = {"key": "size", "what": "sizing", "unit": "x", "upper": 6, "history": history, **changes}
    return {key: value for key, value in given.items() if value is not None}


def a_benchmark(folder: Path, rows: list[dict[str, Any]], program: str) -> Path:
    """A folder with one benchmark named `fake`."""
    text = yaml.safe_dump({"figures": rows}).replace("'2026-01-02'", "2026-01-02")
    (folder / "fake.bounds.yaml").write_text(text)
    (folder / "fake.py").write_text(program)
    return folder


def prints(**figures: float) -> str:
    return f"import json; print('for people'); print(json.dumps({{'figures': {figures!r}}}))"


@pytest.mark.parametrize(
    ("changes", "figure", "expected"),
    [
        ({}, 6.0, 0),
        ({}, 6.1, 1),
        ({"upper": None, "lower": 2}, 2.0, 0),
        ({"upper": None, "lower": 2}, 1.9, 1),
    ],
    ids=["at the upper bound", "above it", "at the lower bound", "below it"],
)
def test_a_figure_beyond_its_bound_fails(
    tmp_path: Path, changes: dict[str, Any], figure: float, expected: int
) -> None:
    folder = a_benchmark(tmp_path, [row(**changes)], prints(size=figure))
    assert bounds.main(["fake"], folder) == expected


def test_the_sentence_names_figure_found_bound_and_history(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bounds.main(["fake"], a_benchmark(tmp_path, [row()], prints(size=7.5)))
    shown = capsys.readouterr()
    assert shown.err == ("fake: size (sizing) is 7.5 x and must be at most 6 x; earlier: 3 x (2026-01-02)\n")
    assert "for people" in shown.out


def test_what_is_not_a_number_is_beyond_every_bound(tmp_path: Path) -> None:
    program = 'print(\'{"figures": {"size": NaN}}\')'
    assert bounds.main(["fake"], a_benchmark(tmp_path, [row()], program)) == 1


@pytest.mark.parametrize(
    ("program", "sentence"),
    [
        (prints(), "fake: size was not measured; print it, or remove it from fake.bounds.yaml"),
        (prints(size=1.0, new=2.0), "fake: new has no bound; add it to fake.bounds.yaml"),
        ("print('nothing')", 'fake: it printed no line {"figures": {...}}'),
        ("raise SystemExit(3)", "fake: it ended with exit code 3"),
    ],
    ids=["missing", "without a bound", "no figures", "failed"],
)
def test_a_figure_without_a_verdict_fails(tmp_path: Path, program: str, sentence: str) -> None:
    assert bounds.check("fake", a_benchmark(tmp_path, [row()], program)) == [sentence]


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([row(lower=1)], "exactly one of upper and lower"),
        ([row(upper=None)], "exactly one of upper and lower"),
        ([row(history=None)], "has no history"),
        ([row(), row()], "occurs twice"),
    ],
    ids=["two bounds", "no bound", "no history", "twice"],
)
def test_a_broken_bounds_file_is_refused(tmp_path: Path, rows: list[dict[str, Any]], said: str) -> None:
    folder = a_benchmark(tmp_path, rows, prints(size=1.0))
    with pytest.raises(ValueError, match=said):
        bounds.read_bounds(folder / "fake.bounds.yaml")


def test_every_benchmark_has_a_bounds_file_and_the_other_way_round() -> None:
    files = sorted(path.name.removesuffix(bounds.SUFFIX) for path in BENCH.glob(f"*{bounds.SUFFIX}"))
    assert bounds.benchmarks() == files
    assert len(files) >= 5


@pytest.mark.parametrize("name", bounds.benchmarks())
def test_every_figure_of_the_history_kept_its_bound(name: str) -> None:
    for bound in bounds.read_bounds(BENCH / f"{name}{bounds.SUFFIX}"):
        assert [e for e in bound.history if not bound.holds(e.figure)] == [], bound.key
        assert all(entry.day.year >= 2026 for entry in bound.history)
