"""`argosy perf COMMAND ...` as a user types it: how an answer and a refusal with --json are read."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from typer.testing import CliRunner

from argosy.cli.app import build


@dataclass(frozen=True)
class Ran:
    """How a command ended, and what it printed."""

    code: int
    stdout: str
    stderr: str


def ran(*args: str) -> Ran:
    """A run of `argosy ARGS`; an exception is the test's."""
    found = CliRunner().invoke(build(), list(args))
    if found.exception is not None and not isinstance(found.exception, SystemExit):
        raise found.exception
    return Ran(found.exit_code, found.stdout, found.stderr)


def run(*args: str) -> tuple[int, str]:
    """Exit code and all that `argosy perf ARGS` prints."""
    found = ran("perf", *args)
    return found.code, found.stdout + found.stderr


def asked(*args: str) -> dict[str, Any]:
    """The document of an answer."""
    found = ran("perf", *args, "--json")
    assert found.code == 0, found
    document: dict[str, Any] = json.loads(found.stdout)
    return document


def refused(*args: str) -> dict[str, Any]:
    """The error of a refusal, which is on standard error as a sentence too."""
    found = ran("perf", *args, "--json")
    assert found.code == 2, found
    document = json.loads(found.stdout)
    assert list(document) == ["error"]
    error: dict[str, Any] = document["error"]
    assert list(error) == ["reason", "message", "nearest"]
    assert found.stderr == f"argosy perf {args[0]}: {error['message']}{_hint(error)}\n"
    return error


def _hint(error: dict[str, Any]) -> str:
    """What follows the sentence, where that does not name the nearest already."""
    nearest = error["nearest"]
    is_named = not nearest or nearest[0] in error["message"]
    return "" if is_named else f"; did you mean {' or '.join(nearest[:3])}?"


def misused(*args: str) -> str:
    """What is printed where flags cannot be parsed: words separated by one blank."""
    found = ran("perf", *args)
    assert found.code == 2, found
    assert found.stdout == ""
    return " ".join(found.stderr.replace("│", " ").split())
