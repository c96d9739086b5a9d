"""Which cluster gets which share of which class's requests, and why, as rows.

Input: a snapshot of a cluster. Output: `RouteRow`s. The shares are those of the route table that the operator
serves to Envoys: the same compiler, of the same objects.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from argosy.api import FleetPlan
from argosy.api.fleetplan import PlannedDeployment
from argosy.control.routes import route_inputs
from argosy.keys import CellName, ClassKey, DeploymentKey
from argosy.plan.explain.words import counted
from argosy.route.compile import compile_routes
from argosy.route.table import EndpointState, RouteEntry
from argosy.snapshot.fleet import FleetSnapshot

TOLERANCE = 0.005
"""Shares that print alike are alike."""

_TAKING = (EndpointState.READY, EndpointState.MARKED)


@dataclass(frozen=True, slots=True)
class RouteRow:
    """One cluster of one class's route; cluster: empty where nothing takes the requests.

    variant: what its replicas are; empty where the plan does not list it
    share:   of the cell's requests now (0-1)
    planned: the same in the plan
    ready:   replicas that take requests
    desired: replicas in the plan
    limit:   requests in flight at one Envoy beyond which it refuses; None: no limit
    """

    class_key: ClassKey
    cell: CellName
    cluster: str
    variant: str
    share: float
    planned: float
    ready: int
    desired: int
    limit: int | None
    why: str


@dataclass(frozen=True, slots=True)
class _Known:
    """The plan that is routed for, and what runs of it."""

    plan: FleetPlan | None
    entries: Mapping[DeploymentKey, PlannedDeployment]
    shares: Mapping[tuple[CellName, DeploymentKey], float]
    corrected: frozenset[CellName]
    ready: Mapping[DeploymentKey, int]
    given_back: Mapping[DeploymentKey, str]


def route_rows(snapshot: FleetSnapshot) -> tuple[RouteRow, ...]:
    """The rows of every class, in the order in which Envoy tries the classes."""
    plan = snapshot.applied_plan
    table = compile_routes(route_inputs(snapshot, plan))
    spec = plan.spec if plan is not None else None
    known = _Known(
        plan,
        {entry.name: entry for entry in spec.deployments} if spec else {},
        {(c.name, s.deployment): s.share for c in spec.cells for s in c.shares} if spec else {},
        frozenset(each.cell for each in plan.status.weights) if plan else frozenset(),
        {c.name: sum(e.state in _TAKING for e in c.endpoints) for c in table.clusters},
        {
            key: state.adoption.problem
            for key, state in snapshot.deployments.items()
            if state.adoption is not None and state.is_given_back
        },
    )
    return tuple(row for route in table.routes for row in _rows(route, known))


@dataclass(frozen=True, slots=True)
class AdapterRow:
    """A LoRA adapter whose requests a class takes; why: empty where replicas take them."""

    class_key: ClassKey
    name: str
    replicas: int
    why: str


def adapter_rows(snapshot: FleetSnapshot) -> tuple[AdapterRow, ...]:
    """The adapters of every class, by name; a class of several cells has the same in each."""
    table = compile_routes(route_inputs(snapshot, snapshot.applied_plan))
    endpoints = {cluster.name: cluster.endpoints for cluster in table.clusters}
    found: dict[tuple[ClassKey, str], AdapterRow] = {}
    for route in table.routes:
        for adapter in route.adapters:
            replicas = sum(
                each.state in _TAKING and adapter.name in each.adapters
                for backend in adapter.backends
                for each in endpoints.get(backend.cluster, ())
            )
            row = AdapterRow(route.class_key, adapter.name, replicas, adapter.refusal)
            found.setdefault((route.class_key, adapter.name), row)
    return tuple(found.values())


@dataclass(frozen=True, slots=True)
class MirrorRow:
    """A cluster that gets copies of a class's requests; share: of the requests (0-1)."""

    class_key: ClassKey
    cluster: DeploymentKey
    share: float


def mirror_rows(snapshot: FleetSnapshot) -> tuple[MirrorRow, ...]:
    """The mirrors of every class; a class of several cells has the same in each."""
    table = compile_routes(route_inputs(snapshot, snapshot.applied_plan))
    rows = [MirrorRow(route.class_key, m.cluster, m.share) for route in table.routes for m in route.mirrors]
    return tuple(dict.fromkeys(rows))


def reasons_of(plan: FleetPlan | None, key: ClassKey) -> tuple[str, ...]:
    """What the plan says about a class: why it has these replicas."""
    messages = [reason.message for reason in plan.spec.reasons] if plan is not None else []
    named = re.compile(rf"(?<![\w./-]){re.escape(key)}(?![\w./-])")
    return tuple(message for message in messages if named.search(message))


def _rows(route: RouteEntry, known: _Known) -> Iterator[RouteRow]:
    now = {backend.cluster: backend.share for backend in route.backends}
    planned = {name: share for (cell, name), share in known.shares.items() if cell == route.cell}
    for name in sorted({*now, *planned}, key=lambda each: (-now.get(each, 0.0), each)):
        entry = known.entries.get(name)
        yield RouteRow(
            route.class_key,
            route.cell,
            name,
            entry.variant if entry is not None else "",
            now.get(name, 0.0),
            planned.get(name, 0.0),
            known.ready.get(name, 0),
            entry.replicas + entry.kept_replicas if entry is not None else 0,
            entry.request_limit if entry is not None else None,
            _why(route, name, known, now.get(name, 0.0)),
        )
    if not now:
        why = f"every request is answered with 503: {route.refusal}" if route.refusal else "nothing serves it"
        yield RouteRow(route.class_key, route.cell, "", "", 0.0, 0.0, 0, 0, None, why)


def _why(route: RouteEntry, name: DeploymentKey, known: _Known, share: float) -> str:
    """Why a cluster has this share now."""
    planned, entry = known.shares.get((route.cell, name), 0.0), known.entries.get(name)
    ready, desired = known.ready.get(name, 0), entry.replicas if entry is not None else 0
    number = known.plan.spec.revision if known.plan is not None else 0
    given_back = known.given_back.get(name)
    if given_back is not None:
        return (
            f"a user's Deployment that is given back ({given_back}): it serves until the planned replicas do"
        )
    if not ready:
        return (
            f"planned by revision {number}, and none of its {counted(desired, 'replica')} takes requests yet"
        )
    if entry is not None and entry.kept_replicas:
        return "kept beyond the plan: nothing can be planned for a class that it serves"
    if desired == 0:
        return f"not planned any more by revision {number}: it serves until the planned replicas do"
    if abs(share - planned) <= TOLERANCE:
        whose = ", on a user's Deployment that is adopted" if entry is not None and entry.is_adopted else ""
        return f"as revision {number} plans it{whose}"
    if route.cell in known.corrected:
        return f"revision {number} plans {planned:.0%}; corrected by the load that was measured"
    if planned == 0:
        return (
            "it stands by: planned for other classes of its group, it helps until the planned replicas serve"
        )
    return f"revision {number} plans {planned:.0%}; the rest is for replicas that do not take requests now"
