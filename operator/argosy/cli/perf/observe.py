"""`argosy perf observe URL`: the flags. The observing is `screens.observed.observe`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from argosy.cli.completion import gpu_names
from argosy.cli.early import require_readable
from argosy.cli.options import AsJson, ObserveOptions
from argosy.cli.output import answering

Url = Annotated[
    str,
    typer.Argument(
        metavar="URL",
        help="Base URL of an OpenAI-compatible endpoint: scheme, host, port.",
        show_default=False,
    ),
]
TraceFile = Annotated[
    Path, typer.Option("--trace", help="Trace file: Azure CSV, BurstGPT CSV or Mooncake JSON lines.")
]
Out = Annotated[Path, typer.Option("--out", help="File for one JSON line per request; must not exist yet.")]
ServedName = Annotated[
    str | None, typer.Option("--model", help="Model name in the requests; default: the first one served.")
]
MeanRate = Annotated[
    float | None,
    typer.Option("--qps", metavar="PER_S", help="Mean requests/s: the trace's times, stretched."),
]
Speed = Annotated[
    float, typer.Option("--speed", metavar="FACTOR", help="Send the trace this many times as fast.")
]
MaxRequests = Annotated[
    int | None, typer.Option("--max-requests", metavar="N", help="The trace's first requests only.")
]
MaxInFlight = Annotated[
    int,
    typer.Option(
        "--max-in-flight", metavar="N", help="With so many unanswered, one is not sent but recorded."
    ),
]
Duration = Annotated[
    float | None, typer.Option("--duration", metavar="S", help="The requests of the first seconds only.")
]
Timeout = Annotated[float, typer.Option("--timeout", metavar="S", help="Seconds that one request may take.")]
RequestPath = Annotated[str, typer.Option("--path", help="Request path; one that ends in /completions.")]
AsText = Annotated[
    bool, typer.Option("--text", help="Prompts as text: endpoints other than vLLM take no token ids.")
]
Headers = Annotated[
    list[str] | None,
    typer.Option("--header", help="NAME:VALUE sent with every request; repeatable; not kept."),
]
GpuKept = Annotated[
    str | None,
    typer.Option("--gpu", help="GPU of the engine, kept in the file for replay.", autocompletion=gpu_names),
]
TpKept = Annotated[
    int | None, typer.Option("--tp", metavar="GPUS", help="GPUs of the engine, kept in the file.")
]


def observe(  # noqa: PLR0913 - one parameter per flag
    url: Url,
    trace: TraceFile,
    out: Out,
    model: ServedName = None,
    qps: MeanRate = None,
    speed: Speed = 1.0,
    max_requests: MaxRequests = None,
    duration: Duration = None,
    max_in_flight: MaxInFlight = 512,
    timeout: Timeout = 300.0,
    path: RequestPath = "/v1/completions",
    text: AsText = False,
    header: Headers = None,
    gpu: GpuKept = None,
    tp: TpKept = None,
    as_json: AsJson = False,
) -> None:
    """Send a trace's requests to an endpoint of yours, and keep when each was sent and answered.

    Requests are sent when they are due, whatever is answered; Ctrl-C ends
    the run and keeps what was observed. Then: argosy perf replay FILE.
    """
    load = (qps, speed, max_requests, duration, max_in_flight, timeout)
    request = (path, text, tuple(header or ()))
    asked = ObserveOptions(url, trace, out, model, *load, *request, gpu, tp)
    with answering("argosy perf observe", as_json) as found:
        require_readable([trace])
        from argosy.cli.screens.observed import observe as screen  # imports the client

        screen.show(asked, found)
