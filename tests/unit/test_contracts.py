"""The contracts on imports can fail, and the one on the pure half names all of it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
CONTRACTS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
[PURE] = [c for c in CONTRACTS if c["name"].startswith("The pure half")]
[PACKAGES] = [c for c in CONTRACTS if c["name"] == "Imports go only downwards"]
SHELL = {"__main__", "cli", "client", "reconcile", "files", "certificates", "kube", "telemetry", "xds"}
"""The packages that may reach the outside; all others are the pure half."""


def layers_of(contract: dict[str, Any], root: Path) -> list[list[str]]:
    """Each layer's modules that exist below `root`, in full, the highest layer first."""
    rows = [re.findall(r"[\w.]+", layer) for layer in contract["layers"]]
    prefixes = [f"{container}." for container in contract.get("containers", [])] or [""]
    full = [[f"{prefix}{name}" for prefix in prefixes for name in row] for row in rows]
    return [row for names in full if (row := [n for n in names if file_of(n, root).exists()])]


def file_of(module: str, root: Path) -> Path:
    source_root = root / ("sim" if module.split(".")[0] == "argosy_sim" else "operator")
    path = source_root.joinpath(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def offences(contract: dict[str, Any], root: Path) -> Iterator[tuple[str, str]]:
    """(module, what it must not import) for one contract."""
    if contract["type"] == "layers":
        rows = layers_of(contract, root)
        yield rows[-1][0], rows[0][0]
    elif contract["type"] == "forbidden":
        for forbidden in contract["forbidden_modules"]:
            yield contract["source_modules"][0], forbidden
    else:
        yield contract["modules"][0], contract["modules"][1]


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """The sources and the contracts on them, to be broken."""
    for folder in ("operator", "sim"):
        shutil.copytree(
            ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__", "*.json*")
        )
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def lint(root: Path) -> str:
    """What import-linter prints about the sources below `root`."""
    program = Path(sys.executable).with_name("lint-imports")
    search = os.pathsep.join(str(root / folder) for folder in ("operator", "sim"))
    environment = {**os.environ, "PYTHONPATH": search, "COLUMNS": "300"}
    answer = subprocess.run(
        [str(program), "--no-cache"], cwd=root, env=environment, capture_output=True, text=True, check=False
    )
    return answer.stdout


def test_every_contract_breaks_where_an_import_offends_it(copied: Path) -> None:
    made = [(contract["name"], *offence) for contract in CONTRACTS for offence in offences(contract, copied)]
    for _, module, imported in made:
        with file_of(module, copied).open("a") as source:
            source.write(f"\nimport {imported}\n")
    printed = lint(copied)
    found = set(re.findall(r"^(.+) (BROKEN|KEPT)(?: \(\d+ ignored imports?\))?$", printed, re.MULTILINE))
    assert found == {(contract["name"], "BROKEN") for contract in CONTRACTS}
    unseen = [m for m in made if f"{m[1]} is not allowed to import {m[2]}:" not in printed]
    assert unseen == []


def test_every_exhaustive_contract_breaks_where_a_module_is_in_no_layer(copied: Path) -> None:
    exhaustive = [c for c in CONTRACTS if c.get("exhaustive")]
    assert exhaustive
    for contract in exhaustive:
        for container in contract["containers"]:
            (file_of(container, copied).parent / "in_no_layer.py").write_text("")
    printed = lint(copied)
    assert [c["name"] for c in exhaustive if f"{c['name']} BROKEN" not in printed] == []


def test_all_that_is_not_the_shell_is_held_to_be_pure() -> None:
    inside = {name for layer in PACKAGES["layers"] for name in re.findall(r"\w+", layer)}
    assert {f"argosy.{name}" for name in inside - SHELL} == set(PURE["source_modules"])


@pytest.mark.parametrize(
    "outside",
    ["threading", "socket", "requests", "prometheus_client", "subprocess", "time", "random", "logging"],
)
def test_the_pure_half_never_reaches(outside: str) -> None:
    assert outside in PURE["forbidden_modules"]


def test_the_pure_half_never_asks_datetime_for_the_time() -> None:
    program = Path(sys.executable).with_name("ruff")
    answer = subprocess.run(
        [str(program), "check", "--no-cache", "--stdin-filename", "operator/argosy/plan/clock.py", "-"],
        cwd=ROOT,
        input='"""A clock."""\n\nfrom datetime import date, datetime\n\nNOW = datetime.now(), date.today()\n',
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.stdout.count("TID251") == 2
