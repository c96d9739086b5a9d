"""`argosy perf ...` as a user types it.

Owns how the command is run and how an answer and a refusal with --json are read. Never judges a figure.
"""

from __future__ import annotations

import json
from typing import Any

from typer.testing import CliRunner

from argosy.cli.app import build


def run(*args: str) -> tuple[int, str]:
    """Exit code and all that is printed; an exception is the test's."""
    found = CliRunner().invoke(build(), ["perf", *args])
    if found.exception is not None and not isinstance(found.exception, SystemExit):
        raise found.exception
    return found.exit_code, found.output


def asked(*args: str) -> dict[str, Any]:
    """The object of an answer."""
    code, output = run(*args, "--json")
    assert code == 0, output
    found: dict[str, Any] = json.loads(output)
    return found


def refused(*args: str) -> dict[str, Any]:
    """The error of a refusal."""
    code, output = run(*args, "--json")
    assert code == 2, output
    found = json.loads(output)
    assert list(found) == ["error"]
    assert list(found["error"]) == ["reason", "message", "nearest"]
    error: dict[str, Any] = found["error"]
    return error
