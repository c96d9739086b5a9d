"""A plan and its placement as a FleetPlan revision, and whether it differs from the last one.

Owns what a revision records and when a new one is due: only when a count, a request limit or a share (by
more than a point) changes, a planned replica stands by for another cell, or a listed place is given up.
Places that are found later, as replicas of the former plan make room, are taken under the same revision:
an exchange is one. Input: what was decided, and the plan before it. Output: a FleetPlan.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from argosy.api import FleetPlan, ObjectMeta
from argosy.api.fleetplan import (
    Alternative,
    CellShare,
    FleetPlanSpec,
    NodeReplicas,
    PlannedCell,
    PlannedDeployment,
    PlannedNodes,
    PlanReason,
    SolverReport,
)
from argosy.control.cells import RouteCell
from argosy.control.revision import bounds
from argosy.control.revision.decided import Decided
from argosy.control.revision.keeping import Keeping
from argosy.control.revision.standby import standby
from argosy.keys import CellName, ClassKey, DeploymentKey, ModelKey
from argosy.manifests import EngineWorkload
from argosy.place.solution import Placement
from argosy.plan.explain.words import counted, usd
from argosy.plan.problem import Cell

SHARE_TOLERANCE = 0.01
"""A change of share below a point is noise: Envoy's split of a minute's requests varies by more."""

DEMAND_NOISE = 0.05
"""Estimates of a steady rate wander by as much within a minute."""

SENTENCE_LIMIT = 1024
MAX_LISTED = 64
KEPT = "Kept"
"""The code of the reason why replicas are kept beyond the plan."""

_Standby = Mapping[CellName, Mapping[DeploymentKey, PlannedDeployment]]


@dataclass(frozen=True, slots=True)
class Origin:
    """What a revision records beside the decision.

    number: of the revision
    edits:  digest of the users' specs that it was made for
    limits: requests in flight at one Envoy, by Deployment
    restores: the revision that a user went back to; None: none
    """

    number: int
    trigger: str
    edits: str = ""
    limits: Mapping[DeploymentKey, int] = field(default_factory=dict)
    restores: int | None = None


def revision_of(decided: Decided, previous: FleetPlan | None, origin: Origin) -> FleetPlan:
    """The FleetPlan of a decision.

    Deployments of the previous plan that are on their way out stay listed with no replicas, and their
    cells list them with no share: while the new ones load, their ready replicas carry the cell.
    """
    entries = _entries(decided, origin.limits) | _unused(decided, previous)
    waiting = standby(decided, previous)
    outgoing = _outgoing(entries, waiting)
    spec = FleetPlanSpec(
        revision=origin.number,
        trigger=origin.trigger[:SENTENCE_LIMIT],
        edits_digest=origin.edits,
        restores=origin.restores,
        cost_usd_per_hour=round(decided.plan.cost_usd_per_hour + kept_usd_per_hour(decided), 4),
        deployments=(*entries.values(), *outgoing.values()),
        nodes_to_come=tuple(PlannedNodes(pool=p, nodes=n) for p, n in sorted(decided.plan.to_come.items())),
        cells=_cells(decided, waiting),
        reasons=_reasons(decided),
        alternatives=tuple(
            Alternative(
                description=a.description[:SENTENCE_LIMIT],
                cost_usd_per_hour=a.cost_usd_per_hour,
                reason=a.reason[:SENTENCE_LIMIT],
            )
            for a in decided.plan.alternatives[:MAX_LISTED]
        ),
        solver=SolverReport(
            status=decided.plan.report.status.value,
            objective=decided.plan.report.objective_usd_per_hour,
            bound=decided.plan.report.bound_usd_per_hour,
            gap=max(0.0, decided.plan.report.gap),
            seconds=max(0.0, decided.plan.report.seconds),
        ),
    )
    return FleetPlan(metadata=ObjectMeta(name=f"plan-{origin.number:06d}"), spec=bounds.bounded(spec))


def _reasons(decided: Decided) -> tuple[PlanReason, ...]:
    """Why replicas are kept, then what the planner says."""
    kept = [PlanReason(code=KEPT, message=kept_sentence(each)) for each in decided.kept.values()]
    found = [PlanReason(code=r.code.value, message=r.message) for r in decided.plan.reasons]
    return tuple(
        each.model_copy(update={"message": each.message[:SENTENCE_LIMIT]})
        for each in (*kept, *found)[:MAX_LISTED]
    )


def kept_usd_per_hour(decided: Decided) -> float:
    """The price of the replicas that are kept beyond the plan, in US dollars per hour."""
    return math.fsum(each.usd_per_hour for each in decided.kept.values())


def kept_sentence(each: Keeping) -> str:
    """Why these replicas stay, and what they cost."""
    which = f"{counted(each.replicas, 'replica')} of {each.entry.variant} ({usd(each.usd_per_hour)})"
    return (
        f"{which} more than planned {'is' if each.replicas == 1 else 'are'} kept: nothing can be planned for"
        f" {', '.join(each.classes)}, so that their requests are served without the promise of an SLO"
    )


def excess(decided: Decided) -> str:
    """Why no FleetPlan can hold the plan, in a sentence; empty where one can."""
    num_deployments = sum(n > 0 for n in decided.plan.replicas.values())
    num_cells = len(decided.problem.cells)
    if num_deployments <= bounds.MAX_DEPLOYMENTS and num_cells <= bounds.MAX_CELLS:
        return ""
    return (
        f"a FleetPlan holds {bounds.MAX_DEPLOYMENTS} Deployments and {bounds.MAX_CELLS} route cells, and the"
        f" plan has {num_deployments} and {num_cells}; use fewer WorkloadClasses"
    )


def demand_change(decided: Decided, previous: FleetPlan) -> str:
    """Which classes' demand differs by more than noise from what `previous` was made for; or empty."""
    before = _class_rates((c.workload_class, c.requests_per_second) for c in previous.spec.cells)
    class_of = {row.name: row.workload_class for row in decided.cells.rows}
    now = _class_rates((class_of[c.name], c.rate_per_s) for c in decided.problem.cells)
    changed = [
        f"class {key} needs {rate_per_s:.3g} requests/s, {before[key]:.3g} before"
        for key, rate_per_s in now.items()
        if key in before and abs(rate_per_s - before[key]) > DEMAND_NOISE * before[key]
    ]
    return "; ".join(changed)


def _class_rates(cells: Iterable[tuple[ClassKey, float]]) -> dict[ClassKey, float]:
    """Requests/s of each class: the sum over its cells."""
    rates: dict[ClassKey, float] = {}
    for key, rate_per_s in cells:
        rates[key] = rates.get(key, 0.0) + rate_per_s
    return rates


def differs(
    new: FleetPlan, last: FleetPlan | None, outside: Mapping[DeploymentKey, Counter[str]] | None = None
) -> bool:
    """Whether `new` is worth a revision of its own after `last`.

    outside: replicas that serve on where their pool has no node any more: their places are not given up
    """
    if last is None or runs_differently(new, last, outside) or _limits(new) != _limits(last):
        return True
    before, after = _shares(last), _shares(new)
    if {k for k, v in before.items() if v > 0} != {k for k, v in after.items() if v > 0}:
        return True
    if _stands_by_for_room(new, after.keys() - before.keys()):
        return True
    return any(abs(share - before.get(key, 0.0)) > SHARE_TOLERANCE for key, share in after.items())


def runs_differently(
    new: FleetPlan, last: FleetPlan, outside: Mapping[DeploymentKey, Counter[str]] | None = None
) -> bool:
    """Whether other replicas run by `new`, other cells are served, or a listed place is given up.

    What alone makes a revision while a user holds the replicas, or a change of them waits: shares and limits
    stay as well.
    """
    return (
        _kept(new) != _kept(last)
        or _counts(new) != _counts(last)
        or _gives_places_up(new, last, outside or {})
        or _cell_names(new) != _cell_names(last)
        or _adopted_names(new) != _adopted_names(last)
    )


def _entries(decided: Decided, limits: Mapping[DeploymentKey, int]) -> dict[DeploymentKey, PlannedDeployment]:
    workloads = decided.workloads
    found = {
        name: _entry(workloads[name], replicas, _nodes(decided.placement, name)).model_copy(
            update={"request_limit": limits.get(name)}
        )
        for name, replicas in sorted(decided.plan.replicas.items())
        if replicas > 0
    }
    for name, each in decided.kept.items():
        entry = found.get(name) or each.entry.model_copy(update={"replicas": 0, "nodes": ()})
        if name in found or len(found) < bounds.MAX_DEPLOYMENTS:
            found[name] = entry.model_copy(update={"kept_replicas": each.replicas})
    return found


def _unused(decided: Decided, previous: FleetPlan | None) -> dict[DeploymentKey, PlannedDeployment]:
    """Users' Deployments of which the plan needs no replica: listed, so that theirs may go.

    Not in a plan that was made before one was adopted and that is kept, or that a user goes back to: it has
    not been asked about it.
    """
    is_kept = decided.waiting is not None or decided.hold is not None
    goes_back = decided.hold is not None and decided.hold.orders.rollback is not None
    listed = _adopted_names(previous) if previous is not None and not goes_back else frozenset()
    return {
        name: _entry(workload, 0, ())
        for name, workload in sorted(decided.workloads.items())
        if workload.adopted
        and not decided.plan.replicas.get(name)
        and name not in decided.kept
        and (not is_kept or name in listed)
    }


def _adopted_names(plan: FleetPlan) -> frozenset[DeploymentKey]:
    return frozenset(entry.name for entry in plan.spec.deployments if entry.is_adopted)


def _entry(workload: EngineWorkload, replicas: int, nodes: tuple[NodeReplicas, ...]) -> PlannedDeployment:
    return PlannedDeployment(
        name=workload.key,
        namespace=workload.key.namespace,
        deployment=workload.key.name,
        model=workload.variant.model_key.name,
        variant=workload.variant.name,
        pool=workload.variant.pool,
        sharing_group=workload.group,
        tensor_parallel=workload.variant.tensor_parallel,
        pipeline_parallel=workload.variant.pipeline_parallel,
        gpus_per_replica=workload.variant.gpus,
        replicas=replicas,
        restarted_at=workload.restarted_at,
        is_adopted=workload.adopted is not None,
        nodes=nodes,
    )


def _nodes(placement: Placement, option: DeploymentKey) -> tuple[NodeReplicas, ...]:
    counts = sorted((node, n) for (name, node), n in placement.counts.items() if name == option and n > 0)
    # More nodes than a plan can list are left out: then placement's own answer holds.
    listed = counts if len(counts) <= bounds.MAX_NODES else []
    return tuple(NodeReplicas(node=node, replicas=n) for node, n in listed)


def _outgoing(
    entries: Mapping[DeploymentKey, PlannedDeployment], waiting: _Standby
) -> dict[DeploymentKey, PlannedDeployment]:
    """What stands by for a cell and is not planned any more."""
    every = {name: entry for by_name in waiting.values() for name, entry in by_name.items()}
    found = [
        e.model_copy(update={"replicas": 0, "nodes": ()})
        for name, e in sorted(every.items())
        if name not in entries
    ]
    # Those that the list has no room for are emptied all the same, and routed to while they last.
    return {e.name: e for e in found[: bounds.MAX_DEPLOYMENTS - len(entries)]}


def _cells(decided: Decided, waiting: _Standby) -> tuple[PlannedCell, ...]:
    return tuple(_cell(decided, cell, waiting.get(cell.name, {})) for cell in decided.problem.cells)


def _cell(decided: Decided, cell: Cell, waiting: Iterable[DeploymentKey]) -> PlannedCell:
    plan, problem, row = decided.plan, decided.problem, decided.cells.find(cell.name)
    assert row is not None  # the problem was made of these cells
    shares = {o: s for (c, o), s in sorted(plan.shares.items()) if c == cell.name and s > 0}
    carried = sum(
        n * problem.capacity_per_s.get((cell.name, option), 0.0) for option, n in plan.replicas.items()
    )
    missing_per_s = sum(s.missing_per_s for s in plan.shortfalls if s.cell == cell.name)
    missing = min(1.0, round(missing_per_s / max(cell.rate_per_s, 1e-9), 6))
    is_kept = _is_kept(decided, row)
    listed = tuple(
        CellShare(deployment=name, share=min(1.0, round(share, 6)))
        for name, share in {**dict.fromkeys(waiting, 0.0), **shares}.items()
    )
    return PlannedCell(
        name=cell.name,
        workload_class=row.workload_class,
        sharing_group=row.group,
        requests_per_second=round(cell.rate_per_s, 4),
        shares=bounds.largest_shares(listed),
        kept_share=missing if is_kept else 0.0,
        unserved_share=0.0 if is_kept else missing,
        capacity_requests_per_second=round(carried, 4),
    )


def _is_kept(decided: Decided, row: RouteCell) -> bool:
    """True if a replica that runs answers a cell for which nothing can be planned, as routes have it."""
    models = decided.resolution.classes[row.workload_class].spec.model_keys
    is_alone = decided.cells.classes_of(row.group) == (row.workload_class,)
    workloads = decided.workloads

    def model_of(name: DeploymentKey) -> ModelKey | None:
        if name in workloads and workloads[name].group == row.group:
            return workloads[name].variant.model_key
        kept = decided.kept.get(name)
        return kept.entry.model_key if kept is not None and kept.entry.sharing_group == row.group else None

    running = (name for name, count in decided.running.items() if count)
    return any(
        row.workload_class in decided.unplannable.get(name, ())
        and (model := model_of(name)) is not None
        and (is_alone or model in models)
        for name in running
    )


def _counts(plan: FleetPlan) -> dict[DeploymentKey, int]:
    return {e.name: e.replicas for e in plan.spec.deployments if e.replicas > 0}


def _gives_places_up(new: FleetPlan, last: FleetPlan, outside: Mapping[DeploymentKey, Counter[str]]) -> bool:
    """True if a place that the last revision lists is not listed any more."""
    places = {entry.name: entry.places for entry in new.spec.deployments}
    none = Counter[str]()
    return any(
        not before.places - outside.get(before.name, none) <= places.get(before.name, none)
        for before in last.spec.deployments
    )


def _stands_by_for_room(new: FleetPlan, added: Iterable[tuple[CellName, DeploymentKey]]) -> bool:
    """True if planned replicas begin to stand by for another cell while others find no room.

    Then the last former replica of that cell can make room: routes have to know what answers instead.
    """
    lacks_room = any(entry.places.total() < entry.replicas for entry in new.spec.deployments)
    planned = _counts(new)
    return lacks_room and any(deployment in planned for _, deployment in added)


def _kept(plan: FleetPlan) -> tuple[dict[DeploymentKey, int], frozenset[CellName]]:
    """The kept replicas, and the cells that only they serve."""
    counts = {e.name: e.kept_replicas for e in plan.spec.deployments if e.kept_replicas}
    return counts, frozenset(c.name for c in plan.spec.cells if c.kept_share > 0)


def _limits(plan: FleetPlan) -> dict[DeploymentKey, int | None]:
    return {e.name: e.request_limit for e in plan.spec.deployments if e.replicas > 0}


def _cell_names(plan: FleetPlan) -> frozenset[CellName]:
    return frozenset(c.name for c in plan.spec.cells)


def _shares(plan: FleetPlan) -> dict[tuple[CellName, DeploymentKey], float]:
    return {(c.name, s.deployment): s.share for c in plan.spec.cells for s in c.shares}
