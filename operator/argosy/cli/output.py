"""How a command answers: a JSON document or text on standard output, or a refusal, and the exit code.

Input: what a screen found. Output: exactly one JSON document with `--json`, in a refusal too
(`{"error": {"reason", "message", "nearest"}}`); the sentence of a refusal is always on standard error,
with the nearest that could be asked instead.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from typing import Any, NoReturn

import typer
from rich.console import Console
from rich.table import Table

from argosy.errors import SpecError
from argosy.exit_codes import ExitCode
from argosy.refusals import Refused

PIPE_COLUMNS = 200
_NUM_NEAREST = 3
INVALID_VALUE = "InvalidValue"
"""The reason of a refusal for which the performance model has no name: a flag or a file cannot be used."""


@dataclass(frozen=True, slots=True)
class Output:
    """Where a command's answer goes."""

    command: str
    as_json: bool
    console: Console

    def document(self, document: Any) -> None:
        """Print a JSON document. Raises ValueError for NaN and infinity, which JSON cannot hold."""
        typer.echo(json.dumps(document, indent=2, allow_nan=False, ensure_ascii=False))

    def remark(self, sentence: str) -> None:
        """Print a sentence on standard error, beside the answer."""
        typer.echo(f"{self.command}: {sentence}", err=True)

    def refuse(
        self,
        message: str,
        reason: str = INVALID_VALUE,
        nearest: Sequence[str] = (),
        code: ExitCode = ExitCode.BAD_INPUT,
    ) -> NoReturn:
        """End without an answer: the reason in a sentence, and the nearest values that have one.

        Raises typer.Exit with `code`.
        """
        if self.as_json:
            self.document({"error": {"reason": reason, "message": message, "nearest": list(nearest)}})
        self.remark(_with_nearest(message, nearest))
        raise typer.Exit(code)

    def refused(self, refusal: Refused[Enum], prefix: str = "") -> NoReturn:
        """End with a refusal of another package; `prefix` names the option or the file at fault."""
        message = f"{prefix}: {refusal.message}" if prefix else refusal.message
        self.refuse(message, str(refusal.reason.value), refusal.nearest)


@contextmanager
def answering(command: str, as_json: bool) -> Iterator[Output]:
    """The output of a command; a SpecError that is raised inside becomes a refusal."""
    output = Output(command, as_json, _console())
    try:
        yield output
    except SpecError as error:
        output.refuse(str(error))


def _with_nearest(message: str, nearest: Sequence[str]) -> str:
    """The sentence, and the nearest that could be asked instead where the sentence does not name it."""
    if not nearest or nearest[0] in message:
        return message
    return f"{message}; did you mean {' or '.join(nearest[:_NUM_NEAREST])}?"


def _console() -> Console:
    """As wide as the terminal. A pipe or a file has no width, and 80 columns would break long sentences."""
    console = Console(highlight=False, markup=False)
    has_width = console.is_terminal or "COLUMNS" in os.environ
    return console if has_width else Console(highlight=False, markup=False, width=PIPE_COLUMNS)


def digits(value: float | None) -> float | None:
    """`value` with five digits, more than any figure is accurate to; None for NaN and infinity."""
    return None if value is None or not math.isfinite(value) else float(f"{value:.5g}")


def plain_table(*columns: str, numbers: Iterable[str] = ()) -> Table:
    """A table without lines in which long cells are folded; columns of `numbers` come last."""
    table = Table(box=None, pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    for column in numbers:
        table.add_column(column, justify="right", overflow="fold")
    return table
