"""What one stream watches, what it was sent, and which response goes next.

Owns the xDS protocol of one stream in its state-of-the-world variant: nonces, versions, the order of
messages. Input: requests, and the snapshot that Envoy should have. Output: one response at a time;
`server` sends it.

Order (make before break). From the snapshot that Envoy has to the one that it should have:

    1. clusters: the new ones; those that only the old routes need stay
    2. assignments; those of clusters that the new routes no longer use stay as they were
    3. once Envoy has accepted both: listeners, then routes
    4. once it has accepted the routes: assignments as they are, and clusters without the old ones

So no route ever refers to a cluster that is missing or was just emptied.

An Envoy that connects with a version of a later FleetPlan revision than the snapshot's is sent
nothing until the snapshot has caught up, or `lead_back` is called: `hold` says when.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Protocol

from envoy.service.discovery.v3 import discovery_pb2

from argosy.xds.snapshot import ResourceSet, Snapshot, TypeUrl, revision_of


class PublishedResources(Protocol):
    """What was published recently: the content behind the version that a reconnecting Envoy names."""

    def find(self, resource_type: TypeUrl, names: Collection[str] | None, version: str) -> ResourceSet | None:
        """The content of a version, of all or of some names; None where it is not known."""

    def latest_routed(self, resource_type: TypeUrl) -> ResourceSet:
        """All resources of this type, each as routes used it last."""


# These two are asked for without names, which means all of them.
_WILDCARD = (TypeUrl.CLUSTER, TypeUrl.LISTENER)


@dataclass(frozen=True, slots=True)
class ResponseOutcome:
    """An Envoy's ACK or NACK of a response. `refusal` is the NACK's message, None for an ACK."""

    resource_type: TypeUrl
    version: str
    refusal: str | None = None


@dataclass
class _Watch:
    """The stream's subscription to one resource type. `accepted`, `refused`: versions ACKed and NACKed."""

    is_open: bool = False
    names: frozenset[str] | None = None
    """None: all of the type."""
    accepted: str = ""
    has: ResourceSet | None = None
    """Content of `accepted`, where known."""
    sent: ResourceSet | None = None
    """The response that awaits its ACK or NACK; one at a time."""
    nonce: str = ""
    refused: str = ""
    must_resend: bool = False
    """Envoy waits for a response although the version has not changed."""

    def select(self, resources: ResourceSet) -> ResourceSet:
        return resources if self.names is None else resources.select(self.names)

    def ask_again(self, names: frozenset[str] | None) -> None:
        """A request without an ACK: for more names, or for the same because a cluster warms anew."""
        only_fewer = names is not None and self.names is not None and names < self.names
        self.must_resend = self.must_resend or not only_fewer
        self.names = names

    def is_at(self, resources: ResourceSet) -> bool:
        return self.sent is None and self.accepted == resources.version


class Subscription:
    """The state of one ADS stream: a watch per resource type."""

    def __init__(self, published: PublishedResources) -> None:
        self._published = published
        self._watches = {each: _Watch() for each in TypeUrl}
        self._num_sent = 0
        self._led_back_from = 0

    def receive(self, request: Any) -> ResponseOutcome | None:
        """Take a DiscoveryRequest; returns the ACK or NACK of an earlier response that it carries, if any."""
        try:
            resource_type = TypeUrl(request.type_url)
        except ValueError:
            return None  # a type that is not served; Envoy goes on without
        watch = self._watches[resource_type]
        names = frozenset(request.resource_names) - {"*"}
        asked_names = None if resource_type in _WILDCARD and not names else names
        if not watch.is_open:
            watch.is_open, watch.names, watch.accepted = True, asked_names, request.version_info
            watch.has = self._published.find(resource_type, asked_names, request.version_info)
            # A cluster that was warming when the last stream broke still waits for its endpoints,
            # and the version does not show it (it is the type's). Sending them twice costs nothing.
            watch.must_resend = resource_type is TypeUrl.ENDPOINT
            return None
        if request.response_nonce != watch.nonce:
            return None  # overtaken by a later response, which will be answered too
        if watch.sent is None:
            watch.ask_again(asked_names)
            return None
        gained = (asked_names or frozenset()) - (watch.names or frozenset())
        watch.must_resend = watch.must_resend or bool(gained)
        watch.names = asked_names
        return _conclude(resource_type, watch, request)

    def next_response(self, snapshot: Snapshot) -> Any | None:
        """The DiscoveryResponse to send now on the way to `snapshot`, or None; call until None."""
        if self.revision_ahead_of(snapshot):
            return None
        clusters, assignments = self._clusters_to_send(snapshot), self._assignments_to_send(snapshot)
        response = self._respond(TypeUrl.CLUSTER, clusters) or self._respond(TypeUrl.ENDPOINT, assignments)
        if response is not None or not self._has_dependencies_of(snapshot, clusters, assignments):
            return response
        response = self._respond(TypeUrl.LISTENER, self._watched(TypeUrl.LISTENER, snapshot))
        if response is not None or self._watches[TypeUrl.LISTENER].sent is not None:
            return response
        return self._respond(TypeUrl.ROUTE, self._watched(TypeUrl.ROUTE, snapshot))

    def revision_ahead_of(self, snapshot: Snapshot) -> int:
        """The largest FleetPlan revision that Envoy has something of and that is later than `snapshot`'s.

        0 where there is none, and for revisions that it is being led back from.
        """
        ahead = (
            revision
            for each, watch in self._watches.items()
            if (revision := revision_of(watch.accepted)) > snapshot.resources(each).revision
        )
        return max((revision for revision in ahead if revision > self._led_back_from), default=0)

    def lead_back(self) -> None:
        """From now on send snapshots although what Envoy has at present is of a later revision."""
        self._led_back_from = self.revision

    @property
    def revision(self) -> int:
        """The largest FleetPlan revision in the versions that Envoy has; 0 where it has none."""
        return max(0, *(revision_of(watch.accepted) for watch in self._watches.values()))

    def has_arrived_at(self, snapshot: Snapshot) -> bool:
        """Whether Envoy has accepted everything of `snapshot`."""
        return all(self._is_at(each, snapshot) for each in TypeUrl)

    def accepted(self, resource_type: TypeUrl) -> str:
        """The version of this type that Envoy acknowledged last; empty before the first."""
        return self._watches[resource_type].accepted

    def _is_at(self, resource_type: TypeUrl, snapshot: Snapshot) -> bool:
        watch, wanted = self._watches[resource_type], self._watched(resource_type, snapshot)
        if resource_type is TypeUrl.ENDPOINT and not wanted.by_name:
            return watch.sent is None  # without clusters Envoy does not ask for assignments
        return watch.is_open and watch.is_at(wanted)

    def _watched(self, resource_type: TypeUrl, snapshot: Snapshot) -> ResourceSet:
        return self._watches[resource_type].select(snapshot.resources(resource_type))

    def _clusters_to_send(self, snapshot: Snapshot) -> ResourceSet:
        wanted = self._watched(TypeUrl.CLUSTER, snapshot)
        if self._routes_are_at(snapshot):
            return wanted
        has = self._watches[TypeUrl.CLUSTER].has
        if has is None and self._is_unknown(TypeUrl.CLUSTER):
            has = self._published.latest_routed(TypeUrl.CLUSTER)  # too many do no harm, and go later
        return wanted if has is None else wanted.filled_from(has)

    def _assignments_to_send(self, snapshot: Snapshot) -> ResourceSet:
        watch = self._watches[TypeUrl.ENDPOINT]
        wanted = self._watched(TypeUrl.ENDPOINT, snapshot)
        if self._routes_are_at(snapshot):
            return wanted
        if watch.has is not None:
            has = watch.select(watch.has)
            return wanted.filled_from(has, preferring=set(has.by_name) - snapshot.routed_clusters)
        if not (self._is_unknown(TypeUrl.CLUSTER) or self._is_unknown(TypeUrl.ENDPOINT)):
            return wanted
        # What the old routes may use must be there, and not be emptied yet.
        lately = watch.select(self._published.latest_routed(TypeUrl.ENDPOINT))
        return wanted.select(snapshot.routed_clusters).filled_from(lately)

    def _is_unknown(self, resource_type: TypeUrl) -> bool:
        """Whether Envoy connected with a version of this type whose content is not known."""
        watch = self._watches[resource_type]
        return bool(watch.accepted) and watch.has is None

    def retry(self) -> None:
        """Send again also what this Envoy refused."""
        for watch in self._watches.values():
            watch.refused = ""

    def _routes_are_at(self, snapshot: Snapshot) -> bool:
        return self._watches[TypeUrl.ROUTE].is_at(self._watched(TypeUrl.ROUTE, snapshot))

    def _has_dependencies_of(
        self, snapshot: Snapshot, clusters: ResourceSet, assignments: ResourceSet
    ) -> bool:
        """Whether Envoy has all that the snapshot's routes refer to."""
        watch, endpoints = self._watches[TypeUrl.CLUSTER], self._watches[TypeUrl.ENDPOINT]
        if not watch.is_open:
            return True  # a client that watches routes alone
        needed = snapshot.routed_clusters & set(snapshot.resources(TypeUrl.ENDPOINT).by_name)
        has_endpoints = not needed or (endpoints.is_at(assignments) and needed <= set(assignments.by_name))
        return watch.is_at(clusters) and has_endpoints

    def _respond(self, resource_type: TypeUrl, resources: ResourceSet) -> Any | None:
        watch = self._watches[resource_type]
        unchanged = resources.version == watch.accepted and not watch.must_resend
        # An empty response to a request for names carries no information.
        empty = watch.names is not None and not resources.by_name
        if not watch.is_open or watch.sent or unchanged or empty or resources.version == watch.refused:
            return None
        if resource_type is TypeUrl.CLUSTER and _changes_a_cluster(watch, resources):
            self._watches[TypeUrl.ENDPOINT].must_resend = True
        self._num_sent += 1
        watch.nonce, watch.sent, watch.must_resend = str(self._num_sent), resources, False
        return discovery_pb2.DiscoveryResponse(
            type_url=resource_type,
            version_info=resources.version,
            nonce=watch.nonce,
            resources=[resources.by_name[name].to_any() for name in sorted(resources.by_name)],
        )


def _conclude(resource_type: TypeUrl, watch: _Watch, request: Any) -> ResponseOutcome:
    """Record the ACK or NACK of the outstanding response."""
    assert watch.sent is not None
    sent, watch.sent = watch.sent, None
    if not request.HasField("error_detail"):
        watch.accepted, watch.has = sent.version, sent
        return ResponseOutcome(resource_type, sent.version)
    # Envoy applies clusters and listeners one by one: some of the refused response may be in use.
    # So what it has is unknown, and the roll-back must be sent although its version is not new.
    watch.accepted, watch.refused, watch.must_resend = request.version_info, sent.version, True
    reason = " ".join(request.error_detail.message.split())
    return ResponseOutcome(resource_type, sent.version, refusal=reason or "no reason given")


def _changes_a_cluster(watch: _Watch, resources: ResourceSet) -> bool:
    """Whether Envoy has a cluster of another content: it warms anew and waits for its assignment."""
    if watch.has is None:
        return bool(watch.accepted)
    return any(
        name in resources.by_name and resources.by_name[name].digest != resource.digest
        for name, resource in watch.has.by_name.items()
    )
