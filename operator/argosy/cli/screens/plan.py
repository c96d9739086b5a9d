"""`argosy plan`: what the operator would decide, from files, without a cluster.

Owns the reading of object files and the printing of a decision. The decision itself is the operator's
own (`control.step`), on a picture in which nothing runs yet. Never writes anything but a cache of
measured capacities.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from argosy.api import FleetPlan
from argosy.api.conditions import Reason
from argosy.control.decision import ControlMemory, Decision
from argosy.control.step import StepSettings, step
from argosy.demand.forecast import DemandMemory
from argosy.files.capacities import read_capacities, write_capacities
from argosy.files.objects import read_objects, snapshot_of
from argosy.files.surfaces import cache_folder
from argosy.perf import LibraryPerfModel, shipped_library


def plan(
    paths: Annotated[
        list[Path],
        typer.Argument(help="YAML files or folders: Argosy's resources, Nodes, ConfigMaps with profiles."),
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print the FleetPlan as JSON.")] = False,
) -> None:
    """Show what the operator would decide for these objects; exit code 1 where demand stays unserved.

    Nodes are as `kubectl get nodes -o yaml` prints them.
    """
    decision = decide(read_objects(paths))
    if as_json:
        typer.echo(json.dumps(decision.new_plan.to_object() if decision.new_plan else {}, indent=2))
    else:
        show(decision, Console(highlight=False))
    unserved = decision.new_plan is None or any(c.unserved_share > 0 for c in decision.new_plan.spec.cells)
    raise typer.Exit(1 if unserved else 0)


def decide(objects: list[Mapping[str, Any]]) -> Decision:
    """The decision for these objects; raises `SpecError` for one that is not valid."""
    cache_file = cache_folder() / "capacities.json"
    cache = read_capacities(cache_file)
    perf = LibraryPerfModel(shipped_library(), cache, lambda line: typer.echo(line, err=True))
    decision = step(
        snapshot_of(objects, time.time()), ControlMemory(DemandMemory()), StepSettings("argosy plan"), perf
    )
    write_capacities(cache_file, cache)
    return decision


def show(decision: Decision, console: Console) -> None:
    """The plan, its reasons, what was rejected, whatever is not Ready and why, and what is odd."""
    if decision.alarm:
        console.print(decision.alarm)
    if decision.new_plan is not None:
        _show_plan(decision.new_plan, console)
    for update in decision.statuses:
        for condition in update.status["conditions"]:
            about, reason = f"{update.kind} {update.key}: {condition['type']}", condition["reason"]
            if condition["status"] == "False" and reason not in _EXPECTED_OFFLINE:
                console.print(f"{about} is False: {condition['message']}")
            elif reason in _REMARKS:
                console.print(f"{about} is True, but {condition['message']}")


_EXPECTED_OFFLINE = ("NoPlan", "ModeNotAuto", "Loading", "NoReplicasReady", "NoEnvoy", "CapacityShort")
"""Nothing runs here, and a shortfall is among the reasons already."""

_REMARKS = (Reason.PROFILE_IMPLAUSIBLE, Reason.PROFILE_UNUSED)
"""Reasons of conditions that are True and yet say what somebody should look at."""


def _show_plan(found: FleetPlan, console: Console) -> None:
    table = Table()
    for column in ("class", "replicas", "variant", "nodes", "share of the class"):
        table.add_column(column, overflow="fold")
    shares = {s.deployment: s.share for c in found.spec.cells for s in c.shares}
    for entry in found.spec.deployments:
        nodes = ", ".join(f"{n.node}" + (f" x{n.replicas}" if n.replicas > 1 else "") for n in entry.nodes)
        share = f"{shares.get(entry.name, 0.0):.0%}"
        table.add_row(entry.workload_class, str(entry.replicas), entry.variant, nodes or "(scheduler)", share)
    console.print(table)
    console.print(f"${found.spec.cost_usd_per_hour:.2f} per hour; solved: {found.spec.solver.status}")
    for cell in found.spec.cells:
        if cell.unserved_share > 0:
            console.print(
                f"{cell.name}: {cell.unserved_share:.0%} of {cell.requests_per_second:g} req/s unserved"
            )
    for reason in found.spec.reasons:
        console.print(f"  {reason.message}")
    for other in found.spec.alternatives:
        cost = "" if other.cost_usd_per_hour is None else f" (${other.cost_usd_per_hour:.2f}/h)"
        console.print(f"  not taken: {other.description}{cost}: {other.reason}")
