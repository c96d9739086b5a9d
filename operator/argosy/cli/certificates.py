"""`argosy certificates`: the flags. What is due is `certificates.renewal`'s business.

Input: hosts and lifetimes, where they differ from those kept. Output: Secrets or folders, and a table of when
each certificate ends and what was made anew.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from argosy.cli.options import AsJson
from argosy.cli.output import answering, plain_table
from argosy.errors import SpecError

if TYPE_CHECKING:
    from collections.abc import Callable

    from argosy.certificates.renewal import Held
    from argosy.certificates.wanted import Wanted
    from argosy.cli.output import Output
    from argosy.reconcile.certificates.keeper import Pass

    Choice = Callable[[Held], Wanted]


def certificates(  # noqa: PLR0913  (each argument is a flag)
    host: Annotated[
        list[str] | None,
        typer.Option(
            help="Host of the Envoys' --ads, without its port; repeatable. Needed once, then kept.",
        ),
    ] = None,
    kubeconfig: Annotated[
        Path | None,
        typer.Option(
            help="Kubeconfig; default: the cluster that this process runs in, $KUBECONFIG, ~/.kube/config."
        ),
    ] = None,
    namespace: Annotated[str, typer.Option(help="Namespace of the Secrets.")] = "argosy-system",
    name: Annotated[
        str, typer.Option(help="The Secrets are NAME-ca, NAME-server and NAME-envoy.")
    ] = "argosy-xds",
    directory: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Write into DIR/ca, DIR/server and DIR/envoy instead of Secrets."),
    ] = None,
    leaf_days: Annotated[
        int | None,
        typer.Option(min=1, max=3650, help="Days that a certificate is valid; default: as before, or 90."),
    ] = None,
    authority_days: Annotated[
        int | None,
        typer.Option(min=2, max=36500, help="Days that an authority is valid; default: as before, or 730."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Make the certificates of mutual TLS between Envoys and operators, or renew those that are due.

    Makes an authority, a certificate for the operators and one for Envoys where they
    are missing, unreadable, for other hosts, or 60 % of their lifetime is over. Run it
    again at any time: where nothing is due, nothing changes. A new authority and the
    one before are both trusted until every certificate is of the new one.
    """
    with answering("argosy certificates", as_json) as output:
        choice = _choice(host or [], leaf_days, authority_days)
        if directory is not None:
            found = _in_folder(directory, choice)
        else:
            found = _in_cluster(kubeconfig, (namespace, name), choice, output)
        _show(found, output)


def _choice(hosts: list[str], leaf_days: int | None, authority_days: int | None) -> Choice:
    """What is wanted: the flags, then what was kept, then the defaults. Raises SpecError."""
    from datetime import timedelta

    from argosy.certificates.wanted import Wanted, kept, require_host, require_lifetimes

    given = tuple(dict.fromkeys(require_host(each) for each in hosts))

    def chosen(held: Held) -> Wanted:
        before = kept(held)
        if before is None and not given:
            raise SpecError(
                "there are no certificates yet that show for which host they are: give that of the Envoys'"
                " --ads, such as argosy.argosy-system.svc",
                "--host",
            )
        before = before or Wanted(given)
        leaf = timedelta(days=leaf_days) if leaf_days else before.leaf
        authority = timedelta(days=authority_days) if authority_days else before.authority
        require_lifetimes(leaf, authority)
        return Wanted(given or before.hosts, leaf, authority)

    return chosen


def _in_folder(directory: Path, choice: Choice) -> Pass:
    """Raises SpecError."""
    import datetime as dt

    from argosy.certificates.folder import read_folder, write_part
    from argosy.certificates.renewal import renewed
    from argosy.reconcile.certificates.keeper import Pass

    held = read_folder(directory)
    renewal = renewed(held, choice(held), dt.datetime.now(dt.UTC))
    for part, files in renewal.files.items():
        write_part(directory, part, files)
    return Pass({**held, **renewal.files}, renewal.reasons)


def _in_cluster(kubeconfig: Path | None, where: tuple[str, str], choice: Choice, output: Output) -> Pass:
    """Raises SpecError; ends with exit code 3 where the API server refuses."""
    import asyncio
    import os

    from argosy.errors import ActuationError
    from argosy.exit_codes import ExitCode
    from argosy.kube.kubeconfig import find_kubeconfig, require_readable

    chosen = require_readable(kubeconfig) if kubeconfig else find_kubeconfig(os.environ, Path.home())
    try:
        return asyncio.run(_renew(chosen, where, choice))
    except ActuationError as error:
        output.refuse(str(error), code=ExitCode.NOT_KEPT)


async def _renew(kubeconfig: Path | None, where: tuple[str, str], choice: Choice) -> Pass:
    import datetime as dt

    from argosy.kube.api import ApiServer, connect
    from argosy.kube.secrets import CertificateSecrets
    from argosy.reconcile.certificates.keeper import renew

    async with await connect(kubeconfig) as client:
        return await renew(CertificateSecrets(ApiServer(client), *where), choice, dt.datetime.now(dt.UTC))


def _show(found: Pass, output: Output) -> None:
    from argosy.certificates.renewal import ends

    ended = ends(found.held)
    if output.as_json:
        rows = [
            {"part": part, "ends": f"{end:%Y-%m-%dT%H:%M:%SZ}", "renewed_because": found.done.get(part)}
            for part, end in ended.items()
        ]
        output.document({"certificates": rows})
        return
    table = plain_table("certificate", "valid until (UTC)", "made anew because")
    for part, end in ended.items():
        table.add_row(part, f"{end:%Y-%m-%d %H:%M}", found.done.get(part, "-"))
    output.console.print(table)
