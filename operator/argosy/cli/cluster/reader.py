"""Reads a cluster as commands need it: its objects as a snapshot, and what is known of the installation.

Owns the requests. Input: an `ApiServer`. Output: a `FleetSnapshot` at the API server's time (its telemetry is
empty: what was measured is in statuses), or an `Installation`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from argosy.api import CustomResource, Fleet, FleetPlan, GPUPool, InvalidObject, RouterPolicy, ServedModel
from argosy.api import WorkloadClass as Class
from argosy.api.crd.resource import GROUP, Scope
from argosy.api.kinds import CUSTOM, Kind
from argosy.api.schema.timestamp import seconds_of
from argosy.control.survey.installation import Installation, LeaseSeen
from argosy.control.survey.permissions import NEEDED, Permission
from argosy.errors import ActuationError, Obstacle
from argosy.keys import NamespacedName
from argosy.kube.api import DEFINITIONS, DEPLOYMENTS, LEASES, NAMESPACES, PODS, ApiServer, KindPath, path_of
from argosy.kube.failures import words
from argosy.reconcile.envoy_leases import LABEL as LISTS_ENVOYS
from argosy.reconcile.envoy_leases import envoys_of, has_expired
from argosy.reconcile.leadership import LeaseSettings
from argosy.snapshot.cluster import DeploymentState, PodState
from argosy.snapshot.fleet import FleetSnapshot, RoutingView
from argosy.snapshot.kubernetes import deployment_state, is_engine_deployment, node_state, pod_state

T = TypeVar("T")
K = TypeVar("K", bound=CustomResource)
Object = Mapping[str, Any]

ACCOUNT = "argosy-operator"
"""The operator's ServiceAccount, as the chart and operator-rbac.yaml name it."""
RENEWAL_S = 2.5
"""A leader renews its Lease every second; one that has not meanwhile does not."""
AT_ONCE = 8
"""Requests at a time: an API server limits what one client may have in flight."""

_ACCOUNTS = KindPath(Kind("ServiceAccount", "serviceaccounts", "v1", Scope.NAMESPACED, watched=False))
_OF_THE_CLUSTER = (path_of("nodes").plural, PODS.plural, DEPLOYMENTS.plural)
_AUTHORIZATION = "authorization.k8s.io/v1"


@dataclass
class _Listing:
    """What could be listed, by plural, and why others could not."""

    items: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    unread: dict[str, str] = field(default_factory=dict)
    missing: set[str] = field(default_factory=set)

    def of(self, kind: type[K]) -> dict[str, K | InvalidObject]:
        return {value.key: value for value in map(kind.from_object, self.items.get(kind.PLURAL, ()))}


async def read_snapshot(api: ApiServer, *, with_cluster: bool = False) -> FleetSnapshot:
    """The custom resources, and where asked for the nodes, pods and Deployments.

    Raises ActuationError where the API server refuses, or a kind is not installed.
    """
    listing = await _list(api, with_cluster=with_cluster, is_strict=True)
    return _snapshot(api, listing)


async def read_installation(api: ApiServer, namespace: str) -> Installation:
    """Everything that `findings` looks at. Raises ActuationError where the API server does not answer."""
    listing = await _list(api, with_cluster=True, is_strict=False)
    account = await _account(api, namespace)
    denied, unreviewed = await _denied(api, namespace, account)
    envoys, lease = await _leases(api, namespace, listing)
    server_s = api.server_time_s
    return Installation(
        snapshot=replace(_snapshot(api, listing), routing=envoys),
        namespace=namespace,
        account=f"ServiceAccount {namespace}/{account}" if account else "",
        definitions=await _definitions(api, listing),
        unread={plural: why for plural, why in listing.unread.items() if plural not in listing.missing},
        denied=denied,
        unreviewed=unreviewed,
        has_namespace=await _or_none(lambda: api.find(NAMESPACES, namespace), listing, "namespaces")
        is not None
        or "namespaces" in listing.unread,
        lease=lease,
        clock_offset_s=None if server_s is None else time.time() - server_s,
    )


# --- the objects ----------------------------------------------------------------------------------


async def _list(api: ApiServer, *, with_cluster: bool, is_strict: bool) -> _Listing:
    plurals = (*CUSTOM, *(_OF_THE_CLUSTER if with_cluster else ()))
    listing = _Listing()

    async def one(plural: str) -> None:
        try:
            listing.items[plural] = (await api.list(path_of(plural)))[0]
        except ActuationError as error:
            if is_strict or error.status == 0:
                raise
            listing.unread[plural] = words(error)
            if error.obstacle is Obstacle.KIND_MISSING:
                listing.missing.add(plural)

    await _together(one(plural) for plural in plurals)
    return listing


def _snapshot(api: ApiServer, listing: _Listing) -> FleetSnapshot:
    policies, plans = _valid(listing.of(RouterPolicy)), _valid(listing.of(FleetPlan))
    users = (Fleet, GPUPool, ServedModel, Class, RouterPolicy)
    every = [value for kind in users for value in listing.of(kind).values()]
    return FleetSnapshot(
        now_s=api.server_time_s or time.time(),
        fleet=_valid(listing.of(Fleet)).get("default"),
        pools=_valid(listing.of(GPUPool)),
        models={item.key: item for item in _valid(listing.of(ServedModel)).values()},
        classes={item.key: item for item in _valid(listing.of(Class)).values()},
        policies=policies,
        plans=tuple(sorted(plans.values(), key=lambda plan: plan.spec.revision)),
        nodes={node.name: node for node in map(node_state, listing.items.get("nodes", ()))},
        pods=_pods(listing.items.get("pods", ())),
        deployments=_deployments(listing.items.get("deployments", ())),
        invalid=tuple(value for value in every if isinstance(value, InvalidObject)),
    )


def _valid(found: Mapping[str, K | InvalidObject]) -> dict[str, K]:
    return {key: value for key, value in sorted(found.items()) if not isinstance(value, InvalidObject)}


def _pods(items: Iterable[Object]) -> dict[str, PodState]:
    return {pod.key: pod for pod in map(pod_state, items)}


def _deployments(items: Iterable[Object]) -> dict[Any, DeploymentState]:
    states = (deployment_state(item) for item in items if is_engine_deployment(item))
    return {state.key: state for state in states}


# --- the installation -----------------------------------------------------------------------------


async def _definitions(api: ApiServer, listing: _Listing) -> dict[str, Object | None]:
    found: dict[str, Object | None] = {}

    async def one(plural: str) -> None:
        try:
            found[plural] = await api.find(DEFINITIONS, f"{plural}.{GROUP}")
        except ActuationError:
            if plural in listing.missing:  # the listing has told it
                found[plural] = None

    await _together(one(plural) for plural in CUSTOM)
    return found


async def _account(api: ApiServer, namespace: str) -> str:
    """The operator's ServiceAccount; empty where there is none, or it cannot be seen."""
    try:
        found = await api.find(_ACCOUNTS, NamespacedName.of(namespace, ACCOUNT))
    except ActuationError:
        return ""
    return ACCOUNT if found is not None else ""


async def _denied(api: ApiServer, namespace: str, account: str) -> tuple[tuple[Permission, ...], str]:
    """What the account, or without one the caller, may not do; and why that could not be asked."""
    denied: list[Permission] = []

    async def one(permission: Permission) -> None:
        kind, body = review(permission, namespace, account)
        answer = await api.create(kind, body)
        if not (answer.get("status") or {}).get("allowed"):
            denied.append(permission)

    try:
        await _together(map(one, NEEDED))
    except ActuationError as error:
        if error.status == 0:
            raise
        return (), words(error)
    return tuple(denied), ""


def review(permission: Permission, namespace: str, account: str) -> tuple[KindPath, dict[str, Any]]:
    """The question to the API server whether an account, or the caller, may do something."""
    name = "SubjectAccessReview" if account else "SelfSubjectAccessReview"
    attributes = {
        "group": permission.group,
        "resource": permission.resource,
        "verb": permission.verb,
        "subresource": permission.subresource,
        "name": permission.name,
        "namespace": namespace if permission.is_own else "",
    }
    spec: dict[str, Any] = {"resourceAttributes": attributes}
    if account:
        spec["user"] = f"system:serviceaccount:{namespace}:{account}"
        groups = ("system:serviceaccounts", f"system:serviceaccounts:{namespace}", "system:authenticated")
        spec["groups"] = list(groups)
    kind = KindPath(Kind(name, f"{name.lower()}s", _AUTHORIZATION, Scope.CLUSTER, watched=False))
    return kind, {"apiVersion": _AUTHORIZATION, "kind": name, "metadata": {}, "spec": spec}


async def _leases(api: ApiServer, namespace: str, listing: _Listing) -> tuple[RoutingView, LeaseSeen | None]:
    """The Envoys that the operator's replicas list, and the election's Lease."""

    async def look() -> tuple[dict[str, Any] | None, list[dict[str, Any]]]:
        leases, _ = await api.list(LEASES, namespace=namespace)
        election = next((each for each in leases if each["metadata"]["name"] == LeaseSettings("").name), None)
        return election, leases

    found = await _or_none(look, listing, "leases")
    if found is None:
        return RoutingView(), None
    election, leases = found
    now_s = api.server_time_s or time.time()
    lists = [e for e in leases if LISTS_ENVOYS in (e["metadata"].get("labels") or {})]
    routing = RoutingView(envoys=envoys_of([e for e in lists if not has_expired(e, now_s)], ""))
    if election is None:
        return routing, None
    is_renewed = not has_expired(election, now_s)
    if not is_renewed and _holder(election):
        # Its clock may differ from the API server's: whether it is renewed shows in a moment.
        await asyncio.sleep(RENEWAL_S)
        again = (await look())[0] or election
        is_renewed = again["metadata"]["resourceVersion"] != election["metadata"]["resourceVersion"]
        election = again
    renewed_s = seconds_of((election.get("spec") or {}).get("renewTime"))
    return routing, LeaseSeen(_holder(election), is_renewed, renewed_s)


def _holder(lease: Object) -> str:
    return str((lease.get("spec") or {}).get("holderIdentity") or "")


async def _or_none(ask: Callable[[], Awaitable[T]], listing: _Listing, plural: str) -> T | None:
    """The answer; None, and why in `listing`, where the API server refuses."""
    try:
        return await ask()
    except ActuationError as error:
        if error.status == 0:
            raise
        listing.unread[plural] = words(error)
        return None


async def _together(calls: Iterable[Awaitable[None]]) -> None:
    """All of them, a few at a time. Raises what the first that fails raises."""
    limit = asyncio.Semaphore(AT_ONCE)

    async def one(call: Awaitable[None]) -> None:
        async with limit:
            await call

    await asyncio.gather(*map(one, calls))
