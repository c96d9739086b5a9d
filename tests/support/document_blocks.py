"""Command blocks of Markdown documents, and walking one path of a document as a new user would.

Input: a Markdown file whose fences name a language and, where they hold commands, a path:

    ```sh embedded        commands as they are typed
    ```console kind       commands after `$ `, each followed by what it prints
    ```sh every           what each path has to run, where it stands before or between its own blocks
    ```yaml               any other language: no commands

Output: `fences`, `steps` (the commands of a path, in order) and `walk`, which runs them in one bash. What is
printed is compared with what a console block shows: a line `...` stands for any lines, `...` within a line
for any text, and the width of a gap between words does not count.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from markdown_it import MarkdownIt

REPOSITORY = Path(__file__).parents[2]
QUICKSTART = REPOSITORY / "docs" / "quickstart.md"
INSTALL = REPOSITORY / "docs" / "install.md"
PATHS = ("embedded", "kind", "cluster", "hand")
EVERY = "every"
COMMANDS = ("sh", "console")
LANGUAGES = (*COMMANDS, "text", "yaml")
ANY = "..."
PROMPT = "$ "
NOT_OF_A_CLONE = (".git", ".venv", "build", ".*_cache", "__pycache__")
_END_OF_STEP = "\x1e"


class BlockError(ValueError):
    """A fence whose language or path is not one of those that the tests know."""


@dataclass(frozen=True)
class Fence:
    """A fenced block: where its first line is, its language, its path if it has one, and its lines."""

    document: Path
    line: int
    language: str
    path: str | None
    lines: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.document.name}:{self.line}"


@dataclass(frozen=True)
class Step:
    """Commands that are typed together, and the lines that they should print; None: not shown."""

    where: str
    commands: str
    expected: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Checkout:
    """A clone in a directory of its own, the environment of its user, and for how long a path may take."""

    directory: Path
    environment: Mapping[str, str]
    limit_s: float
    prefix: tuple[str, ...] = ()
    """What bash is started by, for instance a program that gives it a network of its own."""

    @property
    def output_file(self) -> Path:
        """What the last walk printed on standard output."""
        return self.directory.with_suffix(".out")

    @property
    def error_file(self) -> Path:
        """What the last walk printed on standard error."""
        return self.directory.with_suffix(".err")


def fences(document: Path) -> list[Fence]:
    """Every fenced block of a document."""
    found = []
    for token in MarkdownIt().parse(document.read_text()):
        if token.type != "fence" or token.map is None:
            continue
        language, _, path = token.info.strip().partition(" ")
        lines = tuple(token.content.splitlines())
        found.append(Fence(document, token.map[0] + 2, language, path or None, lines))
    return found


def steps(document: Path, path: str) -> list[Step]:
    """The steps of one path, in the document's order. Raises `BlockError` for a path that is not known."""
    found: list[Step] = []
    for fence in fences(document):
        if fence.path is not None:
            require_known(fence)
        if fence.path in (path, EVERY):
            found += _steps_of(fence)
    return found


def require_known(fence: Fence) -> None:
    """Raises `BlockError` unless language and path are known, and only commands have a path."""
    if fence.language not in LANGUAGES:
        raise BlockError(f"{fence}: language {fence.language!r} is none of {', '.join(LANGUAGES)}")
    paths = (None, EVERY, *PATHS) if fence.language in COMMANDS else (None,)
    if fence.path not in paths:
        raise BlockError(f"{fence}: a block of {fence.language} has no path {fence.path!r}")
    if fence.language == "console" and not fence.lines[0].startswith(PROMPT):
        raise BlockError(f"{fence}: a console block begins with a command, after {PROMPT!r}")


def _steps_of(fence: Fence) -> Iterator[Step]:
    if fence.language == "sh":
        yield Step(str(fence), "\n".join(fence.lines))
        return
    starts = [place for place, line in enumerate(fence.lines) if line.startswith(PROMPT)]
    for start, end in zip(starts, [*starts[1:], len(fence.lines)], strict=True):
        where = f"{fence.document.name}:{fence.line + start}"
        yield Step(where, fence.lines[start].removeprefix(PROMPT), fence.lines[start + 1 : end])


def clone(directory: Path) -> Path:
    """A copy of this checkout, as after `git clone` and `make setup`: its `.venv` is the tests' own."""
    shutil.copytree(REPOSITORY, directory, symlinks=True, ignore=shutil.ignore_patterns(*NOT_OF_A_CLONE))
    (directory / ".venv").symlink_to(sys.prefix, target_is_directory=True)
    return directory


def walk(todo: Sequence[Step], checkout: Checkout) -> list[str]:
    """What each step printed on standard output, after it was compared with what the document shows.

    One bash runs them all and stops at the first command that fails; everything in its process group ends
    with it. Fails the test with the step, what was printed and standard error.
    """
    assert todo, "no step"
    ended = _ended(_script(todo), checkout)
    printed = checkout.output_file.read_text().split(_END_OF_STEP)
    errors = checkout.error_file.read_text()
    last = min(len(printed), len(todo)) - 1
    assert ended == 0, f"{todo[last].where} {ended}:\n{todo[last].commands}\n{printed[last]}\n{errors}"
    for step, output in zip(todo, printed, strict=False):
        if step.expected is not None:
            missing = first_missing(step.expected, output)
            assert missing is None, f"{step.where}: {missing!r} was not printed by {step.commands}:\n{output}"
    return printed[: len(todo)]


_OF_A_TERMINAL = ("COLUMNS", "LINES")
"""Processes of pytest-xdist have them, and what a command prints to a file would be cut to 80 columns."""


def _script(todo: Sequence[Step]) -> str:
    mark = f"printf '{_END_OF_STEP}'"
    return "\n".join(f"{step.commands}\n{mark}" for step in todo)


def _ended(script: str, checkout: Checkout) -> int | str:
    """0, or how bash ended otherwise. Files take what it prints: a job that outlives it would hold a pipe."""
    with checkout.output_file.open("w") as output, checkout.error_file.open("w") as error:
        process = subprocess.Popen(
            [*checkout.prefix, "bash", "-euo", "pipefail", "-c", script],
            cwd=checkout.directory,
            env={k: v for k, v in checkout.environment.items() if k not in _OF_A_TERMINAL},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=error,
            start_new_session=True,
        )
        try:
            code = process.wait(checkout.limit_s)
        except subprocess.TimeoutExpired:
            return f"went on after {checkout.limit_s:g} s"
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    return code and f"ended with {code}"


def first_missing(expected: Sequence[str], printed: str) -> str | None:
    """The first expected line that the output does not have at its place; None: it is as shown."""
    lines = printed.splitlines()
    place, anywhere = 0, False
    for shown in expected:
        if shown.strip() == ANY:
            anywhere = True
            continue
        ahead = range(place, len(lines) if anywhere else min(place + 1, len(lines)))
        found = next((at for at in ahead if _pattern(shown).fullmatch(lines[at].strip())), None)
        if found is None:
            return shown
        place, anywhere = found + 1, False
    return None if anywhere or place == len(lines) else f"the end, after {place} lines"


def _pattern(shown: str) -> re.Pattern[str]:
    words = [".*".join(re.escape(part) for part in word.split(ANY)) for word in shown.split()]
    return re.compile(r"\s+".join(words))
