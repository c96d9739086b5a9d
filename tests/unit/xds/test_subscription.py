"""One stream, message by message, with this test as the Envoy."""

from __future__ import annotations

from typing import Any

import pytest
from envoy.config.cluster.v3 import cluster_pb2
from envoy.service.discovery.v3 import discovery_pb2

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
from argosy.xds.cache import SnapshotCache
from argosy.xds.hop import tcp_cluster_name
from argosy.xds.snapshot import Snapshot, TypeUrl
from argosy.xds.subscription import ResponseOutcome, Subscription
from argosy.xds.waiting import ANY_PREFIX, NOWHERE_CLUSTER, WAITING_PREFIX, waiting_cluster_name

CLUSTER, ENDPOINT, LISTENER, ROUTE = TypeUrl


def snapshot(
    *clusters: str, revision: int = 1, unrouted: tuple[str, ...] = (), outlier: OutlierSettings | None = None
) -> Snapshot:
    """Routes to `clusters`, all with a ready endpoint; `unrouted` ones have a draining one."""
    shares = tuple(Backend(name, 1 / len(clusters)) for name in clusters)
    entry = RouteEntry("n/c", "n/c", "n_c", RequestMatch(models=("m",)), shares, 2, "" if shares else "none")
    entries = tuple(
        ClusterEntry(name, (Endpoint("10.0.0.1", 8000, name, state),), outlier or OutlierSettings())
        for names, state in ((clusters, EndpointState.READY), (unrouted, EndpointState.DRAINING))
        for name in names
    )
    return Snapshot.of_table(RouteTable(revision, Gateway("0.0.0.0", 8080), (entry,), entries))


def all_of(each: TypeUrl, name: str) -> list[str]:
    return [name, tcp_cluster_name(name), waiting_cluster_name(name)] if each is ENDPOINT else [name]


def names_in(response: Any) -> set[str]:
    """The clusters of replicas in a response."""
    found = {cluster_pb2.Cluster.FromString(packed.value).name for packed in response.resources}
    behind = (NOWHERE_CLUSTER, WAITING_PREFIX, ANY_PREFIX)
    return {name for name in found if not name.startswith(behind)}


class Dialogue:
    """A subscription, and what is said on it."""

    def __init__(self, target: Snapshot) -> None:
        self.cache = SnapshotCache(SystemClock())
        self.subscription = Subscription(self.cache)
        self.names: dict[TypeUrl, list[str]] = {ENDPOINT: [], ROUTE: ["argosy"]}
        self.lead_to(target)

    def lead_to(self, target: Snapshot) -> None:
        self.target = target
        self.cache.publish(target)

    def ask(
        self, each: TypeUrl, *names: str, version: str = "", nonce: str = "", error: str = ""
    ) -> ResponseOutcome | None:
        # As Envoy: where it asks for the assignment of a cluster, it asks for those behind it too.
        asked = [name for each_name in names for name in all_of(each, each_name)]
        self.names[each] = asked or self.names.get(each, [])
        request = discovery_pb2.DiscoveryRequest(
            type_url=each, version_info=version, response_nonce=nonce, resource_names=self.names[each]
        )
        if error:
            request.error_detail.message = error
        return self.subscription.receive(request)

    def due(self) -> Any:
        return self.subscription.next_response(self.target)

    def expect(self, each: TypeUrl) -> Any:
        response = self.due()
        assert response is not None
        assert TypeUrl(response.type_url) is each
        return response

    def accept(self, response: Any) -> ResponseOutcome | None:
        return self.ask(TypeUrl(response.type_url), version=response.version_info, nonce=response.nonce)

    def refuse(self, response: Any, version: str = "") -> ResponseOutcome | None:
        return self.ask(TypeUrl(response.type_url), version=version, nonce=response.nonce, error="bad")

    def begin(self, *clusters: str) -> None:
        """As an Envoy begins that has nothing, up to the current target."""
        self.ask(CLUSTER)
        self.accept(self.expect(CLUSTER))
        if clusters:
            self.ask(ENDPOINT, *clusters)
            self.accept(self.expect(ENDPOINT))
        self.ask(LISTENER)
        self.accept(self.expect(LISTENER))
        self.ask(ROUTE)
        self.accept(self.expect(ROUTE))
        assert self.due() is None


def test_an_envoy_is_given_clusters_endpoints_listener_and_routes_in_this_order() -> None:
    dialogue = Dialogue(snapshot("a"))
    for each in TypeUrl:
        dialogue.ask(each, *(["a"] if each is ENDPOINT else []))
    first, second = dialogue.expect(CLUSTER), dialogue.expect(ENDPOINT)
    assert dialogue.due() is None, "listeners wait until clusters and endpoints are accepted"
    dialogue.accept(first)
    assert dialogue.due() is None
    dialogue.accept(second)
    third = dialogue.expect(LISTENER)
    assert dialogue.due() is None, "routes wait for the listener"
    dialogue.accept(third)
    dialogue.accept(dialogue.expect(ROUTE))
    assert dialogue.due() is None
    assert dialogue.subscription.has_arrived_at(dialogue.target)


def test_nothing_new_means_nothing_sent() -> None:
    dialogue = Dialogue(snapshot("a"))
    dialogue.begin("a")
    dialogue.lead_to(snapshot("a"))
    assert dialogue.due() is None


def test_a_cluster_that_is_no_longer_routed_to_goes_last() -> None:
    dialogue = Dialogue(snapshot("a", "b"))
    dialogue.begin("a", "b")
    dialogue.lead_to(snapshot("a"))
    dialogue.accept(dialogue.expect(ROUTE))
    final = dialogue.expect(CLUSTER)
    assert names_in(final) == {"a", "tcp:a"}


def test_a_new_cluster_comes_before_the_routes_and_after_them_the_old_one_goes() -> None:
    dialogue = Dialogue(snapshot("a"))
    dialogue.begin("a")
    dialogue.lead_to(snapshot("b", revision=2))
    both = dialogue.expect(CLUSTER)
    assert names_in(both) == {"a", "tcp:a", "b", "tcp:b"}
    endpoints = dialogue.expect(ENDPOINT)
    dialogue.accept(endpoints)
    dialogue.ask(ENDPOINT, "a", "b", version=endpoints.version_info, nonce=endpoints.nonce)
    dialogue.accept(dialogue.expect(ENDPOINT))
    assert dialogue.due() is None, "Envoy accepts the clusters once the new one is warm: routes wait for that"
    dialogue.accept(both)
    dialogue.accept(dialogue.expect(LISTENER))
    dialogue.accept(dialogue.expect(ROUTE))
    assert names_in(dialogue.expect(CLUSTER)) == {"b", "tcp:b"}


def test_the_last_endpoint_of_a_cluster_drains_after_its_share_has_gone() -> None:
    dialogue = Dialogue(snapshot("a", "b"))
    dialogue.begin("a", "b")
    dialogue.lead_to(snapshot("a", unrouted=("b",)))
    dialogue.accept(dialogue.expect(ROUTE))
    dialogue.accept(dialogue.expect(ENDPOINT))
    assert dialogue.due() is None


def test_a_changed_cluster_gets_its_endpoints_again() -> None:
    dialogue = Dialogue(snapshot("a"))
    dialogue.begin("a")
    dialogue.lead_to(snapshot("a", outlier=OutlierSettings(1, 1.0)))
    dialogue.accept(dialogue.expect(CLUSTER))
    dialogue.accept(dialogue.expect(ENDPOINT))
    assert dialogue.due() is None


def test_a_cluster_changed_while_endpoints_are_under_way_gets_them_again() -> None:
    dialogue = Dialogue(snapshot("a"))
    dialogue.begin("a")
    dialogue.ask(ENDPOINT, "a", version=dialogue.subscription.accepted(ENDPOINT), nonce="2")
    under_way = dialogue.expect(ENDPOINT)
    dialogue.lead_to(snapshot("a", outlier=OutlierSettings(1, 1.0)))
    dialogue.accept(dialogue.expect(CLUSTER))
    dialogue.accept(under_way)
    dialogue.accept(dialogue.expect(ENDPOINT))
    assert dialogue.due() is None


def test_an_answer_to_an_overtaken_response_counts_for_nothing() -> None:
    dialogue = Dialogue(snapshot("a"))
    dialogue.ask(CLUSTER)
    response = dialogue.expect(CLUSTER)
    assert dialogue.ask(CLUSTER, version=response.version_info, nonce="of-another-stream") is None
    assert dialogue.subscription.accepted(CLUSTER) == ""


@pytest.mark.parametrize("held", [pytest.param(each, id=each.noun) for each in TypeUrl])
def test_an_envoy_ahead_of_us_is_sent_nothing_until_we_caught_up(held: TypeUrl) -> None:
    newer = snapshot("a", revision=8)
    dialogue = Dialogue(snapshot("a", "b", revision=7))
    for each in TypeUrl:
        version = newer.resources(each).version if each is held else ""
        dialogue.ask(each, *(["a"] if each is ENDPOINT else []), version=version)
    assert dialogue.due() is None
    assert dialogue.subscription.revision_ahead_of(dialogue.target) == 8
    dialogue.lead_to(newer)
    assert dialogue.due() is not None


def test_an_envoy_that_is_led_back_goes_the_whole_way_in_the_usual_order() -> None:
    newer = snapshot("a", revision=8)
    dialogue = Dialogue(snapshot("b", revision=7))
    for each in TypeUrl:
        dialogue.ask(each, *(["a"] if each is ENDPOINT else []), version=newer.resources(each).version)
    assert dialogue.due() is None
    dialogue.subscription.lead_back()
    clusters = dialogue.expect(CLUSTER)
    dialogue.ask(CLUSTER, version=clusters.version_info, nonce=clusters.nonce)
    dialogue.ask(ENDPOINT, "a", "b", version=newer.resources(ENDPOINT).version, nonce="")
    for each in (ENDPOINT, LISTENER, ROUTE):
        dialogue.accept(dialogue.expect(each))
    assert dialogue.subscription.has_arrived_at(dialogue.target)
    assert dialogue.subscription.revision == 7
    dialogue.lead_to(snapshot("a", revision=6))
    assert dialogue.due() is not None, "what it was led back from lies behind it for good"
    assert dialogue.subscription.revision_ahead_of(snapshot("a", revision=6)) == 0


def test_a_foreign_version_holds_nothing_back() -> None:
    dialogue = Dialogue(snapshot("a"))
    dialogue.ask(CLUSTER, version="2026-11-22T12:00:00Z/7")
    dialogue.expect(CLUSTER)


def test_a_refusal_is_reported_with_its_version_and_words() -> None:
    dialogue = Dialogue(snapshot("a"))
    dialogue.ask(CLUSTER)
    response = dialogue.expect(CLUSTER)
    assert dialogue.refuse(response) == ResponseOutcome(CLUSTER, response.version_info, "bad")
    assert dialogue.due() is None, "what was refused is not sent again"


def test_after_a_refusal_the_good_version_is_sent_although_envoy_has_it() -> None:
    good, bad = snapshot("a"), snapshot("a", "b")
    dialogue = Dialogue(good)
    dialogue.begin("a")
    dialogue.lead_to(bad)
    dialogue.refuse(dialogue.expect(CLUSTER), version=good.resources(CLUSTER).version)
    dialogue.lead_to(good)
    again = dialogue.expect(CLUSTER)
    assert again.version_info == good.resources(CLUSTER).version


def test_a_type_that_is_not_served_is_ignored() -> None:
    dialogue = Dialogue(snapshot("a"))
    request = discovery_pb2.DiscoveryRequest(type_url="type.googleapis.com/envoy.service.runtime.v3.Runtime")
    assert dialogue.subscription.receive(request) is None
    assert dialogue.due() is None


def again(dialogue: Dialogue, each: TypeUrl, *names: str) -> None:
    """A request after the last ACK of the type, as if Envoy had subscribed anew."""
    watch = dialogue.subscription._watches[each]
    dialogue.ask(each, *names, version=watch.accepted, nonce=watch.nonce)


def test_a_request_for_all_clusters_is_answered_again_and_one_for_some_with_these() -> None:
    dialogue = Dialogue(snapshot("a", "b"))
    dialogue.begin("a", "b")
    again(dialogue, CLUSTER)
    response = dialogue.expect(CLUSTER)
    assert names_in(response) == {"a", "tcp:a", "b", "tcp:b"}
    dialogue.accept(response)
    again(dialogue, CLUSTER, "a")
    assert names_in(dialogue.expect(CLUSTER)) == {"a"}


def test_a_response_that_is_due_stays_due_when_fewer_names_are_asked_for() -> None:
    dialogue = Dialogue(snapshot("a", "b"))
    dialogue.begin("a", "b")
    again(dialogue, ENDPOINT, "a", "b")
    again(dialogue, ENDPOINT, "a")
    dialogue.expect(ENDPOINT)


def test_routes_wait_for_endpoints_that_are_sent_again_in_the_same_version() -> None:
    dialogue = Dialogue(snapshot("a"))
    dialogue.begin("a")
    again(dialogue, ENDPOINT, "a")
    response = dialogue.expect(ENDPOINT)
    again(dialogue, ROUTE)
    assert dialogue.due() is None
    dialogue.accept(response)
    dialogue.expect(ROUTE)
