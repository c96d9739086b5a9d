"""The progress bar: on a terminal and after a while, else nothing."""

from __future__ import annotations

import io
import time

import pytest

from argosy.cli.progress import progress


class Terminal(io.StringIO):
    """Standard error as a terminal that keeps what is drawn."""

    def isatty(self) -> bool:
        return True


def drawn(stderr: io.StringIO, monkeypatch: pytest.MonkeyPatch, delay_s: float, work_s: float) -> str:
    monkeypatch.setattr("sys.stderr", stderr)
    monkeypatch.setenv("TERM", "xterm")
    with progress("counting [sheep]", delay_s) as bar:
        bar.done(1, 3)
        time.sleep(work_s)
        bar.doing("still counting")
    return stderr.getvalue()


def test_a_long_computation_shows_what_is_done_and_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    text = drawn(Terminal(), monkeypatch, delay_s=0.05, work_s=0.4)
    assert "counting [sheep]" in text
    assert "1/3" in text
    assert text.rstrip().endswith("\x1b[2K"), "the line of the bar is erased"


def test_a_short_computation_shows_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert drawn(Terminal(), monkeypatch, delay_s=30.0, work_s=0.0) == ""


def test_a_pipe_shows_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert drawn(io.StringIO(), monkeypatch, delay_s=0.0, work_s=0.1) == ""


def test_an_error_passes_and_the_bar_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")

    def fail() -> None:
        with progress("counting", 0.0):
            time.sleep(0.2)
            raise ValueError("lost count")

    with pytest.raises(ValueError, match="lost count"):
        fail()
    text = terminal.getvalue()
    assert "counting" in text
    assert text.rstrip().endswith("\x1b[2K"), "the line of the bar is erased"
