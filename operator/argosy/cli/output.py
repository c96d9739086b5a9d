"""What sub-commands of `argosy perf` share: how an answer leaves, and how a bad option is refused.

Owns the error object, the exit code and the checks of single options. Never asks the model.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import typer
from rich.console import Console

from argosy.errors import SpecError
from argosy.perf.answer import Unanswered
from argosy.perf.catalogue import ConfigFault, architecture_from_config
from argosy.snapshot import Architecture, Dtype


@dataclass(frozen=True, slots=True)
class Shown:
    """How an answer leaves."""

    as_json: bool
    console: Console


def refuse(refusal: Unanswered, shown: Shown, command: str) -> NoReturn:
    """Say why there is no answer (an object with --json, else a sentence) and exit with 2."""
    if shown.as_json:
        nearest = list(refusal.nearest)
        error = {"reason": refusal.reason, "message": refusal.message, "nearest": nearest}
        typer.echo(json.dumps({"error": error}))
    else:
        typer.echo(f"{command}: {refusal.message}", err=True)
    raise typer.Exit(2)


def whole(value: float, option: str) -> int:
    """`value`, where it is a whole number of at least 1. Raises SpecError."""
    if not (math.isfinite(value) and value >= 1 and value == int(value)):
        raise SpecError(f"must be a whole number of at least 1, got {value:g}", option)
    return int(value)


def number_type(name: str, known: Sequence[Dtype], option: str) -> Dtype | None:
    """The number type of that name; None for no name. Raises SpecError."""
    if not name:
        return None
    found = next((dtype for dtype in known if dtype.value == name.lower()), None)
    if found is None:
        raise SpecError(f"{name!r} is none of {', '.join(known)}", option)
    return found


def digits(value: float | None) -> float | None:
    """Five digits, which is more than any of it is worth; NaN (no gap to speak of) is unknown."""
    return None if value is None or not math.isfinite(value) else float(f"{value:.5g}")


def read_architecture(path: Path) -> Architecture:
    """The architecture that a config.json describes. Raises SpecError."""
    try:
        found = architecture_from_config(json.loads(path.read_text("utf-8")))
    except (OSError, ValueError, RecursionError) as error:
        raise SpecError(f"cannot be read: {error}", str(path)) from error
    if isinstance(found, ConfigFault):
        raise SpecError(f"{found.field}: {found.message}", str(path))
    return found
