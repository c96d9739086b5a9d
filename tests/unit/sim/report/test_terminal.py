"""Tables and verdicts in a terminal."""

from __future__ import annotations

from rich.console import Console

from argosy_sim.report.terminal import alarm, table, verdict_word


def test_a_table_reads_without_colour() -> None:
    made = table("run|", "lost>", "verdict")
    made.add_row("first run", alarm("3", True), verdict_word(False))
    console = Console(width=60, color_system=None, force_terminal=False)
    with console.capture() as capture:
        console.print(made)
    lines = [line.split() for line in capture.get().splitlines() if line.strip()]
    assert lines[0] == ["run", "lost", "verdict"]
    assert lines[-1] == ["first", "run", "3", "BROKEN"]
