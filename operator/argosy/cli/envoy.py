"""`argosy envoy`: what an Envoy needs to be configured by the operator.

Input: the flags. Output: a bootstrap as YAML, printed or written into a folder, to be given to any Envoy.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

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
    directory: Annotated[
        Path | None,
        typer.Option(
            "--directory",
            metavar="DIR",
            help="Write bootstrap.yaml into this folder, and with --tls-cert the two files that it names.",
        ),
    ] = None,
    seen_at: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Where Envoy sees that folder; default: where it is."),
    ] = None,
) -> None:
    """Print the bootstrap of one Envoy, or write it: run it with `envoy -c FILE`.

    Routes and endpoints come from the operator. The admin interface stays on
    127.0.0.1; a second, read-only listener lets the operator read counters. Paths of
    certificates are those that Envoy will see, absolute ones; they may come later.
    """
    from argosy.manifests.envoy_bootstrap import EnvoyBootstrap, files

    tls = _seen_by_envoy(tls_files((tls_cert, tls_key, tls_ca), ("--tls-cert", "--tls-key", "--tls-ca")))
    _require_directory(directory, seen_at, has_tls=tls is not None)
    wanted = EnvoyBootstrap(
        node_id=node_id or unique_node_id(),
        ads=tuple(peer_address(each, "--ads") for each in ads or (DEFAULT_ADS,)),
        admin_port=admin_port,
        stats=_stats(stats_address, admin_port),
        tls=tls,
        directory=(seen_at or directory or Path()).absolute(),
    )
    _give(files(wanted), directory)


def _require_directory(directory: Path | None, seen_at: Path | None, *, has_tls: bool) -> None:
    """Raises SpecError where files are needed, or described, that are not written."""
    if directory is not None:
        return
    if has_tls:
        raise SpecError(
            "mutual TLS needs two files beside the bootstrap, by which Envoy reads renewed certificates:"
            " name a folder for all three",
            "--directory",
        )
    if seen_at is not None:
        raise SpecError("it says where Envoy sees the files of --directory: name that too", "--seen-at")


def _give(files: dict[str, dict[str, Any]], directory: Path | None) -> None:
    """Write every file into the folder, or print the only one. Raises SpecError."""
    import yaml

    from argosy.files.atomic import write_text

    for name, content in files.items():
        text = yaml.safe_dump(content, sort_keys=False)
        if directory is None:
            typer.echo(text, nl=False)
            continue
        try:
            write_text(directory / name, text)
        except OSError as error:
            raise SpecError(
                f"{directory / name} cannot be written: {error.strerror}", "--directory"
            ) from error


def _seen_by_envoy(tls: TlsFiles | None) -> TlsFiles | None:
    """Raises SpecError for a relative path: which file it means depends on where Envoy is started."""
    paths = () if tls is None else (tls.certificate, tls.key, tls.authority)
    for path, flag in zip(paths, ("--tls-cert", "--tls-key", "--tls-ca"), strict=False):
        if not path.is_absolute():
            raise SpecError(f"{path} needs to be absolute, such as {path.absolute()}: Envoy reads it", flag)
    return tls


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
