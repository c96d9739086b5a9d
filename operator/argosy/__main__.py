"""`python -m argosy` and the `argosy` command."""

from __future__ import annotations

import errno
import os
import sys

from argosy.cli.app import build
from argosy.errors import ArgosyError, SpecError
from argosy.exit_codes import ExitCode

_PIPE_CLOSED = 1
"""As Typer ends a command whose reader, such as `head`, has closed the pipe."""


def main() -> None:
    """Run the command; an error that Argosy raises on purpose ends in one sentence and an exit code.

    So does a full disk. A reader that closes the pipe needs no sentence: it has what it wanted.
    """
    try:
        _run()
    except ArgosyError as error:
        print(f"argosy: {error}", file=sys.stderr)  # noqa: T201
        sys.exit(ExitCode.BAD_INPUT if isinstance(error, SpecError) else ExitCode.NOT_KEPT)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EPIPE):
            raise
        _drop_output()
        if error.errno == errno.EPIPE:
            sys.exit(_PIPE_CLOSED)
        print(f"argosy: the output cannot be written: {error.strerror}", file=sys.stderr)  # noqa: T201
        sys.exit(ExitCode.BAD_INPUT)


def _run() -> None:
    """Raises what the command raises, and OSError where its output cannot be written."""
    try:
        build()()
    finally:
        if sys.stdout is not None:  # as it is where standard output is closed
            sys.stdout.flush()


def _drop_output() -> None:
    """Python writes what is left at its end, which would fail once more."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    main()
