"""`argosy plan ...` as a user types it, with a cache of its own."""

from __future__ import annotations

from pathlib import Path

from typer.testing import CliRunner

from argosy.cli.app import build

EXAMPLES = Path(__file__).parents[2] / "examples"


def run_plan(cache: Path, *arguments: object) -> tuple[int, str]:
    """Exit code and standard output; an exception is the test's."""
    answer = CliRunner(env={"XDG_CACHE_HOME": str(cache), "COLUMNS": "120"}).invoke(
        build(), ["plan", *map(str, arguments)]
    )
    if answer.exception is not None and not isinstance(answer.exception, SystemExit):
        raise answer.exception
    return answer.exit_code, answer.stdout
