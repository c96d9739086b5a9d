"""Shell completion: a script for each shell, commands, and names of the catalogue."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from argosy.cli.completion import gpu_names, model_names

ARGOSY = str(Path(sys.executable).with_name("argosy"))


def completed(line: str) -> list[str]:
    """What bash is offered at the end of a command line."""
    asking = {"_ARGOSY_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(line.count(" "))}
    answer = subprocess.run(
        [ARGOSY], env={**os.environ, **asking}, capture_output=True, text=True, check=False, timeout=60
    )
    return answer.stdout.split()


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        pytest.param(
            "argosy perf ",
            [
                "show",
                "list",
                "validate",
                "capacities",
                "roles",
                "import",
                "observe",
                "replay",
                "calibrate",
                "links",
            ],
            id="commands",
        ),
        pytest.param("argosy perf show deepseek-ai/DeepSeek-V3.2", ["deepseek-ai/DeepSeek-V3.2"], id="model"),
        pytest.param("argosy perf show deepseek-v3.", ["deepseek-v3.2"], id="model by its short name"),
        pytest.param("argosy perf show m --gpu H100-", ["H100-PCIe", "H100-NVL"], id="gpu"),
        pytest.param("argosy perf roles m --decode-gpu MI300", ["MI300X"], id="gpu of a role"),
        pytest.param("argosy perf show m --dtype fp", ["fp8", "fp4"], id="type"),
    ],
)
def test_the_shell_is_offered_what_fits(line: str, offered: list[str]) -> None:
    assert completed(line) == offered


@pytest.mark.parametrize(
    ("typed", "found"),
    [
        pytest.param("meta-llama/Llama-3.1-70B", "meta-llama/Llama-3.1-70B-Instruct", id="begun"),
        pytest.param("META-llama/llama-3.1-8b", "meta-llama/Llama-3.1-8B", id="in another case"),
        pytest.param("", "Qwen/Qwen3-32B", id="nothing"),
    ],
)
def test_models_are_completed(typed: str, found: str) -> None:
    assert found in model_names(typed)
    assert all(name.lower().startswith(typed.lower()) for name in model_names(typed))


def test_gpus_are_completed() -> None:
    assert set(gpu_names("h1")) == {"H100", "H100-PCIe", "H100-NVL"}
    assert gpu_names("nothing like it") == []


def test_the_script_of_bash_asks_argosy() -> None:
    script = subprocess.run(
        [ARGOSY, "--show-completion", "bash"],
        env={**os.environ, "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert script.returncode == 0, script.stderr
    assert "COMPLETE=complete_bash" in script.stdout


def test_completion_can_be_installed(tmp_path: Path) -> None:
    command = [ARGOSY, "--install-completion", "bash"]
    asking = {"HOME": str(tmp_path), "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    answer = subprocess.run(
        command, env={**os.environ, **asking}, capture_output=True, text=True, check=False, timeout=60
    )
    assert (answer.returncode, answer.stderr) == (0, "")
    (script,) = (tmp_path / ".bash_completions").iterdir()
    assert "COMPLETE=complete_bash" in script.read_text()
    assert str(script) in (tmp_path / ".bashrc").read_text()
