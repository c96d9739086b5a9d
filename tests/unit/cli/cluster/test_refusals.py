"""Commands by kubeconfig where nothing answers: one sentence with what to do, and the exit code."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from kubeconfigs import UNREACHABLE

COMMANDS = ["doctor", "routes", "top --once", "plans"]


def ended(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "argosy", *words]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=60, check=False, stdin=subprocess.DEVNULL
    )


@pytest.mark.parametrize("command", COMMANDS)
def test_an_api_server_that_is_away_is_named_with_what_to_do(command: str, tmp_path: Path) -> None:
    (tmp_path / "kubeconfig").write_text(UNREACHABLE)
    found = ended(*command.split(), "--json", "--kubeconfig", str(tmp_path / "kubeconfig"))
    assert found.returncode == 3
    (line,) = found.stderr.splitlines()
    assert line.startswith(f"argosy {command.split()[0]}: ")
    assert "the API server does not answer: " in line
    assert line.endswith("start it, or name the kubeconfig of the right cluster by --kubeconfig")
    assert json.loads(found.stdout)["error"]["reason"] == "Unreachable"


@pytest.mark.parametrize("number", ["0", "nan", "often"])
def test_an_interval_that_is_no_number_of_seconds_is_refused(number: str) -> None:
    found = ended("top", "--every", number)
    assert found.returncode == 2
    assert "--every" in found.stderr
