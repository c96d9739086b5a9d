"""What one stream asked for, what it was given, and what goes next.

Owns the xDS protocol of one stream, state of the world: nonces, versions, the order of
messages. Never waits and never writes to the network. Input: requests, and the snapshot to
arrive at. Output: one response at a time.

Order (make before break). A stream is led from the snapshot it has to the one it should have:

    1. clusters: the new ones; those that only the old routes need stay
    2. assignments; those of clusters that the new routes no longer use stay as they were
    3. once Envoy has accepted both: listeners, then routes
    4. once it has accepted the routes: assignments as they are, and clusters without the old ones

So no route ever refers to a cluster that is not there, nor to one just emptied.

An Envoy that comes with a version of a later FleetPlan revision than ours is left alone until
we have caught up: its routes are newer than what we know.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Protocol

from envoy.service.discovery.v3 import discovery_pb2

from argosy.xds.snapshot import Section, Snapshot, TypeUrl, revision_of


class Memory(Protocol):
    """What was published lately: it tells what an Envoy has that connects anew."""

    def recall(self, resource_type: TypeUrl, names: Collection[str] | None, version: str) -> Section | None:
        """The content of a version, of all or of some names; None where it is not known."""

    def ever_published(self, resource_type: TypeUrl) -> Section:
        """All resources of this type, each in the last form that routes used."""


# These two are asked for without names, which means all of them.
_WILDCARD = (TypeUrl.CLUSTER, TypeUrl.LISTENER)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What an Envoy made of a response. `refusal` is its message, None where it accepted."""

    resource_type: TypeUrl
    version: str
    refusal: str | None = None


@dataclass
class _Channel:
    """One resource type of the stream."""

    asked: bool = False
    names: frozenset[str] | None = None
    accepted: str = ""
    has: Section | None = None
    """Content of `accepted`, where known."""
    sent: Section | None = None
    """Not answered yet; one at a time."""
    nonce: str = ""
    refused: str = ""
    must_resend: bool = False
    """Envoy waits for a response although the version has not changed."""

    def select(self, section: Section) -> Section:
        return section if self.names is None else section.select(self.names)

    def ask_again(self, names: frozenset[str] | None) -> None:
        """Without an answer to give: for more names, or for the same because a cluster warms anew."""
        only_fewer = names is not None and self.names is not None and names < self.names
        self.must_resend = self.must_resend or not only_fewer
        self.names = names

    def is_at(self, section: Section) -> bool:
        return self.sent is None and self.accepted == section.version


class Subscription:
    """The state of one ADS stream."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self._channels = {each: _Channel() for each in TypeUrl}
        self._num_sent = 0

    def receive(self, request: Any) -> Verdict | None:
        """Take a DiscoveryRequest; says what it means for an earlier response, if anything."""
        try:
            resource_type = TypeUrl(request.type_url)
        except ValueError:
            return None  # a type that we do not serve; Envoy goes on without
        channel = self._channels[resource_type]
        names = frozenset(request.resource_names) - {"*"}
        asked_names = None if resource_type in _WILDCARD and not names else names
        if not channel.asked:
            channel.asked, channel.names, channel.accepted = True, asked_names, request.version_info
            channel.has = self._memory.recall(resource_type, asked_names, request.version_info)
            # A cluster that was warming when the last stream broke still waits for its endpoints,
            # and the version does not tell (it is the type's). To send them twice costs nothing.
            channel.must_resend = resource_type is TypeUrl.ENDPOINT
            return None
        if request.response_nonce != channel.nonce:
            return None  # overtaken by a later response, which will be answered too
        if channel.sent is None:
            channel.ask_again(asked_names)
            return None
        gained = (asked_names or frozenset()) - (channel.names or frozenset())
        channel.must_resend = channel.must_resend or bool(gained)
        channel.names = asked_names
        return _conclude(resource_type, channel, request)

    def due(self, snapshot: Snapshot) -> Any | None:
        """The DiscoveryResponse to send now on the way to `snapshot`, or None; call until None."""
        if self.is_ahead_of(snapshot):
            return None
        clusters, assignments = self._clusters_due(snapshot), self._assignments_due(snapshot)
        response = self._offer(TypeUrl.CLUSTER, clusters) or self._offer(TypeUrl.ENDPOINT, assignments)
        if response is not None or not self._is_backed(snapshot, clusters, assignments):
            return response
        response = self._offer(TypeUrl.LISTENER, self._wanted(TypeUrl.LISTENER, snapshot))
        if response is not None or self._channels[TypeUrl.LISTENER].sent is not None:
            return response
        return self._offer(TypeUrl.ROUTE, self._wanted(TypeUrl.ROUTE, snapshot))

    def is_ahead_of(self, snapshot: Snapshot) -> bool:
        """Whether Envoy has something of a later FleetPlan revision than `snapshot`."""
        return any(
            revision_of(channel.accepted) > snapshot.section(each).revision
            for each, channel in self._channels.items()
        )

    def has_arrived_at(self, snapshot: Snapshot) -> bool:
        """Whether Envoy has accepted everything of `snapshot`."""
        return all(self._is_at(each, snapshot) for each in TypeUrl)

    def accepted(self, resource_type: TypeUrl) -> str:
        """The version of this type that Envoy said last that it has; empty before the first."""
        return self._channels[resource_type].accepted

    def _is_at(self, resource_type: TypeUrl, snapshot: Snapshot) -> bool:
        channel, wanted = self._channels[resource_type], self._wanted(resource_type, snapshot)
        if resource_type is TypeUrl.ENDPOINT and not wanted.resources:
            return channel.sent is None  # without clusters Envoy does not even ask
        return channel.asked and channel.is_at(wanted)

    def _wanted(self, resource_type: TypeUrl, snapshot: Snapshot) -> Section:
        return self._channels[resource_type].select(snapshot.section(resource_type))

    def _clusters_due(self, snapshot: Snapshot) -> Section:
        wanted = self._wanted(TypeUrl.CLUSTER, snapshot)
        if self._routes_are_at(snapshot):
            return wanted
        has = self._channels[TypeUrl.CLUSTER].has
        if has is None and self._is_unknown(TypeUrl.CLUSTER):
            has = self._memory.ever_published(TypeUrl.CLUSTER)  # too many do no harm, and go later
        return wanted if has is None else wanted.filled_from(has)

    def _assignments_due(self, snapshot: Snapshot) -> Section:
        channel = self._channels[TypeUrl.ENDPOINT]
        wanted = self._wanted(TypeUrl.ENDPOINT, snapshot)
        if self._routes_are_at(snapshot):
            return wanted
        if channel.has is not None:
            has = channel.select(channel.has)
            return wanted.filled_from(has, preferring=set(has.resources) - snapshot.routed_clusters)
        if not (self._is_unknown(TypeUrl.CLUSTER) or self._is_unknown(TypeUrl.ENDPOINT)):
            return wanted
        # What the old routes may use must be there, and not be emptied yet.
        lately = channel.select(self._memory.ever_published(TypeUrl.ENDPOINT))
        return wanted.select(snapshot.routed_clusters).filled_from(lately)

    def _is_unknown(self, resource_type: TypeUrl) -> bool:
        """Whether Envoy came with something of this type that we do not know."""
        channel = self._channels[resource_type]
        return bool(channel.accepted) and channel.has is None

    def _routes_are_at(self, snapshot: Snapshot) -> bool:
        return self._channels[TypeUrl.ROUTE].is_at(self._wanted(TypeUrl.ROUTE, snapshot))

    def _is_backed(self, snapshot: Snapshot, clusters: Section, assignments: Section) -> bool:
        """Whether Envoy has all that the snapshot's routes refer to."""
        channel, endpoints = self._channels[TypeUrl.CLUSTER], self._channels[TypeUrl.ENDPOINT]
        if not channel.asked:
            return True  # somebody who looks at routes alone
        needed = snapshot.routed_clusters & set(snapshot.section(TypeUrl.ENDPOINT).resources)
        has_endpoints = not needed or (endpoints.is_at(assignments) and needed <= set(assignments.resources))
        return channel.is_at(clusters) and has_endpoints

    def _offer(self, resource_type: TypeUrl, section: Section) -> Any | None:
        channel = self._channels[resource_type]
        unchanged = section.version == channel.accepted and not channel.must_resend
        # An empty answer to a question for names says nothing.
        empty = channel.names is not None and not section.resources
        if not channel.asked or channel.sent or unchanged or empty or section.version == channel.refused:
            return None
        if resource_type is TypeUrl.CLUSTER and _changes_a_cluster(channel, section):
            self._channels[TypeUrl.ENDPOINT].must_resend = True
        self._num_sent += 1
        channel.nonce, channel.sent, channel.must_resend = str(self._num_sent), section, False
        return discovery_pb2.DiscoveryResponse(
            type_url=resource_type,
            version_info=section.version,
            nonce=channel.nonce,
            resources=[section.resources[name].to_any() for name in sorted(section.resources)],
        )


def _conclude(resource_type: TypeUrl, channel: _Channel, request: Any) -> Verdict:
    """Enter Envoy's answer to the outstanding response."""
    assert channel.sent is not None
    sent, channel.sent = channel.sent, None
    if not request.HasField("error_detail"):
        channel.accepted, channel.has = sent.version, sent
        return Verdict(resource_type, sent.version)
    # Envoy applies clusters and listeners one by one: some of the refused response may be in use.
    # So what it has is unknown, and the roll-back must be sent although its version is not new.
    channel.accepted, channel.refused, channel.must_resend = request.version_info, sent.version, True
    return Verdict(resource_type, sent.version, refusal=request.error_detail.message or "no reason given")


def _changes_a_cluster(channel: _Channel, section: Section) -> bool:
    """Whether Envoy has a cluster of another content: it warms anew and waits for its assignment."""
    if channel.has is None:
        return bool(channel.accepted)
    return any(
        name in section.resources and section.resources[name].digest != resource.digest
        for name, resource in channel.has.resources.items()
    )
