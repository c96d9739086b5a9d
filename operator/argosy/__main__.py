"""`python -m argosy` and the `argosy` command."""

from __future__ import annotations

import sys

from argosy.cli.app import build
from argosy.errors import ArgosyError


def main() -> None:
    """Run the command; what Argosy raises on purpose ends in one sentence and exit code 2."""
    try:
        build()()
    except ArgosyError as error:
        print(f"argosy: {error}", file=sys.stderr)  # noqa: T201
        sys.exit(2)


if __name__ == "__main__":
    main()
