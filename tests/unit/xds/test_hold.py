"""An Envoy that is ahead of the server is left alone for a stated time, and then led back."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from argosy.route.table import Backend, ClusterEntry, Endpoint, Gateway, RequestMatch, RouteEntry, RouteTable
from argosy.xds.cache import SnapshotCache
from argosy.xds.hold import HOLD_S, Hold
from argosy.xds.snapshot import Snapshot


@dataclass
class HandClock:
    """A clock that a test sets."""

    at_s: float = 1000.0

    def now_s(self) -> float:
        return 1_700_000_000.0 + self.at_s

    def monotonic_s(self) -> float:
        return self.at_s


def snapshot(revision: int) -> Snapshot:
    entry = RouteEntry("n/c", "n/c", "n_c", RequestMatch(models=("m",)), (Backend("a", 1.0),), 2, 15.0)
    clusters = (ClusterEntry("a", (Endpoint("10.0.0.1", 8000, "n/p"),)),)
    return Snapshot.of_table(RouteTable(revision, Gateway("0.0.0.0", 8080), (entry,), clusters))


@pytest.mark.parametrize(
    ("passed_s", "listed_s", "is_over"),
    [
        pytest.param(HOLD_S, 0.0, True, id="the time is up, and a listing began since"),
        pytest.param(HOLD_S + 100, HOLD_S + 50, True, id="long after"),
        pytest.param(HOLD_S - 0.1, 0.0, False, id="a little too early"),
        pytest.param(HOLD_S + 100, None, False, id="the caches are not complete yet"),
        pytest.param(HOLD_S + 100, -0.1, False, id="no listing since: the API server may be away"),
    ],
)
def test_a_hold_is_over_after_its_time_and_a_later_listing(
    passed_s: float, listed_s: float | None, is_over: bool
) -> None:
    clock = HandClock()
    hold = Hold.begin(17, clock)
    began_s, clock.at_s = clock.at_s, clock.at_s + passed_s
    listed = None if listed_s is None else began_s + listed_s
    assert hold.is_over(clock.at_s, listed) is is_over


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def cache(clock: HandClock) -> SnapshotCache:
    found = SnapshotCache(clock)
    found.publish(snapshot(1))
    found.connect("edge")
    return found


def test_the_state_names_when_it_is_served_and_from_what_it_was_led_back(
    cache: SnapshotCache, clock: HandClock
) -> None:
    hold = cache.hold("edge", 17)
    cache.saw("edge", {}, 17)
    (state,) = cache.envoys()
    assert (state.revision, state.is_ahead, state.served_at_s) == (17, True, clock.now_s() + HOLD_S)
    cache.listed(clock.monotonic_s())
    assert not cache.end_if_over("edge", hold)
    clock.at_s += HOLD_S
    assert cache.end_if_over("edge", hold)
    (state,) = cache.envoys()
    assert (state.is_ahead, state.served_at_s, state.left_revision) == (False, None, 17)


def test_an_envoy_that_connects_again_and_again_waits_no_longer(
    cache: SnapshotCache, clock: HandClock
) -> None:
    first = cache.hold("edge", 17)
    for _ in range(3):
        cache.disconnect("edge")
        clock.at_s += HOLD_S / 3
        cache.connect("edge")
        assert cache.hold("edge", 17) == first
    cache.listed(clock.monotonic_s())
    assert cache.end_if_over("edge", first)


def test_a_later_revision_and_one_that_was_caught_up_with_meanwhile_begin_a_hold_of_their_own(
    cache: SnapshotCache, clock: HandClock
) -> None:
    first = cache.hold("edge", 17)
    clock.at_s += HOLD_S
    assert cache.hold("edge", 18).began_s == clock.at_s
    cache.disconnect("edge")
    cache.publish(snapshot(18))
    cache.publish(snapshot(2))
    cache.connect("edge")
    clock.at_s += HOLD_S
    assert cache.hold("edge", 18).began_s == clock.at_s > first.began_s


def test_of_two_envoys_with_one_node_id_the_one_at_rest_does_not_hold_the_other_back(
    cache: SnapshotCache, clock: HandClock
) -> None:
    cache.connect("edge")
    ahead, at_rest = cache.hold("edge", 17), Hold.begin(17, clock)
    cache.end_hold("edge", at_rest)
    assert cache.hold("edge", 17) is ahead
