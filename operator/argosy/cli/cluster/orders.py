"""`argosy approve`, `rollback`, `pause` and `resume`: what a user orders of the operator, by annotations.

Owns the flags, what is refused before anything is written, and the wait for the operator's answer. Input: a
cluster, by kubeconfig. Output: the condition that the operator answers with, as text or JSON. An annotation
that kubectl sets does the same.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from argosy.cli.cluster.connection import Kubeconfig, asked, snapshot_of_objects
from argosy.cli.options import AsJson
from argosy.cli.output import Output, answering

if TYPE_CHECKING:
    from pathlib import Path

    from argosy.kube.api import ApiServer
    from argosy.snapshot.fleet import FleetSnapshot

Reason = Annotated[
    str, typer.Argument(metavar="[REASON]", help="Why, in your words: the Fleet's condition repeats it.")
]
Target = Annotated[int, typer.Argument(metavar="REVISION", help="Revision to go back to (argosy plans).")]
Approved = Annotated[int | None, typer.Argument(metavar="[REVISION]", help="Default: the latest.")]
Wait = Annotated[int, typer.Option("--wait", min=0, metavar="S", help="Seconds to wait for the operator.")]

WAIT_S = 15
POLL_S = 0.5


@dataclass(frozen=True, slots=True)
class Order:
    """Annotations to set (None: to remove) on one object, and how it shows that the operator has seen them.

    answer: the operator's answer, in a sentence, by what the cluster looks like; empty: not yet
    """

    plural: str
    key: str
    annotations: Mapping[str, str | None]
    answer: Callable[[FleetSnapshot], str]


def pause(
    reason: Reason = "", kubeconfig: Kubeconfig = None, wait: Wait = WAIT_S, as_json: AsJson = False
) -> None:
    """Pause planning: what runs stays, lost replicas are replaced, and no new plan is made.

    Sets the annotation argosy.dev/paused of the Fleet; argosy resume removes it.
    """
    with answering("argosy pause", as_json) as output:
        from argosy.cli.cluster.decisions import pausing

        _give(kubeconfig, output, lambda seen: pausing(seen, reason), wait)


def resume(kubeconfig: Kubeconfig = None, wait: Wait = WAIT_S, as_json: AsJson = False) -> None:
    """Let planning go on after argosy pause or rollback."""
    with answering("argosy resume", as_json) as output:
        from argosy.cli.cluster.decisions import resuming

        _give(kubeconfig, output, resuming, wait)


def approve(
    revision: Approved = None, kubeconfig: Kubeconfig = None, wait: Wait = WAIT_S, as_json: AsJson = False
) -> None:
    """Let Argosy act on a recommended plan, in mode Recommend: the latest, if none is named.

    Sets the annotation argosy.dev/approved of the FleetPlan.
    """
    with answering("argosy approve", as_json) as output:
        from argosy.cli.cluster.decisions import approving

        _give(kubeconfig, output, lambda seen: approving(seen, revision), wait)


def rollback(
    revision: Target,
    reason: Reason = "",
    kubeconfig: Kubeconfig = None,
    wait: Wait = WAIT_S,
    as_json: AsJson = False,
) -> None:
    """Go back to the replicas and shares of an earlier revision, and hold them.

    They become a new revision. Planning is paused until argosy resume.
    """
    with answering("argosy rollback", as_json) as output:
        from argosy.cli.cluster.decisions import going_back

        _give(kubeconfig, output, lambda seen: going_back(seen, revision, reason), wait)


def _give(
    kubeconfig: Path | None, output: Output, order_of: Callable[[FleetSnapshot], Order], wait_s: int
) -> None:
    """Write the order and print the answer. Raises SpecError before, typer.Exit (3) without an answer."""
    from argosy.errors import SpecError
    from argosy.exit_codes import ExitCode

    async def give(api: ApiServer) -> tuple[Order, str] | SpecError:
        try:
            order = order_of(await snapshot_of_objects(api))
        except SpecError as error:
            return error
        return order, await _carried_out(api, order, wait_s)

    outcome = asked(kubeconfig, output, give)
    if isinstance(outcome, SpecError):
        raise outcome
    order, answer = outcome
    if output.as_json:
        output.document(
            {"annotations": dict(order.annotations), "is_answered": bool(answer), "message": answer or None}
        )
    elif answer:
        output.console.print(answer, soft_wrap=True)
    if not answer and wait_s:
        output.remark(f"it is written, and no operator has answered within {wait_s} s (argosy doctor)")
        raise typer.Exit(ExitCode.NOT_KEPT)


async def _carried_out(api: ApiServer, order: Order, wait_s: float) -> str:
    from argosy.kube.api import path_of

    await api.patch(path_of(order.plural), order.key, {"metadata": {"annotations": dict(order.annotations)}})
    for _ in range(round(wait_s / POLL_S)):
        await asyncio.sleep(POLL_S)
        if answer := order.answer(await snapshot_of_objects(api)):
            return answer
    return ""
