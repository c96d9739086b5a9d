"""The command line: what it prints, and one sentence with exit code 2 for what it cannot use."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
from typer.testing import CliRunner

from argosy import __version__
from argosy.__main__ import main
from argosy.cli import app as cli
from argosy.cli.operator import _envoy
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
            "operator run --log-level loud",
            "argosy: --log-level: 'loud' is none of debug, info, warning, error\n",
            id="a log level that does not exist",
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


@pytest.mark.parametrize("text", ["nonsense", "=http://x", "edge", "edge=ftp://x", "http://127.0.0.1:1"])
def test_an_envoy_is_a_name_and_a_url(text: str) -> None:
    with pytest.raises(Exception, match="is not NODE_ID=ADMIN_URL"):
        _envoy(text)
    assert _envoy("edge-0=http://127.0.0.1:9901") == EnvoyAdmin("edge-0", "http://127.0.0.1:9901")


@pytest.mark.parametrize("arguments", [[], ["operator"], ["operator", "run", "--help"], ["sim", "--help"]])
def test_help_is_shown(arguments: list[str]) -> None:
    shown = CliRunner().invoke(cli.build(), arguments)
    assert shown.exit_code in (0, 2)
    assert "Usage:" in shown.output


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
