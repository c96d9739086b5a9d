"""How many TLS connections were refused: those that brought no stream."""

from __future__ import annotations

from argosy.xds.tls.connections import GRACE_S, WINDOW_S, Connections


def test_a_connection_that_brings_its_stream_is_not_refused() -> None:
    found = Connections()
    found.began(0.0)
    found.arrived("ipv4:10.0.0.7:1", 0.1)
    assert found.num_refused(10.0) == 0


def test_one_without_a_stream_counts_after_a_grace_and_for_half_a_minute() -> None:
    found = Connections()
    found.began(0.0)
    assert found.num_refused(GRACE_S - 0.1) == 0
    assert found.num_refused(GRACE_S) == 1
    assert found.num_refused(WINDOW_S) == 1
    assert found.num_refused(WINDOW_S + 0.1) == 0


def test_an_envoy_that_connects_hides_no_other_that_is_refused() -> None:
    found = Connections()
    for second in range(20):
        found.began(float(second))
    found.arrived("ipv4:10.0.0.7:1", 0.1)
    found.arrived("ipv4:10.0.0.7:1", 4.0)  # a second stream of one connection
    assert found.num_refused(24.0) == 19


def test_an_address_whose_stream_ended_may_connect_again() -> None:
    found = Connections()
    for second in (0.0, 8.0):
        found.began(second)
        found.arrived("ipv4:10.0.0.7:1", second + 0.1)
        found.ended("ipv4:10.0.0.7:1")
    assert found.num_refused(14.0) == 0
