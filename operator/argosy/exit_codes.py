"""The exit codes of every `argosy` command, its simulator's included: one table.

`docs/cli.md` shows the table, and the help of each command that judges something shows `SENTENCE`.
"""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """What a script may rely on. Python keeps 1: an error that Argosy did not expect, with a traceback."""

    OK = 0
    BAD_INPUT = 2
    NOT_KEPT = 3


MEANING = {
    ExitCode.OK: "everything is served or kept, and every question has an answer",
    ExitCode.BAD_INPUT: "the input cannot be used: a flag, a file or a name is wrong, or the question has no"
    " answer; a sentence on standard error says which and what to do",
    ExitCode.NOT_KEPT: "the input was understood, and something is unserved, infeasible or broken",
}
SENTENCE = (
    "Exit codes: 0 all served or kept, 2 bad input or a question without an answer,"
    " 3 something unserved, infeasible or broken."
)


def exit_code(is_kept: bool) -> ExitCode:
    """Of a command that judges what it found."""
    return ExitCode.OK if is_kept else ExitCode.NOT_KEPT
