"""The flags of `argosy sim replay`: their types and help, and the values that they are passed on in.

Owns what `--help` shows. Imports nothing that measures or sends: `argosy --help` loads this module.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

DEFAULT_DURATION_S = 60.0

TargetUrl = Annotated[str, typer.Option(help="Base URL of the endpoint: scheme, host and port.")]
Model = Annotated[str, typer.Option(help="Model name that the requests carry.")]
Out = Annotated[Path, typer.Option(help="File for one JSON line per request; must not exist yet.")]
TraceFile = Annotated[
    Path | None, typer.Option(help="Trace file: Azure CSV, BurstGPT CSV or Mooncake JSON lines.")
]
ArchetypeName = Annotated[str | None, typer.Option(help="Built-in lengths instead of a trace; needs --rate.")]
Rate = Annotated[
    float | None, typer.Option(help="Mean requests per second; without it a trace keeps its own times.")
]
RateScale = Annotated[float, typer.Option(help="Multiplies every rate, a trace's own too.")]
Slice = Annotated[str | None, typer.Option("--slice", help="START:END, the seconds of the trace to use.")]
Duration = Annotated[
    float | None,
    typer.Option(help=f"Seconds of load: with --rate {DEFAULT_DURATION_S:g}, else the whole trace."),
]
ClassName = Annotated[str, typer.Option("--class", help="Workload class, as records name it.")]
RequestPath = Annotated[str, typer.Option(help="Request path; one that ends in /completions.")]
Headers = Annotated[list[str] | None, typer.Option(help="NAME:VALUE sent with every request; repeatable.")]
Seed = Annotated[int, typer.Option(min=0, help="Seed of an archetype's arrivals and lengths.")]
Timeout = Annotated[float, typer.Option(min=0.001, help="Seconds that one request may take.")]
SkipBadLines = Annotated[
    bool, typer.Option("--skip-bad-lines", help="Go on without a trace's malformed lines.")
]


@dataclass(frozen=True, slots=True)
class Source:
    """The flags that choose the lengths, as the user wrote them."""

    trace: Path | None
    archetype: str | None
    skip_bad_lines: bool
    window: str | None


@dataclass(frozen=True, slots=True)
class Pace:
    """The flags that choose the times."""

    rate: float | None
    rate_scale: float
    duration_s: float | None


@dataclass(frozen=True, slots=True)
class RequestFlags:
    """The flags that choose what each request carries, where it goes and where its record is kept."""

    target: str
    model: str
    out: Path
    class_name: str
    path: str
    headers: tuple[str, ...]
    seed: int
    timeout_s: float
