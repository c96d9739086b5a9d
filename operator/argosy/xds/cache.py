"""The current xDS snapshot, and what each Envoy acknowledged or refused of it.

Owns which snapshot an Envoy should have, roll-back included, and the state per Envoy that Fleet's
status shows. Input: published snapshots, acknowledgements and refusals. Output: the snapshot for a
node. Not thread-safe: it is used on one event loop.

Roll-back is per Envoy: what one refuses (because of a port taken on its machine, say) may be fine
for all others. An Envoy that refused a version gets the newest snapshot that was accepted instead of
what it refused; endpoints stay up to date, because a refused listener must not keep requests on
pods that are gone.
"""

from __future__ import annotations

import itertools
import time
from collections import deque
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

from argosy.snapshot.fleet import EnvoyState
from argosy.xds.snapshot import PackedResource, ResourceSet, Snapshot, TypeUrl
from argosy.xds.subscription import ResponseOutcome

_NUM_REMEMBERED = 16


SHARED_AFTER_S = 15.0
"""Two streams of one node id for this long are two Envoys. An Envoy that connects anew may have two for a
while: the server notices the end of a broken connection only by unanswered pings."""


@dataclass
class _Node:
    node_id: str
    is_connected: bool = False
    since_s: float = 0.0
    acknowledged: dict[TypeUrl, str] = field(default_factory=dict)
    refusals: dict[TypeUrl, ResponseOutcome] = field(default_factory=dict)
    is_ahead: bool = False


class SnapshotCache:
    """Snapshots, and which Envoys accepted which."""

    def __init__(self, monotonic_s: Callable[[], float] = time.monotonic) -> None:
        self._monotonic_s = monotonic_s
        self._current: Snapshot | None = None
        self._published: deque[Snapshot] = deque(maxlen=_NUM_REMEMBERED)
        self._accepted: deque[Snapshot] = deque(maxlen=_NUM_REMEMBERED)
        self._nodes: dict[str, _Node] = {}

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
        return True

    def snapshot_for(self, node_id: str) -> Snapshot | None:
        """The snapshot that this Envoy should have; None where there is none that it would accept."""
        current = self._current
        refused = self._refused_now(node_id)
        if current is None or not refused:
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

    def connect(self, node_id: str) -> str:
        """A stream of this Envoy began; returns the name under which this cache knows it until it ends.

        That is the node id, unless a stream of the same id is open: two Envoys that share an id are
        known under two names, so that neither is led by what the other has.
        """
        names = (node_id if number == 1 else f"{node_id}#{number}" for number in itertools.count(1))
        name = next(n for n in names if not self._is_connected(n))
        node = self._nodes.setdefault(name, _Node(node_id))
        node.is_connected, node.since_s = True, self._monotonic_s()
        return name

    def disconnect(self, name: str) -> None:
        """This Envoy's stream ended. What it refused is kept: it may connect again."""
        node = self._nodes[name]
        node.is_connected = False
        if not node.refusals:
            del self._nodes[name]

    def saw(self, node_id: str, resource_type: TypeUrl, version: str, *, is_ahead: bool) -> None:
        """This Envoy reports that it has `version`."""
        node = self._nodes[node_id]
        node.acknowledged[resource_type], node.is_ahead = version, is_ahead

    def refuse(self, node_id: str, outcome: ResponseOutcome, target: Snapshot) -> None:
        """This Envoy refused a response that was sent on the way to `target`."""
        # The response may have held less or more than the target's resources: keep the target's version.
        version = target.resources(outcome.resource_type).version
        self._nodes[node_id].refusals[outcome.resource_type] = ResponseOutcome(
            outcome.resource_type, version, outcome.refusal
        )

    def arrive(self, node_id: str, snapshot: Snapshot) -> None:
        """This Envoy has accepted all of `snapshot`: others may be rolled back to it."""
        if not self._accepted or self._accepted[-1] is not snapshot:
            self._accepted.append(snapshot)
        if snapshot is self._current:
            self._nodes[node_id].refusals.clear()

    def envoys(self) -> tuple[EnvoyState, ...]:
        """The connected Envoys, by node id."""
        return tuple(self._state(node_id) for node_id in sorted(self._nodes) if self._is_connected(node_id))

    def _is_connected(self, name: str) -> bool:
        return name in self._nodes and self._nodes[name].is_connected

    def _shares_its_id(self, node: _Node) -> bool:
        """Whether another Envoy has been connected under this node id for a while."""
        latest_s = self._monotonic_s() - SHARED_AFTER_S
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
            is_ahead=node.is_ahead,
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
