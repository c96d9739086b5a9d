"""`argosy plans`: the revisions of the plan, or one of them with its reasons.

Input: the FleetPlans of a cluster, by kubeconfig. Output: text or JSON.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from argosy.cli.cluster.connection import Kubeconfig, asked, snapshot_of_objects
from argosy.cli.cluster.words import age, usd
from argosy.cli.options import AsJson
from argosy.cli.output import Output, answering, digits, plain_table

if TYPE_CHECKING:
    from argosy.api import FleetPlan
    from argosy.control.survey.revisions import RevisionRow
    from argosy.snapshot.fleet import FleetSnapshot

NO_PLAN = "there is no FleetPlan yet: the operator writes one for the first WorkloadClass (argosy doctor)"

Revision = Annotated[
    int | None, typer.Argument(metavar="[REVISION]", help="Only this one, with its reasons.")
]


def plans(revision: Revision = None, kubeconfig: Kubeconfig = None, as_json: AsJson = False) -> None:
    """List the revisions of the plan: age, cost, state and trigger; or show one whole."""
    with answering("argosy plans", as_json) as output:
        show(asked(kubeconfig, output, snapshot_of_objects), revision, output)


def show(snapshot: FleetSnapshot, revision: int | None, output: Output) -> None:
    """Print the revisions, or one. Raises SpecError for one that there is not."""
    if revision is None:
        _list(snapshot, output)
    else:
        _show(find_plan(snapshot, revision), output)


def find_plan(snapshot: FleetSnapshot, revision: int) -> FleetPlan:
    """The plan of a revision. Raises SpecError where there is none, with those that there are."""
    from argosy.errors import SpecError

    found = next((plan for plan in snapshot.plans if plan.spec.revision == revision), None)
    if found is not None:
        return found
    if not snapshot.plans:
        raise SpecError(NO_PLAN, "REVISION")
    known = [plan.spec.revision for plan in snapshot.plans]
    raise SpecError(
        f"there is no FleetPlan of revision {revision}; there are {_ranges(known)} (argosy plans)", "REVISION"
    )


def _ranges(numbers: list[int]) -> str:
    """`3-7, 9`."""
    parts: list[list[int]] = []
    for each in sorted(numbers):
        if parts and each == parts[-1][-1] + 1:
            parts[-1].append(each)
        else:
            parts.append([each])
    return ", ".join(f"{p[0]}-{p[-1]}" if len(p) > 1 else f"{p[0]}" for p in parts)


def _list(snapshot: FleetSnapshot, output: Output) -> None:
    from argosy.control.survey.revisions import revision_rows

    rows = revision_rows(snapshot)
    if output.as_json:
        output.document({"plans": [_document(row) for row in rows]})
    elif not rows:
        output.console.print(NO_PLAN)
    else:
        table = plain_table("REVISION", "AGE", "$/H", "STATE", "TRIGGER")
        for row in rows:
            table.add_row(str(row.revision), age(row.age_s), usd(row.usd_per_hour), state(row), row.trigger)
        output.console.print(table)


def _document(row: RevisionRow) -> dict[str, object]:
    return {**asdict(row), "age_s": digits(row.age_s)}


def state(row: RevisionRow) -> str:
    """`Applied (RolledOut)`, `Superseded`."""
    return f"{row.phase} ({row.progress})" if row.progress else row.phase


def _show(plan: FleetPlan, output: Output) -> None:
    if output.as_json:
        output.document(plan.to_object())
        return
    from argosy.cli.screens.plan import print_plan

    output.console.print(f"revision {plan.spec.revision}: {plan.spec.trigger}", soft_wrap=True)
    print_plan(plan, output.console)
    for condition in plan.status.conditions:
        output.console.print(f"{condition.type} is {condition.status}: {condition.message}", soft_wrap=True)
