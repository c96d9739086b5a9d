"""Which Envoys are read, and where."""

from __future__ import annotations

from argosy.reconcile.envoy_targets import KEEP_S, EnvoyTargets
from argosy.settings import EnvoyAdmin
from argosy.snapshot.fleet import EnvoyState

EDGE = EnvoyState("edge", stats_url="http://10.0.0.7:9902")


def test_an_envoy_that_announces_an_address_is_read_without_being_listed() -> None:
    assert EnvoyTargets(()).of([EDGE, EnvoyState("mute")], 0.0) == (("edge", "http://10.0.0.7:9902"),)


def test_a_listed_envoy_is_read_where_the_list_says_connected_or_not() -> None:
    targets = EnvoyTargets([EnvoyAdmin("edge", "http://a:1"), EnvoyAdmin("far", "http://b:2")])
    assert targets.of([EDGE], 0.0) == (("edge", "http://a:1"), ("far", "http://b:2"))


def test_an_envoy_that_lost_its_stream_is_read_for_a_minute() -> None:
    targets = EnvoyTargets(())
    first = targets.of([EDGE], 100.0)
    assert targets.of([], 100.0 + KEEP_S) == first
    assert targets.of([], 100.1 + KEEP_S) == ()


def test_an_envoy_that_comes_back_with_another_address_is_read_there() -> None:
    targets = EnvoyTargets(())
    targets.of([EDGE], 100.0)
    moved = EnvoyState("edge", stats_url="http://10.0.0.8:9902")
    assert targets.of([moved], 101.0) == (("edge", "http://10.0.0.8:9902"),)
