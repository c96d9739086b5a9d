"""One xDS snapshot: the whole configuration that Envoys should have at one time, immutable and consistent.

Owns the check that every reference leads to a resource, and the versions. `resources` makes the
resources and `server` sends them. Input: protobuf messages. Output: a `Snapshot`; equal messages
of one revision give equal versions, in every process.

A version is `<FleetPlan revision>-<hash of the content>`. The revision in front lets any
server, also one that has just started, see whether an Envoy is ahead of it.
"""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from typing import Any

from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.endpoint.v3 import endpoint_pb2
from envoy.config.listener.v3 import listener_pb2
from envoy.config.route.v3 import route_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import Message

from argosy.errors import InvariantError
from argosy.route.table import FormerRoutes, RouteTable
from argosy.xds import hop
from argosy.xds.gateway.claims import former_routes
from argosy.xds.packing import any_of
from argosy.xds.resources import resources_of
from argosy.xds.waiting import any_cluster_name, holding_cluster_name, members_of

_VERSION = re.compile(r"([0-9]{8,})-[0-9a-f]{16}")
_PREFIX = "type.googleapis.com/"


class TypeUrl(StrEnum):
    """The types of resources. Declaration order is wire order: what is referred to goes first."""

    CLUSTER = f"{_PREFIX}envoy.config.cluster.v3.Cluster"
    ENDPOINT = f"{_PREFIX}envoy.config.endpoint.v3.ClusterLoadAssignment"
    LISTENER = f"{_PREFIX}envoy.config.listener.v3.Listener"
    ROUTE = f"{_PREFIX}envoy.config.route.v3.RouteConfiguration"

    @property
    def noun(self) -> str:
        """The last part of the name, for sentences."""
        return self.rsplit(".", 1)[-1]


_MESSAGE_BY_TYPE: Mapping[TypeUrl, type[Message]] = {
    TypeUrl.CLUSTER: cluster_pb2.Cluster,
    TypeUrl.ENDPOINT: endpoint_pb2.ClusterLoadAssignment,
    TypeUrl.LISTENER: listener_pb2.Listener,
    TypeUrl.ROUTE: route_pb2.RouteConfiguration,
}


@dataclass(frozen=True, slots=True)
class PackedResource:
    """One resource as it goes over the wire: packed, with its name and digest."""

    name: str
    packed: bytes = field(repr=False)
    digest: str

    @classmethod
    def of(cls, message: Any) -> PackedResource:
        """Pack a message; assignments are named by their cluster."""
        name = message.cluster_name if hasattr(message, "cluster_name") else message.name
        packed = any_of(message).SerializeToString(deterministic=True)
        return cls(name, packed, hashlib.sha256(packed).hexdigest())

    def to_any(self) -> AnyMessage:
        """The packed message."""
        return AnyMessage.FromString(self.packed)


@dataclass(frozen=True)
class ResourceSet:
    """The resources of one type, or some of them, with their version."""

    revision: int
    by_name: Mapping[str, PackedResource]

    @cached_property
    def version(self) -> str:
        """`<revision>-<hash>`; equal for equal content of one revision."""
        content = hashlib.sha256()
        for name in sorted(self.by_name):
            content.update(f"{name}\0{self.by_name[name].digest}\0".encode())
        return f"{self.revision:08d}-{content.hexdigest()[:16]}"

    def select(self, names: Collection[str]) -> ResourceSet:
        """Those of the resources that have one of these names."""
        return ResourceSet(self.revision, {n: r for n, r in self.by_name.items() if n in names})

    def filled_from(self, other: ResourceSet, *, preferring: Collection[str] = ()) -> ResourceSet:
        """This set with what only `other` has; for the names in `preferring`, `other`'s content."""
        preferred = {n: r for n, r in other.by_name.items() if n in preferring}
        return ResourceSet(self.revision, {**other.by_name, **self.by_name, **preferred})


def revision_of(version: str) -> int:
    """The FleetPlan revision in a version; -1 where Argosy did not make it (nothing is older than that)."""
    found = _VERSION.fullmatch(version)
    return int(found[1]) if found else -1


@dataclass(frozen=True)
class Snapshot:
    """The resources of all four types. Build one with `of`, which checks the references."""

    by_type: Mapping[TypeUrl, ResourceSet]
    routed_clusters: frozenset[str] = field(repr=False)
    """Clusters that some route sends requests to, and the TCP and waiting clusters behind them."""

    @classmethod
    def of(cls, revision: int, messages: Iterable[Message]) -> Snapshot:
        """A snapshot of these messages; raises `InvariantError` where one refers to nothing."""
        found: dict[TypeUrl, dict[str, Any]] = defaultdict(dict)
        packed: dict[TypeUrl, dict[str, PackedResource]] = {each: {} for each in TypeUrl}
        for message in messages:
            resource_type = TypeUrl(f"{_PREFIX}{message.DESCRIPTOR.full_name}")
            resource = PackedResource.of(message)
            if resource.name in packed[resource_type]:
                raise InvariantError(
                    f"two resources of type {resource_type.noun} have the name {resource.name}"
                )
            found[resource_type][resource.name], packed[resource_type][resource.name] = message, resource
        routed = _check_references(found)
        return cls({each: ResourceSet(revision, packed[each]) for each in TypeUrl}, routed)

    @classmethod
    def of_table(cls, table: RouteTable) -> Snapshot:
        """The snapshot of a route table; raises `InvariantError` as `of` does."""
        return cls.of(table.revision, resources_of(table))

    @classmethod
    def of_sets(cls, by_type: Mapping[TypeUrl, ResourceSet]) -> Snapshot:
        """A snapshot put together from sets of others; raises `InvariantError` as `of` does."""
        unpacked = {each: {n: _unpack(each, r) for n, r in by_type[each].by_name.items()} for each in TypeUrl}
        return cls(dict(by_type), _check_references(unpacked))

    def resources(self, resource_type: TypeUrl) -> ResourceSet:
        """The resources of one type."""
        return self.by_type[resource_type]

    @property
    def revision(self) -> int:
        """The FleetPlan revision that the routes come from."""
        return self.by_type[TypeUrl.ROUTE].revision

    @cached_property
    def endpoint_addresses(self) -> frozenset[str]:
        """`ip:port` of every replica that requests may be sent to, draining ones included."""
        found: set[str] = set()
        for name, resource in self.by_type[TypeUrl.ENDPOINT].by_name.items():
            if not name.startswith(hop.TCP_PREFIX):
                hops = hop.hops_of(_unpack(TypeUrl.ENDPOINT, resource))
                found |= {reference.replica for reference in hops if reference.replica}
        return frozenset(found)

    @cached_property
    def former(self) -> FormerRoutes:
        """The claims of its routes: what Envoys do with requests that have this snapshot."""
        (routes,) = self.by_type[TypeUrl.ROUTE].by_name.values()
        return former_routes(_unpack(TypeUrl.ROUTE, routes))

    @property
    def version(self) -> str:
        """The routes' version: it names the snapshot in statuses."""
        return self.by_type[TypeUrl.ROUTE].version


def _unpack(resource_type: TypeUrl, resource: PackedResource) -> Message:
    message = _MESSAGE_BY_TYPE[resource_type]()
    resource.to_any().Unpack(message)
    return message


def _check_references(by_type: Mapping[TypeUrl, Mapping[str, Any]]) -> frozenset[str]:
    """The clusters that routes refer to; raises `InvariantError` where a reference leads nowhere."""
    clusters = by_type.get(TypeUrl.CLUSTER, {})
    assignments = by_type.get(TypeUrl.ENDPOINT, {})
    listeners = by_type.get(TypeUrl.LISTENER, {})
    configurations = by_type.get(TypeUrl.ROUTE, {})
    routed = frozenset(name for routes in configurations.values() for name in _clusters_of(routes))
    served_by_eds = {name for name, cluster in clusters.items() if cluster.type == cluster_pb2.Cluster.EDS}
    wanted = {name for listener in listeners.values() for name in _routes_of(listener)}
    hops = {each for assignment in assignments.values() for each in hop.hops_of(assignment)}
    replicas = {name: hop.replicas_of(assignment) for name, assignment in assignments.items()}
    for what, missing in (
        ("a route refers to unknown clusters", routed - set(clusters)),
        ("clusters without an assignment", served_by_eds - set(assignments)),
        ("assignments without a cluster", set(assignments) - set(clusters)),
        ("endpoints behind a listener that is not there", {each.listener for each in hops} - set(listeners)),
        (
            "endpoints whose TCP cluster does not have them",
            {str(e) for e in hops if e.replica and e.replica not in replicas.get(e.cluster, ())},
        ),
        (
            "endpoints that lead to clusters that are not there",
            {each.cluster for each in hops} - set(clusters),
        ),
        (
            "aggregates of clusters that are not there",
            {name for cluster in clusters.values() for name in members_of(cluster)} - set(clusters),
        ),
        ("a listener refers to unknown route configurations", wanted - set(configurations)),
    ):
        if missing:
            raise InvariantError(f"inconsistent xDS snapshot: {what}: {', '.join(sorted(missing))}")
    names_behind = (hop.tcp_cluster_name, any_cluster_name, holding_cluster_name)
    behind = {of(name) for name in routed for of in names_behind} & set(clusters)
    return routed | behind | {member for name in behind for member in members_of(clusters[name])}


def _clusters_of(configuration: Any) -> Iterable[str]:
    for host in configuration.virtual_hosts:
        for route in host.routes:
            if route.route.cluster:
                yield route.route.cluster
            for weighted in route.route.weighted_clusters.clusters:
                yield weighted.name


def _routes_of(listener: Any) -> Iterable[str]:
    for chain in listener.filter_chains:
        for network_filter in chain.filters:
            manager = http_connection_manager_pb2.HttpConnectionManager()
            if network_filter.typed_config.Unpack(manager) and manager.rds.route_config_name:
                yield manager.rds.route_config_name
