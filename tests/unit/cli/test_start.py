"""How soon a command answers: what it imports before it does.

Time is not measured here, because a busy machine would fail it; modules are counted instead. On an idle core
all of these take 0.15-0.35 s, of which Python itself and Typer take 0.15.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SLOW = {
    "aiohttp",
    "argosy.control.step",
    "argosy.reconcile.operator",
    "grpc",
    "kopf",
    "kubernetes",
    "numba",
    "numpy",
    "ortools",
    "pandas",
    "scipy",
}
MODELS = {"argosy.api"}
"""The custom resources: a tenth of a second, which only a command that reads objects spends."""

PROGRAM = (
    "import json, sys\n"
    "from argosy.__main__ import main\n"
    "code = 0\n"
    "try:\n"
    "    main()\n"
    "except SystemExit as ended:\n"
    "    code = ended.code or 0\n"
    "print(json.dumps([code, sorted(sys.modules)]))"
)


def imported(line: str, directory: Path) -> tuple[int, set[str]]:
    """Exit code of `argosy LINE`, and the modules that it has imported at its end."""
    environment = {**os.environ, "XDG_STATE_HOME": str(directory), "HOME": str(directory)}
    environment.pop("KUBECONFIG", None)
    answer = subprocess.run(
        [sys.executable, "-c", PROGRAM, *line.split()],
        env=environment,
        cwd=directory,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    code, modules = json.loads(answer.stdout.splitlines()[-1])
    return code, set(modules)


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("--help", 0),
        ("version", 0),
        ("plan --help", 0),
        ("perf show --help", 0),
        ("sim --help", 0),
        ("operator run --help", 0),
        ("down --help", 0),
        ("plan missing.yaml", 2),
        ("perf import missing.csv", 2),
        ("perf observe http://127.0.0.1:9 --trace missing.csv --out run.jsonl", 2),
        ("perf replay missing.jsonl", 2),
        ("perf calibrate missing.jsonl", 2),
        ("operator run --envoy nonsense", 2),
        ("operator run --kubeconfig missing", 2),
        ("operator run", 2),
        ("down", 2),
        ("down --yes", 2),
        ("down --yes --kubeconfig missing", 2),
        ("doctor --help", 0),
        ("doctor --kubeconfig missing", 2),
        ("routes", 2),
        ("top --once", 2),
        ("plans", 2),
    ],
)
def test_help_and_first_refusals_import_neither_libraries_nor_models(
    line: str, code: int, tmp_path: Path
) -> None:
    found = imported(line, tmp_path)
    assert (found[0], found[1] & (SLOW | MODELS)) == (code, set())


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("plan odd.yaml", 2),
        ("perf show nonsense", 2),
        ("perf show llama-3.1-8b --gpu H1000", 2),
        ("perf roles nonsense", 2),
        ("envoy bootstrap", 0),
        ("sim status", 3),
        ("sim down", 0),
        ("sim fleet", 2),
        ("sim envoy", 2),
        ("sim kubectl get pods", 2),
    ],
)
def test_what_neither_plans_nor_computes_imports_nothing_slow(line: str, code: int, tmp_path: Path) -> None:
    (tmp_path / "odd.yaml").write_text("apiVersion: argosy.dev/v1alpha1\nkind: Nonesuch\n")
    found = imported(line, tmp_path)
    assert (found[0], found[1] & SLOW) == (code, set())


def test_completion_of_names_imports_nothing_slow() -> None:
    program = (
        "import json, sys\n"
        "from argosy.cli.app import build\n"
        "from argosy.cli.completion import gpu_names, model_names\n"
        "build(), model_names('m'), gpu_names('H')\n"
        "print(json.dumps(sorted(sys.modules)))"
    )
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert set(json.loads(answer.stdout)) & SLOW == set()
