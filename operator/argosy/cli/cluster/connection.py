"""How a command reaches the cluster: its flags, and what a refusal of the API server becomes.

Owns the flags that these commands share. Input: a coroutine that takes an `ApiServer`. Output: its result, or
a refusal with exit code 3.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

if TYPE_CHECKING:
    from argosy.cli.output import Output
    from argosy.errors import ActuationError
    from argosy.kube.api import ApiServer
    from argosy.snapshot.fleet import FleetSnapshot

T = TypeVar("T")

Kubeconfig = Annotated[
    Path | None,
    typer.Option(
        help="Kubeconfig; default: the cluster that this process runs in, $KUBECONFIG, ~/.kube/config."
    ),
]
Namespace = Annotated[str, typer.Option(help="Namespace of the operator.")]
OPERATOR_NAMESPACE = "argosy-system"
WRITES_AS = "argosy-cli"
"""The field manager of what users order: it is not the operator's."""


def asked(kubeconfig: Path | None, output: Output, ask: Callable[[ApiServer], Awaitable[T]]) -> T:
    """What `ask` finds. Raises SpecError for a kubeconfig that cannot be used, typer.Exit after a refusal."""
    import asyncio
    import os

    from argosy.errors import ActuationError
    from argosy.exit_codes import ExitCode
    from argosy.kube.kubeconfig import find_kubeconfig, require_readable

    chosen = require_readable(kubeconfig) if kubeconfig else find_kubeconfig(os.environ, Path.home())
    try:
        return asyncio.run(_ask(chosen, ask))
    except ActuationError as error:
        output.refuse(explained(error), _reason(error), code=ExitCode.NOT_KEPT)


async def _ask(kubeconfig: Path | None, ask: Callable[[ApiServer], Awaitable[T]]) -> T:
    from argosy.kube.api import ApiServer, connect

    async with await connect(kubeconfig) as client:
        return await ask(ApiServer(client, WRITES_AS))


async def snapshot_of_objects(api: ApiServer) -> FleetSnapshot:
    """The custom resources. Raises ActuationError."""
    from argosy.cli.cluster.reader import read_snapshot

    return await read_snapshot(api)


async def snapshot_with_cluster(api: ApiServer) -> FleetSnapshot:
    """The custom resources, nodes, pods and Deployments. Raises ActuationError."""
    from argosy.cli.cluster.reader import read_snapshot

    return await read_snapshot(api, with_cluster=True)


def explained(error: ActuationError) -> str:
    """The sentence, with what the user of a kubeconfig can do: the operator's own remedies are others."""
    from argosy.kube.failures import words

    if error.status == 403:
        return f"{words(error)}: use a kubeconfig that may (--kubeconfig)"
    if error.status == 401:
        return f"{words(error)}: renew the credentials in the kubeconfig, or name another one by --kubeconfig"
    if error.status == 0:
        return f"{error}; start it, or name the kubeconfig of the right cluster by --kubeconfig"
    return str(error)


def _reason(error: ActuationError) -> str:
    return "Unreachable" if error.status == 0 else (error.obstacle or error.next_step).value
