"""Where an Envoy's counters can be read, from the first request of its stream."""

from __future__ import annotations

import logging

import pytest
from envoy.config.core.v3 import base_pb2

from argosy.manifests.envoy_bootstrap import STATS_KEY
from argosy.xds.server import announced_stats_url


def node(**metadata: object) -> base_pb2.Node:
    found = base_pb2.Node(id="edge")
    found.metadata.update(metadata)
    return found


@pytest.mark.parametrize(
    ("peer", "url"),
    [
        ("ipv4:10.0.0.7:51234", "http://10.0.0.7:9902"),
        ("ipv6:%5Bfd00::7%5D:51234", "http://[fd00::7]:9902"),
        ("ipv6:[fd00::7]:51234", "http://[fd00::7]:9902"),
        ("ipv6:%5B::ffff:10.0.0.7%5D:51234", "http://10.0.0.7:9902"),
    ],
)
def test_an_envoy_on_all_addresses_is_read_at_the_one_it_connects_from(peer: str, url: str) -> None:
    for announced in ("0.0.0.0:9902", "[::]:9902"):
        assert announced_stats_url(node(**{STATS_KEY: announced}), peer) == url


def test_an_envoy_that_announces_nothing_is_not_read(caplog: pytest.LogCaptureFixture) -> None:
    assert announced_stats_url(node(other="10.0.0.7:9902"), "ipv4:10.0.0.7:1") == ""
    assert caplog.messages == []


@pytest.mark.parametrize("value", ["nonsense", 9902, {"a": 1}])
def test_an_address_that_is_none_is_named_in_the_log(value: object, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert announced_stats_url(node(**{STATS_KEY: value}), "ipv4:10.0.0.7:1") == ""
    (said,) = caplog.messages
    assert said.startswith("the Envoy edge announces ")
    assert "which is not host:port" in said
