"""The `replay` command: a trace or an archetype against a running endpoint.

Owns the command line; the work is `job`, loaded only when it is run.
"""

from __future__ import annotations

import typer

from argosy.client.planned import CHAT_PATH
from argosy_sim.replay import options


def register(app: typer.Typer) -> None:
    """Add `replay` to a Typer application."""
    app.command("replay")(replay_command)


def replay_command(  # noqa: PLR0913 - a command's arguments are its flags
    target: options.TargetUrl,
    model: options.Model,
    out: options.Out,
    trace: options.TraceFile = None,
    archetype: options.ArchetypeName = None,
    rate: options.Rate = None,
    rate_scale: options.RateScale = 1.0,
    window: options.Slice = None,
    duration: options.Duration = None,
    class_name: options.ClassName = "default",
    path: options.RequestPath = CHAT_PATH,
    header: options.Headers = None,
    seed: options.Seed = 0,
    timeout: options.Timeout = 300.0,
    skip_bad_lines: options.SkipBadLines = False,
) -> None:
    """Replay a trace, or an archetype's load, against an OpenAI-compatible endpoint."""
    from argosy_sim.replay import job  # loads numpy and aiohttp, which --help does not need

    source = options.Source(trace, archetype, skip_bad_lines, window)
    pace = options.Pace(rate, rate_scale, duration)
    headers = tuple(header or ())
    wanted = options.RequestFlags(target, model, out, class_name, path, headers, seed, timeout)
    raise typer.Exit(job.run(source, pace, wanted))
