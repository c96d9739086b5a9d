"""`argosy perf validate`: the flags. The tables are in `screens.validation`."""

from __future__ import annotations

from argosy.cli.options import AsJson
from argosy.cli.output import answering


def validate(as_json: AsJson = False) -> None:
    """Recompute the accuracy tables from measured vLLM runs and published figures (about a minute)."""
    from argosy.cli.screens import validation  # imports the performance model

    with answering("argosy perf validate", as_json) as found:
        validation.show(found)
