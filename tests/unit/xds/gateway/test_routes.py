"""Envoy's routes of one entry: which requests are copied."""

from __future__ import annotations

from typing import Any

from argosy.keys import CellName, ClassKey, DeploymentKey
from argosy.route.table import (
    AdapterRoute,
    Backend,
    Gateway,
    MirrorRoute,
    RequestMatch,
    RouteEntry,
    RouteTable,
)
from argosy.xds.gateway.routes import route_configuration_of

OWN = (Backend(DeploymentKey("n/a"), 1.0),)


def routes_of(**more: Any) -> list[Any]:
    """Of a class that has a mirror."""
    entry = RouteEntry(
        cell=CellName("n/chat"),
        class_key=ClassKey("n/chat"),
        stat_prefix="n_chat",
        match=RequestMatch(models=("llama",)),
        backends=OWN,
        retry_attempts=2,
        mirrors=(MirrorRoute(DeploymentKey("n/b"), 0.00125),),
        **more,
    )
    found = route_configuration_of(RouteTable(1, Gateway("127.0.0.1", 80), (entry,), ()))
    return [each for each in found.virtual_hosts[0].routes if each.name == "n/chat"]


def test_a_share_is_copied_in_millionths() -> None:
    (route,) = routes_of()
    (mirror,) = route.route.request_mirror_policies
    assert mirror.cluster == "n/b"
    assert mirror.runtime_fraction.default_value.numerator == 1250


def test_requests_for_an_adapter_are_not_copied() -> None:
    adapter, own = routes_of(adapters=(AdapterRoute("sql", OWN),))
    assert len(adapter.route.request_mirror_policies) == 0
    assert len(own.route.request_mirror_policies) == 1
