"""`argosy plan FILES`: what the operator would decide, from files, without a cluster.

Input: the objects of files. Output: the FleetPlan as a table with its reasons and what was rejected, or
as JSON. The decision is the operator's own (`control.step`) on a snapshot in which nothing runs yet;
measured capacities are kept in the user's cache.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Set

import typer
from rich.console import Console
from rich.table import Table

from argosy.api import FleetPlan
from argosy.api.conditions import Condition, ConditionStatus, Reason
from argosy.api.fleetplan import PlannedDeployment
from argosy.api.kinds import kind_of
from argosy.cli.output import Output
from argosy.cli.progress import progress
from argosy.control.adapters.planned import planned_adapters
from argosy.control.cells import cells_of_plan
from argosy.control.decision import Decision
from argosy.control.memory import ControlMemory
from argosy.control.step import StepSettings, step
from argosy.errors import InvariantError
from argosy.exit_codes import ExitCode, exit_code
from argosy.files.capacities import read_capacities, write_capacities
from argosy.files.surfaces import cache_folder
from argosy.keys import ClassKey
from argosy.perf import LibraryPerfModel, shipped_library
from argosy.snapshot.fleet import FleetSnapshot

_UNKNOWN_NAMES = (
    Reason.MODEL_NOT_FOUND,
    Reason.SERVED_NAME_MISMATCH,
    Reason.SERVED_NAME_UNKNOWN,
    Reason.TARGET_NOT_FOUND,
    Reason.UNKNOWN_GPU,
    Reason.GPU_CONTRADICTED,
    Reason.GPU_MISMATCH,
    Reason.UNKNOWN_MODEL,
)
"""A name in an object that no other object, and no catalogue, has: bad input, not a shortfall."""

_EXPECTED_OFFLINE = (
    Reason.NO_PLAN,
    Reason.MODE_NOT_AUTO,
    Reason.LOADING,
    Reason.ADAPTERS_LOADING,
    Reason.NO_REPLICAS_READY,
    Reason.NO_ENVOY,
    Reason.CAPACITY_SHORT,
)
"""Nothing runs here, and a shortfall is among the plan's own reasons already."""

_REMARKS = (Reason.PROFILE_IMPLAUSIBLE, Reason.PROFILE_UNUSED)
"""Reasons of conditions that are True and that a user should read all the same."""

_HALF_PERCENT = 0.005
_ALL = 1e-5
"""Rounded shares that add up to all may miss 1 by so much."""


def show(snapshot: FleetSnapshot, output: Output) -> None:
    """Print the plan; exit code 2 for an unknown name, 3 for an unserved class or a failed check.

    Raises InvariantError where a class is there to plan for and no plan was made.
    """
    decision = _decide(snapshot)
    if decision.alarm:
        output.refuse(decision.alarm, Reason.CHECK_FAILED, code=ExitCode.NOT_KEPT)
    if decision.new_plan is None:
        raise InvariantError("no plan was made, although there is a WorkloadClass and no earlier plan")
    if output.as_json:
        output.document(decision.new_plan.to_object())
    else:
        print_plan(decision.new_plan, output.console)
        for adapters in planned_adapters(decision.new_plan, snapshot.models, snapshot.classes):
            output.console.print(adapters.sentence, soft_wrap=True)
        _print_conditions(decision, output.console)
    if not snapshot.nodes and any(pool.spec.nodes is None for pool in snapshot.pools.values()):
        output.remark(_nodes_to_add(snapshot))
    unknown = [each for each in _false(decision) if each[1].reason in _UNKNOWN_NAMES]
    for sentence in _once_each(unknown):
        output.remark(sentence)
    is_served = all(cell.unserved_share + cell.kept_share <= 0 for cell in decision.new_plan.spec.cells)
    raise typer.Exit(ExitCode.BAD_INPUT if unknown else exit_code(is_served))


def _nodes_to_add(snapshot: FleetSnapshot) -> str:
    """What a plan without any Node lacks, pool by pool."""
    wanted = "; ".join(
        f"GPUPool {name}: "
        + ", ".join(f"{key}={value}" for key, value in sorted(pool.spec.node_selector.items()))
        + f" and {pool.spec.gpus_per_node} {pool.spec.resource_name}"
        for name, pool in sorted(snapshot.pools.items())
        if pool.spec.nodes is None
    )
    return (
        "the files hold no Node, so nothing can be placed; add the file that `kubectl get nodes -o yaml`"
        " prints, or one like examples/nodes.yaml. Labels and GPUs that the nodes of each pool need:"
        f" {wanted}"
    )


def _decide(snapshot: FleetSnapshot) -> Decision:
    """The decision; capacities that have to be measured are kept for the next command."""
    cache_file = cache_folder() / "capacities.json"
    cache = read_capacities(cache_file)
    num_known = len(cache)
    with progress("planning") as bar:
        perf = LibraryPerfModel(shipped_library(), cache, bar.doing)
        decision = step(snapshot, ControlMemory(), StepSettings("argosy plan"), perf)
    if len(cache) != num_known:
        write_capacities(cache_file, cache)
    return decision


def _print_conditions(decision: Decision, console: Console) -> None:
    """Conditions that are False, and remarks; unknown names are on standard error."""
    hidden = (*_EXPECTED_OFFLINE, *_UNKNOWN_NAMES)
    for sentence in _once_each(each for each in _false(decision) if each[1].reason not in hidden):
        console.print(sentence)
    for about, condition in _conditions(decision):
        if condition.status is not ConditionStatus.FALSE and condition.reason in _REMARKS:
            console.print(f"{about}: {condition.type} is True, but {condition.message}")


def _false(decision: Decision) -> Iterator[tuple[str, Condition]]:
    return ((about, found) for about, found in _conditions(decision) if found.status is ConditionStatus.FALSE)


def _conditions(decision: Decision) -> Iterator[tuple[str, Condition]]:
    """The object that each condition is about, and the condition."""
    for update in decision.statuses:
        for condition in update.status.conditions:
            yield f"{kind_of(update.kind).name} {update.key}", condition


def _once_each(found: Iterable[tuple[str, Condition]]) -> list[str]:
    """A sentence for each; where one message makes several conditions of an object False, only the last's.

    The last is Ready, which follows from the others.
    """
    last = {(about, condition.message): condition for about, condition in found}
    return [_sentence(about, condition) for (about, _), condition in last.items()]


def _sentence(about: str, condition: Condition) -> str:
    return f"{about}: {condition.type} is False: {condition.message}"


def print_plan(found: FleetPlan, console: Console) -> None:
    """Print a plan as a table, with a line for each class of a Deployment, and its reasons."""
    table = Table()
    for column in ("class", "replicas", "variant", "nodes", "share of requests"):
        table.add_column(column, overflow="fold")
    coming = {each.pool for each in found.spec.nodes_to_come}
    for entry in found.spec.deployments:
        nodes = ", ".join(f"{n.node}" + (f" x{n.replicas}" if n.replicas > 1 else "") for n in entry.nodes)
        shares = _shares_of_classes(found, entry)
        classes, parts = "\n".join(shares), "\n".join(map(percent, shares.values()))
        table.add_row(classes, str(entry.replicas), entry.variant, _places(nodes, entry, coming), parts)
    if found.spec.deployments:
        console.print(table)
    console.print(f"${found.spec.cost_usd_per_hour:.2f} per hour; solved: {found.spec.solver.status}")
    for cell in found.spec.cells:
        if cell.kept_share > 0:
            rate = f"{cell.requests_per_second:g} requests/s"
            console.print(f"{cell.name}: {percent(cell.kept_share)} of {rate} are served without an SLO")
        if cell.unserved_share > 0:
            rate = f"{cell.requests_per_second:g} requests/s"
            console.print(f"{cell.name}: {percent(cell.unserved_share)} of {rate} are unserved")
    for reason in found.spec.reasons:
        console.print(f"  {reason.message}")
    for other in found.spec.alternatives:
        cost = "" if other.cost_usd_per_hour is None else f" (${other.cost_usd_per_hour:.2f}/h)"
        console.print(f"  not taken: {other.description}{cost}: {other.reason}")


def _places(nodes: str, entry: PlannedDeployment, coming: Set[str]) -> str:
    """The nodes of a Deployment's replicas, and how many wait for nodes that do not exist yet."""
    missing = entry.replicas - entry.places.total()
    if entry.pool in coming and missing:
        return f"{nodes}, {missing} to come" if nodes else f"({missing} to come)"
    return nodes or "(scheduler)"


def percent(share: float) -> str:
    """A share (0-1) in whole percent; 0% and 100% are printed for nothing and all only."""
    if 0 < share < _HALF_PERCENT:
        return "<1%"
    return ">99%" if 1 - _HALF_PERCENT <= share < 1 - _ALL else f"{share:.0%}"


def _shares_of_classes(found: FleetPlan, entry: PlannedDeployment) -> dict[ClassKey, float]:
    """By class that shares the Deployment's replicas, the share (0-1) of its requests that they get."""
    part_of = {row.name: row.rate_share for row in cells_of_plan(found).rows}
    shares: dict[ClassKey, float] = {}
    for cell in sorted(found.spec.cells, key=lambda cell: cell.workload_class):
        if cell.sharing_group == entry.sharing_group:
            share = sum(s.share for s in cell.shares if s.deployment == entry.name) * part_of[cell.name]
            shares[cell.workload_class] = shares.get(cell.workload_class, 0.0) + share
    return shares
