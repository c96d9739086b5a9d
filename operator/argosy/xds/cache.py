"""The current xDS snapshot, and what each Envoy acknowledged or refused of it.

Owns which snapshot an Envoy should have, roll-back included, and the state per Envoy that Fleet's
status shows. Input: published snapshots, acknowledgements and refusals. Output: the snapshot for a
node. Not thread-safe: it is used on one event loop.

Roll-back is per Envoy: what one refuses (because of a port taken on its machine, say) may be fine
for all others. An Envoy that refused a version gets the newest snapshot that was accepted instead of
what it refused; endpoints stay up to date, because a refused listener must not keep requests on
pods that are gone. What was refused is sent again after a while, and at once on a new stream: the port may
be free by then, and a new stream is often a new process.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from argosy.snapshot.fleet import EnvoyState
from argosy.xds.hold import Hold, Times
from argosy.xds.snapshot import PackedResource, ResourceSet, Snapshot, TypeUrl
from argosy.xds.subscription import ResponseOutcome

_NUM_REMEMBERED = 16
GONE_KEPT_S = 600.0


SHARED_AFTER_S = 15.0
"""Two streams of one node id for this long are two Envoys. An Envoy that connects anew may have two for a
while: the server notices the end of a broken connection only by unanswered pings."""


@dataclass
class _Node:
    node_id: str
    is_connected: bool = False
    since_s: float = 0.0
    stats_url: str = ""
    acknowledged: dict[TypeUrl, str] = field(default_factory=dict)
    refusals: dict[TypeUrl, ResponseOutcome] = field(default_factory=dict)
    is_retried: bool = False
    revision: int = 0
    hold: Hold | None = None
    left_revision: int = 0
    endpoints_since_s: float | None = None

    @property
    def is_forgotten_when_gone(self) -> bool:
        return self.hold is None


class SnapshotCache:
    """Snapshots, and which Envoys accepted which."""

    def __init__(self, times: Times) -> None:
        self._times = times
        self._listed_s: float | None = None
        self._current: Snapshot | None = None
        self._published: deque[Snapshot] = deque(maxlen=_NUM_REMEMBERED)
        self._accepted: deque[Snapshot] = deque(maxlen=_NUM_REMEMBERED)
        self._nodes: dict[str, _Node] = {}
        self.gone_at_s: dict[str, float] = {}
        """When the last stream of an Envoy ended that has not connected again (seconds since the epoch)."""
        self.gone_endpoints: dict[str, frozenset[str]] = {}
        """Of these, the addresses that each may still send requests to; absent where that is not known."""

    @property
    def current(self) -> Snapshot | None:
        """The snapshot published last; None before the first."""
        return self._current

    def publish(self, snapshot: Snapshot) -> bool:
        """Make `snapshot` the current one; False where the current one is equal."""
        if self._current is not None and _versions(self._current) == _versions(snapshot):
            return False
        self._current = snapshot
        self._published.append(snapshot)
        self._end_holds_of_the_absent(snapshot.revision)
        return True

    def snapshot_for(self, node_id: str) -> Snapshot | None:
        """The snapshot that this Envoy should have; None where there is none that it would accept."""
        current = self._current
        refused = self._refused_now(node_id)
        if current is None or not refused or self._nodes[node_id].is_retried:
            return current
        good = next((s for s in reversed(self._accepted) if not _contains(s, refused.values())), None)
        return rolled_back(current, good, refused.keys()) if good is not None else None

    def find(self, resource_type: TypeUrl, names: Collection[str] | None, version: str) -> ResourceSet | None:
        """The content of a version that was published recently; None where it is not known."""
        for snapshot in reversed(self._published):
            resources = snapshot.resources(resource_type)
            selected = resources if names is None else resources.select(names)
            if selected.version == version:
                return selected
        return None

    def latest_routed(self, resource_type: TypeUrl) -> ResourceSet:
        """All resources of this type that were published recently, each as routes used it last."""
        found: dict[str, PackedResource] = {}
        for snapshot in self._published:
            for name, resource in snapshot.resources(resource_type).by_name.items():
                if name in snapshot.routed_clusters or name not in found:
                    found[name] = resource
        return ResourceSet(self._current.resources(resource_type).revision if self._current else 0, found)

    def connect(self, node_id: str, stats_url: str = "") -> str:
        """A stream of this Envoy began; returns the name under which this cache knows it until it ends.

        That is the node id, unless a stream of the same id is open: two Envoys that share an id are
        known under two names, so that neither is led by what the other has. stats_url: where its
        counters can be read, as it announced; empty where it did not.
        """
        names = (node_id if number == 1 else f"{node_id}#{number}" for number in itertools.count(1))
        name = next(n for n in names if not self._is_connected(n))
        node = self._nodes.setdefault(name, _Node(node_id))
        node.is_connected, node.since_s = True, self._times.monotonic_s()
        node.stats_url = stats_url
        self.gone_at_s.pop(node_id, None)
        self.gone_endpoints.pop(node_id, None)
        return name

    def disconnect(self, name: str) -> None:
        """This Envoy's stream ended. A hold is kept: it may connect again."""
        node = self._nodes[name]
        node.is_connected, node.left_revision = False, 0
        node.refusals.clear()
        if not any(n.is_connected for n in self._nodes.values() if n.node_id == node.node_id):
            self._forget_long_gone()
            self.gone_at_s[node.node_id] = self._times.now_s()
            if (addresses := self._may_have(node)) is not None:
                self.gone_endpoints[node.node_id] = addresses
        if node.is_forgotten_when_gone:
            del self._nodes[name]

    def listed(self, began_s: float) -> None:
        """The process has compared its caches with a listing that began then (monotonic seconds)."""
        self._listed_s = began_s

    def hold(self, name: str, revision: int) -> Hold:
        """The hold of an Envoy that is ahead with `revision`: one goes on over several streams.

        Else an Envoy that connects again and again would never be served. Its next stream may begin
        before the server has noticed the end of the last one, and so have another name.
        """
        node = self._nodes[name]
        if node.hold is None or node.hold.revision != revision:
            holds = (n.hold for n in self._nodes.values() if n.node_id == node.node_id and n.hold is not None)
            begun = next((hold for hold in holds if hold.revision == revision), None)
            node.hold = begun or Hold.begin(revision, self._times)
        return node.hold

    def end_if_over(self, name: str, hold: Hold) -> bool:
        """Whether the Envoy may be led back now, which its state then shows."""
        if not hold.is_over(self._times.monotonic_s(), self._listed_s):
            return False
        self.end_hold(name, hold)
        self._nodes[name].left_revision = hold.revision
        return True

    def end_hold(self, name: str, hold: Hold) -> None:
        """The stream of that hold is not ahead any more; nor are earlier streams of the same Envoy."""
        for each, node in list(self._nodes.items()):
            if node.hold is hold and (each == name or not node.is_connected):
                self._forget_hold(each)

    def saw(self, node_id: str, versions: Mapping[TypeUrl, str], revision: int) -> None:
        """This Envoy reports that it has these versions, and `revision` as the largest among them."""
        node = self._nodes[node_id]
        if versions.get(TypeUrl.ENDPOINT) != node.acknowledged.get(TypeUrl.ENDPOINT):
            node.endpoints_since_s = self._times.now_s()
        node.acknowledged, node.revision = dict(versions), revision

    def endpoints_by_version(self) -> dict[str, frozenset[str]]:
        """Addresses of the endpoints in what was published lately, by the endpoints' version."""
        return {s.resources(TypeUrl.ENDPOINT).version: s.endpoint_addresses for s in self._published}

    def refuse(self, node_id: str, outcome: ResponseOutcome, target: Snapshot) -> None:
        """This Envoy refused a response that was sent on the way to `target`."""
        # The response may have held less or more than the target's resources: keep the target's version.
        version = target.resources(outcome.resource_type).version
        node = self._nodes[node_id]
        node.is_retried = False
        node.refusals[outcome.resource_type] = ResponseOutcome(
            outcome.resource_type, version, outcome.refusal
        )

    def refuses(self, node_id: str) -> bool:
        """Whether this Envoy refuses something of the current snapshot, which it is not being sent again."""
        return bool(self._refused_now(node_id)) and not self._nodes[node_id].is_retried

    def retry(self, node_id: str) -> None:
        """Send this Envoy again what it refused. Until it accepts, its state shows the refusal."""
        self._nodes[node_id].is_retried = True

    def arrive(self, node_id: str, snapshot: Snapshot) -> None:
        """This Envoy has accepted all of `snapshot`: others may be rolled back to it."""
        if not self._accepted or self._accepted[-1] is not snapshot:
            self._accepted.append(snapshot)
        if snapshot is self._current:
            self._nodes[node_id].refusals.clear()
            self._nodes[node_id].is_retried = False

    def envoys(self) -> tuple[EnvoyState, ...]:
        """The connected Envoys, by node id."""
        return tuple(self._state(node_id) for node_id in sorted(self._nodes) if self._is_connected(node_id))

    def _end_holds_of_the_absent(self, revision: int) -> None:
        """What is published has caught up with them: if they are ahead again, a hold begins anew."""
        for name, node in list(self._nodes.items()):
            if not node.is_connected and node.hold is not None and node.hold.revision <= revision:
                self._forget_hold(name)

    def _may_have(self, node: _Node) -> frozenset[str] | None:
        """The endpoints that this Envoy acknowledged last, and all that were published since: it may have
        them without having said it. None where what it acknowledged is not remembered."""
        versions = [snapshot.resources(TypeUrl.ENDPOINT).version for snapshot in self._published]
        known = node.acknowledged.get(TypeUrl.ENDPOINT)
        if known not in versions:
            return None
        since = list(self._published)[versions.index(known) :]
        return frozenset[str]().union(*(snapshot.endpoint_addresses for snapshot in since))

    def _forget_long_gone(self) -> None:
        """No reader asks for an Envoy that has been away for so long; names of pods never come back."""
        now_s = self._times.now_s()
        self.gone_at_s = {n: at_s for n, at_s in self.gone_at_s.items() if abs(now_s - at_s) < GONE_KEPT_S}
        self.gone_endpoints = {n: found for n, found in self.gone_endpoints.items() if n in self.gone_at_s}

    def _forget_hold(self, name: str) -> None:
        node = self._nodes[name]
        node.hold = None
        if not node.is_connected and node.is_forgotten_when_gone:
            del self._nodes[name]

    def _is_connected(self, name: str) -> bool:
        return name in self._nodes and self._nodes[name].is_connected

    def _shares_its_id(self, node: _Node) -> bool:
        """Whether another Envoy has been connected under this node id for a while."""
        latest_s = self._times.monotonic_s() - SHARED_AFTER_S
        namesakes = (n for n in self._nodes.values() if n.is_connected and n.node_id == node.node_id)
        return sum(namesake.since_s <= latest_s for namesake in namesakes) > 1

    def _state(self, node_id: str) -> EnvoyState:
        node = self._nodes[node_id]
        refusal = next(iter(self._refused_now(node_id).values()), None)
        return EnvoyState(
            node_id=node.node_id,
            acknowledged_version=node.acknowledged.get(TypeUrl.ROUTE, ""),
            refused_version=refusal.version if refusal else "",
            message=f"{refusal.resource_type.noun}: {refusal.refusal}" if refusal else "",
            stats_url=node.stats_url,
            revision=node.revision,
            is_ahead=node.hold is not None,
            served_at_s=node.hold.served_at_s if node.hold else None,
            left_revision=node.left_revision,
            endpoints_version=node.acknowledged.get(TypeUrl.ENDPOINT, ""),
            endpoints_since_s=node.endpoints_since_s,
            is_duplicate=self._shares_its_id(node),
        )

    def _refused_now(self, node_id: str) -> Mapping[TypeUrl, ResponseOutcome]:
        """What this Envoy refuses of the current snapshot."""
        node = self._nodes.get(node_id)
        if node is None or self._current is None:
            return {}
        current = self._current
        return {t: v for t, v in node.refusals.items() if current.resources(t).version == v.version}


def rolled_back(refused: Snapshot, good: Snapshot, types: Collection[TypeUrl]) -> Snapshot:
    """The snapshot for an Envoy that refused these types of `refused`: as much of it as fits `good`'s routes.

    Clusters and assignments keep the refused snapshot's revision, because Envoy may have accepted
    some of them; listeners and routes are `good`'s, under their own revision.
    """
    wanted, had = refused.resources(TypeUrl.CLUSTER), good.resources(TypeUrl.CLUSTER)
    new_endpoints, old_endpoints = refused.resources(TypeUrl.ENDPOINT), good.resources(TypeUrl.ENDPOINT)
    if TypeUrl.CLUSTER in types or TypeUrl.ENDPOINT in types:
        clusters = ResourceSet(wanted.revision, had.by_name)
        usable = ResourceSet(new_endpoints.revision, {}) if TypeUrl.ENDPOINT in types else new_endpoints
        endpoints = usable.select(had.by_name).filled_from(old_endpoints)
    else:
        clusters, endpoints = wanted.filled_from(had), new_endpoints.filled_from(old_endpoints)
    return Snapshot.of_sets(
        {
            TypeUrl.CLUSTER: clusters,
            TypeUrl.ENDPOINT: endpoints,
            TypeUrl.LISTENER: good.resources(TypeUrl.LISTENER),
            TypeUrl.ROUTE: good.resources(TypeUrl.ROUTE),
        }
    )


def _contains(snapshot: Snapshot, outcomes: Collection[ResponseOutcome]) -> bool:
    return any(snapshot.resources(outcome.resource_type).version == outcome.version for outcome in outcomes)


def _versions(snapshot: Snapshot) -> tuple[str, ...]:
    return tuple(snapshot.resources(each).version for each in TypeUrl)
