"""`python -m argosy` and the `argosy` command."""

from __future__ import annotations

import sys

from argosy.cli.app import build
from argosy.errors import ArgosyError, SpecError
from argosy.exit_codes import ExitCode


def main() -> None:
    """Run the command; an error that Argosy raises on purpose ends in one sentence and an exit code."""
    try:
        build()()
    except ArgosyError as error:
        print(f"argosy: {error}", file=sys.stderr)  # noqa: T201
        sys.exit(ExitCode.BAD_INPUT if isinstance(error, SpecError) else ExitCode.NOT_KEPT)


if __name__ == "__main__":
    main()
