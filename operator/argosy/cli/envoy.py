"""`argosy envoy`: what an Envoy needs to be configured by the operator.

Input: the flags. Output: a bootstrap as YAML on standard output, to be given to any Envoy.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from argosy.addresses import DEFAULT_ADS, host_and_port, peer_address
from argosy.errors import SpecError

if TYPE_CHECKING:
    from argosy.settings import TlsFiles

app = typer.Typer(help="Envoys that the operator configures.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Envoys that the operator configures."""


@app.command()
def bootstrap(  # noqa: PLR0913  (each argument is a flag)
    ads: Annotated[
        list[str] | None,
        typer.Option(
            metavar="HOST:PORT",
            help=f"An operator's --xds-address; repeatable, for its replicas. Default: {DEFAULT_ADS}",
        ),
    ] = None,
    node_id: Annotated[
        str,
        typer.Option(
            envvar="POD_NAME", help="Unique for each Envoy; default: the host's name and eight random digits."
        ),
    ] = "",
    admin_port: Annotated[
        int, typer.Option(min=1, max=65535, help="Port of the admin interface, on 127.0.0.1.")
    ] = 9901,
    stats_address: Annotated[
        str,
        typer.Option(
            metavar="HOST:PORT",
            help="Where the operator reads counters; 0.0.0.0:PORT: at the address that Envoy connects from.",
        ),
    ] = "127.0.0.1:9902",
    tls_cert: Annotated[Path | None, typer.Option(help="Certificate that Envoy shows the operator.")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="Its key.")] = None,
    tls_ca: Annotated[
        Path | None, typer.Option(help="Authority that signed the operator's certificate.")
    ] = None,
) -> None:
    """Print the bootstrap of one Envoy: run it with `envoy -c FILE`.

    Routes and endpoints come from the operator. The admin interface stays on
    127.0.0.1; a second, read-only listener lets the operator read counters. Paths of
    certificates are those that Envoy will see.
    """
    import yaml

    from argosy.manifests.envoy_bootstrap import EnvoyBootstrap
    from argosy.manifests.envoy_bootstrap import bootstrap as configuration

    wanted = EnvoyBootstrap(
        node_id=node_id or unique_node_id(),
        ads=tuple(peer_address(each, "--ads") for each in ads or (DEFAULT_ADS,)),
        admin_port=admin_port,
        stats=_stats(stats_address, admin_port),
        tls=tls_files((tls_cert, tls_key, tls_ca), ("--tls-cert", "--tls-key", "--tls-ca")),
    )
    typer.echo(yaml.safe_dump(configuration(wanted), sort_keys=False), nl=False)


def _stats(text: str, admin_port: int) -> tuple[str, int]:
    """Where to listen.

    Raises SpecError for a name, on which Envoy cannot listen, and for a port that it cannot listen on twice
    or that only Envoy would know.
    """
    import ipaddress

    host, port = host_and_port(text, "--stats-address")
    if port in (0, admin_port):
        raise SpecError(f"{text!r} needs a port of its own, such as 127.0.0.1:9902", "--stats-address")
    try:
        return str(ipaddress.ip_address(host)), port
    except ValueError as error:
        needed = "an IP address to listen on, such as 127.0.0.1:9902"
        raise SpecError(f"{text!r} needs {needed}", "--stats-address") from error


def unique_node_id() -> str:
    """The host's name and eight random digits: two Envoys with one id would be one to the operator."""
    import secrets
    import socket

    return f"{socket.gethostname()}-{secrets.token_hex(4)}"


def tls_files(paths: tuple[Path | None, Path | None, Path | None], flags: tuple[str, ...]) -> TlsFiles | None:
    """All three files or none; raises SpecError naming the flags that are missing."""
    from argosy.settings import TlsFiles

    certificate, key, authority = paths
    if certificate and key and authority:
        return TlsFiles(certificate, key, authority)
    missing = [flag for flag, path in zip(flags, paths, strict=True) if path is None]
    if len(missing) == len(flags):
        return None
    raise SpecError(
        f"mutual TLS needs {', '.join(flags)} together; give {' and '.join(missing)} too", missing[0]
    )
