"""`argosy top`: every class with its rate, attainment, replicas and cost, as it changes.

Input: a cluster, by kubeconfig. Output: a table that is drawn anew until Ctrl-C; once into a pipe, with
--once or with --json.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from argosy.cli.cluster.connection import Kubeconfig, asked, explained, snapshot_with_cluster
from argosy.cli.cluster.words import NOT_KNOWN, number, share, usd
from argosy.cli.options import AsJson
from argosy.cli.output import Output, answering, plain_table

if TYPE_CHECKING:
    from rich.console import Group

    from argosy.control.survey.classes import ClassRow, FleetRow
    from argosy.snapshot.fleet import FleetSnapshot

Once = Annotated[bool, typer.Option("--once", help="Print the table once and end.")]
Every = Annotated[
    float, typer.Option("--every", min=0.5, max=3600, metavar="S", help="Seconds between looks.")
]


def top(
    kubeconfig: Kubeconfig = None, once: Once = False, every: Every = 2.0, as_json: AsJson = False
) -> None:
    """Show each class with its rate, attainment, replicas and cost, as they change.

    KEPT SLO is the share of the last minutes' requests that kept every term. Ctrl-C ends it.
    """
    with answering("argosy top", as_json) as output:
        if once or as_json or not output.console.is_terminal:
            _print(asked(kubeconfig, output, snapshot_with_cluster), output)
            return
        try:
            asked(kubeconfig, output, lambda api: _watch(lambda: snapshot_with_cluster(api), every, output))
        except KeyboardInterrupt:
            return


async def _watch(read: Callable[[], Awaitable[FleetSnapshot]], every_s: float, output: Output) -> None:
    """Draw until cancelled. Raises ActuationError where the first look fails; a later one is a line below."""
    from rich.console import Group
    from rich.live import Live

    from argosy.errors import ActuationError

    shown = screen(await read())
    try:
        with Live(shown, console=output.console, auto_refresh=False, screen=True) as live:
            live.refresh()
            while True:
                await asyncio.sleep(every_s)
                try:
                    shown = screen(await read())
                    live.update(shown, refresh=True)
                except ActuationError as error:
                    live.update(Group(shown, f"\nnot renewed: {explained(error)}"), refresh=True)
    finally:
        output.console.print(shown)  # the screen is taken back: what was seen last stays


def _print(snapshot: FleetSnapshot, output: Output) -> None:
    from argosy.control.survey.classes import class_rows, fleet_row

    if not output.as_json:
        output.console.print(screen(snapshot))
        return
    rows = [asdict(row) for row in class_rows(snapshot)]
    output.document({"fleet": asdict(fleet_row(snapshot)), "classes": rows})


def screen(snapshot: FleetSnapshot) -> Group:
    """The fleet in a line, the classes as a table, and what is not as it should be."""
    from rich.console import Group

    from argosy.control.survey.classes import class_rows, fleet_row

    fleet, rows = fleet_row(snapshot), class_rows(snapshot)
    table = plain_table(
        "CLASS",
        "STATE",
        numbers=("REQ/S", "PLANNED", "KEPT SLO", "TTFT P95", "ITL P95", "WAITING", "REPLICAS", "$/H"),
    )
    for row in rows:
        table.add_row(*_cells(row))
    notes = list(dict.fromkeys([*fleet.notes, *(f"{r.key}: {r.message}" for r in rows if r.message)]))
    body = [table] if rows else ["there is no WorkloadClass"]
    return Group(_heading(fleet), "", *body, *(["", *notes] if notes else []))


def _heading(fleet: FleetRow) -> str:
    budget = f" of {usd(fleet.budget_usd_per_hour)}" if fleet.budget_usd_per_hour is not None else ""
    envoys = NOT_KNOWN if fleet.envoys is None else str(fleet.envoys)
    plan = fleet.plan or "no plan"
    return f"{usd(fleet.usd_per_hour)}/h{budget} · {plan} · mode {fleet.mode} · Envoys: {envoys}"


def _cells(row: ClassRow) -> tuple[str, ...]:
    ready = NOT_KNOWN if row.ready is None else str(row.ready)
    return (
        row.key,
        row.state,
        number(row.observed_per_s),
        number(row.planned_per_s),
        share(row.attainment),
        _ms(row.ttft_p95_ms),
        _ms(row.itl_p95_ms),
        number(row.waiting, 0),
        f"{ready}/{row.desired}",
        usd(row.usd_per_hour),
    )


def _ms(value: float | None) -> str:
    return NOT_KNOWN if value is None else f"{value:,.0f} ms"
