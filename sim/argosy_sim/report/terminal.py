"""Tables and verdicts in a terminal.

Owns their look. States in words whatever it also shows in colour: a log has no colour. Input: column
names and texts. Output: what rich renders. Pure.
"""

from __future__ import annotations

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

ALARM = "bold red"


def table(*columns: str) -> Table:
    """A table without rows. Columns whose names end in `>` hold numbers; those in `|` never wrap."""
    made = Table(box=SIMPLE_HEAD, pad_edge=False, header_style="bold")
    for column in columns:
        made.add_column(
            column.rstrip(">|"),
            justify="right" if column.endswith(">") else "left",
            overflow="fold",
            no_wrap=column.endswith("|"),
        )
    return made


def alarm(text: str, is_alarming: bool) -> Text:
    """The text, marked where it is alarming."""
    return Text(text, style=ALARM if is_alarming else "")


def verdict_word(is_kept: bool) -> Text:
    """Whether a bound was kept, in a word."""
    return Text("kept", style="green") if is_kept else Text("BROKEN", style=ALARM)
