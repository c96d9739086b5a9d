"""`argosy down` where nothing can be removed: one sentence that names the remedy, and the exit code."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from kubeconfigs import UNREACHABLE


def ended(*flags: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "argosy", "down", *flags]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=60, check=False, stdin=subprocess.DEVNULL
    )


def test_without_a_terminal_it_names_the_flag_that_answers() -> None:
    found = ended()
    assert (found.returncode, found.stdout) == (2, "")
    assert found.stderr == (
        "argosy down: --yes: standard input is not a terminal on which you could be asked; give --yes to"
        " remove without being asked\n"
    )


def test_an_api_server_that_is_away_is_named_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "kubeconfig").write_text(UNREACHABLE)
    found = ended("--yes", "--kubeconfig", str(tmp_path / "kubeconfig"))
    assert (found.returncode, found.stdout) == (3, "")
    (line,) = found.stderr.splitlines()
    assert "the API server does not answer: " in line
    assert line.endswith("start it, or name the kubeconfig of the right cluster by --kubeconfig")


def test_a_file_that_is_no_kubeconfig_is_named(tmp_path: Path) -> None:
    (tmp_path / "kubeconfig").write_text("nothing: here")
    found = ended("--yes", "--kubeconfig", str(tmp_path / "kubeconfig"))
    assert (found.returncode, found.stdout) == (2, "")
    assert found.stderr.startswith("argosy down: --kubeconfig: ")


@pytest.mark.parametrize("text", ["0", "-1", "soon", "nan"])
def test_a_time_out_that_is_no_number_of_seconds_is_refused(text: str) -> None:
    found = ended("--yes", "--timeout", text)
    assert found.returncode == 2
    assert "--timeout" in found.stderr
