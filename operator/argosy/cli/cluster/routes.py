"""`argosy routes`: which cluster gets which share of each class's requests, and why.

Input: a cluster, by kubeconfig. Output: the rows of `control.survey.routing` as text or JSON.
"""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Annotated

import typer

from argosy.cli.cluster.connection import Kubeconfig, asked, snapshot_with_cluster
from argosy.cli.cluster.words import number, share
from argosy.cli.options import AsJson
from argosy.cli.output import Output, answering, digits, plain_table

if TYPE_CHECKING:
    from argosy.control.survey.routing import AdapterRow, MirrorRow, RouteRow
    from argosy.snapshot.fleet import FleetSnapshot

OnlyClass = Annotated[
    str, typer.Argument(metavar="[CLASS]", help="Only this class: namespace/name, or a name in default.")
]


def routes(only: OnlyClass = "", kubeconfig: Kubeconfig = None, as_json: AsJson = False) -> None:
    """Show which cluster gets which share of each class's requests, and why.

    A cluster is a Deployment of replicas. The shares are those that the operator gives Envoys now.
    """
    with answering("argosy routes", as_json) as output:
        show(asked(kubeconfig, output, snapshot_with_cluster), only, output)


def show(snapshot: FleetSnapshot, only: str, output: Output) -> None:
    """Print the routes. Raises SpecError for a class that there is not, typer.Exit (3) for one unserved."""
    from argosy.control.survey.routing import adapter_rows, mirror_rows, route_rows
    from argosy.exit_codes import exit_code

    key = _known(snapshot, only) if only else ""
    rows = [row for row in route_rows(snapshot) if not key or row.class_key == key]
    adapters = [row for row in adapter_rows(snapshot) if not key or row.class_key == key]
    mirrors = [row for row in mirror_rows(snapshot) if not key or row.class_key == key]
    if output.as_json:
        output.document(
            {
                "routes": [_document(row) for row in rows],
                "adapters": [_adapter_document(each) for each in adapters],
                "mirrors": [_mirror_document(each) for each in mirrors],
            }
        )
    elif not rows:
        output.console.print("there is no WorkloadClass, so that Envoy routes nothing")
    else:
        for class_key, its in groupby(rows, key=lambda row: row.class_key):
            _print(snapshot, class_key, list(its), output)
            _print_adapters([row for row in adapters if row.class_key == class_key], output)
            _print_mirrors([row for row in mirrors if row.class_key == class_key], output)
    raise typer.Exit(exit_code(all(row.cluster for row in rows)))


def _known(snapshot: FleetSnapshot, name: str) -> str:
    from argosy.errors import SpecError

    key = name if "/" in name else f"default/{name}"
    if key not in snapshot.classes:
        known = ", ".join(sorted(snapshot.classes)) or "none"
        raise SpecError(f"there is no WorkloadClass {key}; there are: {known}", "CLASS")
    return key


def _document(row: RouteRow) -> dict[str, object]:
    return {
        "class": row.class_key,
        "cell": row.cell,
        "cluster": row.cluster or None,
        "variant": row.variant or None,
        "share": digits(row.share),
        "planned_share": digits(row.planned),
        "replicas_ready": row.ready,
        "replicas_planned": row.desired,
        "request_limit": row.limit,
        "why": row.why,
    }


def _adapter_document(row: AdapterRow) -> dict[str, object]:
    return {"class": row.class_key, "adapter": row.name, "replicas": row.replicas, "why": row.why}


def _mirror_document(row: MirrorRow) -> dict[str, object]:
    return {"class": row.class_key, "cluster": row.cluster, "share": digits(row.share)}


def _print_mirrors(rows: list[MirrorRow], output: Output) -> None:
    """One line for each cluster that gets copies."""
    for row in rows:
        output.console.print(f"  copies of {share(row.share)} of the requests go to {row.cluster}")
    if rows:
        output.console.print()


def _print_adapters(rows: list[AdapterRow], output: Output) -> None:
    """One line for each LoRA adapter; only replicas that hold it take its requests."""
    if not rows:
        return
    table = plain_table("  ADAPTER", "REPLICAS", "WHY")
    for row in rows:
        table.add_row(f"  {row.name}", str(row.replicas), row.why)
    output.console.print(table)
    output.console.print()


def _print(snapshot: FleetSnapshot, key: str, rows: list[RouteRow], output: Output) -> None:
    from argosy.control.survey.routing import reasons_of
    from argosy.control.survey.traffic import needs

    console, item = output.console, snapshot.classes.get(rows[0].class_key)
    asks = f": requests with {needs(item)}" if item is not None else ""
    rate = item.status.requests_per_second if item is not None else None
    planned = f"; {number(rate)} requests/s planned" if rate is not None else ""
    console.print(f"{key}{asks}{planned}", soft_wrap=True)
    table = plain_table("  SHARE", "CLUSTER", "REPLICAS OF", "READY", "LIMIT", "WHY")
    for row in rows:
        limit = number(row.limit, 0)
        ready = f"{row.ready}/{row.desired}" if row.cluster else ""
        table.add_row(f"  {share(row.share)}", row.cluster or "(none)", row.variant, ready, limit, row.why)
    console.print(table)
    for reason in reasons_of(snapshot.applied_plan, rows[0].class_key):
        console.print(f"  {reason}", soft_wrap=True)
    console.print()
