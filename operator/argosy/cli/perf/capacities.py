"""`argosy perf capacities FILES`: the flags. The table is in `screens.capacities`."""

from __future__ import annotations

from argosy.cli.early import read_snapshot
from argosy.cli.options import AsJson, ObjectFiles
from argosy.cli.output import answering


def capacities(paths: ObjectFiles, as_json: AsJson = False) -> None:
    """Show how many requests/s of each class one replica of each variant carries within its SLO.

    The first command that needs a variant builds its capacity surface (about
    two seconds of a core) and keeps it in the user's cache; every class and
    every later command is a look-up.
    """
    with answering("argosy perf capacities", as_json) as found:
        snapshot = read_snapshot(paths, found)
        from argosy.cli.screens import capacities as screen  # imports the performance model

        screen.show(snapshot, found)
