"""A progress bar on standard error, for what takes longer than two seconds on a terminal.

Input: what is done, and how much of it. Nothing is drawn before `DELAY_S`, nothing where standard error is
not a terminal, and the bar is removed at the end: the answer on standard output stays as it is.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Timer

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

DELAY_S = 2.0


class ProgressBar:
    """What a computation reports to."""

    def __init__(self, progress: Progress, doing: str) -> None:
        self._progress = progress
        self._task = progress.add_task(doing, total=None)

    def doing(self, sentence: str) -> None:
        """Show this sentence from now on."""
        self._progress.update(self._task, description=sentence)

    def done(self, count: int, total: int) -> None:
        """`count` of `total` parts are done."""
        self._progress.update(self._task, completed=count, total=total)


@contextmanager
def progress(doing: str, delay_s: float = DELAY_S) -> Iterator[ProgressBar]:
    """A bar for the time of the block, on a terminal and after `delay_s` seconds."""
    console = Console(stderr=True, highlight=False)
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn())
    shown = Progress(*columns, TimeElapsedColumn(), console=console, transient=True)
    bar = ProgressBar(shown, doing)
    if not sys.stderr.isatty():
        yield bar
        return
    # A timer rather than a check at each report: some computations report nothing for many seconds.
    timer = Timer(delay_s, shown.start)
    timer.daemon = True
    timer.start()
    try:
        yield bar
    finally:
        timer.cancel()
        timer.join()
        shown.stop()
