"""What each Envoy is led to, also after a refusal."""

from __future__ import annotations

import pytest

from argosy.reconcile.clock import SystemClock
from argosy.route.table import Backend, ClusterEntry, Endpoint, Gateway, RequestMatch, RouteEntry, RouteTable
from argosy.snapshot.fleet import EnvoyState
from argosy.xds.cache import SHARED_AFTER_S, SnapshotCache, rolled_back
from argosy.xds.hold import HOLD_S
from argosy.xds.snapshot import Snapshot, TypeUrl
from argosy.xds.subscription import ResponseOutcome

CLUSTER, ENDPOINT, LISTENER, ROUTE = TypeUrl


def snapshot(cluster: str, revision: int, *, address: str = "10.0.0.1", port: int = 8080) -> Snapshot:
    entry = RouteEntry("n/c", "n/c", "n_c", RequestMatch(models=("m",)), (Backend(cluster, 1.0),), 2)
    clusters = (ClusterEntry(cluster, (Endpoint(address, 8000, "n/p"),)),)
    return Snapshot.of_table(RouteTable(revision, Gateway("0.0.0.0", port), (entry,), clusters))


def cache_with(good: Snapshot, refused: Snapshot, each: TypeUrl) -> SnapshotCache:
    """Envoy e1 runs `good` and has refused this part of `refused`; e2 runs whatever comes."""
    cache = SnapshotCache(SystemClock())
    cache.connect("e1")
    cache.connect("e2")
    cache.publish(good)
    cache.arrive("e1", good)
    cache.publish(refused)
    cache.refuse("e1", ResponseOutcome(each, "0-interim", "cannot bind"), refused)
    return cache


def test_before_anything_is_published_there_is_nothing_to_send() -> None:
    cache = SnapshotCache(SystemClock())
    cache.connect("e1")
    assert cache.snapshot_for("e1") is None


def test_the_same_content_is_published_once() -> None:
    cache = SnapshotCache(SystemClock())
    assert [
        cache.publish(snapshot("a", 1)),
        cache.publish(snapshot("a", 1)),
        cache.publish(snapshot("a", 2)),
    ] == [
        True,
        False,
        True,
    ]


@pytest.mark.parametrize("each", [pytest.param(each, id=each.noun) for each in TypeUrl])
def test_an_envoy_that_refused_keeps_the_routes_it_had_and_others_go_on(each: TypeUrl) -> None:
    good, refused = snapshot("a", 1), snapshot("b", 2)
    cache = cache_with(good, refused, each)
    served = cache.snapshot_for("e1")
    assert served is not None
    assert served.resources(ROUTE).version == good.resources(ROUTE).version
    assert served.resources(LISTENER).version == good.resources(LISTENER).version
    assert served.routed_clusters == {"a", "tcp:a", "waiting:a", "any:a", "argosy-nowhere"}
    assert cache.snapshot_for("e2") is refused


def test_a_refused_listener_does_not_keep_requests_on_pods_that_are_gone() -> None:
    good, refused = snapshot("a", 1, port=8080), snapshot("a", 2, port=8081, address="10.0.0.2")
    served = cache_with(good, refused, LISTENER).snapshot_for("e1")
    assert served is not None
    assert served.resources(ENDPOINT).by_name == refused.resources(ENDPOINT).by_name


def test_refused_endpoints_are_rolled_back() -> None:
    good, refused = snapshot("a", 1), snapshot("a", 2, address="10.0.0.2")
    served = cache_with(good, refused, ENDPOINT).snapshot_for("e1")
    assert served is not None
    assert served.resources(ENDPOINT).by_name == good.resources(ENDPOINT).by_name


def test_what_was_refused_is_not_tried_again_with_other_endpoints() -> None:
    good, refused = snapshot("a", 1, port=8080), snapshot("a", 2, port=8081)
    cache = cache_with(good, refused, LISTENER)
    cache.publish(snapshot("a", 2, port=8081, address="10.0.0.3"))
    served = cache.snapshot_for("e1")
    assert served is not None
    assert served.resources(LISTENER).version == good.resources(LISTENER).version


def test_a_corrected_snapshot_is_tried() -> None:
    good, refused = snapshot("a", 1, port=8080), snapshot("a", 2, port=8081)
    cache = cache_with(good, refused, LISTENER)
    corrected = snapshot("a", 3, port=8082)
    cache.publish(corrected)
    assert cache.snapshot_for("e1") is corrected
    assert cache.envoys()[0].refused_version == ""


def test_an_envoy_that_refuses_the_first_snapshot_is_sent_nothing_more() -> None:
    cache, refused = SnapshotCache(SystemClock()), snapshot("a", 1)
    cache.connect("e1")
    cache.publish(refused)
    cache.refuse("e1", ResponseOutcome(LISTENER, "v", "cannot bind"), refused)
    assert cache.snapshot_for("e1") is None


def test_the_state_names_what_was_refused_and_why() -> None:
    good, refused = snapshot("a", 1), snapshot("b", 2)
    cache = cache_with(good, refused, LISTENER)
    cache.saw("e1", {ROUTE: good.version}, 1)
    assert cache.envoys()[0] == EnvoyState(
        node_id="e1",
        acknowledged_version=good.version,
        refused_version=refused.resources(LISTENER).version,
        message="Listener: cannot bind",
        revision=1,
    )


def test_an_envoy_is_listed_as_long_as_one_of_its_streams_lives() -> None:
    cache = SnapshotCache(SystemClock())
    first, second = cache.connect("e1"), cache.connect("e1")
    cache.disconnect(first)
    assert [state.node_id for state in cache.envoys()] == ["e1"]
    cache.disconnect(second)
    assert cache.envoys() == ()


def test_roll_back_keeps_the_refused_revision_for_what_may_be_in_use_already() -> None:
    served = rolled_back(snapshot("b", 2), snapshot("a", 1), {CLUSTER})
    assert {each.noun: served.resources(each).revision for each in TypeUrl} == {
        "Cluster": 2,
        "ClusterLoadAssignment": 2,
        "Listener": 1,
        "RouteConfiguration": 1,
    }


class Times:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.at_s = 0.0

    def now_s(self) -> float:
        return self.at_s

    def monotonic_s(self) -> float:
        return self.at_s


def test_two_envoys_with_one_node_id_are_led_each_by_what_it_has_itself() -> None:
    good, bad = snapshot("a", 1), snapshot("b", 2)
    times = Times()
    cache = SnapshotCache(times)
    one, two = cache.connect("edge"), cache.connect("edge")
    cache.publish(good)
    cache.arrive(one, good)
    cache.publish(bad)
    cache.refuse(one, ResponseOutcome(ROUTE, "0-interim", "no"), bad)
    served = {name: cache.snapshot_for(name) for name in (one, two)}
    assert served[two] is bad
    assert served[one] is not bad
    assert [state.node_id for state in cache.envoys()] == ["edge", "edge"]
    assert [state.refused_version for state in cache.envoys()] == [bad.resources(ROUTE).version, ""]


def test_streams_of_one_node_id_are_two_envoys_only_once_both_have_lasted() -> None:
    times = Times()
    cache = SnapshotCache(times)
    first = cache.connect("edge")
    times.at_s = 100.0
    second = cache.connect("edge")  # it connects anew, and the end of its old stream is not noticed yet
    times.at_s += SHARED_AFTER_S - 0.1
    assert [state.is_duplicate for state in cache.envoys()] == [False, False]
    times.at_s += 0.2
    assert [state.is_duplicate for state in cache.envoys()] == [True, True]
    cache.disconnect(first)
    assert [(state.node_id, state.is_duplicate) for state in cache.envoys()] == [("edge", False)]
    assert cache.connect("edge") == first != second


def test_the_hold_of_an_envoy_goes_on_over_a_stream_whose_end_is_not_noticed_yet() -> None:
    times = Times()
    cache = SnapshotCache(times)
    cache.publish(snapshot("a", 1))
    old = cache.connect("edge")
    hold = cache.hold(old, 17)
    times.at_s = HOLD_S - 1.0
    new = cache.connect("edge")
    assert (old != new, cache.hold(new, 17)) == (True, hold)
    cache.disconnect(old)
    times.at_s += 1.0
    cache.listed(times.at_s)
    assert cache.end_if_over(new, hold)
    cache.disconnect(new)
    assert cache.hold(cache.connect("edge"), 17).began_s == times.at_s


def gone(*published: Snapshot, acknowledged: int | None) -> SnapshotCache:
    """Envoy e1 has left: it had acknowledged one of these, and the others came after it or before."""
    cache = SnapshotCache(SystemClock())
    cache.connect("e1")
    for number, each in enumerate(published):
        cache.publish(each)
        if number == acknowledged:
            cache.saw("e1", {ENDPOINT: each.resources(ENDPOINT).version}, each.revision)
    cache.disconnect("e1")
    return cache


ONE, TWO, THREE = (snapshot("a", 1, address=f"10.0.0.{n}") for n in (1, 2, 3))


@pytest.mark.parametrize(
    ("published", "acknowledged", "expected"),
    [
        pytest.param((ONE, TWO), 1, {"10.0.0.2:8000"}, id="it had the latest"),
        pytest.param(
            (ONE, TWO, THREE), 1, {"10.0.0.2:8000", "10.0.0.3:8000"}, id="a later one may have come"
        ),
        pytest.param((ONE, TWO, ONE), 2, {"10.0.0.1:8000", "10.0.0.2:8000"}, id="one that came twice"),
        pytest.param((ONE, TWO), None, None, id="it has acknowledged nothing"),
    ],
)
def test_an_envoy_that_left_may_have_what_it_acknowledged_and_what_came_after(
    published: tuple[Snapshot, ...], acknowledged: int | None, expected: set[str] | None
) -> None:
    assert gone(*published, acknowledged=acknowledged).gone_endpoints.get("e1") == expected


def test_an_envoy_that_is_back_is_not_among_those_that_left() -> None:
    cache = gone(ONE, acknowledged=0)
    cache.connect("e1")
    assert (cache.gone_at_s, cache.gone_endpoints) == ({}, {})
