"""`argosy operator run`: the operator as a process.

Input: the flags. Output: `OperatorSettings`, with which the process runs until it is stopped.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from argosy.addresses import DEFAULT_ADS, host_and_port
from argosy.cli.envoy import tls_files
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
        Path | None,
        typer.Option(
            help="Kubeconfig; default: the cluster that this process runs in, $KUBECONFIG, ~/.kube/config."
        ),
    ] = None,
    namespace: Annotated[str, typer.Option(help="Namespace of the leader's Lease.")] = "argosy-system",
    identity: Annotated[
        str,
        typer.Option(
            help="Identity in the Lease; default: the host's name, and a suffix kept in --state-dir."
        ),
    ] = "",
    xds_address: Annotated[str, typer.Option(help="host:port of the ADS server.")] = DEFAULT_ADS,
    http_address: Annotated[
        str, typer.Option(help="host:port of /healthz, /readyz and /metrics.")
    ] = "127.0.0.1:18080",
    state_dir: Annotated[
        Path, typer.Option(help="Folder of the last xDS snapshot, capacities and calibrations.")
    ] = Path("argosy-state"),
    xds_tls_cert: Annotated[
        Path | None, typer.Option(help="Certificate of the ADS server; Envoys must then show one too.")
    ] = None,
    xds_tls_key: Annotated[Path | None, typer.Option(help="Its key.")] = None,
    xds_tls_ca: Annotated[
        Path | None, typer.Option(help="Authority that signed the Envoys' certificates.")
    ] = None,
    certificates: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="Renew the Secrets NAME-ca, NAME-server and NAME-envoy of --namespace, which"
            " `argosy certificates` makes, in time; default: renew none.",
        ),
    ] = "",
    envoy: Annotated[
        list[str] | None,
        typer.Option(
            help="NODE_ID=ADMIN_URL: where to read an Envoy's counters, for one that does not announce it"
            " as `argosy envoy bootstrap` lets it; repeatable."
        ),
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
    import os

    from argosy.kube.kubeconfig import find_kubeconfig, require_readable

    settings = OperatorSettings(
        namespace=namespace,
        identity=identity,
        xds_address=xds_address,
        xds_tls=tls_files(
            (xds_tls_cert, xds_tls_key, xds_tls_ca), ("--xds-tls-cert", "--xds-tls-key", "--xds-tls-ca")
        ),
        certificates=certificates,
        http_address=http_address,
        state_dir=state_dir,
        envoys=tuple(_envoy(each) for each in envoy or ()),
        prometheus_url=prometheus,
        kubeconfig=(require_readable(kubeconfig) if kubeconfig else find_kubeconfig(os.environ, Path.home())),
    )
    for address, flag in ((xds_address, "--xds-address"), (http_address, "--http-address")):
        host_and_port(address, flag)
    _run(settings, log_level, log_format)


def _run(settings: OperatorSettings, log_level: LogLevel, log_format: LogFormat) -> None:
    import asyncio
    import os

    if log_level != "debug":
        # gRPC writes a line of its own, past every format, for each connection that it refuses: an Envoy
        # without an acceptable certificate tries once a second. It reads this when it is imported.
        os.environ.setdefault("GRPC_VERBOSITY", "ERROR")

    from argosy.reconcile.operator import run as run_operator  # imports all of the operator
    from argosy.reconcile.reporting.logs import configure

    configure(log_level, log_format)
    asyncio.run(run_operator(settings))


def _envoy(text: str) -> EnvoyAdmin:
    """Raises SpecError."""
    node_id, separator, url = text.partition("=")
    if not (separator and node_id and url.startswith("http")):
        raise SpecError(f"{text!r} is not NODE_ID=ADMIN_URL, such as edge-0=http://127.0.0.1:9901", "--envoy")
    return EnvoyAdmin(node_id, url)
