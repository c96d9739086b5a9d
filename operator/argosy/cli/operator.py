"""`argosy operator run`: the operator as a process.

Input: the flags. Output: `OperatorSettings`, with which the process runs until it is stopped.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated, Literal

import typer

from argosy.errors import SpecError
from argosy.settings import EnvoyAdmin, OperatorSettings

LogLevel = Literal["debug", "info", "warning", "error"]
LogFormat = Literal["text", "json"]

app = typer.Typer(help="The operator.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """The operator."""


@app.command()
def run(  # noqa: PLR0913  (each argument is a flag)
    kubeconfig: Annotated[
        Path | None, typer.Option(help="Kubeconfig file; default: the cluster that this process runs in.")
    ] = None,
    namespace: Annotated[str, typer.Option(help="Namespace of the leader's Lease.")] = "argosy-system",
    identity: Annotated[
        str,
        typer.Option(
            help="Identity in the Lease; default: the host's name, and a suffix kept in --state-dir."
        ),
    ] = "",
    xds_address: Annotated[str, typer.Option(help="host:port of the ADS server.")] = "127.0.0.1:18000",
    http_address: Annotated[
        str, typer.Option(help="host:port of /healthz, /readyz and /metrics.")
    ] = "127.0.0.1:18080",
    state_dir: Annotated[
        Path, typer.Option(help="Folder of the last xDS snapshot, capacities and calibrations.")
    ] = Path("argosy-state"),
    envoy: Annotated[
        list[str] | None,
        typer.Option(help="NODE_ID=ADMIN_URL of an Envoy to read counters from; repeatable."),
    ] = None,
    prometheus: Annotated[
        str, typer.Option(help="URL of a Prometheus to read from, instead of scraping engines.")
    ] = "",
    log_level: Annotated[LogLevel, typer.Option(help="Least severe message to log.")] = "info",
    log_format: Annotated[
        LogFormat, typer.Option(help="Lines of text, or one JSON object per line.")
    ] = "text",
) -> None:
    """Run the operator until SIGTERM or Ctrl-C."""
    from argosy.reconcile.operator import run as run_operator  # imports all of the operator
    from argosy.reconcile.reporting.logs import configure

    configure(log_level, log_format)
    settings = OperatorSettings(
        namespace=namespace,
        kubeconfig=kubeconfig,
        identity=identity,
        xds_address=xds_address,
        http_address=http_address,
        state_dir=state_dir,
        envoys=tuple(_envoy(each) for each in envoy or ()),
        prometheus_url=prometheus,
    )
    asyncio.run(run_operator(settings))


def _envoy(text: str) -> EnvoyAdmin:
    """Raises SpecError."""
    node_id, separator, url = text.partition("=")
    if not (separator and node_id and url.startswith("http")):
        raise SpecError(f"{text!r} is not NODE_ID=ADMIN_URL, such as edge-0=http://127.0.0.1:9901", "--envoy")
    return EnvoyAdmin(node_id, url)
