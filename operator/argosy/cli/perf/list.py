"""`argosy perf list`: the flags. The table is in `screens.profiles`."""

from __future__ import annotations

from argosy.cli.options import AsJson, Profiles
from argosy.cli.output import answering


def list_profiles(profile: Profiles = None, as_json: AsJson = False) -> None:
    """List the profiles that ship with Argosy, each with its origin and its error."""
    from argosy.cli.screens import profiles  # imports the performance model

    with answering("argosy perf list", as_json) as found:
        profiles.show(profile or (), found)
