"""`argosy plan FILES`: the flags. The decision is shown by `screens.plan`."""

from __future__ import annotations

from argosy.cli.early import read_snapshot, require_something_to_plan
from argosy.cli.options import AsJson, ObjectFiles
from argosy.cli.output import answering


def plan(paths: ObjectFiles, as_json: AsJson = False) -> None:
    """Show what the operator would decide for these objects, without a cluster.

    Nodes are as kubectl get nodes -o yaml prints them. With --json the FleetPlan is printed.
    """
    with answering("argosy plan", as_json) as found:
        snapshot = read_snapshot(paths, found)
        require_something_to_plan(snapshot)
        from argosy.cli.screens import plan as screen  # imports the planner and its solvers

        screen.show(snapshot, found)
