"""`argosy perf calibrate FILE`: a profile from a run's first requests, judged on the rest.

Input: a run and the options. Output: the profile's file, and its errors beside the shipped profile's, as text
or JSON. The fit itself is `perf.observed.calibrate`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import typer
from rich.table import Table

from argosy.cli.options import RunEngineOptions
from argosy.cli.output import Output, digits
from argosy.cli.progress import progress
from argosy.cli.screens.fitted import move_document
from argosy.cli.screens.observed.engine import questions_of, read
from argosy.cli.screens.observed.replay import measures_document, print_run, run_document
from argosy.cli.screens.replica import at_least_one
from argosy.errors import SpecError
from argosy.exit_codes import ExitCode
from argosy.perf.measurements import CannotFit, profile_to_bytes
from argosy.perf.observed.calibrate import Calibrated, calibrated
from argosy.perf.observed.replay import CannotReplay, Comparison
from argosy.perf.observed.run import ObservedRun


def show(file: Path, asked: RunEngineOptions, where: tuple[int, Path], output: Output) -> None:
    """Fit, write and print; `where`: how many requests are fitted to, and the profile's file.

    Raises SpecError for a file or an option that cannot be used.
    """
    num_first, out = at_least_one(where[0], "--first"), where[1]
    if out.resolve() == file.resolve():
        raise SpecError(f"{out} is the run and would be replaced; name another", "--out")
    run = read(file, output)
    questions = questions_of(run, asked, output)
    with progress("fitting the profile"):
        found = _best([calibrated(run, question, prior, num_first) for question, prior in questions])
    if isinstance(found, CannotFit | CannotReplay):
        output.refused(found)
    try:
        out.write_bytes(profile_to_bytes(found.fitted))
    except OSError as error:
        raise SpecError(f"{out} cannot be written: {error.strerror}", "--out") from error
    if output.as_json:
        output.document(_document(found, run, out))
    else:
        _print(found, run, out, output)
    if _is_no_better(found):
        raise typer.Exit(ExitCode.NOT_KEPT)


def _best(
    found: Sequence[Calibrated | CannotFit | CannotReplay],
) -> Calibrated | CannotFit | CannotReplay:
    """The one that fits its own requests best, for the rest only judges; where none is one, a refusal."""
    fitted = [each for each in found if isinstance(each, Calibrated)]
    return min(fitted, key=_first_error) if fitted else found[0]


def _first_error(found: Calibrated) -> float:
    error = _error(found.first)
    return math.inf if error is None else error


def _is_no_better(found: Calibrated) -> bool:
    """Whether the shipped profile predicts the requests that were not fitted at least as well."""
    own, shipped = _error(found.rest), _error(found.prior_rest)
    return own is not None and shipped is not None and own >= shipped


def _error(comparisons: tuple[Comparison, ...]) -> float | None:
    """Of a request's E2E, the median; None without requests."""
    return next((one.median_request_error for one in comparisons if one.measure == "E2E"), None)


def _print(found: Calibrated, run: ObservedRun, out: Path, output: Output) -> None:
    console, profile = output.console, found.fitted.profile
    console.print(f"{profile.key}: {profile.source}", soft_wrap=True)
    print_run(run, console)
    console.print(f"moved from the prior: {'; '.join(map(str, found.fitted.moves))}", soft_wrap=True)
    table = Table()
    for column in ("", "requests", "", "this profile", "the shipped profile"):
        table.add_column(column)
    parts = (
        (f"fitted to (first {found.num_first})", found.first, found.prior_first),
        ("not fitted to", found.rest, found.prior_rest),
    )
    for words, own, shipped in parts:
        for one, other in zip(own, shipped, strict=True):
            table.add_row(words, str(one.num_requests), str(one.measure), _errors(one), _errors(other))
            words = ""
    console.print(table)
    if not found.rest:
        console.print(f"no request is left to judge it: the run has {len(run.requests)}", soft_wrap=True)
    console.print(
        f"expect step times within {profile.uncertainty:.1%}; the front end adds"
        f" {found.fitted.front_end_ms:.1f} ms to TTFT",
        soft_wrap=True,
    )
    console.print(
        f"wrote {out}; compare it with: argosy perf replay {run.name} --profile {out}", soft_wrap=True
    )


def _errors(one: Comparison) -> str:
    """Of the mean, of the 95th percentile, of a single request."""
    return (
        f"mean {one.of('mean').error:+.1%}, p95 {one.of('p95').error:+.1%}, "
        f"a request {one.median_request_error:.1%}"
    )


def _document(found: Calibrated, run: ObservedRun, out: Path) -> dict[str, Any]:
    """What --json prints. Errors are ratios."""
    fitted = found.fitted
    return {
        "file": str(out),
        "profile": {
            "key": str(fitted.profile.key),
            "origin": str(fitted.profile.origin),
            "error": digits(fitted.profile.uncertainty),
        },
        **run_document(run),
        "front_end_ms": digits(fitted.front_end_ms),
        "moves": [move_document(one) for one in fitted.moves],
        "num_first": found.num_first,
        "first": {"own": measures_document(found.first), "shipped": measures_document(found.prior_first)},
        "rest": {"own": measures_document(found.rest), "shipped": measures_document(found.prior_rest)},
    }
