"""The table of exit codes is one, and the documents show it."""

from __future__ import annotations

from pathlib import Path

from typer.models import CommandInfo

from argosy.cli import app as cli
from argosy.exit_codes import MEANING, SENTENCE, ExitCode, exit_code

ROOT = Path(__file__).parents[2]


def test_the_table_is_the_one_of_the_documents() -> None:
    rows = [f"| {code.value} | {MEANING[code]} |" for code in ExitCode]
    text = (ROOT / "docs/cli.md").read_text()
    assert [row for row in rows if row not in text] == []


def _name(command: CommandInfo) -> str:
    return command.name or str(getattr(command.callback, "__name__", ""))


def test_every_command_is_in_the_document() -> None:
    text = (ROOT / "docs/cli.md").read_text()
    app = cli.build()
    commands = [f"argosy {each.name}" for each in app.registered_commands]
    for group in app.registered_groups:
        assert group.typer_instance is not None
        own = [f"argosy {group.name} {_name(each)}" for each in group.typer_instance.registered_commands]
        commands += own if group.name != "sim" else ["argosy sim ..."]  # one row for all of them
    assert len(commands) >= 8
    assert [command for command in commands if f"`{command}" not in text] == []


def test_every_code_has_a_meaning_and_is_in_the_sentence_of_the_help() -> None:
    assert list(MEANING) == list(ExitCode)
    assert [code for code in ExitCode if f"{code.value} " not in SENTENCE] == []


def test_what_is_not_kept_is_neither_bad_input_nor_a_traceback() -> None:
    assert (exit_code(is_kept=True), exit_code(is_kept=False)) == (0, 3)
