"""However snapshots follow each other, an Envoy never has a route to a missing cluster.

A stand-in for Envoy applies the responses of a `Subscription` one at a time and answers at random
times; new snapshots come in between. After every response its routes are checked.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.endpoint.v3 import endpoint_pb2
from envoy.config.listener.v3 import listener_pb2
from envoy.config.route.v3 import route_pb2
from envoy.service.discovery.v3 import discovery_pb2
from hypothesis import example, given, settings
from hypothesis import strategies as st

from argosy.reconcile.clock import SystemClock
from argosy.route.table import (
    Backend,
    ClusterEntry,
    Endpoint,
    EndpointState,
    Gateway,
    OutlierSettings,
    RequestMatch,
    RouteEntry,
    RouteTable,
)
from argosy.xds import hop
from argosy.xds.cache import SnapshotCache
from argosy.xds.gateway.routes import WEIGHT_TOTAL, integer_weights
from argosy.xds.snapshot import ResourceSet, Snapshot, TypeUrl
from argosy.xds.subscription import Subscription
from argosy.xds.waiting import NOWHERE_CLUSTER, any_cluster_name, waiting_cluster_name

NAMES = ("a", "b", "c", "d")


def table(revision: int, routed: list[str], states: dict[str, EndpointState], errors: int) -> RouteTable:
    shares = tuple(Backend(name, 1 / len(routed)) for name in sorted(routed))
    entry = RouteEntry("c", "n/c", "n_c", RequestMatch(models=("m",)), shares, 2, "" if shares else "none")
    clusters = tuple(
        ClusterEntry(name, (Endpoint("127.0.0.1", 8000, name, state),), OutlierSettings(errors))
        for name, state in sorted(states.items())
    )
    return RouteTable(revision, Gateway("127.0.0.1", 8080), (entry,), clusters)


@dataclass(frozen=True)
class Step:
    """What the compiler may give next: only clusters with a ready endpoint are routed to."""

    revision: int
    routed: tuple[str, ...]
    states: tuple[tuple[str, str], ...]
    errors: int

    def snapshot(self) -> Snapshot:
        states = {name: EndpointState(state) for name, state in self.states}
        return Snapshot.of_table(table(self.revision, list(self.routed), states, self.errors))


@st.composite
def steps(draw: st.DrawFn) -> list[Step]:
    found, revision = [], 1
    for _ in range(draw(st.integers(1, 6))):
        revision += draw(st.integers(0, 1))
        states = draw(
            st.dictionaries(
                st.sampled_from(NAMES), st.sampled_from(["Ready", "Draining", "NotReady"]), max_size=4
            )
        )
        ready = sorted(name for name, state in states.items() if state == "Ready")
        routed = draw(st.lists(st.sampled_from(ready), unique=True, min_size=1)) if ready else []
        found.append(
            Step(revision, tuple(routed), tuple(sorted(states.items())), draw(st.sampled_from([3, 5])))
        )
    return found


class FakeEnvoy:
    """What Envoy keeps and says, as far as ordering goes.

    An endpoint serves only where the hop leads on: the listener is there, the TCP cluster too, and it has
    the replica.
    """

    def __init__(self, subscription: Subscription) -> None:
        self.subscription = subscription
        self.assignments: dict[str, Any] = {}  # by cluster
        self.listeners: set[str] = set()
        self.clusters: set[str] = set()
        self.static: set[str] = set()  # clusters that need no assignment, such as the one that refuses
        self.routed: set[str] = set()
        self.versions = dict.fromkeys(TypeUrl, "")
        self.unanswered: list[Any] = []

    def connect(self, subscription: Subscription) -> None:
        self.subscription, self.unanswered = subscription, []
        for each in TypeUrl:
            self._say(each, "")

    def take(self, response: Any) -> None:
        each = TypeUrl(response.type_url)
        self.versions[each] = response.version_info  # what is in use is what a new stream begins with
        if each is TypeUrl.CLUSTER:
            received = [cluster_pb2.Cluster.FromString(r.value) for r in response.resources]
            self.clusters = {c.name for c in received}
            self.static = {c.name for c in received if c.type != cluster_pb2.Cluster.EDS}
            self.assignments = {n: a for n, a in self.assignments.items() if n in self.clusters}
        elif each is TypeUrl.ENDPOINT:
            for packed in response.resources:
                assignment = endpoint_pb2.ClusterLoadAssignment.FromString(packed.value)
                self.assignments[assignment.cluster_name] = assignment
        elif each is TypeUrl.LISTENER:
            self.listeners = {listener_pb2.Listener.FromString(p.value).name for p in response.resources}
        elif each is TypeUrl.ROUTE:
            (routes,) = [route_pb2.RouteConfiguration.FromString(p.value) for p in response.resources]
            actions = [route.route for route in routes.virtual_hosts[0].routes if route.HasField("route")]
            self.routed = {weighted.name for a in actions for weighted in a.weighted_clusters.clusters}
            self.routed |= {a.cluster for a in actions if a.cluster}
        self.unanswered.append(response)

    def answer_one(self) -> bool:
        if not self.unanswered:
            return False
        response = self.unanswered.pop(0)
        each = TypeUrl(response.type_url)
        self._say(each, response.nonce)
        if each is TypeUrl.CLUSTER:
            # New clusters make Envoy ask for their endpoints.
            self._say(TypeUrl.ENDPOINT, self._last_nonce)
        return True

    _last_nonce = ""

    def _say(self, each: TypeUrl, nonce: str) -> None:
        by_eds = sorted(self.clusters - self.static)
        names = {TypeUrl.ENDPOINT: by_eds, TypeUrl.ROUTE: ["argosy"]}.get(each, [])
        if each is TypeUrl.ENDPOINT:
            self._last_nonce = nonce
        self.subscription.receive(
            discovery_pb2.DiscoveryRequest(
                type_url=each, version_info=self.versions[each], response_nonce=nonce, resource_names=names
            )
        )

    @property
    def dangling(self) -> set[str]:
        """Clusters that requests are sent to although they are not there, or have no replica."""
        return {name for name in self.routed if name not in self.static and not self._serves(name)}

    def _serves(self, name: str) -> bool:
        assignment = self.assignments.get(name)
        if name not in self.clusters or assignment is None:
            return False
        hosts = [host for locality in assignment.endpoints for host in locality.lb_endpoints]
        led = [*hop.hops_of(assignment)]
        assert all(each.cluster in self.clusters for each in led), "also where requests only wait"
        return any(
            host.health_status == 0 and self._leads_on(each) for host, each in zip(hosts, led, strict=True)
        )

    def _leads_on(self, each: hop.HopReference) -> bool:
        behind = self.assignments.get(each.cluster)
        return (
            each.listener in self.listeners
            and each.cluster in self.clusters
            and behind is not None
            and each.replica in hop.replicas_of(behind)
        )


def drain(envoy: FakeEnvoy, target: Snapshot) -> None:
    while (response := envoy.subscription.next_response(target)) is not None:
        envoy.take(response)
        assert envoy.dangling == set()


READY_A = (("a", "Ready"),)
NOTHING = Step(1, (), (), 3)


# The stream breaks while clusters that no later snapshot has are still in use.
@example(
    [Step(1, ("a",), READY_A, 3), Step(1, ("b",), (("b", "Ready"),), 3), NOTHING], [1, 4, 0, 0, 0, 0], True
)
# A cluster goes and comes back with the endpoints it had.
@example([Step(1, ("a",), READY_A, 3), NOTHING, Step(1, ("a",), READY_A, 3)], [2, 3, 1, 0, 0, 0], True)
# Its last endpoint drains in the same breath as its share goes.
@example([Step(1, ("a",), READY_A, 3), Step(2, (), (("a", "Draining"),), 3)], [4, 1, 0, 0, 0, 0], True)
@given(steps(), st.lists(st.integers(0, 4), min_size=6, max_size=6), st.booleans())
@settings(max_examples=150)
def test_no_route_ever_leads_into_nothing(planned: list[Step], patience: list[int], reconnects: bool) -> None:
    targets, cache = [step.snapshot() for step in planned], SnapshotCache(SystemClock())
    envoy = FakeEnvoy(Subscription(cache))
    envoy.connect(envoy.subscription)
    for target, num_answers in zip(targets, patience, strict=False):
        cache.publish(target)
        for _ in range(num_answers):
            drain(envoy, target)
            envoy.answer_one()
    if reconnects:
        envoy.connect(Subscription(cache))
    for _ in range(100):
        drain(envoy, targets[-1])
        if not envoy.answer_one():
            break
    assert envoy.subscription.has_arrived_at(targets[-1])
    assert envoy.clusters == set(targets[-1].resources(TypeUrl.CLUSTER).by_name)
    led = envoy.routed - envoy.static
    names = (hop.tcp_cluster_name, waiting_cluster_name, any_cluster_name)
    behind = {of(name) for name in led for of in names}
    behind |= {NOWHERE_CLUSTER} if led else set()
    assert envoy.routed | behind == set(targets[-1].routed_clusters)


@given(steps())
def test_an_envoy_that_has_everything_is_sent_its_endpoints_again_and_nothing_else(
    planned: list[Step],
) -> None:
    cache, target = SnapshotCache(SystemClock()), planned[-1].snapshot()
    cache.publish(target)
    envoy = FakeEnvoy(Subscription(cache))
    envoy.connect(envoy.subscription)
    while True:
        drain(envoy, target)
        if not envoy.answer_one():
            break
    elsewhere = SnapshotCache(SystemClock())
    envoy.connect(Subscription(elsewhere))  # a restarted process: it remembers nothing
    drain(envoy, target)
    assert {response.type_url for response in envoy.unanswered} <= {TypeUrl.ENDPOINT}
    envoy.answer_one()
    assert envoy.subscription.next_response(target) is None


@given(steps())
def test_equal_tables_give_equal_versions_and_every_snapshot_is_consistent(planned: list[Step]) -> None:
    for target in [step.snapshot() for step in planned]:
        again = Snapshot.of_sets(
            {
                each: ResourceSet(s.revision, dict(reversed(s.by_name.items())))
                for each, s in target.by_type.items()
            }
        )
        assert [again.resources(each).version for each in TypeUrl] == [
            target.resources(each).version for each in TypeUrl
        ]
        assert again.routed_clusters <= set(target.resources(TypeUrl.CLUSTER).by_name)


@given(st.lists(st.floats(min_value=1e-6, max_value=1.0), min_size=1, max_size=32))
def test_integer_weights_sum_exactly_and_stay_within_one_of_the_share(raw: list[float]) -> None:
    shares = [value / sum(raw) for value in raw]
    weights = integer_weights(shares)
    assert sum(weights) == WEIGHT_TOTAL
    assert all(abs(w - s * WEIGHT_TOTAL) < 1 + 1e-6 for w, s in zip(weights, shares, strict=True))


def _named(packed: Any) -> str:
    return str(cluster_pb2.Cluster.FromString(packed.value).name)
