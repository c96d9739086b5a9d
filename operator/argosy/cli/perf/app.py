"""`argosy perf`: the commands about the performance model, assembled.

Input: what follows `argosy perf`. A model, `--list` or `--validate` without a command is how it was written
before there were commands: it is refused with the command to write instead.
"""

from __future__ import annotations

from typing import Any

import typer
from typer.core import TyperGroup

from argosy.cli.perf.calibrate import calibrate
from argosy.cli.perf.capacities import capacities
from argosy.cli.perf.import_ import import_measurements
from argosy.cli.perf.links import links
from argosy.cli.perf.list import list_profiles
from argosy.cli.perf.observe import observe
from argosy.cli.perf.replay import replay
from argosy.cli.perf.roles import roles
from argosy.cli.perf.show import show
from argosy.cli.perf.validate import validate
from argosy.errors import SpecError
from argosy.exit_codes import SENTENCE

_FORMER_FLAGS = {"--list": "list", "--validate": "validate"}


class _Commands(TyperGroup):
    """Refuses what is not a command with the command to write instead."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Raises SpecError for an unknown first word; completion (resilient parsing) never does."""
        first = args[0] if args else "--help"
        if not ctx.resilient_parsing and first not in (*self.commands, *ctx.help_option_names):
            raise SpecError(_instead_of(first, ", ".join(self.commands)), "perf")
        return super().parse_args(ctx, args)


def _instead_of(word: str, commands: str) -> str:
    if word in _FORMER_FLAGS:
        return f"{word} is a command now: argosy perf {_FORMER_FLAGS[word]}"
    model = "MODEL" if word.startswith("-") else word
    return f"{word!r} is not one of the commands {commands}; to ask about a model: argosy perf show {model}"


app = typer.Typer(
    cls=_Commands, help="What one replica does, computed offline.", epilog=SENTENCE, no_args_is_help=True
)
app.command("show")(show)
app.command("list")(list_profiles)
app.command("validate")(validate)
app.command("capacities", epilog=SENTENCE)(capacities)
app.command("roles")(roles)
app.command("import")(import_measurements)
app.command("observe", epilog=SENTENCE)(observe)
app.command("replay", epilog=SENTENCE)(replay)
app.command("calibrate", epilog=SENTENCE)(calibrate)
app.command("links")(links)
