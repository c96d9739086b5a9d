"""The route compiler: what users declared and the planner decided, as one route table.

Owns the assembly. Input: `RouteInputs`, live load only as the published weights. Output: a
`RouteTable`, which `xds` turns into Envoy's resources. A pure function of its inputs, whatever their
order: the leader, a standby and a restarted process build the same table from the same objects.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace

from argosy.api import FleetPlan, RouterPolicy, ServedModel, WorkloadClass
from argosy.api.routerpolicy import Retries
from argosy.api.servedmodel import Exchange
from argosy.keys import CellName, ClassKey, DeploymentKey, GroupName, ModelKey
from argosy.route.adapters import adapter_routes, adapters_named, waiting_adapters
from argosy.route.counters import stat_prefix_of
from argosy.route.marked import Endpoints, with_last_holders_kept, with_last_ones_kept
from argosy.route.mirrors import mirrored
from argosy.route.policies import ClusterPolicy, assign_policies
from argosy.route.precedence import claim_of, conflicts, in_order, with_unseen
from argosy.route.replies.hints import hints_of
from argosy.route.replies.listing import listings_of
from argosy.route.shares import divide
from argosy.route.table import (
    Claim,
    ClusterEntry,
    Endpoint,
    EndpointState,
    FormerRoutes,
    Gateway,
    RouteEntry,
    RouteTable,
    Unnamed,
)
from argosy.route.unnamed import names_of_the_only_model, unnamed_by_class

BODY_BYTES_PER_TOKEN = 16
"""Four times the usual four bytes of text per token, because JSON may take six bytes for one character."""


@dataclass(frozen=True, slots=True)
class RouteInputs:
    """All that routes depend on.

    plan:      the last Applied FleetPlan, None before the first
    classes:   the accepted WorkloadClasses; policies, models: the accepted ones too
    endpoints: by cluster (which is a Deployment), ready and draining ones
    weights:   the plan's published weights, by cell and cluster; may be empty
    groups:    sharing group by cluster, for clusters that the plan no longer names but whose
               replicas still run (from their Deployments' labels)
    cluster_models: ServedModel by cluster, for the same ones
    former:    what Envoys have
    unseen:    classes that are named by what runs for them and are not seen: their requests are
               recognised as Envoys do it now; all else follows the plan
    yielding:  classes that were deleted and serve within their grace: requests that a class which exists
               matches as well are that one's
    """

    gateway: Gateway
    plan: FleetPlan | None
    classes: tuple[WorkloadClass, ...]
    policies: tuple[RouterPolicy, ...] = ()
    models: tuple[ServedModel, ...] = ()
    endpoints: Mapping[DeploymentKey, tuple[Endpoint, ...]] = field(default_factory=dict)
    weights: Mapping[CellName, Mapping[DeploymentKey, float]] = field(default_factory=dict)
    groups: Mapping[DeploymentKey, GroupName] = field(default_factory=dict)
    cluster_models: Mapping[DeploymentKey, ModelKey] = field(default_factory=dict)
    former: FormerRoutes = field(default_factory=FormerRoutes)
    unseen: frozenset[ClassKey] = frozenset()
    yielding: frozenset[ClassKey] = frozenset()

    @property
    def unseen_claims(self) -> tuple[Claim, ...]:
        """Of the classes that are not seen, as Envoys have them."""
        return tuple(claim for claim in self.former.claims if claim.class_key in self.unseen)


@dataclass(frozen=True, slots=True)
class _Cell:
    """One row of the plan, or an empty one for a class that the plan does not serve."""

    name: CellName
    group: GroupName
    planned: Mapping[DeploymentKey, float]
    refusal: str


@dataclass(frozen=True, slots=True)
class _Resolved:
    """The inputs, with the policy of each class, and the sharing group and model of each cluster."""

    inputs: RouteInputs
    policy_by_class: Mapping[ClassKey, RouterPolicy]
    group_by_cluster: Mapping[DeploymentKey, GroupName]
    model_by_cluster: Mapping[DeploymentKey, ModelKey]
    classes_by_group: Mapping[GroupName, frozenset[ClassKey]]
    models_by_class: Mapping[ClassKey, frozenset[ModelKey]]
    unnamed_by_class: Mapping[ClassKey, Unnamed]

    def may_serve(self, name: DeploymentKey, key: ClassKey, cell: _Cell) -> bool:
        """True if a cluster may answer a cell's requests, whether it has a share of them or not.

        Where classes share a group, they may allow different models: a replica of another model would
        refuse the requests. Which ones a class allows that is not seen is not known.
        """
        if name in cell.planned:
            return True
        if self.group_by_cluster.get(name) != cell.group:
            return False
        is_alone = self.classes_by_group[cell.group] == frozenset((key,))
        return is_alone or self.model_by_cluster.get(name) in self.models_by_class.get(key, frozenset())

    def policy_of_cluster(self, name: DeploymentKey) -> RouterPolicy | None:
        """The policy that decides how a cluster treats failing endpoints.

        The classes of its group agree on it (`ClusterPolicy`), but for the moment between an edit of a
        policy and the plan that moves a class to another group: then that of the first class, by key,
        which has a policy.
        """
        group = self.group_by_cluster.get(name)
        classes = sorted(self.classes_by_group.get(group, ())) if group is not None else []
        return next((self.policy_by_class[key] for key in classes if key in self.policy_by_class), None)


def compile_routes(inputs: RouteInputs) -> RouteTable:
    """The route table of these inputs."""
    unseen = inputs.unseen_claims
    cells = {workload.key: _cells(inputs.plan, workload.key, workload) for workload in inputs.classes}
    cells |= {claim.class_key: _cells(inputs.plan, claim.class_key) for claim in unseen}
    resolved = _resolved(inputs, cells)
    serving = _serving(resolved, cells)
    resolved = replace(resolved, inputs=replace(inputs, endpoints=_endpoints(resolved, cells, serving)))
    routes = tuple(
        _entry(resolved, (claim, cell), serving[cell.name])
        for claim in _claims(inputs)
        for cell in cells[claim.class_key]
    )
    ready = {name for name, num in _numbers(resolved.inputs.endpoints, EndpointState.READY).items() if num}
    routes = mirrored(routes, resolved.policy_by_class, inputs.classes, inputs.models, ready)
    used = {backend.cluster for route in routes for backend in route.backends}
    # Clusters that no route uses stay as long as they have endpoints: their requests in flight must
    # finish, and the operator watches them until then.
    names = sorted(used | {name for name, endpoints in resolved.inputs.endpoints.items() if endpoints})
    revision = inputs.plan.spec.revision if inputs.plan is not None else 0
    alternatives = _alternatives(names, serving.values())
    waiting = waiting_adapters(routes)
    clusters = tuple(
        replace(_cluster(resolved, name), alternatives=alternatives[name], waiting=waiting.get(name, ()))
        for name in names
    )
    hints = hints_of(inputs.classes, inputs.models, unseen, inputs.yielding)
    listings = listings_of(inputs.classes, inputs.models, unseen, inputs.yielding)
    gateway = _gateway(inputs.gateway, inputs.models)
    return RouteTable(revision, gateway, routes, clusters, hints, listings)


def _resolved(inputs: RouteInputs, cells: Mapping[ClassKey, tuple[_Cell, ...]]) -> _Resolved:
    return _Resolved(
        inputs,
        assign_policies(inputs.policies, inputs.classes, inputs.unseen).by_class,
        _groups(inputs),
        _cluster_models(inputs),
        _classes_by_group(cells),
        {workload.key: workload.model_keys for workload in inputs.classes},
        _unnamed(inputs),
    )


def _unnamed(inputs: RouteInputs) -> Mapping[ClassKey, Unnamed]:
    """A class that is not seen may be of a model that is not seen either: then none is the only one."""
    only = () if inputs.unseen else names_of_the_only_model(inputs.classes, inputs.models)
    return unnamed_by_class(_claims(inputs), only)


def _claims(inputs: RouteInputs) -> tuple[Claim, ...]:
    """The claims by precedence, without those of classes that never get a request."""
    shadowed = {conflict.loser for conflict in conflicts(inputs.classes, inputs.yielding)}
    ordered = in_order(inputs.classes, inputs.yielding)
    seen = [claim_of(each) for each in ordered if each.key not in shadowed]
    return with_unseen(seen, inputs.former.claims, inputs.unseen)


def _serving(
    resolved: _Resolved, cells: Mapping[ClassKey, tuple[_Cell, ...]]
) -> dict[CellName, frozenset[DeploymentKey]]:
    """The clusters that may answer each cell's requests, whether they have endpoints or not."""
    return {
        cell.name: frozenset(
            name
            for name in resolved.inputs.endpoints.keys() | cell.planned.keys()
            if resolved.may_serve(name, key, cell)
        )
        for key, its_cells in cells.items()
        for cell in its_cells
    }


def _alternatives(
    names: Sequence[DeploymentKey], serving: Iterable[frozenset[DeploymentKey]]
) -> dict[DeploymentKey, tuple[DeploymentKey, ...]]:
    """For each of `names` the others of them that may serve every cell that it may serve.

    A cluster does not know whose requests it has; none may come to a model that its class does not allow.
    """
    found: dict[DeploymentKey, Set[DeploymentKey]] = {}
    for each in serving:
        for name in each:
            found[name] = found.get(name, each) & each
    return {name: tuple(n for n in names if n != name and n in found.get(name, ())) for name in names}


def _endpoints(
    resolved: _Resolved,
    cells: Mapping[ClassKey, tuple[_Cell, ...]],
    serving: Mapping[CellName, frozenset[DeploymentKey]],
) -> Endpoints:
    """The endpoints, those that are about to be removed out of rotation where others take their requests."""
    inputs = resolved.inputs
    planned = (
        {d.name for d in inputs.plan.spec.deployments if d.replicas} if inputs.plan is not None else set()
    )
    served_by = [
        serving[cell.name] & inputs.endpoints.keys()
        for its_cells in cells.values()
        for cell in its_cells
        if planned & cell.planned.keys()
    ]
    may_interrupt = {m.key for m in inputs.models if m.spec.exchange is Exchange.BRIEF_OUTAGE}
    yielding = {
        name
        for name in inputs.endpoints.keys() - planned
        if resolved.model_by_cluster.get(name) in may_interrupt
    }
    adapters = {adapter.name for model in inputs.models for adapter in model.spec.adapters}
    kept = with_last_ones_kept(inputs.endpoints, served_by, yielding)
    return with_last_holders_kept(kept, served_by, yielding, adapters) if adapters else kept


def _entry(resolved: _Resolved, of: tuple[Claim, _Cell], serving: frozenset[DeploymentKey]) -> RouteEntry:
    claim, cell = of
    policy = resolved.policy_by_class.get(claim.class_key)
    endpoints = {name: found for name, found in resolved.inputs.endpoints.items() if name in serving}
    published = resolved.inputs.weights.get(cell.name, {})
    # While none is ready, requests wait for those that may be again (`xds.waiting`).
    backends = divide(published, cell.planned, _numbers(endpoints, EndpointState.READY)) or divide(
        published, cell.planned, _numbers(endpoints, EndpointState.NOT_READY)
    )
    models = resolved.models_by_class.get(claim.class_key, frozenset())
    adapters = adapter_routes(
        adapters_named(claim.match.models, [m for m in resolved.inputs.models if m.key in models]),
        endpoints,
        lambda numbers: divide(published, cell.planned, numbers),
        claim.class_key,
    )
    idle_s = policy.spec.per_try_idle_seconds if policy is not None else None
    return RouteEntry(
        cell=cell.name,
        class_key=claim.class_key,
        stat_prefix=stat_prefix_of(cell.name),
        match=claim.match,
        backends=backends,
        retry_attempts=(policy.spec.retries if policy else Retries()).attempts,
        refusal="" if backends else cell.refusal,
        per_try_idle_timeout_s=float(idle_s) if idle_s is not None else None,
        unnamed=resolved.unnamed_by_class[claim.class_key],
        adapters=adapters,
    )


def _numbers(endpoints: Endpoints, state: EndpointState) -> dict[DeploymentKey, int]:
    return {name: sum(each.state is state for each in found) for name, found in endpoints.items()}


def _cluster(resolved: _Resolved, name: DeploymentKey) -> ClusterEntry:
    endpoints = sorted(resolved.inputs.endpoints.get(name, ()), key=lambda e: (e.address, e.port, e.pod))
    outlier = ClusterPolicy.of(resolved.policy_of_cluster(name)).outlier
    model = resolved.model_by_cluster.get(name)
    has_adapters = any(m.key == model and m.spec.engine.max_loras > 0 for m in resolved.inputs.models)
    return ClusterEntry(
        name,
        tuple(endpoints),
        outlier,
        _request_limit(resolved.inputs.plan, name),
        has_adapters=has_adapters,
    )


def _cells(
    plan: FleetPlan | None, class_key: ClassKey, workload: WorkloadClass | None = None
) -> tuple[_Cell, ...]:
    """workload: the class itself; None where it is not seen"""
    whole, own_group = CellName.of_class(class_key), GroupName.of_class(class_key)
    if plan is None:
        refusal = f"No plan is applied yet, so no replica serves {class_key}."
        return (_Cell(whole, own_group, {}, refusal),)
    none = f"Plan {plan.spec.revision} has no replicas for {class_key}."
    loading = _refusal_while_loading(class_key, workload)
    cells = tuple(
        _Cell(
            cell.name,
            cell.sharing_group,
            {s.deployment: s.share for s in cell.shares},
            loading if cell.shares else none,
        )
        for cell in sorted(plan.spec.cells, key=lambda c: c.name)
        if cell.workload_class == class_key
    )
    return cells or (_Cell(whole, own_group, {}, none),)


def _refusal_while_loading(class_key: ClassKey, workload: WorkloadClass | None) -> str:
    """What clients read while no planned replica is ready."""
    since = workload.status.interrupted_since if workload is not None else None
    if since is None:
        return f"No replica that serves {class_key} is ready; try again in a few seconds."
    return (
        f"The replica that serves {class_key} has been in exchange for another since {since}, which is not"
        " ready yet; try again in a minute."
    )


def _classes_by_group(cells: Mapping[ClassKey, tuple[_Cell, ...]]) -> dict[GroupName, frozenset[ClassKey]]:
    groups = {cell.group for its_cells in cells.values() for cell in its_cells}
    return {
        group: frozenset(key for key, its_cells in cells.items() if group in {c.group for c in its_cells})
        for group in groups
    }


def _groups(inputs: RouteInputs) -> dict[DeploymentKey, GroupName]:
    planned = inputs.plan.spec.deployments if inputs.plan is not None else ()
    return {**inputs.groups, **{deployment.name: deployment.sharing_group for deployment in planned}}


def _cluster_models(inputs: RouteInputs) -> dict[DeploymentKey, ModelKey]:
    planned = inputs.plan.spec.deployments if inputs.plan is not None else ()
    return {**inputs.cluster_models, **{d.name: ModelKey.of(d.namespace, d.model) for d in planned}}


def _request_limit(plan: FleetPlan | None, name: DeploymentKey) -> int | None:
    planned = plan.spec.deployments if plan is not None else ()
    return next((deployment.request_limit for deployment in planned if deployment.name == name), None)


def _gateway(gateway: Gateway, models: tuple[ServedModel, ...]) -> Gateway:
    """The gateway with a body limit for the longest prompt that any model takes."""
    longest_tokens = max((model.spec.engine.max_model_len for model in models), default=0)
    body_bytes = max(gateway.max_body_bytes, BODY_BYTES_PER_TOKEN * longest_tokens)
    return replace(gateway, max_body_bytes=body_bytes)
