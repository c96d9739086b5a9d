"""House rules that a machine can check."""

from __future__ import annotations

import ast
import operator
import re
import subprocess
import sys
import sysconfig
import tomllib
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = [ROOT / "operator" / "argosy", ROOT / "sim" / "argosy_sim"]
SOURCES = sorted(f for package in PACKAGES for f in package.rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))
VAGUE = {"utils", "util", "helpers", "helper", "common", "manager", "base", "misc"}
LOCKS = sorted((ROOT / "hack").rglob("*.lock.txt"))
IMAGES = ROOT / "hack" / "images"
MAX_LINES = 500
MAX_MODULES = 12


def names(files: list[Path]) -> list[str]:
    return [str(f.relative_to(ROOT)) for f in files]


def test_there_is_something_to_check() -> None:
    assert len(SOURCES) > 100
    assert len(LOCKS) == 7


@pytest.mark.parametrize("folder", ["operator", "sim", "tests", "tests/unit"])
def test_source_roots_are_no_packages(folder: str) -> None:
    assert not (ROOT / folder / "__init__.py").exists()


def test_importing_operator_gives_pythons_own_module() -> None:
    assert operator.__file__ is not None
    assert Path(operator.__file__).parent == Path(sysconfig.get_path("stdlib"))
    found = subprocess.run(
        [sys.executable, "-c", "import operator; print(operator.add(1, 2), hasattr(operator, '__path__'))"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout.split() == ["3", "False"]


def test_no_file_is_longer_than_five_hundred_lines() -> None:
    assert names([f for f in (*SOURCES, *TESTS) if len(f.read_text().splitlines()) > MAX_LINES]) == []


def test_every_module_opens_with_a_docstring() -> None:
    assert names([f for f in SOURCES if not ast.get_docstring(ast.parse(f.read_text()))]) == []


def raising(module: ast.Module) -> list[str]:
    """Public functions that raise and whose docstring, or their class's, has no word on it."""
    found = []
    for owner in ast.walk(module):
        if isinstance(owner, ast.Module | ast.ClassDef):
            of_class = ast.get_docstring(owner) or "" if isinstance(owner, ast.ClassDef) else ""
            for each in owner.body:
                if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef) and not each.name.startswith("_"):
                    thrown = [
                        ast.unparse(n.exc) for n in ast.walk(each) if isinstance(n, ast.Raise) and n.exc
                    ]
                    # A command's exit code is no error.
                    thrown = [name for name in thrown if not name.startswith("typer.Exit")]
                    if thrown and "raise" not in (of_class + (ast.get_docstring(each) or "")).lower():
                        found.append(each.name)
    return found


def test_the_docstring_of_a_public_function_that_raises_names_what() -> None:
    silent = {f: found for f in SOURCES if (found := raising(ast.parse(f.read_text())))}
    assert {str(f.relative_to(ROOT)): found for f, found in silent.items()} == {}


def test_no_folder_has_more_modules_than_a_reader_can_hold() -> None:
    modules = Counter(f.parent for f in SOURCES if f.name != "__init__.py")
    assert {str(d.relative_to(ROOT)): n for d, n in modules.items() if n > MAX_MODULES} == {}


def module_folders(stem: str, top: Path) -> list[Path]:
    """Where tests of a module, or a package, of this name may lie: folders as they are below tests/unit."""
    root = ROOT / "sim" / "argosy_sim" if top.parts[0] == "sim" else ROOT / "operator" / "argosy"
    inside = root.joinpath(*top.parts[1:] if top.parts[0] == "sim" else top.parts)
    packages = [f.parent for f in inside.rglob(f"{stem}/__init__.py")]
    found = [f.parent for f in (*inside.rglob(f"{stem}.py"), *packages)]
    return [top / folder.relative_to(inside) for folder in (*found, *packages)]


def test_a_modules_unit_tests_lie_in_the_folder_of_its_package() -> None:
    unit = ROOT / "tests" / "unit"
    astray = {}
    for file in sorted(unit.rglob("test_*.py")):
        folder = file.parent.relative_to(unit)
        top = Path(*folder.parts[: 2 if folder.parts[:1] == ("sim",) else 1])
        if folder.parts and (homes := module_folders(file.stem.removeprefix("test_"), top)):
            astray |= {} if folder in homes else {str(file.relative_to(unit)): homes}
    assert astray == {}


def test_no_module_has_a_name_that_says_nothing() -> None:
    assert names([f for f in SOURCES if f.stem in VAGUE]) == []


def test_nothing_is_left_for_later() -> None:
    # Spelled in two parts, so that this file does not find itself.
    marks = re.compile("|".join(("TO" + "DO", "FIX" + "ME", "X" + "XX")))
    assert names([f for f in (*SOURCES, *TESTS) if marks.search(f.read_text())]) == []


@pytest.mark.parametrize("lock", LOCKS, ids=lambda f: f.name)
def test_locked_dependencies_are_pinned_and_name_no_index(lock: Path) -> None:
    text = lock.read_text()
    assert re.findall(r"https?://\S+|--(?:extra-)?index-url\S*|--find-links\S*", text) == []
    requirements = re.findall(r"^([A-Za-z0-9_.\[\]-]+)(==)?", text, re.MULTILINE)
    pinned = [name for name, pin in requirements if pin]
    assert [name for name, pin in requirements if not pin and not name.startswith("--")] == []
    assert pinned
    assert len(re.findall(r"--hash=sha256:[0-9a-f]{64}", text)) >= len(pinned)


def test_every_runtime_dependency_is_locked() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    # The extra that only exports what ships anyway is 616 MB: it has a lock file of its own.
    [exporter] = project["optional-dependencies"].pop("profiles")
    assert exporter.split(";")[0] in (ROOT / "hack" / "requirements-profiles.lock.txt").read_text()
    wanted = [*project["dependencies"], *(d for ds in project["optional-dependencies"].values() for d in ds)]
    locked = (ROOT / "hack" / "requirements.lock.txt").read_text().lower()
    bare = [re.split(r"[<>=;\[ ]", d)[0].lower().replace("_", "-") for d in wanted]
    assert [name for name in bare if f"{name}==" not in locked] == []


def pins(lock: Path) -> set[str]:
    return set(re.findall(r"^([A-Za-z0-9_.\[\]-]+==\S+)", lock.read_text(), re.MULTILINE))


def test_the_operators_image_holds_every_runtime_dependency() -> None:
    dependencies = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    locked = {pin.partition("==")[0] for pin in pins(IMAGES / "operator.lock.txt")}
    assert {re.split(r"[<>=;\[ ]", d)[0].lower().replace("_", "-") for d in dependencies} <= locked


@pytest.mark.parametrize("name", ["operator", "build", "envoy"])
def test_images_hold_the_versions_that_the_tests_ran_with(name: str) -> None:
    assert pins(IMAGES / f"{name}.lock.txt") <= pins(ROOT / "hack" / "requirements.lock.txt")


def test_the_layers_hold() -> None:
    lint = Path(sys.executable).with_name("lint-imports")
    answer = subprocess.run([str(lint), "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stdout


@pytest.mark.parametrize("document", ["README.md", "ARCHITECTURE.md"])
def test_files_that_a_document_points_to_exist(document: str) -> None:
    text = (ROOT / document).read_text()
    named = re.findall(r"`((?:operator|sim|tests|docs|hack|crds|charts|examples)/[\w./-]+\.\w+)`", text)
    named += [link for link in re.findall(r"\]\(([\w./-]+)\)", text) if not link.startswith("http")]
    assert [name for name in named if not (ROOT / name).exists()] == []
    if document == "ARCHITECTURE.md":
        assert len(named) > 20
