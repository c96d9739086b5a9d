"""`argosy down`: the flags. What is removed, and when, is `reconcile.teardown`'s business."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from argosy.cli.output import answering
from argosy.errors import SpecError

if TYPE_CHECKING:
    from collections.abc import Callable

    from argosy.cli.output import Output
    from argosy.reconcile.teardown import Order, Outcome

DEFAULT_TIMEOUT_S = 600


def down(
    kubeconfig: Annotated[
        Path | None,
        typer.Option(
            help="Kubeconfig; default: the cluster that this process runs in, $KUBECONFIG, ~/.kube/config."
        ),
    ] = None,
    everything: Annotated[
        bool,
        typer.Option(
            "--all",
            help="Also delete your own objects: the Fleet, pools, models, classes and policies.",
        ),
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    timeout: Annotated[
        int, typer.Option(min=1, metavar="S", help="Seconds to wait until the last replica has ended.")
    ] = DEFAULT_TIMEOUT_S,
) -> None:
    """Remove all that Argosy made in the cluster: engines, budgets, FleetPlans and Leases.

    Replicas finish their requests first, for drainSeconds of their model at most.
    Your own objects stay without --all. It can be run again at any time.
    Stop the operator before; with --all it may run, and drains them itself.
    """
    import os

    from argosy.kube.kubeconfig import find_kubeconfig, require_readable

    with answering("argosy down", as_json=False) as output:
        if not yes:
            _require_terminal()
        chosen = require_readable(kubeconfig) if kubeconfig else find_kubeconfig(os.environ, Path.home())
        _run(chosen, (everything, float(timeout)), yes, output)


def _require_terminal() -> None:
    """Raises SpecError where the user could not be asked."""
    import sys

    if not sys.stdin.isatty():
        raise SpecError(
            "standard input is not a terminal on which you could be asked; give --yes to remove without being"
            " asked",
            "--yes",
        )


def _run(kubeconfig: Path | None, order: tuple[bool, float], yes: bool, output: Output) -> None:
    import asyncio

    from argosy.errors import ActuationError
    from argosy.exit_codes import ExitCode
    from argosy.reconcile.teardown import Order, explanation

    try:
        outcome = asyncio.run(_take_down(kubeconfig, Order(*order), _asking(yes, output), output.remark))
    except ActuationError as error:
        output.refuse(explanation(error), code=ExitCode.NOT_KEPT)
    if outcome.code is not ExitCode.OK:
        output.refuse(outcome.sentence, code=outcome.code)
    output.console.print(outcome.sentence, soft_wrap=True)


async def _take_down(
    kubeconfig: Path | None,
    order: Order,
    asking: Callable[[str, str], bool],
    say: Callable[[str], None],
) -> Outcome:
    from argosy.kube.api import ApiServer, connect
    from argosy.reconcile.clock import SystemClock
    from argosy.reconcile.teardown import Teardown

    async with await connect(kubeconfig) as client:
        teardown = Teardown(ApiServer(client), SystemClock(), order, say)
        return await teardown.run(lambda intention: asking(client.configuration.host, intention))


def _asking(yes: bool, output: Output) -> Callable[[str, str], bool]:
    """Asks the user on the terminal, or only says what follows where --yes is given."""

    def ask(host: str, intention: str) -> bool:
        if yes:
            output.remark(f"{host}: {intention}")
            return True
        return typer.confirm(f"{host}: {intention}. Go on?", err=True)

    return ask
