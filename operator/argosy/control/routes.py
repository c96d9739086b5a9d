"""The input of the route compiler, from a snapshot.

Owns the step from a snapshot to `RouteInputs`: which plan, which endpoints, which sharing group each
cluster serves. The publisher and a decision call the same function. Input: a snapshot and the plan to
route for. Output: `RouteInputs`.
"""

from __future__ import annotations

from collections.abc import Iterable, Set

from argosy.api import FleetPlan, WorkloadClass
from argosy.api.fleet import CorsSpec
from argosy.control.cells import known_cells, weights_of_plan
from argosy.control.state.counts import served_in_full
from argosy.control.state.owners import group_by_deployment, models_by_deployment
from argosy.keys import ClassKey, DeploymentKey, GroupName
from argosy.route.compile import RouteInputs
from argosy.route.precedence import conflicts, match_of, may_overlap
from argosy.route.table import (
    LEAST_BODY_BYTES,
    AccessLogFormat,
    Cors,
    Endpoint,
    EndpointState,
    FormerRoutes,
    Gateway,
)
from argosy.snapshot.cluster import PodState
from argosy.snapshot.fleet import FleetSnapshot
from argosy.snapshot.serving import answers, may_have_requests


def route_inputs(
    snapshot: FleetSnapshot, plan: FleetPlan | None, former: FormerRoutes | None = None
) -> RouteInputs:
    """All that the routes of `plan` depend on: a pure function of the API server's objects.

    Of objects that are named and not seen, what Envoys have stands in: former
    """
    former = former or FormerRoutes()
    gateway, absent = snapshot.fleet_spec.gateway, snapshot.seen.absent
    unseen = frozenset(ClassKey(ref.key) for ref in absent if ref.plural == WorkloadClass.PLURAL)
    unseen |= {ClassKey(ref.key) for ref in snapshot.seen.ended} & _served(plan)
    groups = {*known_cells(snapshot).groups, *map(GroupName.of_class, unseen)}
    return RouteInputs(
        gateway=Gateway(
            gateway.address,
            gateway.port,
            # As long a prompt as a model takes that is not seen.
            max_body_bytes=max(LEAST_BODY_BYTES, former.max_body_bytes if absent else 0),
            access_log=AccessLogFormat(gateway.access_log.format) if gateway.access_log else None,
            shows_endpoint=gateway.endpoint_header,
            cors=_cors(gateway.cors) if gateway.cors else None,
        ),
        plan=plan,
        classes=tuple(snapshot.classes.values()),
        policies=tuple(snapshot.policies.values()),
        models=tuple(snapshot.models.values()),
        endpoints=_endpoints(snapshot.engine_pods, acts=snapshot.acts),
        weights=weights_of_plan(plan) if plan else {},
        groups=group_by_deployment(snapshot.engine_pods, groups),
        cluster_models=models_by_deployment(snapshot),
        former=former,
        unseen=unseen,
        yielding=_yielding(snapshot),
    )


def _cors(spec: CorsSpec) -> Cors:
    return Cors(
        origins=spec.allow_origins,
        methods=spec.allow_methods,
        headers=spec.allow_headers,
        exposed=spec.expose_headers,
        credentials=spec.allow_credentials,
        max_age_s=spec.max_age_seconds,
    )


def _yielding(snapshot: FleetSnapshot) -> frozenset[ClassKey]:
    """The classes within their grace, once replicas of every class that takes requests of theirs serve: until
    then those would be refused."""
    classes, yielding = snapshot.classes, snapshot.yielding_classes
    if not yielding:
        return yielding
    shadowed = {conflict.loser for conflict in conflicts(classes.values(), yielding)}
    matches = [match_of(classes[key]) for key in snapshot.parting_classes & classes.keys()]
    takers = (
        key
        for key in classes.keys() - yielding - shadowed
        if any(may_overlap(match_of(classes[key]), match) for match in matches)
    )
    return yielding if served_in_full(snapshot).issuperset(takers) else frozenset()


def _served(plan: FleetPlan | None) -> Set[ClassKey]:
    return {cell.workload_class for cell in plan.spec.cells} if plan is not None else set()


def _endpoints(pods: Iterable[PodState], *, acts: bool) -> dict[DeploymentKey, tuple[Endpoint, ...]]:
    """Ready engines take requests; draining ones, and those that are not ready any more, may have some.

    acts: the pods that are marked are about to be removed; in another mode nothing is
    """
    endpoints: dict[DeploymentKey, list[Endpoint]] = {}
    for pod in pods:
        if may_have_requests(pod):
            held = tuple(sorted(pod.adapters.held)) if pod.adapters is not None else ()
            endpoint = Endpoint(pod.ip, pod.port, pod.key, _state(pod, acts), held)
            endpoints.setdefault(pod.deployment, []).append(endpoint)
    return {name: tuple(found) for name, found in endpoints.items()}


def _state(pod: PodState, acts: bool) -> EndpointState:
    if pod.deleting:
        # What was out of rotation when its drain began does not come back for it.
        is_out = pod.is_marked or not answers(pod)
        return EndpointState.TERMINATING if is_out else EndpointState.DRAINING
    if not answers(pod):
        return EndpointState.NOT_READY
    return EndpointState.MARKED if acts and pod.is_marked else EndpointState.READY
