"""The command line: what it prints, and one sentence with exit code 2 for what it cannot use."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from argosy import __main__ as command
from argosy import __version__
from argosy.__main__ import main
from argosy.cli import app as cli
from argosy.cli.operator import _envoy
from argosy.errors import ObservationError
from argosy.settings import EnvoyAdmin


def run(
    arguments: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> tuple[int, str, str]:
    """Exit code, output and error output of `argosy ARGUMENTS`, in this process."""
    monkeypatch.setattr(sys, "argv", ["argosy", *arguments.split()])
    with pytest.raises(SystemExit) as ended:
        main()
    said = capsys.readouterr()
    return int(ended.value.code or 0), said.out, said.err


def test_the_version_is_printed(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert run("version", capsys, monkeypatch) == (0, f"{__version__}\n", "")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        pytest.param(
            "operator run --envoy nonsense",
            "argosy: --envoy: 'nonsense' is not NODE_ID=ADMIN_URL, such as edge-0=http://127.0.0.1:9901\n",
            id="an Envoy without a URL",
        ),
        pytest.param(
            "perf meta-llama/Llama-3.1-8B --rate 8",
            "argosy: perf: 'meta-llama/Llama-3.1-8B' is not one of the commands show, list, validate,"
            " capacities, roles, import, observe, replay, calibrate, links; to ask about a model:"
            " argosy perf show meta-llama/Llama-3.1-8B\n",
            id="a model without a command",
        ),
        pytest.param(
            "perf --list --json",
            "argosy: perf: --list is a command now: argosy perf list\n",
            id="list as a flag",
        ),
        pytest.param(
            "perf --validate",
            "argosy: perf: --validate is a command now: argosy perf validate\n",
            id="validate as a flag",
        ),
        pytest.param(
            "perf --gpu H100",
            "argosy: perf: '--gpu' is not one of the commands show, list, validate, capacities, roles,"
            " import, observe, replay, calibrate, links; to ask about a model: argosy perf show MODEL\n",
            id="a flag before the command",
        ),
        pytest.param(
            "operator run --kubeconfig /does/not/exist",
            "argosy: --kubeconfig: /does/not/exist cannot be read: No such file or directory\n",
            id="a kubeconfig that is not there",
        ),
    ],
)
def test_bad_input_ends_in_one_sentence(
    arguments: str,
    sentence: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(arguments, capsys, monkeypatch) == (2, "", sentence)


def test_an_error_that_is_not_the_inputs_ends_with_exit_code_3(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse() -> None:
        raise ObservationError("the API server is away")

    app = typer.Typer()
    app.command()(refuse)
    monkeypatch.setattr(command, "build", lambda: app)
    assert run("", capsys, monkeypatch) == (3, "", "argosy: the API server is away\n")


def test_a_log_level_that_does_not_exist_is_named() -> None:
    found = CliRunner().invoke(cli.build(), ["operator", "run", "--log-level", "loud"])
    assert found.exit_code == 2
    words = " ".join(found.stderr.replace("│", " ").split())
    assert "'--log-level'" in words
    assert "'loud' is not one of 'debug', 'info', 'warning', 'error'" in words


def test_the_version_is_a_document_too() -> None:
    assert json.loads(CliRunner().invoke(cli.build(), ["version", "--json"]).stdout) == {
        "version": __version__
    }


@pytest.mark.parametrize("text", ["nonsense", "=http://x", "edge", "edge=ftp://x", "http://127.0.0.1:1"])
def test_an_envoy_is_a_name_and_a_url(text: str) -> None:
    with pytest.raises(Exception, match="is not NODE_ID=ADMIN_URL"):
        _envoy(text)
    assert _envoy("edge-0=http://127.0.0.1:9901") == EnvoyAdmin("edge-0", "http://127.0.0.1:9901")


@pytest.mark.parametrize("group", [[], ["operator"], ["perf"]])
def test_a_group_without_a_command_shows_its_help(group: list[str]) -> None:
    shown = CliRunner().invoke(cli.build(), group)
    assert shown.exit_code in (0, 2)
    assert ("Usage:" in shown.output, "No such command" in shown.output) == (True, False)
    assert shown.output.split() == CliRunner().invoke(cli.build(), [*group, "--help"]).output.split()


@pytest.mark.parametrize("command", [[], ["operator", "run"], ["perf"], ["perf", "show"], ["plan"], ["sim"]])
def test_help_is_an_answer(command: list[str]) -> None:
    shown = CliRunner().invoke(cli.build(), [*command, "--help"])
    assert (shown.exit_code, shown.stderr) == (0, "")
    assert " ".join(["Usage:", "argosy", *command]) in shown.stdout


def test_without_what_the_simulator_needs_the_operator_still_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = EntryPoint("sim", "argosy_no_such_module:app", "argosy.commands")
    monkeypatch.setattr(cli, "entry_points", lambda group: [broken])
    app = cli.build()
    assert CliRunner().invoke(app, ["version"]).exit_code == 0
    refused = CliRunner().invoke(app, ["sim"])
    assert "install argosy[sim]" in str(refused.exception)


def test_the_module_is_the_command() -> None:
    answer = subprocess.run(
        [sys.executable, "-m", "argosy", "version"], capture_output=True, text=True, check=True, timeout=60
    )
    assert answer.stdout.strip() == __version__


def test_a_control_plane_that_does_not_run_is_exit_code_3(tmp_path: Path) -> None:
    found = CliRunner().invoke(cli.build(), ["sim", "status", "--state-dir", str(tmp_path)])
    assert (found.exit_code, "no control plane" in found.output) == (3, True)


def test_a_control_plane_that_does_not_run_is_a_document_too(tmp_path: Path) -> None:
    found = CliRunner().invoke(cli.build(), ["sim", "status", "--json", "--state-dir", str(tmp_path)])
    assert (found.exit_code, json.loads(found.stdout)) == (
        3,
        {
            "health": "Absent",
            "state_dir": str(tmp_path),
            "server_url": None,
            "admin_kubeconfig": None,
            "components": [],
        },
    )


@pytest.mark.parametrize("args", [["version"], ["perf", "list"], ["version", "--json"]])
def test_a_full_disk_ends_in_one_sentence(args: list[str]) -> None:
    with Path("/dev/full").open("w") as full:
        command = [sys.executable, "-m", "argosy", *args]
        answer = subprocess.run(
            command, stdout=full, stderr=subprocess.PIPE, text=True, check=False, timeout=60
        )
    said = "argosy: the output cannot be written: No space left on device\n"
    assert (answer.returncode, answer.stderr) == (2, said)


def test_a_reader_that_closes_the_pipe_causes_no_message() -> None:
    command = f"set -o pipefail; {sys.executable} -m argosy perf list | head -1"
    answer = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False, timeout=60)
    assert (answer.returncode in (0, 1), answer.stderr, answer.stdout.count("\n")) == (True, "", 1)
