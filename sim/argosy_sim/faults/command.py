"""`argosy sim faults`: runs the chosen cases, prints the table, and leaves the JSON document.

Owns what is printed and where; the flags are `argosy_sim.cli`'s.
"""

from __future__ import annotations

import asyncio
import json
import signal
import time
from collections.abc import Sequence

from rich.console import Console

from argosy_sim.faults import table
from argosy_sim.faults.case import Case, Result
from argosy_sim.faults.run import FaultSettings, run_cases

REPORT = "faults.json"


def run_faults(cases: Sequence[Case], settings: FaultSettings, console: Console) -> list[Result]:
    """Run the cases; every result is on disk before the next case begins."""
    settings.output.mkdir(parents=True, exist_ok=True)
    return asyncio.run(_run(cases, settings, console))


async def _run(cases: Sequence[Case], settings: FaultSettings, console: Console) -> list[Result]:
    began_s = time.monotonic()

    def say(line: str) -> None:
        console.print(f"[dim]{time.monotonic() - began_s:6.1f} s[/dim]  {line}", highlight=False)

    task = asyncio.current_task()
    if task is not None:
        # SIGTERM ends the run as Ctrl-C does: components stop in order.
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    results: list[Result] = []
    async for result in run_cases(cases, settings, say):
        results.append(result)
        say(" | ".join(table.row(result)))
        for line in table.failing([result]):
            say(f"  {line}")
        text = json.dumps(table.document(results), indent=2, allow_nan=False)
        (settings.output / REPORT).write_text(text + "\n", encoding="utf-8")
    return results


def show(results: Sequence[Result], console: Console) -> None:
    """The table, then each sentence that does not hold."""
    console.print(table.table(results))
    for line in table.failing(results):
        console.print(line, markup=False)
