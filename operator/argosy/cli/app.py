"""The `argosy` command and its sub-commands.

Owns the assembly: sub-commands of other distributions join through the entry-point group
`argosy.commands` (each a Typer application). Never does anything itself.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points

import typer

from argosy import __version__
from argosy.cli import operator
from argosy.cli.screens import answer as perf
from argosy.cli.screens.plan import plan
from argosy.errors import SpecError


def build() -> typer.Typer:
    """The whole command."""
    app = typer.Typer(
        name="argosy",
        help="Argosy keeps a mixed fleet of GPUs serving LLMs at the lowest cost that meets every promise.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        add_completion=False,
    )
    app.add_typer(operator.app, name="operator")
    app.command("plan")(plan)
    app.add_typer(perf.app, name="perf")
    app.command("version")(version)
    for point in sorted(entry_points(group="argosy.commands"), key=lambda p: p.name):
        try:
            app.add_typer(point.load(), name=point.name)
        except ImportError as error:
            # The operator runs without what the simulator needs; only this sub-command does not.
            app.command(point.name, hidden=True)(_unusable(point, error))
    return app


def _unusable(point: EntryPoint, error: ImportError) -> Callable[[], None]:
    message = f"argosy {point.name} cannot start: {error}; install argosy[{point.name}]"

    def refuse() -> None:
        raise SpecError(message)

    return refuse


def version() -> None:
    """Print the version."""
    typer.echo(__version__)
