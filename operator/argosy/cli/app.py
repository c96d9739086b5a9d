"""The `argosy` command and its sub-commands, assembled.

Sub-commands of other distributions join through the entry-point group `argosy.commands`: each names a Typer
application. Help and completion build this too, so a command's module imports what it runs only when it runs.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points

import typer

from argosy import __version__
from argosy.cli import envoy, operator
from argosy.cli.certificates import certificates
from argosy.cli.cluster.doctor import doctor
from argosy.cli.cluster.orders import approve, pause, resume, rollback
from argosy.cli.cluster.plans import plans
from argosy.cli.cluster.routes import routes
from argosy.cli.cluster.top import top
from argosy.cli.down import down
from argosy.cli.options import AsJson
from argosy.cli.output import answering
from argosy.cli.perf import app as perf
from argosy.cli.plan import plan
from argosy.errors import SpecError
from argosy.exit_codes import SENTENCE


def build() -> typer.Typer:
    """The whole command."""
    app = typer.Typer(
        name="argosy",
        help="Argosy keeps a mixed fleet of GPUs serving LLMs at the lowest cost that meets every SLO.",
        epilog=SENTENCE,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
    )
    app.command("plan", epilog=SENTENCE)(plan)
    app.add_typer(perf.app, name="perf")
    app.add_typer(operator.app, name="operator")
    app.add_typer(envoy.app, name="envoy")
    app.command("doctor", epilog=SENTENCE)(doctor)
    app.command("routes", epilog=SENTENCE)(routes)
    app.command("top", epilog=SENTENCE)(top)
    app.command("plans", epilog=SENTENCE)(plans)
    app.command("approve", epilog=SENTENCE)(approve)
    app.command("rollback", epilog=SENTENCE)(rollback)
    app.command("pause", epilog=SENTENCE)(pause)
    app.command("resume", epilog=SENTENCE)(resume)
    app.command("certificates", epilog=SENTENCE)(certificates)
    app.command("down", epilog=SENTENCE)(down)
    app.command("version")(version)
    for point in sorted(entry_points(group="argosy.commands"), key=lambda p: p.name):
        try:
            app.add_typer(point.load(), name=point.name)
        except ImportError as error:
            # The operator runs without what the simulator needs: only this sub-command is refused.
            app.command(point.name, hidden=True)(_unusable(point, error))
    return app


def _unusable(point: EntryPoint, error: ImportError) -> Callable[[], None]:
    """A command that raises SpecError: the package that it needs is not installed."""
    message = f"argosy {point.name} cannot start: {error}; install argosy[{point.name}]"

    def refuse() -> None:
        raise SpecError(message)

    return refuse


def version(as_json: AsJson = False) -> None:
    """Print the version."""
    with answering("argosy version", as_json) as found:
        if as_json:
            found.document({"version": __version__})
        else:
            found.console.print(__version__)
