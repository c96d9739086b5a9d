"""`argosy perf replay FILE`: what was observed beside what the simulated engine shows.

Input: a run and the options. Output: errors per measure and per request, and whether either was stationary,
as text or JSON.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import typer
from rich.console import Console
from rich.table import Table

from argosy.cli.options import RunEngineOptions
from argosy.cli.output import Output, digits
from argosy.cli.screens.observed.engine import engine_of, read
from argosy.engine.stationarity import RunVerdict, judge_run
from argosy.exit_codes import ExitCode
from argosy.perf.observed.replay import CannotReplay, Comparison, Replay, replayed
from argosy.perf.observed.run import ObservedRun


def show(file: Path, asked: RunEngineOptions, profiles: tuple[Path, ...], output: Output) -> None:
    """Replay and print. Raises SpecError for a file or an option that cannot be used."""
    run = read(file, output)
    engine = engine_of(run, asked, profiles, output)
    found = replayed(run, engine.model)
    if isinstance(found, CannotReplay):
        output.refused(found)
    verdicts = verdicts_of(run, found)
    comparisons = found.comparisons()
    if output.as_json:
        output.document(
            {
                "file": str(file),
                "tool": run.tool,
                "profile": {"key": str(engine.profile.key), "source": engine.profile.source},
                **run_document(run),
                "stationary": {name: _verdict_document(one) for name, one in verdicts.items()},
                "measures": measures_document(comparisons),
            }
        )
    else:
        output.console.print(f"{engine.profile.key}: {engine.profile.source}", soft_wrap=True)
        print_run(run, output.console)
        for name, verdict in verdicts.items():
            output.console.print(f"{name}: {verdict.message}", soft_wrap=True)
        output.console.print(_table(comparisons))
    if any(one.is_unstable for one in verdicts.values()):
        raise typer.Exit(ExitCode.NOT_KEPT)


def verdicts_of(run: ObservedRun, found: Replay) -> dict[str, RunVerdict]:
    """Of what was observed and of what was simulated."""
    arrivals_s = run.of("sent_s")
    return {
        "observed": judge_run(arrivals_s, arrivals_s + found.observed.e2e_ms / 1e3),
        "simulated": judge_run(arrivals_s, arrivals_s + found.predicted.e2e_ms / 1e3),
    }


def print_run(run: ObservedRun, console: Console) -> None:
    """What is in the run, and what is not."""
    ending = "; interrupted: its last requests are missing" if run.is_partial else ""
    console.print(
        f"{run.name} ({run.tool}): {len(run.requests)} requests, {len(run.failed)} failed{ending}",
        soft_wrap=True,
    )
    causes = dict.fromkeys(one.cause for one in run.failed)
    for sentence in (*list(causes)[:3], *run.notes):
        console.print(f"  {sentence}", soft_wrap=True)


def run_document(run: ObservedRun) -> dict[str, Any]:
    """The same for --json."""
    return {
        "num_requests": len(run.requests),
        "num_failed": len(run.failed),
        "is_partial": run.is_partial,
        "notes": list(run.notes),
    }


def measures_document(comparisons: Sequence[Comparison]) -> dict[str, Any]:
    """Milliseconds; errors are ratios (0.05 is 5 %), positive where the prediction is too high."""
    return {
        one.measure.lower(): {
            "num_requests": one.num_requests,
            "median_request_error": digits(one.median_request_error),
            **{
                each.name: {
                    "observed_ms": digits(each.observed_ms),
                    "predicted_ms": digits(each.predicted_ms),
                    "error": digits(each.error),
                }
                for each in one.statistics
            },
        }
        for one in comparisons
    }


def _verdict_document(verdict: RunVerdict) -> dict[str, Any]:
    """Requests; the drift in requests per second."""
    return {
        "state": str(verdict.state),
        "message": verdict.message,
        "mean_in_system": digits(verdict.mean_in_system),
        "drift_per_s": digits(verdict.drift_per_s),
        "drift_error_per_s": digits(verdict.drift_error_per_s),
    }


def _table(comparisons: Sequence[Comparison]) -> Table:
    table = Table()
    for column in ("", "", "observed ms", "predicted ms", "error", "error of a request (median)"):
        table.add_column(column, justify="left" if not column else "right")
    for one in comparisons:
        for place, each in enumerate(one.statistics):
            begins = place == 0
            table.add_row(
                str(one.measure) if begins else "",
                each.name,
                f"{each.observed_ms:,.1f}",
                f"{each.predicted_ms:,.1f}",
                f"{each.error:+.1%}",
                f"{one.median_request_error:.1%}" if begins else "",
            )
    return table
